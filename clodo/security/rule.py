"""A rule: a small named function, how bad a finding of it is at each stage, and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clodo.security.subject import Stage, Subject
from clodo.workspace.finding import Finding, Severity


@dataclass(frozen=True, slots=True)
class Hit:
    """
    Where a rule fired.

    Attributes:
        what: A clause that begins with the key and quotes no value.
    """

    key: str
    place: str
    what: str


Check = Callable[[Subject], Iterator[Hit]]


@dataclass(frozen=True, slots=True)
class Rule:
    """
    A rule.

    Attributes:
        name: In kebab-case; waivers use it.

        title: What it is about, in one line.

        remedy: What to do when it fires, one sentence.

        severities: By stage; a stage that is missing is not looked at.

        check: Finds where it fires.
    """

    name: str
    title: str
    remedy: str
    severities: dict[Stage, Severity]
    check: Check

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """Yield what the rule finds at *subject*."""
        severity = self.severities.get(subject.stage)
        if severity is None:
            return
        for hit in self.check(subject):
            yield Finding(hit.place, self.name, severity, hit.what, self.remedy, key=hit.key, target=subject.name)


def rule(
    name: str,
    *,
    title: str,
    remedy: str,
    production: Severity | None,
    staging: Severity | None = None,
    development: Severity | None = None,
) -> Callable[[Check], Rule]:
    """Make a function a rule."""
    given = {Stage.PRODUCTION: production, Stage.STAGING: staging, Stage.DEVELOPMENT: development}
    severities = {stage: severity for stage, severity in given.items() if severity is not None}
    return lambda check: Rule(name, title, remedy, severities, check)
