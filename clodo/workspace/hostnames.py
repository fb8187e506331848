"""Which target serves a hostname: by its routes, or by an older layout's ``domains.js``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clodo.errors import AmbiguousName
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.layouts.domains_file import find_domains_file, read_domains_file
from clodo.workspace.targets import Target

_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*", re.IGNORECASE)


def target_of_host(text: str, effective: Mapping[Target, EffectiveConfig]) -> Target | None:
    """
    Return the target whose routes or ``domains.js`` name the host *text*; None when none does, or it is no hostname.

    Raises:
        AmbiguousName: Several do.

        BadConfiguration: A ``domains.js`` can't be read.
    """
    host = text.strip().lower()
    if not _HOST.fullmatch(host):
        return None
    found = sorted(target for target, config in effective.items() if host in _routed(config))
    if not found:
        # A file of another service that can't be read matters only when no other one names the host.
        found = sorted(target for target, config in effective.items() if host in hosts_of(target, config))
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise AmbiguousName(f"{host} is served by {len(found)} targets: {names}", hint="Name one of them.")
    return found[0] if found else None


def hosts_of(target: Target, config: EffectiveConfig) -> dict[str, str]:
    """Return the hostnames of *target*, each with the ``file:line`` that says it; wildcards are left out."""
    hosts = _routed(config)
    # What a domains.js says of an environment is for everybody there; customers' sections have routes.
    file = find_domains_file(config.folder) if target.customer is None else None
    if file is not None:
        for environment, said in read_domains_file(file).hosts():
            if environment == target.environment:
                hosts.setdefault(said.value, said.place)
    return hosts


def _routed(config: EffectiveConfig) -> dict[str, str]:
    return {host: route.place for route in config.routes if "*" not in (host := host_of_route(route.pattern))}


def host_of_route(pattern: str) -> str:
    """Return the hostname of a route: ``api.example.com/*`` is ``api.example.com``."""
    return (pattern.partition("://")[2] or pattern).partition("/")[0].lower()
