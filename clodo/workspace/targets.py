"""Targets: what is deployed, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import total_ordering

from clodo.errors import BadUsage, TargetNotFound

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_TARGET = re.compile(rf"(?P<service>{_PART})(?:@(?P<environment>{_PART})(?:/(?P<customer>{_PART}))?)?")


@total_ordering
@dataclass(frozen=True, slots=True)
class Target:
    """
    A service in an environment, for one customer or for all: the unit that is deployed.

    Attributes:
        service: The service's name (the ``name`` of its wrangler config).

        environment: ``production``, ``staging``, …

        customer: None when the Worker serves everybody.
    """

    service: str
    environment: str
    customer: str | None = None

    def __str__(self) -> str:
        tail = f"/{self.customer}" if self.customer is not None else ""
        return f"{self.service}@{self.environment}{tail}"

    def __lt__(self, other: Target) -> bool:
        # The one for everybody comes before those of customers.
        return self._order < other._order

    @property
    def _order(self) -> tuple[str, str, str]:
        return self.service, self.environment, self.customer or ""

    @property
    def slug(self) -> str:
        """The target as one word for file and lock names, no two alike: ``api@production+acme``."""
        return str(self).replace("/", "+")

    @classmethod
    def parse(cls, text: str, *, default_environment: str = "production") -> Target:
        """
        Read ``api``, ``api@staging`` or ``api@production/acme``.

        Raises:
            BadUsage: Not of that form.
        """
        match = _TARGET.fullmatch(text)
        if match is None:
            raise BadUsage(
                f'"{text}" is not a target',
                hint="Write service, service@environment or service@environment/customer.",
            )
        return cls(match["service"], match["environment"] or default_environment, match["customer"])


def find_target(text: str, targets: Iterable[Target], *, default_environment: str = "production") -> Target:
    """
    Return the one of *targets* that *text* names.

    Raises:
        BadUsage: *text* is not of a target's form.

        TargetNotFound: No such target; the hint lists the nearest names.
    """
    wanted = Target.parse(text, default_environment=default_environment)
    known = tuple(targets)
    if wanted in known:
        return wanted
    raise TargetNotFound(f"{wanted}: no such target", hint=_nearest_names(wanted, known))


def _nearest_names(wanted: Target, known: tuple[Target, ...]) -> str:
    if not known:
        return "The workspace has no targets."
    services = sorted({target.service for target in known})
    close = [wanted.service] if wanted.service in services else get_close_matches(wanted.service, services, n=3)
    names = [str(target) for service in close for target in sorted(known) if target.service == service]
    if not names:
        return "There are " + ", ".join(services[:5]) + ("." if len(services) <= 5 else ", …")
    return "Did you mean " + " or ".join(names[:5]) + "?"
