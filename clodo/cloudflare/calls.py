"""One call of the API as a value: what is sent, and what becomes of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import httpx

from clodo.cloudflare.refusals import Missing

T = TypeVar("T")
Parameters = Mapping[str, str | None]
Reader = Callable[[Any], T]


class Answer(NamedTuple):
    """A good answer: *result* and *info* (``result_info``) of its envelope, or only *content* if it has none."""

    result: Any
    info: Mapping[str, Any]
    content: bytes
    headers: httpx.Headers


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One call of the API, whatever many requests it takes.

    Attributes:
        read: Makes the value of the answer; a ValueError, TypeError, KeyError or AttributeError says that it is
            malformed.

        writes: It changes something, so the guard is asked first and an answer that doesn't come leaves doubt.

        safe_to_repeat: Sending it twice has the effect of sending it once.

        look: Says after an unknown outcome what it made, or None if it made nothing.

        enveloped: The answer is JSON in Cloudflare's envelope, not bare bytes.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    writes: bool
    safe_to_repeat: bool = False
    look: Callable[[], T | None] | None = None
    missing: tuple[Missing, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    enveloped: bool = True


def fill(template: str, *parts: str) -> str:
    """Fill the ``{}`` of a path, each part percent-encoded whole, so that none of them can leave its place."""
    return template.format(*(_encode(part) for part in parts))


def _encode(part: str) -> str:
    # httpx would resolve a literal "..", as any client must.
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="")


def given(params: Parameters | None) -> dict[str, str]:
    """Return the parameters that have a value."""
    return {name: value for name, value in (params or {}).items() if value is not None}


def several(missing: Missing | Sequence[Missing]) -> tuple[Missing, ...]:
    """Return one or several as several."""
    return (missing,) if isinstance(missing, Missing) else tuple(missing)
