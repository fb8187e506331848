"""What is wrong, shown to a person; the same for every command that looks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clodo.cli.config_migration import shortened
from clodo.cli.output import show

if TYPE_CHECKING:
    from clodo.workspace.finding import Finding


def show_findings(root: Path, findings: Sequence[Finding]) -> None:
    """
    Print *findings* in their order, each with the remedy below it.

    What several targets have in common is one line, and a remedy that was said is not said again.
    """
    together: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        line = finding.describe(shortened(root, finding.place))
        together.setdefault((line, finding.remedy), []).append(finding.target or "")
    said: set[str] = set()
    for (line, remedy), (target, *others) in together.items():
        whose = f" {target}{f' and {len(others)} more' if others else ''}" if target else ""
        show(f"{line}{whose}")
        if remedy not in said:
            show(f"    {remedy}")
            said.add(remedy)
    if not findings:
        show("Nothing is wrong.")
