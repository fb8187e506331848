"""Capturing a namespace: names a thousand at a time, values a hundred at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from clodo.backups.archive import seal
from clodo.backups.kv.lines import to_line
from clodo.backups.manifest import Archive, Exactness, Kind
from clodo.backups.resources import Captured, Recipients
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.kv import KEYS_PER_BULK_GET, KEYS_PER_PAGE, Key, Pair
from clodo.errors import ApiRefused

# What stands for bytes that are no UTF-8 in a bulk read, and may also be there itself.
REPLACEMENT = "\ufffd"
TOO_LARGE = 413


@dataclass(slots=True)
class NamespaceResource:
    """
    A KV namespace.

    Attributes:
        cloudflare: A view in the backup lane.
    """

    cloudflare: Cloudflare
    id: str
    name: str
    targets: tuple[str, ...] = ()
    kind: Kind = Kind.KV
    _requests: int = 0
    _keys: int = 0
    _vanished: int = 0

    @property
    def account_id(self) -> str:
        """Where it is."""
        return self.cloudflare.account_id

    def is_unchanged_since(self, archive: Archive) -> bool:
        """Nobody can tell: a list of keys says nothing about their values."""
        return False

    def capture(self, target: Path, recipients: Recipients, kept: Collection[str] = ()) -> Captured:
        """Read all keys with their values, metadata and expirations."""
        self._requests = self._keys = self._vanished = 0
        sealed = seal(self.lines(), target, recipients)
        self._requests += max(1, -(-(self._keys + self._vanished) // KEYS_PER_PAGE))
        facts = {"keys": self._keys, "vanished": self._vanished}
        return Captured(sealed, Exactness.PER_KEY, self._requests, facts)

    def lines(self, prefix: str | None = None) -> Iterator[bytes]:
        """Yield each key as a line of an archive; only those that begin with *prefix*."""
        keys = self.cloudflare.kv.keys(self.id, prefix=prefix)
        while batch := list(islice(keys, KEYS_PER_BULK_GET)):
            for key, value in self._values(batch):
                if value is None:
                    # Deleted or expired since it was listed.
                    self._vanished += 1
                    continue
                self._keys += 1
                expiration = None if key.expiration is None else int(key.expiration)
                yield to_line(Pair(key.name, value, expiration=expiration, metadata=key.metadata))

    def _values(self, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes | None]]:
        try:
            self._requests += 1
            found = self.cloudflare.kv.bulk_get(self.id, [key.name for key in keys])
        except ApiRefused as error:
            if error.status != TOO_LARGE:
                raise
            # Together they are more than Cloudflare answers at once.
            if len(keys) == 1:
                yield keys[0], self._value(keys[0])
                return
            middle = len(keys) // 2
            yield from self._values(keys[:middle])
            yield from self._values(keys[middle:])
            return
        for key in keys:
            text = found.get(key.name)
            if text is not None and REPLACEMENT in text:
                yield key, self._value(key)
            else:
                yield key, None if text is None else text.encode()

    def _value(self, key: Key) -> bytes | None:
        self._requests += 1
        return self.cloudflare.kv.get_value(self.id, key.name)
