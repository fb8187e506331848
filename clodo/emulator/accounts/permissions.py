"""
Which permission group each route needs: one table.

Source:
    "Accepted Permissions (at least one required)" at each operation of https://developers.cloudflare.com/api/.
    The numbers of refusals are from public reports: 10000 from products, 9109 from users, accounts and zones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """What a permission is about."""

    NONE = "none"
    """Anybody with an active token; lists show what the token reaches."""

    USER = "user"
    ACCOUNT = "account"
    ZONE = "zone"
    ANY_ACCOUNT = "any account"
    """Some account or zone of the token; the answer is limited to what it reaches."""


AUTHENTICATION_ERROR = (403, 10000, "Authentication error")
UNAUTHORIZED = (403, 9109, "Unauthorized to access requested resource")


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row of the table.

    Attributes:
        path: Start of a path below ``/client/v4``; ``*`` stands for one segment.

        families: Names of permission groups without their ending: ``D1`` is D1 Read and D1 Write.

        also: Whole names of groups that do as well, for reading and writing.

        only_reads: Whether every method reads here, POST too.

        refusal: Status, code and message for who lacks all of them.
    """

    path: str
    level: Level
    families: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    only_reads: bool = False
    refusal: tuple[int, int, str] = AUTHENTICATION_ERROR

    def groups(self, method: str) -> frozenset[str]:
        """Return the names of the groups of which one is needed; a right to write is one to read."""
        reads = self.only_reads or method in ("GET", "HEAD", "OPTIONS")
        endings = ("Read", "Write") if reads else ("Write",)
        return frozenset({*(f"{family} {ending}" for family in self.families for ending in endings), *self.also})

    @property
    def pattern(self) -> re.Pattern[str]:
        """The row's path as a regular expression."""
        segments = (r"[^/]+" if segment == "*" else re.escape(segment) for segment in self.path.split("/"))
        return re.compile("/".join(segments) + r"(?=/|$)")


#: The first row whose path begins the call's decides.
TABLE: tuple[Row, ...] = (
    Row("/user/tokens/verify", Level.NONE),
    Row("/user/tokens", Level.USER, ("API Tokens",), refusal=UNAUTHORIZED),
    Row("/user", Level.USER, ("User Details",), refusal=UNAUTHORIZED),
    Row("/memberships", Level.USER, ("Memberships",), refusal=UNAUTHORIZED),
    Row("/accounts/*/tokens/verify", Level.NONE),
    Row("/accounts/*/tokens", Level.ACCOUNT, ("Account API Tokens",), refusal=UNAUTHORIZED),
    Row("/accounts/*/workers/scripts/*/tails", Level.ACCOUNT, ("Workers Scripts",), ("Workers Tail Read",)),
    Row("/accounts/*/workers", Level.ACCOUNT, ("Workers Scripts",)),
    Row("/accounts/*/workflows", Level.ACCOUNT, ("Workers Scripts",)),
    Row("/accounts/*/containers", Level.ACCOUNT, also=("Workers Containers Write",)),
    Row("/accounts/*/d1/database/*/export", Level.ACCOUNT, ("D1",), only_reads=True),
    Row("/accounts/*/d1", Level.ACCOUNT, ("D1",)),
    Row("/accounts/*/storage/kv/namespaces/*/bulk/get", Level.ACCOUNT, ("Workers KV Storage",), only_reads=True),
    Row("/accounts/*/storage/kv", Level.ACCOUNT, ("Workers KV Storage",)),
    Row("/accounts/*/r2", Level.ACCOUNT, ("Workers R2 Storage",)),
    Row("/accounts/*/event_notifications/r2", Level.ACCOUNT, ("Workers R2 Storage",)),
    Row("/accounts/*/queues", Level.ACCOUNT, ("Queues", "Workers Scripts")),
    Row("/accounts/*/event_subscriptions", Level.ACCOUNT, ("Queues", "Workers Scripts")),
    Row("/accounts/*/pages", Level.ACCOUNT, ("Pages",)),
    Row("/accounts/*/analytics_engine", Level.ACCOUNT, ("Account Analytics",), only_reads=True),
    # Accounts by themselves, their members, roles, subscriptions and audit logs, and all else that they have
    Row("/accounts/*", Level.ACCOUNT, ("Account Settings",), refusal=UNAUTHORIZED),
    Row("/accounts", Level.NONE),
    # Nobody has to say who asks, either: PUBLIC of authentication.py.
    Row("/ips", Level.NONE),
    Row("/graphql", Level.ANY_ACCOUNT, ("Account Analytics", "Analytics"), only_reads=True),
    Row("/zones/*/dns_records", Level.ZONE, ("DNS",)),
    Row("/zones/*/dns_settings", Level.ZONE, ("DNS",)),
    Row("/zones/*/dnssec", Level.ZONE, ("DNS",)),
    Row("/zones/*/purge_cache", Level.ZONE, also=("Cache Purge",)),
    Row("/zones/*/workers", Level.ZONE, ("Workers Routes",)),
    Row("/zones/*/ssl", Level.ZONE, ("SSL and Certificates",)),
    Row("/zones/*/pagerules", Level.ZONE, ("Page Rules",)),
    Row("/zones/*/settings", Level.ZONE, ("Zone Settings",), refusal=UNAUTHORIZED),
    Row("/zones/*", Level.ZONE, ("Zone",), refusal=UNAUTHORIZED),
    # The list shows the zones that may be read, and making one is answered by itself (code 0).
    Row("/zones", Level.NONE),
)

_COMPILED = tuple((row, row.pattern) for row in TABLE)


def row_for(path: str) -> Row | None:
    """Return the row that decides about a path below ``/client/v4``."""
    return next((row for row, pattern in _COMPILED if pattern.match(path)), None)


def second_segment(path: str) -> str:
    """Return what stands after the first segment: the id of the account or zone."""
    parts = path.split("/")
    return parts[2] if len(parts) > 2 else ""
