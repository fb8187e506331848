"""What is wrong with the workspace's configuration: where, how bad, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clodo.errors import ClodoError

_PLACE = re.compile(r"(?P<file>/.*?):(?P<line>\d+): (?P<what>.*)", re.DOTALL)


class Severity(StrEnum):
    """How bad it is: errors make releases impossible or wrong, warnings surprise, notes are for reading."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """Return 0 for the worst, and so on."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that is wrong.

    Attributes:
        rule: In kebab-case, such as ``not-inherited``.

        file: Absolute path.

        line: From 1.

        message: What is wrong, a clause.

        remedy: What to do, a sentence.
    """

    rule: str
    severity: Severity
    file: str
    line: int
    message: str
    remedy: str

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "file": self.file,
            "line": self.line,
            "message": self.message,
            "remedy": self.remedy,
        }


def finding_at(place: str, rule: str, severity: Severity, message: str, remedy: str) -> Finding:
    """Build a finding at ``file:line``."""
    file, _, line = place.rpartition(":")
    return Finding(rule, severity, file, int(line), message, remedy)


def finding_of(error: ClodoError, rule: str, *, otherwise: str) -> Finding:
    """
    Turn an error that a reader raised into a finding.

    Args:
        otherwise: The file to name when the message doesn't open with one.
    """
    match = _PLACE.fullmatch(error.message)
    file, line, what = match.group("file", "line", "what") if match else (otherwise, "1", error.message)
    return Finding(rule, Severity.ERROR, file, int(line), what, error.hint or "Correct the file.")


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return *findings* without repetitions, the worst first, then by place."""
    return tuple(sorted(set(findings), key=lambda item: (item.severity.rank, item.file, item.line, item.rule)))
