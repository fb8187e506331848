"""Which events a tail wants to see."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clodo.emulator.envelope import ApiError

INVALID_FILTER = 10021

#: What a filter's word for an outcome covers.
_OUTCOMES: Mapping[str, frozenset[str]] = {
    "ok": frozenset({"ok"}),
    "canceled": frozenset({"canceled"}),
    "error": frozenset({"exception", "exceededCpu", "exceededMemory", "unknown"}),
}


class Filters:
    """
    The filters of one tail; an event passes when it passes all of them.

    Args:
        body: The list sent by the client; each entry has one key.

        random: Gives numbers in [0, 1) for sampling.

    Raises:
        ApiError: A filter is malformed.
    """

    def __init__(self, body: Any, random: Callable[[], float]) -> None:
        if not isinstance(body, list) or not all(isinstance(entry, dict) for entry in body):
            raise ApiError(400, INVALID_FILTER, "filters must be a list of objects")
        self._filters: Sequence[Mapping[str, Any]] = body
        self._random = random

    def passes(self, event: Mapping[str, Any]) -> bool:
        """Say whether this tail is to be sent *event*."""
        return all(self._passes(name, wanted, event) for entry in self._filters for name, wanted in entry.items())

    def _passes(self, name: str, wanted: Any, event: Mapping[str, Any]) -> bool:
        if name == "sampling_rate":
            return not isinstance(wanted, (int, float)) or self._random() < wanted
        if name == "outcome":
            outcome = event.get("outcome")
            return any(outcome == word or outcome in _OUTCOMES.get(word, ()) for word in _words(wanted))
        if name == "query":
            return str(wanted) in json.dumps([event.get("logs"), event.get("exceptions")], ensure_ascii=False)
        request = _request(event)
        if name == "method":
            return request.get("method") in _words(wanted)
        headers = {str(key).lower(): str(value) for key, value in (request.get("headers") or {}).items()}
        if name == "header" and isinstance(wanted, dict):
            value = headers.get(str(wanted.get("key", "")).lower())
            return value is not None and str(wanted.get("query") or "") in value
        if name == "client_ip":
            return headers.get("cf-connecting-ip") in _words(wanted)
        # A filter nobody knows lets everything through, as an older service would.
        return True


def _words(wanted: Any) -> Sequence[str]:
    return [wanted] if isinstance(wanted, str) else [str(word) for word in wanted or ()]


def _request(event: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = event.get("event")
    request = inner.get("request") if isinstance(inner, Mapping) else None
    return request if isinstance(request, Mapping) else {}
