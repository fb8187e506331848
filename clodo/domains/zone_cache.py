"""What a token sees, asked at most once in some minutes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from clodo.domains.access import OpenClient, Seen, SeenZone, look_around
from clodo.ledger import Ledger
from clodo.ledger.clocks import Clock, utc_now

MAX_AGE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a token sees, and when that was asked."""

    seen: Seen
    read_at: datetime
    is_cached: bool


def seen_zones(
    ledger: Ledger,
    token: str,
    base_url: str,
    open_client: OpenClient,
    *,
    refresh: bool = False,
    clock: Clock = utc_now,
) -> Listed:
    """
    Return what *token* sees, from the ledger when it was asked within MAX_AGE.

    Args:
        refresh: Ask in any case.

    Raises:
        NotAuthorised: Cloudflare doesn't take the token.
    """
    key = hashlib.sha256(f"{base_url} {token}".encode()).hexdigest()
    now = clock()
    known = None if refresh else ledger.zones.get(key, since=now - MAX_AGE)
    if known is not None and known[1] <= now:
        return Listed(_read(known[0]), known[1], is_cached=True)
    seen = look_around(open_client)
    content = {
        "accounts": dict(seen.accounts),
        "zones": [zone.to_json() for zone in seen.zones],
        "notes": list(seen.notes),
    }
    ledger.zones.put(key, content, now)
    return Listed(seen, now, is_cached=False)


def _read(content: object) -> Seen:
    data = content if isinstance(content, dict) else {}
    return Seen(dict(data["accounts"]), tuple(SeenZone.from_json(zone) for zone in data["zones"]), tuple(data["notes"]))
