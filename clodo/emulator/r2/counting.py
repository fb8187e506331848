"""Operations on buckets, told to whoever counts them, under R2's names for them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from clodo.emulator.r2.errors import R2Refused
from clodo.emulator.r2.records import Bucket

if TYPE_CHECKING:
    from clodo.emulator.analytics.recorder import Recorder

Answer = TypeVar("Answer")
Rest = ParamSpec("Rest")
Owner = TypeVar("Owner", bound="_OnShelf")


class _HasRecorder(Protocol):
    recorder: Recorder | None


class _OnShelf(Protocol):
    _shelf: Any


def counted(
    action: str,
) -> Callable[
    [Callable[Concatenate[Owner, Bucket, Rest], Awaitable[Answer]]],
    Callable[Concatenate[Owner, Bucket, Rest], Awaitable[Answer]],
]:
    """Count each call of a method as *action*, successful or refused; its first argument is the bucket."""

    def decorate(
        method: Callable[Concatenate[Owner, Bucket, Rest], Awaitable[Answer]],
    ) -> Callable[Concatenate[Owner, Bucket, Rest], Awaitable[Answer]]:
        @functools.wraps(method)
        async def counting(self: Owner, bucket: Bucket, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Answer:
            key = args[0] if args and isinstance(args[0], str) else ""
            try:
                answer = await method(self, bucket, *args, **kwargs)
            except R2Refused as refusal:
                _tell(self._shelf, bucket, action, key, refusal.refusal.status, None)
                raise
            _tell(self._shelf, bucket, action, key, 200, answer)
            return answer

        return counting

    return decorate


def _tell(shelf: _HasRecorder, bucket: Bucket, action: str, key: str, status: int, answer: object) -> None:
    if shelf.recorder is None:
        return
    about = getattr(answer, "object", answer)
    shelf.recorder.object_operation(
        bucket.account_id,
        bucket_name(bucket),
        action,
        key=key,
        status=status,
        size=getattr(about, "size", 0) if action == "GetObject" else 0,
        storage_class=getattr(about, "storage_class", None) or bucket.storage_class,
    )


def bucket_name(bucket: Bucket) -> str:
    """Return a bucket's name in the analytics: "you must include the jurisdiction followed by an underscore"."""
    return bucket.name if bucket.jurisdiction == "default" else f"{bucket.jurisdiction}_{bucket.name}"
