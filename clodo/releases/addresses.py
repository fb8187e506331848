"""Where a Worker answers, as far as its triggers tell."""

from __future__ import annotations

from dataclasses import dataclass

from clodo.releases.triggers import Triggers


@dataclass(frozen=True, slots=True)
class Address:
    """
    A hostname under which requests reach a Worker.

    Attributes:
        hostname: Without a wildcard.

        path_prefix: Only paths that begin with it reach the Worker; ``/`` for all.

        is_exact: Whether only the path that equals *path_prefix* does.
    """

    hostname: str
    path_prefix: str = "/"
    is_exact: bool = False

    def serves(self, path: str) -> bool:
        """Whether a request for *path* (with or without a query) reaches the Worker here."""
        bare = path.partition("?")[0]
        return bare == self.path_prefix if self.is_exact else bare.startswith(self.path_prefix)


def addresses_of(triggers: Triggers, worker: str, account_subdomain: str | None) -> tuple[Address, ...]:
    """
    Return where *worker* answers: custom domains first, then routes, then workers.dev.

    Routes whose hostname has a wildcard, or whose path has one that isn't at its end, are left out: nothing says which
    request they would serve.
    """
    found = [Address(domain.hostname) for domain in triggers.domains or ()]
    for route in triggers.routes or ():
        pattern = route.pattern.partition("://")[2] or route.pattern
        hostname, _, path = pattern.partition("/")
        prefix = "/" + path.removesuffix("*")
        if "*" in hostname or "*" in prefix:
            continue
        found.append(Address(hostname, prefix, is_exact=not path.endswith("*")))
    if triggers.workers_dev and account_subdomain:
        found.append(Address(f"{worker}.{account_subdomain}.workers.dev"))
    return tuple(dict.fromkeys(found))
