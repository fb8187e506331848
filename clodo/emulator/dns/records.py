"""A record as somebody wants it: read, checked by itself, and checked against those with the same name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from clodo.emulator.dns.limits import (
    ADDRESS_EXISTS,
    AUTOMATIC_TTL,
    CNAME_EXISTS,
    IDENTICAL_EXISTS,
    INVALID_COMMENT,
    INVALID_PROXIED,
    INVALID_SETTINGS,
    INVALID_TAG,
    INVALID_TTL,
    INVALID_TYPE,
    MAX_COMBINED_TXT_BYTES,
    MAX_COMMENT_CHARACTERS,
    MAX_TAG_NAME_CHARACTERS,
    MAX_TAG_VALUE_CHARACTERS,
    MAX_TAGS,
    MAX_TTL,
    MIN_TTL,
    NEEDS_NS,
    NOT_PROXIABLE,
    NS_EXISTS,
    TOO_MANY_TAGS,
    TXT_TOO_LONG,
    refusal,
)
from clodo.emulator.dns.names import record_name
from clodo.emulator.dns.types import Value, is_proxiable, read_value

_TAG = re.compile(rf"^[A-Za-z0-9_-]{{1,{MAX_TAG_NAME_CHARACTERS}}}(:[^\x00-\x1f]{{0,{MAX_TAG_VALUE_CHARACTERS}}})?$")

#: Settings of records: the type they are for, None for several.
_SETTINGS = {"flatten_cname": "CNAME", "ipv4_only": None, "ipv6_only": None}

_ADDRESSES = frozenset({"A", "AAAA", "CNAME"})


@dataclass(frozen=True, slots=True)
class Record:
    """What a client may say of a record; the store adds the id and times."""

    name: str
    type: str
    value: Value
    ttl: int = AUTOMATIC_TTL
    proxied: bool = False
    comment: str | None = None
    tags: tuple[str, ...] = ()
    settings: Mapping[str, bool] | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any], zone: str) -> Record:
        """
        Read a record of the zone named *zone*.

        Raises:
            ApiError: Something about it can't be.
        """
        kind = body.get("type")
        if not isinstance(kind, str):
            raise refusal(*INVALID_TYPE)
        kind = kind.upper()
        name = record_name(body.get("name"), zone)
        value = read_value(kind, body)
        # A CNAME to itself is taken: recorded in 2025 (docs.example.com).
        proxied = body.get("proxied")
        if not isinstance(proxied, bool | None):
            raise refusal(*INVALID_PROXIED)
        if proxied and not is_proxiable(kind, value.content):
            raise refusal(*NOT_PROXIABLE)
        return cls(
            name=name,
            type=kind,
            value=value,
            ttl=AUTOMATIC_TTL if proxied else _ttl(body.get("ttl")),
            proxied=bool(proxied),
            comment=_comment(body.get("comment")),
            tags=_tags(body.get("tags")),
            settings=_settings(kind, body.get("settings")),
        )

    @property
    def identity(self) -> tuple[str, str, str, int | None]:
        """What no two records of a zone share."""
        return (self.name, self.type, self.value.content, self.value.priority)


def raise_if_in_conflict(record: Record, others: Collection[Record], zone: str) -> None:
    """
    Check a record against the others with its name.

    Raises:
        ApiError: There is an identical one, or DNS doesn't allow them beside each other.
    """
    if any(other.identity == record.identity for other in others):
        raise refusal(*IDENTICAL_EXISTS)
    kinds = {other.type for other in others}
    is_apex = record.name == zone
    if record.type == "CNAME" and kinds & _ADDRESSES:
        raise refusal(*ADDRESS_EXISTS)
    if record.type in ("A", "AAAA") and "CNAME" in kinds:
        raise refusal(*CNAME_EXISTS)
    if not is_apex and record.type in _ADDRESSES and "NS" in kinds:
        raise refusal(*NS_EXISTS)
    if not is_apex and record.type == "NS" and kinds & _ADDRESSES:
        raise refusal(*ADDRESS_EXISTS)
    if record.type == "DS" and "NS" not in kinds:
        raise refusal(*NEEDS_NS)
    if record.type == "TXT":
        combined = sum(len(other.value.content.encode()) for other in (*others, record) if other.type == "TXT")
        if combined > MAX_COMBINED_TXT_BYTES:
            raise refusal(*TXT_TOO_LONG)


def _ttl(value: Any) -> int:
    if value is None:
        return AUTOMATIC_TTL
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusal(*INVALID_TTL)
    if value != AUTOMATIC_TTL and not MIN_TTL <= value <= MAX_TTL:
        raise refusal(*INVALID_TTL)
    return value


def _comment(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_COMMENT_CHARACTERS:
        raise refusal(*INVALID_COMMENT)
    return value


def _tags(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) and _TAG.match(tag) for tag in value):
        raise refusal(INVALID_TAG, "Tags must be written name:value.")
    tags = tuple(sorted(set(value)))
    if len(tags) > MAX_TAGS:
        raise refusal(TOO_MANY_TAGS, f"DNS record has {len(tags)} tags, exceeding the quota of {MAX_TAGS}.")
    return tags


def _settings(kind: str, value: Any) -> dict[str, bool]:
    # Recorded in 2025: a CNAME always shows this one, other types show {}.
    found = {"flatten_cname": False} if kind == "CNAME" else {}
    if value is None:
        return found
    if not isinstance(value, dict):
        raise refusal(INVALID_SETTINGS, "settings must be an object.")
    for name, chosen in value.items():
        if name not in _SETTINGS or _SETTINGS[name] not in (None, kind) or not isinstance(chosen, bool | None):
            raise refusal(INVALID_SETTINGS, f"{str(name)[:40]!r} is no setting of {kind} records.")
        if chosen is not None:
            found[name] = chosen
    return found
