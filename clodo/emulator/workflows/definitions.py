"""What a client says a Workflow is: the body of its PUT, read and checked; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clodo.emulator.envelope import ApiError
from clodo.emulator.runtime.crons import Cron, CronInvalid

#: Measured by public clients: what a body with something missing is answered.
INVALID_BODY = 10002

MAX_NAME = 64
#: wrangler's own rule for names of Workflows.
_NAME = re.compile(r"^[a-zA-Z0-9_][a-zA-Z0-9_-]*\Z")
_MAX_TEXT = 255
JURISDICTIONS = ("eu", "fedramp", "us")

_SECOND, _DAY = 1000, 86_400_000
_UNITS = {
    "second": _SECOND,
    "minute": 60 * _SECOND,
    "hour": 3600 * _SECOND,
    "day": _DAY,
    "week": 7 * _DAY,
    "month": 30 * _DAY,
    "year": 365 * _DAY,
}
_DURATION = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,3}})?) ?({'|'.join(_UNITS)})s?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Definition:
    """
    What a Workflow is deployed as.

    Attributes:
        schedules: Cron expressions.

        jurisdiction: None if the client says none.

        settings: ``limits``, ``concurrency`` and ``default_retention`` as versions show them: times in milliseconds.
    """

    script: str
    class_name: str
    schedules: tuple[str, ...]
    jurisdiction: str | None
    settings: Mapping[str, Any]


def definition_from(name: str, body: Mapping[str, Any]) -> Definition:
    """
    Read what is to become of the Workflow *name*.

    Raises:
        ApiError: The name can't be one, or the body doesn't say what the API wants to know.
    """
    if len(name) > MAX_NAME or not _NAME.match(name):
        raise _invalid(f"a Workflow can't be named {name[:100]!r}")
    jurisdiction = body.get("jurisdiction")
    if jurisdiction is not None and jurisdiction not in JURISDICTIONS:
        raise _invalid(f"jurisdiction must be one of {', '.join(JURISDICTIONS)}")
    given = {
        "limits": {"steps": _whole(_part(body, "limits"), "steps")},
        "concurrency": {"limit": _whole(_part(body, "concurrency"), "limit")},
        "default_retention": {
            key: _milliseconds(_part(body, "default_retention"), key)
            for key in ("error_retention", "success_retention")
        },
    }
    settings = {
        part: known
        for part, values in given.items()
        if (known := {key: value for key, value in values.items() if value is not None})
    }
    return Definition(
        _text(body, "script_name"), _text(body, "class_name"), _schedules(body.get("schedules")), jurisdiction, settings
    )


def _invalid(why: str) -> ApiError:
    return ApiError(400, INVALID_BODY, f"workflows.api.error.body: {why}")


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT:
        raise _invalid(f"{key} must be a string of 1 to {_MAX_TEXT} characters")
    return value


def _part(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(f"{key} must be an object")
    return value


def _whole(part: Mapping[str, Any], key: str) -> int | None:
    value = part.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _invalid(f"{key} must be a whole number of at least 1")
    return value


def _milliseconds(part: Mapping[str, Any], key: str) -> int | None:
    value = part.get(key)
    if isinstance(value, str) and (found := _DURATION.match(value)):
        return int(float(found[1]) * _UNITS[found[2]])
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise _invalid(f"{key} must be milliseconds, or a duration such as '5 minutes'")
    return value


def _schedules(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise _invalid("schedules must be a list of objects with a cron")
    try:
        return tuple(Cron.parse(str(entry.get("cron"))).text for entry in given)
    except CronInvalid as error:
        raise _invalid(error.message) from error
