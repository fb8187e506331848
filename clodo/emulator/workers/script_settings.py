"""Settings of a Worker that aren't versioned: a first upload may carry them, later they have endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clodo.emulator.envelope import ApiError
from clodo.emulator.workers.upload import INVALID_SCRIPT

_KINDS = {"logpush": bool, "observability": dict, "tail_consumers": list, "tags": list}
SCRIPT_SETTINGS = tuple(_KINDS)


def settings_in(body: Mapping[str, Any], *, consumer: str = "service") -> dict[str, Any]:
    """
    Return the unversioned settings that *body* has among other things.

    Args:
        consumer: What a tail consumer's Worker is called in it; in what is returned it is ``service``.

    Raises:
        ApiError: One has the wrong type.
    """
    found = {name: body[name] for name in SCRIPT_SETTINGS if name in body}
    for name, value in found.items():
        if value is not None and not isinstance(value, _KINDS[name]):
            raise ApiError(400, INVALID_SCRIPT, f"{name} has the wrong type")
    if not all(isinstance(tag, str) for tag in found.get("tags") or []):
        raise ApiError(400, INVALID_SCRIPT, "tags must be strings")
    if consumers := found.get("tail_consumers"):
        if not all(isinstance(each, dict) and isinstance(each.get(consumer), str) for each in consumers):
            raise ApiError(400, INVALID_SCRIPT, f"tail_consumers must be objects with a {consumer}")
        found["tail_consumers"] = [{**_without(each, consumer), "service": each[consumer]} for each in consumers]
    return found


def _without(known: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in known.items() if key != name}
