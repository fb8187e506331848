"""What is wrong with something that the user wrote: where, how bad, and what to do about it; never a secret value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clodo.errors import ClodoError

_PLACE = re.compile(r"(?P<file>/.*?):(?P<line>\d+): (?P<what>.*)", re.DOTALL)


class Severity(StrEnum):
    """
    How bad it is.

    Critical: a security rule forbids the release, unless somebody waives it. Error: a release is impossible, or would
    be wrong. Warnings surprise; notes are for reading.
    """

    CRITICAL = "critical"
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
        place: ``file:line``, the file absolute, the line from 1.

        rule: In kebab-case, such as ``not-inherited`` or ``weak-secret``.

        message: What is wrong, a clause; no secret value is ever quoted.

        remedy: What to do, a sentence.

        key: Name of the variable, secret, header or setting; empty when it is about no single one.

        target: Whose setting it is; None when the rule looks at files, not at targets.

        expired_waiver: The date since which a waiver for it no longer counts, ISO 8601; None without one.
    """

    place: str
    rule: str
    severity: Severity
    message: str
    remedy: str
    key: str = ""
    target: str | None = None
    expired_waiver: str | None = None

    @property
    def file(self) -> str:
        """The path part of *place*."""
        return self.place.rpartition(":")[0]

    @property
    def line(self) -> int:
        """The line part of *place*."""
        return int(self.place.rpartition(":")[2])

    def describe(self, place: str | None = None) -> str:
        """Return one line for a person; *place* is how to say where, as it is by default."""
        expired = f" (its waiver expired on {self.expired_waiver})" if self.expired_waiver else ""
        return f"{place or self.place}: {self.severity}: {self.message}{expired} [{self.rule}]"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "target": self.target,
            "key": self.key or None,
            "file": self.file,
            "line": self.line,
            "message": self.message,
            "remedy": self.remedy,
            "expired_waiver": self.expired_waiver,
        }


def finding_of(error: ClodoError, rule: str, *, otherwise: str) -> Finding:
    """
    Turn an error that a reader raised into a finding.

    Args:
        otherwise: The file to name when the message doesn't open with one.
    """
    match = _PLACE.fullmatch(error.message)
    file, line, what = match.group("file", "line", "what") if match else (otherwise, "1", error.message)
    return Finding(f"{file}:{line}", rule, Severity.ERROR, what, error.hint or "Correct the file.")


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return *findings* without repetitions, the worst first, then by place."""

    def order(item: Finding) -> tuple[int, str, int, str, str, str]:
        return (item.severity.rank, item.file, item.line, item.rule, item.key, item.target or "")

    return tuple(sorted(set(findings), key=order))
