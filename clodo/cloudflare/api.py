"""
The API as its products call it: paths, parameters and bodies in, values out.

Next door: `calls` says what a call is, `sending` makes requests of it, `repeating` repeats them, `answers` and
`refusals` name what went wrong, `wire` has the connections, `transfers` the files at signed URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clodo.cloudflare.budget import Lane
from clodo.cloudflare.calls import Answer, Call, Parameters, Reader, T, fill, given, several
from clodo.cloudflare.clock import Clock
from clodo.cloudflare.refusals import Missing
from clodo.cloudflare.sending import Guard, Sending
from clodo.cloudflare.transfers import download, upload


class Api:
    """Calls paths of the API as one lane, under one guard."""

    def __init__(self, sending: Sending, account_id: str) -> None:
        self.account_id = account_id
        self._sending = sending

    @property
    def lane(self) -> Lane:
        """The lane that its requests take from."""
        return self._sending.lane

    @property
    def base_url(self) -> str:
        """The API's root, without a slash at its end."""
        return self._sending.wire.base_url

    @property
    def clock(self) -> Clock:
        """Time and chance."""
        return self._sending.clock

    def with_lane(self, lane: Lane) -> Api:
        """Return the same for another lane."""
        return Api(self._sending.with_lane(lane), self.account_id)

    def with_guard(self, guard: Guard | None) -> Api:
        """Return the same under another guard."""
        return Api(self._sending.with_guard(guard), self.account_id)

    def close(self) -> None:
        """Close all connections, also those of other views."""
        self._sending.wire.client.close()

    def account_path(self, template: str, *parts: str) -> str:
        """Return a path below the account, each ``{}`` filled with a part, percent-encoded."""
        return fill("/accounts/{}" + template, self.account_id, *parts)

    # ── Reads ──

    def get(
        self,
        path: str,
        read: Reader[T],
        *,
        params: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        missing: Missing | Sequence[Missing] = (),
    ) -> T:
        """Return what *read* makes of the result at *path*; repeated after passing trouble."""
        return self._sending.perform(
            Call(
                "GET",
                path,
                lambda answer: read(answer.result),
                writes=False,
                request={"headers": dict(headers)} if headers else {},
                params=given(params),
                missing=several(missing),
            )
        )

    def get_bytes(self, path: str, *, missing: Missing | Sequence[Missing] = ()) -> bytes:
        """Return the bare bytes at *path*; repeated after passing trouble."""
        return self.get_content(path, lambda content, headers: content, missing=missing)

    def get_content(
        self,
        path: str,
        read: Callable[[bytes, Mapping[str, str]], T],
        *,
        missing: Missing | Sequence[Missing] = (),
    ) -> T:
        """Return what *read* makes of the bare bytes at *path* and their headers; repeated after passing trouble."""
        return self._sending.perform(
            Call(
                "GET",
                path,
                lambda answer: read(answer.content, answer.headers),
                False,
                enveloped=False,
                missing=several(missing),
            )
        )

    def get_file(self, path: str, target: Path, *, missing: Missing | Sequence[Missing] = ()) -> int:
        """
        Write the bare bytes at *path* into the file *target*; repeated from the beginning after passing trouble.

        Returns:
            Its size in bytes.
        """
        call = Call("GET", path, lambda answer: answer.content, False, enveloped=False, missing=several(missing))
        return self._sending.save(call, target)

    def pages(
        self,
        path: str,
        read: Reader[T],
        params: Parameters | None = None,
        *,
        per_page: int,
        key: str | None = None,
        missing: Missing | Sequence[Missing] = (),
    ) -> Iterator[T]:
        """
        Yield what *read* makes of each item, page after page, each fetched when it is needed.

        Ends after ``total_pages`` where the answer has it, else after a page that is shorter than ``per_page``
        (Cloudflare's own, if it grants less than was asked for), and in any case after an empty page or one that
        only repeats the last.

        Args:
            key: Where the items are, if the result is an object.
        """
        before: list[Any] | None = None
        number = 1
        while True:
            asked = {**(params or {}), "page": str(number), "per_page": str(per_page)}
            items, made, info = self._page(path, read, asked, key, missing)
            if not items or items == before:
                return
            yield from made
            total = info.get("total_pages")
            if isinstance(total, int):
                if number >= total:
                    return
            else:
                granted = info.get("per_page")
                if len(items) < (granted if isinstance(granted, int) and granted > 0 else per_page):
                    return
            before = items
            number += 1

    def cursor(
        self,
        path: str,
        read: Reader[T],
        params: Parameters | None = None,
        *,
        missing: Missing | Sequence[Missing] = (),
    ) -> Iterator[T]:
        """Yield what *read* makes of each item, page after page, until the answer has no ``cursor``."""
        cursor: str | None = None
        while True:
            _, made, info = self._page(path, read, {**(params or {}), "cursor": cursor}, None, missing)
            yield from made
            following = info.get("cursor")
            if not following or following == cursor:
                return
            cursor = str(following)

    # ── Writes ──

    def post(
        self,
        path: str,
        read: Reader[T],
        *,
        json: object = None,
        files: Sequence[tuple[str, Any]] | None = None,
        params: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        missing: Missing | Sequence[Missing] = (),
        safe_to_repeat: bool = False,
        look: Callable[[], T | None] | None = None,
        only_reads: bool = False,
    ) -> T:
        """
        Post; repeated only if certainly not carried out, if *safe_to_repeat*, or if *look* says that it was not.

        Args:
            look: Says after an unknown outcome what it made, or None if it made nothing.

            only_reads: It is a question that happens to be a POST: no guard, and safe to repeat.
        """
        bodies = {"json": json, "files": files}
        request = {name: body for name, body in bodies.items() if body is not None} | {"headers": dict(headers or {})}
        return self._sending.perform(
            Call(
                "POST",
                path,
                lambda answer: read(answer.result),
                writes=not only_reads,
                safe_to_repeat=safe_to_repeat or only_reads,
                look=look,
                request=request,
                params=given(params),
                missing=several(missing),
            )
        )

    def put(
        self,
        path: str,
        read: Reader[T],
        *,
        json: object = None,
        content: bytes | None = None,
        files: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
        params: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        missing: Missing | Sequence[Missing] = (),
        safe_to_repeat: bool = False,
    ) -> T:
        """Put; repeated after passing trouble if *safe_to_repeat*."""
        bodies = {"json": json, "content": content, "files": files}
        request = {name: body for name, body in bodies.items() if body is not None} | {"headers": dict(headers or {})}
        return self._sending.perform(
            Call(
                "PUT",
                path,
                lambda answer: read(answer.result),
                writes=True,
                safe_to_repeat=safe_to_repeat,
                request=request,
                params=given(params),
                missing=several(missing),
            )
        )

    def patch(
        self,
        path: str,
        read: Reader[T],
        *,
        json: object,
        missing: Missing | Sequence[Missing] = (),
        safe_to_repeat: bool = False,
    ) -> T:
        """Patch; repeated after passing trouble if *safe_to_repeat*."""
        return self._sending.perform(
            Call(
                "PATCH",
                path,
                lambda answer: read(answer.result),
                writes=True,
                safe_to_repeat=safe_to_repeat,
                request={"json": json},
                missing=several(missing),
            )
        )

    def delete(
        self,
        path: str,
        *,
        params: Parameters | None = None,
        missing: Missing | Sequence[Missing] = (),
        only_reads: bool = False,
    ) -> None:
        """Delete; repeated after passing trouble, and done if it is gone by then."""
        self._sending.perform(
            Call(
                "DELETE",
                path,
                lambda _: None,
                writes=not only_reads,
                safe_to_repeat=True,
                params=given(params),
                missing=several(missing),
            )
        )

    # ── Files at signed URLs ──

    def download(self, url: str, target: Path) -> int:
        """Write what is at a signed URL into *target*; see `transfers`."""
        return download(self._sending, url, target)

    def upload(self, url: str, source: Path) -> str:
        """Put a file at a signed URL and return its ``etag``; see `transfers`."""
        return upload(self._sending, url, source)

    # ── How it is done ──

    def _page(
        self,
        path: str,
        read: Reader[T],
        params: Parameters,
        key: str | None,
        missing: Missing | Sequence[Missing],
    ) -> tuple[list[Any], list[T], Mapping[str, Any]]:
        def open_page(answer: Answer) -> tuple[list[Any], list[T], Mapping[str, Any]]:
            items = answer.result[key] if key is not None else answer.result
            if not isinstance(items, list):
                raise TypeError("a list was expected")
            return items, [read(item) for item in items], answer.info

        return self._sending.perform(
            Call("GET", path, open_page, False, params=given(params), missing=several(missing))
        )
