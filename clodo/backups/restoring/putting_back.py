"""What a restore did to an item, and what somebody else did: three states tell when it is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from clodo.cloudflare.kv import Pair


class Ruling(StrEnum):
    """What is to be done with an item."""

    LEAVE = "leave"
    """It is as it was before."""

    WRITE = "write"
    """The restore changed or removed it."""

    REMOVE = "remove"
    """The restore brought it."""

    SOMEBODYS = "somebody's"
    """Somebody else wrote or removed it since."""


def rule(there: object | None, brought: object | None, before: object | None) -> Ruling:
    """
    Decide about an item; None stands for there being none.

    Args:
        there: It, now.

        brought: What the restore makes of it; None when it removes it.

        before: It, in the safety snapshot.
    """
    if there == before:
        return Ruling.LEAVE
    if there != brought:
        return Ruling.SOMEBODYS
    return Ruling.REMOVE if before is None else Ruling.WRITE


def side_by_side(*streams: Iterator[Pair]) -> Iterator[tuple[str, tuple[Pair | None, ...]]]:
    """Yield each key of streams that are sorted by the bytes of their keys, with what each stream has of it."""
    heads = [next(stream, None) for stream in streams]
    while left := [head.key for head in heads if head is not None]:
        key = min(left, key=str.encode)
        row = tuple(head if head is not None and head.key == key else None for head in heads)
        yield key, row
        heads = [
            head if item is None else next(stream, None) for stream, head, item in zip(streams, heads, row, strict=True)
        ]
