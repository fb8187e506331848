"""Whether requests for a hostname reach its Worker: facts are asked for, then judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import httpx

from clodo.cloudflare.certificates import CertificatePack
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.dns import DnsRecord
from clodo.cloudflare.domains import Domain
from clodo.cloudflare.routes import Route
from clodo.domains.access import SeenZone
from clodo.errors import ApiRefused, NotAuthorised, PermissionMissing
from clodo.workspace.hostnames import host_of_route

Fact = TypeVar("Fact")
Ask = Callable[[str], int | str]
"""Requests a hostname's front page: gives the status, or a clause that says why there is no answer."""

PATIENCE_SECONDS = 10.0
_LEADS_SOMEWHERE = frozenset({"A", "AAAA", "CNAME"})


class Standing(StrEnum):
    """How a check ended; a note says what was left out and why."""

    GOOD = "good"
    BAD = "bad"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Check:
    """
    One thing that was looked at.

    Attributes:
        about: zone, nameservers, address, certificate or Worker.

        what: A clause.

        remedy: What to do; None when it is good.
    """

    about: str
    standing: Standing
    what: str
    remedy: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {"about": self.about, "standing": self.standing.value, "what": self.what, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Unknown:
    """What could not be asked: the permission that is missing, or another reason, a clause."""

    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What is known about a hostname.

    Attributes:
        zone: None when the token sees none that holds it.

        answer: Of its front page: a status, why there was none, or None when nobody asked.
    """

    host: str
    zone: SeenZone | None
    records: Sequence[DnsRecord] | Unknown = ()
    routes: Sequence[Route] | Unknown = ()
    domains: Sequence[Domain] | Unknown = ()
    packs: Sequence[CertificatePack] | Unknown = ()
    answer: int | str | None = None


def gather(client: Cloudflare, host: str, zone: SeenZone | None, ask: Ask | None) -> Facts:
    """
    Ask for the facts about *host*; a right that the token lacks leaves its fact open.

    Args:
        client: Of the zone's account.
    """
    if zone is None:
        return Facts(host, None)
    parent = "*." + host.partition(".")[2]
    return Facts(
        host,
        zone,
        records=_known(lambda: [*client.dns.list(zone.id, name=host), *client.dns.list(zone.id, name=parent)]),
        routes=_known(lambda: client.routes.list(zone.id)),
        domains=_known(lambda: client.domains.list(zone_id=zone.id)),
        packs=_known(lambda: client.certificates.list(zone.id)),
        answer=ask(host) if ask is not None else None,
    )


def judge(facts: Facts) -> Iterator[Check]:
    """Yield what the facts say, in the order in which a request meets it."""
    if facts.zone is None:
        remedy = "Add the domain to the account, or let the token read it (Zone: Read)."
        yield Check("zone", Standing.BAD, f"the token sees no zone that holds {facts.host}", remedy)
        return
    yield from _zone(facts.zone)
    yield from _address(facts)
    yield from _certificate(facts)
    yield from _worker(facts)


def asker(edge_url: str | None, *, transport: httpx.BaseTransport | None = None) -> Ask:
    """
    Return what requests a hostname's front page, over HTTPS, or from an embedded cloud.

    Args:
        edge_url: The embedded cloud's; None to go by DNS.

        transport: What sends the requests; for tests.
    """

    def ask(host: str) -> int | str:
        url = f"https://{host}/" if edge_url is None else f"{edge_url}/"
        try:
            with httpx.Client(transport=transport, timeout=PATIENCE_SECONDS, trust_env=edge_url is None) as client:
                return client.get(url, headers={} if edge_url is None else {"Host": host}).status_code
        except httpx.TimeoutException:
            return f"no answer within {PATIENCE_SECONDS:.0f} s"
        except httpx.HTTPError as error:
            return f"no connection ({type(error).__name__})"

    return ask


def _zone(zone: SeenZone) -> Iterator[Check]:
    wanted = ", ".join(zone.name_servers) or "those that the dashboard names"
    if zone.paused:
        yield Check(
            "zone", Standing.BAD, f"{zone.name} is paused: Cloudflare passes by", "Unpause it in the dashboard."
        )
    elif zone.status == "active":
        yield Check("zone", Standing.GOOD, f"{zone.name} is active")
    else:
        remedy = f"Let the registrar name {wanted}, then wait for Cloudflare to see it."
        yield Check("zone", Standing.BAD, f"{zone.name} is {zone.status}, not active", remedy)
    if zone.status == "active":
        yield Check("nameservers", Standing.GOOD, f"the registrar names {wanted}, as Cloudflare sees it")
    else:
        what = f"the registrar does not name {wanted}, as far as Cloudflare sees"
        yield Check("nameservers", Standing.BAD, what, f"Set them at the registrar: {wanted}.")


def _address(facts: Facts) -> Iterator[Check]:
    """A custom domain brings its record along; a route needs a proxied one."""
    domains, routes, records = facts.domains, facts.routes, facts.records
    if not isinstance(domains, Unknown):
        domain = next((item for item in domains if item.hostname.lower() == facts.host), None)
        if domain is not None:
            yield Check("address", Standing.GOOD, f"it is a custom domain of the Worker {domain.service}")
            return
    if isinstance(routes, Unknown):
        yield Check("address", Standing.NOTE, f"routes were not looked at: {routes.why}", None)
        return
    fitting = [route for route in routes if fnmatchcase(facts.host, host_of_route(route.pattern)) and route.script]
    if not fitting:
        if isinstance(domains, Unknown):
            yield Check("address", Standing.NOTE, f"custom domains were not looked at: {domains.why}", None)
        remedy = "Add a route or custom domain to the wrangler config, and deploy."
        yield Check("address", Standing.BAD, f"no route and no custom domain brings {facts.host} to a Worker", remedy)
        return
    best = max(fitting, key=lambda route: len(route.pattern))
    yield Check("address", Standing.GOOD, f"the route {best.pattern} leads to the Worker {best.script}")
    if isinstance(records, Unknown):
        yield Check("address", Standing.NOTE, f"DNS records were not looked at: {records.why}", None)
        return
    leading = [record for record in records if record.type in _LEADS_SOMEWHERE]
    if any(record.proxied for record in leading):
        yield Check("address", Standing.GOOD, f"a proxied DNS record answers for {facts.host}")
    elif leading:
        what = f"the DNS record of {facts.host} is not proxied, so requests go past Cloudflare"
        yield Check("address", Standing.BAD, what, "Turn the proxy on for it (the orange cloud).")
    else:
        what = f"{facts.host} has no DNS record, without which no request comes to a route"
        yield Check("address", Standing.BAD, what, "Add a proxied record (AAAA 100:: will do), or use a custom domain.")


def _certificate(facts: Facts) -> Iterator[Check]:
    if isinstance(facts.packs, Unknown):
        yield Check("certificate", Standing.NOTE, f"certificates were not looked at: {facts.packs.why}", None)
        return
    covering = [pack for pack in facts.packs if any(covers(pattern, facts.host) for pattern in pack.hosts)]
    if any(pack.status == "active" for pack in covering):
        yield Check("certificate", Standing.GOOD, f"an active certificate covers {facts.host}")
    elif covering:
        what = f"the certificate for {facts.host} is {covering[0].status}, not active"
        yield Check("certificate", Standing.BAD, what, "Wait for it; it is issued once the zone is active.")
    else:
        what = f"no certificate covers {facts.host}"
        remedy = (
            "Use a custom domain, which brings one, or order an advanced certificate: *.zone covers one level only."
        )
        yield Check("certificate", Standing.BAD, what, remedy)


def _worker(facts: Facts) -> Iterator[Check]:
    if facts.answer is None:
        yield Check("Worker", Standing.NOTE, "nobody asked whether it answers", None)
    elif isinstance(facts.answer, str):
        yield Check("Worker", Standing.BAD, f"https://{facts.host}/ gave {facts.answer}", "Look at the checks above.")
    elif facts.answer >= 500:
        what = f"https://{facts.host}/ answered {facts.answer}"
        yield Check("Worker", Standing.BAD, what, "Deploy a Worker there, or look at its logs.")
    else:
        yield Check("Worker", Standing.GOOD, f"https://{facts.host}/ answered {facts.answer}")


def covers(pattern: str, host: str) -> bool:
    """Whether a certificate's name is good for *host*; a wildcard stands for one label."""
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:].lower()
    return host == pattern.lower()


def _known(ask: Callable[[], Fact]) -> Fact | Unknown:
    try:
        return ask()
    except (PermissionMissing, NotAuthorised, ApiRefused) as error:
        return Unknown(f"{error.message}{f' {error.hint}' if error.hint else ''}")
