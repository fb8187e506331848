"""KV namespaces out of archives: written in bulk, compared key by key with what the archive says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from clodo.backups.kv.capture import NamespaceResource
from clodo.backups.kv.lines import read_lines
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.kv import KEYS_PER_BULK_DELETE, Pair

BATCH_PAIRS = 10_000
BATCH_BYTES = 16_000_000
"""Cloudflare takes 100 MB; this machine is to hold less."""

SHORTEST_LIFE_SECONDS = 60
"""Cloudflare refuses keys that expire sooner."""

Pairs = Iterator[Pair]


@dataclass(slots=True)
class Written:
    """
    What was written into a namespace.

    Attributes:
        expired: Keys that were left out, since their time is over.

        removed: Keys that were there and not in the archive.
    """

    keys: int = 0
    expired: int = 0
    removed: int = 0


@dataclass(slots=True)
class KeyComparison:
    """How a namespace differs from an archive: *findings* is empty when it doesn't."""

    keys: int = 0
    findings: list[str] = field(default_factory=list)


def pairs_of(chunks: Iterator[bytes], prefix: str | None = None) -> Pairs:
    """Yield the keys of an archive that begin with *prefix*; its hash is compared at the very end."""
    for pair in read_lines(chunks):
        if prefix is None or pair.key.startswith(prefix):
            yield pair
    for _ in chunks:
        pass


def write_namespace(
    cloudflare: Cloudflare,
    namespace_id: str,
    pairs: Callable[[], Pairs],
    now: Callable[[], float],
    *,
    prefix: str | None = None,
    replaces: bool = False,
    after: str | None = None,
    note: Callable[[str], None] = lambda key: None,
) -> Written:
    """
    Write keys with their values, metadata and expirations; writing them twice changes nothing.

    Args:
        now: Seconds since 1970.

        replaces: Remove keys (that begin with *prefix*) that are not in the archive.

        after: Begin behind this key: those before were written.

        note: Gets the last key of each batch that was written.

    Raises:
        NamespaceNotFound: It isn't there.
        PartlyDone: Cloudflare did not store some of them.
    """
    found = Written()
    batch: list[Pair] = []
    size = 0

    def send() -> None:
        nonlocal size
        if batch:
            cloudflare.kv.bulk_put(namespace_id, batch)
            note(batch[-1].key)
        batch.clear()
        size = 0

    for pair in pairs():
        if after is not None and pair.key.encode() <= after.encode():
            continue
        if _is_over(pair, now() + SHORTEST_LIFE_SECONDS):
            found.expired += 1
            continue
        if batch and (len(batch) >= BATCH_PAIRS or size + len(pair.value) > BATCH_BYTES):
            send()
        batch.append(pair)
        size += len(pair.value) + len(pair.key)
        found.keys += 1
    send()
    if replaces:
        found.removed = _remove_others(cloudflare, namespace_id, pairs, prefix)
    return found


def verify_namespace(
    cloudflare: Cloudflare,
    namespace_id: str,
    pairs: Iterable[Pair],
    now: Callable[[], float],
    *,
    prefix: str | None = None,
) -> KeyComparison:
    """Compare a namespace with an archive: each key's value, metadata and expiration, and that there are no others."""
    found = KeyComparison()
    live = (pair for pair in read_lines(NamespaceResource(cloudflare, namespace_id, "").lines(prefix)))
    there = next(live, None)
    for pair in pairs:
        while there is not None and there.key.encode() < pair.key.encode():
            _note(found, f"the key {there.key!r} is not in the archive")
            there = next(live, None)
        if there is not None and there.key == pair.key:
            if there != pair:
                _note(found, f"the key {pair.key!r} has another value, metadata or expiration")
            found.keys += 1
            there = next(live, None)
        elif not _is_over(pair, now() + SHORTEST_LIFE_SECONDS):
            _note(found, f"the key {pair.key!r} is missing")
    while there is not None:
        _note(found, f"the key {there.key!r} is not in the archive")
        there = next(live, None)
    return found


def _remove_others(cloudflare: Cloudflare, namespace_id: str, pairs: Callable[[], Pairs], prefix: str | None) -> int:
    archived = pairs()
    known = next(archived, None)
    others: list[str] = []
    removed = 0
    for key in cloudflare.kv.keys(namespace_id, prefix=prefix):
        while known is not None and known.key.encode() < key.name.encode():
            known = next(archived, None)
        if known is None or known.key != key.name:
            others.append(key.name)
    for start in range(0, len(others), KEYS_PER_BULK_DELETE):
        removed += cloudflare.kv.bulk_delete(namespace_id, others[start : start + KEYS_PER_BULK_DELETE])
    return removed


def _is_over(pair: Pair, moment: float) -> bool:
    return pair.expiration is not None and pair.expiration <= moment


def _note(found: KeyComparison, what: str) -> None:
    found.findings.append(what)
