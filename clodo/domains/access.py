"""What an API token is good for: its accounts and zones, and what it may read there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.zones import Zone
from clodo.errors import ApiRefused, ClodoError, NotAuthorised, PermissionMissing

OpenClient = Callable[[str], Cloudflare]
"""Gives a client for an account by its id; the empty id for calls that belong to none."""


@dataclass(frozen=True, slots=True)
class SeenZone:
    """
    A zone as a token sees it.

    Attributes:
        status: ``active``, ``pending``, ``moved``, …

        name_servers: Those that the domain's registrar must name.
    """

    id: str
    name: str
    status: str
    paused: bool
    account_id: str
    account_name: str
    name_servers: tuple[str, ...]

    @classmethod
    def of(cls, zone: Zone) -> SeenZone:
        """Take over what Cloudflare answered."""
        account = zone.account
        return cls(
            id=zone.id,
            name=zone.name.lower(),
            status=zone.status or "unknown",
            paused=bool(zone.paused),
            account_id=(account.id if account else None) or "",
            account_name=(account.name if account else None) or "",
            name_servers=zone.name_servers or (),
        )

    def holds(self, host: str) -> bool:
        """Whether *host* is the zone's name, or lies below it."""
        return host == self.name or host.endswith("." + self.name)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "paused": self.paused,
            "account_id": self.account_id,
            "account_name": self.account_name,
            "name_servers": list(self.name_servers),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeenZone:
        """Read what `to_json` wrote."""
        return cls(**{**data, "name_servers": tuple(data["name_servers"])})


@dataclass(frozen=True, slots=True)
class Seen:
    """
    The accounts and zones that a token sees.

    Attributes:
        accounts: Id to name; the name is empty when the token may not read it.

        zones: By name.

        notes: What was left out, each with the permission that it needs.
    """

    accounts: Mapping[str, str]
    zones: tuple[SeenZone, ...]
    notes: tuple[str, ...] = ()

    def zone_for(self, host: str) -> SeenZone | None:
        """Return the zone that *host* belongs to: the longest that holds it, an active one first."""
        fitting = [zone for zone in self.zones if zone.holds(host)]
        return max(fitting, key=lambda zone: (len(zone.name), zone.status == "active"), default=None)


def look_around(open_client: OpenClient) -> Seen:
    """
    Return what a token sees; a right to list that it lacks becomes a note.

    Raises:
        NotAuthorised: Cloudflare doesn't take the token at all.
    """
    notes: list[str] = []
    accounts: dict[str, str] = {}
    zones: list[SeenZone] = []
    client = open_client("")
    with client:
        try:
            zones = [SeenZone.of(zone) for zone in client.zones.list_everywhere()]
        except (PermissionMissing, ApiRefused) as error:
            notes.append(f"zones were left out: {error.message}")
        try:
            accounts = {account.id: account.name for account in client.accounts.list()}
        except (NotAuthorised, ApiRefused) as error:
            if not zones and not isinstance(error, PermissionMissing | ApiRefused):
                # The token itself is no good.
                raise
            notes.append(f"names of accounts were left out (Account Settings: Read): {error.message}")
    for zone in zones:
        if zone.account_id:
            accounts.setdefault(zone.account_id, zone.account_name)
    if not zones:
        notes.append("the token sees no zone; give it Zone: Read for the domains it shall serve")
    return Seen(accounts, tuple(sorted(zones, key=lambda zone: (zone.name, zone.id))), tuple(notes))


def verify(open_client: OpenClient, seen: Seen) -> str:
    """
    Return the token's id, if it is active, whoever owns it.

    Raises:
        NotAuthorised: It is unknown, disabled or expired.
    """
    failed: NotAuthorised | None = None
    for account_id in tuple(seen.accounts) or ("",):
        with open_client(account_id) as client:
            try:
                return client.user.verify_token().id
            except NotAuthorised as error:
                failed = failed or error
    raise failed or NotAuthorised("Cloudflare doesn't accept the API token")


@dataclass(frozen=True, slots=True)
class Permission:
    """
    A right that a customer's deployment needs, or likes to have.

    Attributes:
        name: As the dashboard's form for tokens calls it.

        reads: Asks for something that needs it; gets a client, and a zone's id, empty where it is not about zones.

        why: What it is for.
    """

    name: str
    reads: Callable[[Cloudflare, str], object]
    why: str
    is_needed: bool = False
    is_about_zones: bool = False


@dataclass(frozen=True, slots=True)
class Probed:
    """One permission, and whether the token has it; None when that could not be found out."""

    name: str
    is_there: bool | None
    is_needed: bool
    why: str


PERMISSIONS: tuple[Permission, ...] = (
    Permission("Workers Scripts: Edit", lambda client, _: client.scripts.list(), "releases", is_needed=True),
    Permission(
        "Workers Routes: Edit",
        lambda client, zone: client.routes.list(zone),
        "requests for the domain",
        is_needed=True,
        is_about_zones=True,
    ),
    Permission("D1: Edit", lambda client, _: next(iter(client.d1.list()), None), "databases"),
    Permission("Workers KV Storage: Edit", lambda client, _: next(iter(client.kv.list()), None), "KV namespaces"),
    Permission("DNS: Read", lambda client, zone: client.dns.list(zone), "`clodo domain validate`", is_about_zones=True),
    Permission(
        "SSL and Certificates: Read",
        lambda client, zone: client.certificates.list(zone),
        "`clodo domain validate`",
        is_about_zones=True,
    ),
    Permission("Account Settings: Read", lambda client, _: client.accounts.get(), "the account's name"),
)


def probe(client: Cloudflare, zone_id: str | None) -> Iterator[Probed]:
    """
    Yield the permissions of a client's token, found out by reading: nobody can tell a right to write without writing.

    Args:
        zone_id: Where those about zones are tried; None to leave them open.
    """
    for permission in PERMISSIONS:
        is_there: bool | None = None
        if zone_id is not None or not permission.is_about_zones:
            try:
                permission.reads(client, zone_id or "")
                is_there = True
            except NotAuthorised:
                is_there = False
            except ClodoError:
                # Whatever it is, it says nothing about the right.
                is_there = None
        yield Probed(permission.name, is_there, permission.is_needed, permission.why)
