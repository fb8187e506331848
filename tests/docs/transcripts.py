"""Runs a page: its fenced files are written, its ``console`` blocks are run, and what they print is compared."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clodo.cli.main import main

_FENCE = re.compile(r"^```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One line after a dollar sign, and what the page says it prints."""

    line: str
    printed: str


def files_of(page: str) -> dict[str, str]:
    """Return the files that a page shows, by name."""
    return {found["file"]: found["body"] for found in _FENCE.finditer(page) if found["file"]}


def write_files(page: str, root: Path) -> None:
    """Write the files that a page shows."""
    for name, body in files_of(page).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(body, encoding="utf-8")


def commands_of(page: str) -> Iterator[Command]:
    """Yield the commands of a page, in order."""
    for found in _FENCE.finditer(page):
        if found["language"] == "console":
            for part in re.split(r"^\$ ", found["body"], flags=re.MULTILINE)[1:]:
                line, _, printed = part.partition("\n")
                yield Command(line, printed)


def run(command: Command, root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run ``clodo …`` or ``cat FILE``, perhaps through ``| grep WORD``, in *root*; return what it prints."""
    line, _, pipe = command.line.partition(" | ")
    words = shlex.split(line)
    if words[0] == "cat":
        printed = (root / words[1]).read_text(encoding="utf-8")
    else:
        assert words[0] == "clodo", command.line
        capsys.readouterr()
        main(["--workspace", str(root), *words[1:]])
        printed = capsys.readouterr().out
    if pipe:
        grep, wanted = shlex.split(pipe)
        assert grep == "grep"
        printed = "".join(row for row in printed.splitlines(keepends=True) if wanted in row)
    return printed
