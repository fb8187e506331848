"""All rules over all subjects, less what is waived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase

from clodo.errors import BlockedByPolicy
from clodo.security import credentials, exposure, leaks, upkeep
from clodo.security.rule import Rule
from clodo.security.subject import Subject
from clodo.workspace.documents import did_you_mean
from clodo.workspace.finding import Finding, Severity, in_order
from clodo.workspace.portfolio import Portfolio, Waiver

ALL_RULES: tuple[Rule, ...] = (*credentials.RULES, *exposure.RULES, *upkeep.RULES, *leaks.RULES)


@dataclass(frozen=True, slots=True)
class Checked:
    """
    What the rules found.

    Attributes:
        findings: Those that count, the worst first.

        waived: Those that a waiver sets aside, each with it.
    """

    findings: tuple[Finding, ...]
    waived: tuple[tuple[Finding, Waiver], ...] = ()

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity is severity)

    @property
    def critical(self) -> tuple[Finding, ...]:
        """The findings that stop a release."""
        return self.of(Severity.CRITICAL)

    def raise_if_critical(self, name: str) -> None:
        """
        Refuse what has a critical finding.

        Raises:
            BlockedByPolicy: It names rules, keys and places, never a value.
        """
        if not self.critical:
            return
        first, *rest = self.critical
        more = f" (and {len(rest)} more: {', '.join(sorted({item.rule for item in rest}))})" if rest else ""
        expired = f"; its waiver expired on {first.expired_waiver}" if first.expired_waiver else ""
        raise BlockedByPolicy(
            f"{name}: the security rule {first.rule} forbids it: {first.place}: {first.message}{expired}{more}",
            hint=f"{first.remedy} `clodo security validate` shows all; a waiver in portfolio.toml needs a reason.",
        )


def check(subjects: Iterable[Subject], portfolio: Portfolio, *, today: date) -> Checked:
    """
    Look at *subjects* with every rule.

    Raises:
        BadConfiguration: A waiver names a rule that there isn't.
    """
    waivers = portfolio.security.waivers
    _raise_if_rules_are_unknown(portfolio)
    found = [finding for subject in subjects for rule in ALL_RULES for finding in rule.findings(subject)]
    return waive(in_order(found), waivers, today=today)


def waive(findings: Sequence[Finding], waivers: Sequence[Waiver], *, today: date) -> Checked:
    """Set aside the findings that a waiver is for; one that expired makes it a finding again, and says so."""
    counted: list[Finding] = []
    waived: list[tuple[Finding, Waiver]] = []
    for finding in findings:
        fitting = [waiver for waiver in waivers if fits(waiver, finding)]
        valid = next((waiver for waiver in fitting if today <= waiver.expires), None)
        if valid is not None:
            waived.append((finding, valid))
        elif fitting:
            latest = max(waiver.expires for waiver in fitting)
            counted.append(replace(finding, expired_waiver=latest.isoformat()))
        else:
            counted.append(finding)
    return Checked(tuple(counted), tuple(waived))


def fits(waiver: Waiver, finding: Finding) -> bool:
    """Whether *waiver* is for *finding*."""
    return (
        waiver.rule == finding.rule
        and fnmatchcase(finding.target or "", waiver.target)
        and fnmatchcase(finding.key, waiver.key)
    )


def _raise_if_rules_are_unknown(portfolio: Portfolio) -> None:
    names = [rule.name for rule in ALL_RULES]
    for index, waiver in enumerate(portfolio.security.waivers):
        if waiver.rule not in names:
            raise portfolio.error(
                "security",
                "waivers",
                index,
                "rule",
                what=f'no security rule is called "{waiver.rule}"{did_you_mean(waiver.rule, names)}',
                hint="docs/security-rules.md lists them.",
            )
