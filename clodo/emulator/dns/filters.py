"""Which records a list shows, and in which order: the query of ``GET dns_records``, as a pure function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from clodo.emulator.dns.limits import INVALID_QUERY, refusal
from clodo.emulator.dns.store import StoredRecord

#: How a text may be compared: ending of the parameter's name, and what it asks.
_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "": lambda text, wanted: text == wanted,
    ".exact": lambda text, wanted: text == wanted,
    ".contains": lambda text, wanted: wanted in text,
    ".startswith": lambda text, wanted: text.startswith(wanted),
    ".endswith": lambda text, wanted: text.endswith(wanted),
}

_ORDERS: Mapping[str, Callable[[StoredRecord], tuple[object, ...]]] = {
    "type": lambda known: (known.record.type, known.record.name),
    "name": lambda known: (known.record.name, known.record.type),
    "content": lambda known: (known.record.value.content, known.record.name),
    "ttl": lambda known: (known.record.ttl, known.record.name),
    "proxied": lambda known: (known.record.proxied, known.record.name),
}


def select(records: Sequence[StoredRecord], query: Mapping[str, str]) -> list[StoredRecord]:
    """
    Return the records that a query asks for, in its order; without one by type and name, the newest first.

    Args:
        records: Oldest first.

    Raises:
        ApiError: A parameter has a value it can't have.
    """
    if query.get("match", "all") not in ("all", "any"):
        raise refusal(INVALID_QUERY, "match must be all or any.")
    combine = any if query.get("match") == "any" else all
    conditions = list(_conditions(query))
    search = query.get("search", "").lower()
    chosen = [
        known
        for known in reversed(records)
        if (not conditions or combine(fits(known) for fits in conditions)) and (not search or _mentions(known, search))
    ]
    # Recorded in 2025: without an order by type, then name; of the same both, the newest first.
    order = query.get("order") or "type"
    if order not in _ORDERS:
        raise refusal(INVALID_QUERY, f"order must be one of {', '.join(_ORDERS)}.")
    chosen.sort(key=_ORDERS[order])
    direction = query.get("direction", "asc")
    if direction not in ("asc", "desc"):
        raise refusal(INVALID_QUERY, "direction must be asc or desc.")
    return chosen[::-1] if direction == "desc" else chosen


def _conditions(query: Mapping[str, str]) -> Iterator[Callable[[StoredRecord], bool]]:
    if kind := query.get("type"):
        yield lambda known: known.record.type == kind.upper()
    if proxied := query.get("proxied"):
        yield lambda known: str(known.record.proxied).lower() == proxied.lower()
    yield from _texts(query, "name", lambda known: known.record.name, lambda text: text.lower().removesuffix("."))
    yield from _texts(query, "content", lambda known: known.record.value.content.lower(), str.lower)
    yield from _texts(query, "comment", lambda known: (known.record.comment or "").lower(), str.lower)
    if "comment.present" in query:
        yield lambda known: known.record.comment is not None
    if "comment.absent" in query:
        yield lambda known: known.record.comment is None
    if tags := list(_tags(query)):
        combine = any if (query.get("tag_match") or query.get("tag-match")) == "any" else all
        yield lambda known: combine(fits(known) for fits in tags)


def _texts(
    query: Mapping[str, str], field: str, read: Callable[[StoredRecord], str], prepare: Callable[[str], str]
) -> Iterator[Callable[[StoredRecord], bool]]:
    for ending, compare in _COMPARISONS.items():
        if wanted := query.get(field + ending):
            yield _comparing(read, compare, prepare(wanted))


def _comparing(
    read: Callable[[StoredRecord], str], compare: Callable[[str, str], bool], wanted: str
) -> Callable[[StoredRecord], bool]:
    return lambda known: compare(read(known), wanted)


def _tags(query: Mapping[str, str]) -> Iterator[Callable[[StoredRecord], bool]]:
    if name := query.get("tag.present"):
        yield lambda known: name.lower() in _tag_values(known)
    if absent := query.get("tag.absent"):
        yield lambda known: absent.lower() not in _tag_values(known)
    for ending, compare in _COMPARISONS.items():
        if pair := query.get("tag" + ending):
            yield _comparing_tag(compare, *pair.lower().partition(":")[::2])


def _comparing_tag(compare: Callable[[str, str], bool], name: str, value: str) -> Callable[[StoredRecord], bool]:
    return lambda known: any(compare(held, value) for held in _tag_values(known).get(name, ()))


def _tag_values(known: StoredRecord) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for tag in known.record.tags:
        name, _, value = tag.lower().partition(":")
        values.setdefault(name, []).append(value)
    return values


def _mentions(known: StoredRecord, text: str) -> bool:
    record = known.record
    places = (record.name, record.type, record.value.content, record.comment or "", *record.tags)
    return any(text in place.lower() for place in places)
