"""What git's history of the configuration files still holds."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clodo.security.credentials import credential_in
from clodo.security.shapes import shape_of
from clodo.security.subject import Kind, Leak, Setting, Source
from clodo.settings import child_environment

CONFIGURATION = (
    "*.env",
    ".env",
    ".env.*",
    ".dev.vars",
    ".dev.vars.*",
    "wrangler.toml",
    "wrangler.json",
    "wrangler.jsonc",
    "portfolio.toml",
    "config/*",
)
MAX_BYTES = 64 * 1024 * 1024
"""Of patches; what is older than that is not looked at, and it is said."""
_ASSIGNMENT = re.compile(
    r"""^\s*(?:export\s+)?["']?(?P<name>[A-Za-z_][\w.-]*)["']?\s*[=:]\s*["']?(?P<value>[^"'#\s][^"'\n]*?)["']?\s*,?\s*$"""
)
_HUNK = re.compile(r"^@@ -\S+ \+(\d+)")


@dataclass(frozen=True, slots=True)
class History:
    """
    What was found, and what was not looked at.

    Attributes:
        notes: One sentence each, for a person.
    """

    leaks: tuple[Leak, ...]
    notes: tuple[str, ...] = ()


def read_history(root: Path) -> History:
    """Look through all commits of all branches for credentials that a configuration file below *root* ever held."""
    command = ["git", "-C", str(root), "-c", "core.quotepath=off", "log", "--all", "--no-color", "--no-ext-diff"]
    command += ["--no-textconv", "--relative", "--format=commit %H", "-p", "--unified=0", "--diff-filter=AM", "--"]
    command += [f":(glob)**/{pattern}" for pattern in CONFIGURATION]
    try:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(without=("GIT_",)),
        ) as git:
            assert git.stdout is not None
            content = git.stdout.read(MAX_BYTES)
            was_cut = bool(git.stdout.read(1))
            if was_cut:
                git.kill()
    except FileNotFoundError:
        return History((), ("The git history was not searched: git is not installed.",))
    if git.returncode != 0 and not was_cut:
        return History((), (f"The git history was not searched: {root} is in no git repository.",))
    notes = (f"Only the latest {MAX_BYTES:,} bytes of the git history were searched.",) if was_cut else ()
    return History(tuple(leaks_in(content.decode("utf-8", "replace").splitlines(), root)), notes)


def leaks_in(lines: Iterable[str], root: Path) -> Iterator[Leak]:
    """Yield the credentials that the added lines of ``git log -p --unified=0`` hold, each name once a file."""
    commit, file, line = "", "", 0
    seen: set[tuple[str, str]] = set()
    for text in lines:
        hunk = _HUNK.match(text)
        if text.startswith("commit "):
            commit = text.removeprefix("commit ")
        elif text.startswith("+++ "):
            file = text.removeprefix("+++ ").removeprefix("b/").rstrip("\t")
        elif hunk:
            line = int(hunk[1])
        elif text.startswith("+"):
            name, kind = _credential_of(text[1:])
            if kind and (file, name) not in seen:
                seen.add((file, name))
                what = f"{name} held {kind} in commit {commit[:10]}"
                yield Leak(Source.HISTORY, name, f"{root / file}:{line}", what, is_certain=True)
            line += 1


def _credential_of(text: str) -> tuple[str, str | None]:
    assigned = _ASSIGNMENT.match(text)
    if assigned is None:
        shape = shape_of(text)
        return shape or "", shape
    setting = Setting(assigned["name"], assigned["value"], "", Kind.ENV_FILE)
    return setting.name, credential_in(setting)
