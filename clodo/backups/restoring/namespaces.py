"""KV namespaces out of archives: written in bulk, compared key by key with what the archive says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from clodo.backups.kv.capture import NamespaceResource
from clodo.backups.kv.lines import read_lines
from clodo.backups.restoring.putting_back import Ruling, rule, side_by_side
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.kv import Pair
from clodo.errors import SnapshotDamaged

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
    before: Callable[[], Pairs] | None = None,
    after: str | None = None,
    note: Callable[[str], None] = lambda key: None,
) -> Written:
    """
    Write keys with their values, metadata and expirations; writing them twice changes nothing.

    Args:
        now: Seconds since 1970.

        before: Remove those of these keys that are not in the archive; others came since, and stay.

        after: Begin behind this key: those before were written.

        note: Gets the last key of each batch that was written.

    Raises:
        NamespaceNotFound: It isn't there.
        PartlyDone: Cloudflare did not store some of them.
    """
    found = Written()
    batch = _Batch(cloudflare, namespace_id, note)
    for pair in pairs():
        if after is not None and pair.key.encode() <= after.encode():
            continue
        if _is_over(pair, now() + SHORTEST_LIFE_SECONDS):
            found.expired += 1
            continue
        batch.add(pair)
        found.keys += 1
    batch.send()
    if before is not None:
        found.removed = _remove_others(cloudflare, namespace_id, pairs(), before(), prefix)
    return found


def write_namespace_back(
    cloudflare: Cloudflare,
    namespace_id: str,
    brought: Pairs,
    before: Pairs,
    now: Callable[[], float],
    *,
    prefix: str | None = None,
) -> int:
    """
    Take back what a restore did to keys that begin with *prefix*; what somebody else wrote since stays.

    Returns:
        How many keys are somebody else's.
    """
    batch, removed, others = _Batch(cloudflare, namespace_id), list[str](), 0
    for key, there, ours, old in _before_and_after(_live(cloudflare, namespace_id, prefix), brought, before):
        ruling = rule(there, ours, old)
        if ruling is Ruling.SOMEBODYS:
            others += 1
        elif ours == old:
            continue
        # Also where all seems to be as before: KV may go on giving what it held before the restore.
        elif old is None:
            removed.append(key)
        elif not _is_over(old, now() + SHORTEST_LIFE_SECONDS):
            batch.add(old)
    batch.send()
    cloudflare.kv.bulk_delete(namespace_id, removed)
    return others


def verify_namespace_back(
    cloudflare: Cloudflare,
    namespace_id: str,
    brought: Pairs,
    before: Pairs,
    now: Callable[[], float],
    *,
    prefix: str | None = None,
) -> KeyComparison:
    """Look whether anything that a restore did is still there."""
    found = KeyComparison()
    for key, there, ours, old in _before_and_after(_live(cloudflare, namespace_id, prefix), brought, before):
        found.keys += 1
        is_over = old is not None and _is_over(old, now() + SHORTEST_LIFE_SECONDS)
        if rule(there, ours, old) in (Ruling.WRITE, Ruling.REMOVE) and not (there is None and is_over):
            _note(found, f"the key {key!r} is not as it was before")
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
    live = _live(cloudflare, namespace_id, prefix)
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


def _remove_others(cloudflare: Cloudflare, namespace_id: str, pairs: Pairs, before: Pairs, prefix: str | None) -> int:
    there = (Pair(key.name, b"") for key in cloudflare.kv.keys(namespace_id, prefix=prefix))
    rows = side_by_side(there, pairs, before)
    others = [key for key, (live, wanted, old) in rows if live is not None and wanted is None and old is not None]
    return cloudflare.kv.bulk_delete(namespace_id, others)


def _before_and_after(
    live: Pairs, brought: Pairs, before: Pairs
) -> Iterator[tuple[str, Pair | None, Pair | None, Pair | None]]:
    """Yield each key with what is there, what a restore makes of it, and what it was before."""
    readable = _Readable(brought)
    for key, (there, ours, old) in side_by_side(live, readable, before):
        # A restore reads the archive in the same order: behind a damage it wrote nothing.
        yield key, there, old if ours is None and readable.is_damaged else ours, old


class _Readable(Iterator[Pair]):
    """The keys of an archive, as far as it can be read."""

    def __init__(self, pairs: Pairs) -> None:
        self.is_damaged = False
        self._pairs = pairs

    def __next__(self) -> Pair:
        try:
            return next(self._pairs)
        except SnapshotDamaged:
            self.is_damaged = True
            raise StopIteration from None


def _live(cloudflare: Cloudflare, namespace_id: str, prefix: str | None) -> Pairs:
    return read_lines(NamespaceResource(cloudflare, namespace_id, "").lines(prefix))


@dataclass(slots=True)
class _Batch:
    """Keys that are written together."""

    cloudflare: Cloudflare
    namespace_id: str
    note: Callable[[str], None] = lambda key: None
    pairs: list[Pair] = field(default_factory=list)
    size: int = 0

    def add(self, pair: Pair) -> None:
        if self.pairs and (len(self.pairs) >= BATCH_PAIRS or self.size + len(pair.value) > BATCH_BYTES):
            self.send()
        self.pairs.append(pair)
        self.size += len(pair.value) + len(pair.key)

    def send(self) -> None:
        if self.pairs:
            self.cloudflare.kv.bulk_put(self.namespace_id, self.pairs)
            self.note(self.pairs[-1].key)
        self.pairs, self.size = [], 0


def _is_over(pair: Pair, moment: float) -> bool:
    return pair.expiration is not None and pair.expiration <= moment


def _note(found: KeyComparison, what: str) -> None:
    found.findings.append(what)
