"""One look over a whole workspace: its targets, its env files, the scanner, git's history."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from clodo.security.checking import Checked, check
from clodo.security.history import read_history
from clodo.security.reading import WORKSPACE, files_of, subject_of, workspace_subject
from clodo.security.scanning import scan
from clodo.security.subject import Leak
from clodo.workspace.source_tree import files_below

if TYPE_CHECKING:
    from clodo.workspace.targets import Target
    from clodo.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    What was found, and what it took.

    Attributes:
        notes: What was not looked at, one sentence each.

        seconds: By part: ``rules``, ``scan``, ``history``; parts that were left out are missing.
    """

    checked: Checked
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Known:
    """
    What is known of the secrets of one target.

    Attributes:
        values: Names and values; never printed.

        twins: Name to the targets of other environments with the same value.
    """

    values: Mapping[str, str] = field(repr=False)
    twins: Mapping[str, tuple[str, ...]]


def inspect(
    workspace: Workspace,
    targets: Iterable[Target],
    *,
    today: date,
    secrets: Mapping[Target, Known] | None = None,
    with_scan: bool = True,
    with_history: bool = False,
) -> Inspection:
    """
    Look at *targets* and at the workspace's files with every rule.

    Args:
        secrets: Of the targets whose secrets are known.

    Raises:
        BadConfiguration: A file can't be read, or a waiver names no rule.
    """
    known = secrets or {}
    started = time.monotonic()
    subjects = [
        subject_of(
            workspace,
            target,
            today=today,
            secrets=known[target].values if target in known else None,
            twins=known[target].twins if target in known else None,
        )
        for target in targets
    ]
    subjects += files_of(workspace, today=today)
    seconds = {"rules": time.monotonic() - started}
    leaks: list[Leak] = []
    notes: tuple[str, ...] = ()
    if with_scan:
        started = time.monotonic()
        leaks += scan(files_below(workspace.root))
        seconds["scan"] = time.monotonic() - started
    if with_history:
        started = time.monotonic()
        history = read_history(workspace.root)
        leaks += history.leaks
        notes = history.notes
        seconds["history"] = time.monotonic() - started
    subjects.append(workspace_subject(workspace, leaks, today=today))
    checked = check(subjects, workspace.portfolio, today=today)
    return Inspection(_once(checked), notes, seconds)


def _once(checked: Checked) -> Checked:
    """Leave out what the scanner found on lines where a rule on settings fired: that one names the key."""
    on_settings = {
        finding.place
        for finding in checked.findings + tuple(item for item, _ in checked.waived)
        if finding.rule.startswith(("credential-in-vars", "credential-in-env-file"))
    }
    kept = tuple(
        finding
        for finding in checked.findings
        if not (
            finding.target == WORKSPACE
            and finding.rule in ("credential-in-file", "possible-credential-in-file")
            and finding.place in on_settings
        )
    )
    return replace(checked, findings=kept)
