"""What a security rule found: where, why, and what to do about it; never the value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad it is. Only CRITICAL stops a release."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """Return 0 for the worst, and so on."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that a rule found.

    Attributes:
        rule: Name of the rule, such as ``weak-secret``.

        key: Name of the variable, secret, header or setting.

        place: ``file:line``.

        what: What is wrong with it, a clause that begins with the key; no value is ever quoted.

        remedy: What to do, a sentence.

        target: Whose setting it is; None for a file of the workspace.

        expired_waiver: The date since which a waiver for it no longer counts, ISO 8601; None without one.
    """

    rule: str
    severity: Severity
    key: str
    place: str
    what: str
    remedy: str
    target: str | None = None
    expired_waiver: str | None = None

    @property
    def file(self) -> str:
        """The path part of *place*."""
        return self.place.rpartition(":")[0]

    @property
    def line(self) -> int:
        """The line part of *place*, from 1."""
        return int(self.place.rpartition(":")[2])

    @property
    def order(self) -> tuple[int, str, str, int, str, str]:
        """What findings are sorted by: the worst first, then by place."""
        return (self.severity.rank, self.target or "", self.file, self.line, self.rule, self.key)

    def describe(self) -> str:
        """Return one line for a person."""
        expired = f" (its waiver expired on {self.expired_waiver})" if self.expired_waiver else ""
        return f"{self.place}: {self.what}{expired} [{self.rule}]"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "target": self.target,
            "key": self.key,
            "file": self.file,
            "line": self.line,
            "what": self.what,
            "remedy": self.remedy,
            "expired_waiver": self.expired_waiver,
        }
