"""Rules of buckets as the API takes them: CORS, object lifecycles and bucket locks, each checked before it is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from clodo.emulator.r2.errors import INVALID_ARGUMENT, R2Refused
from clodo.emulator.r2.records import Bucket

#: https://developers.cloudflare.com/r2/buckets/cors/, …/object-lifecycles/, …/bucket-locks/
MAX_CORS_RULES = 100
MAX_LIFECYCLE_RULES = 1000
MAX_LOCK_RULES = 1000

#: Every new bucket has it: https://developers.cloudflare.com/r2/buckets/object-lifecycles/.
DEFAULT_LIFECYCLE: Mapping[str, Any] = {
    "id": "Default Multipart Abort Rule",
    "enabled": True,
    "conditions": {"prefix": ""},
    "abortMultipartUploadsTransition": {"condition": {"type": "Age", "maxAge": 604_800}},
}
_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
#: "must only be comprised of a scheme://host[:port]"; one star may stand for anything.
_ORIGIN = re.compile(r"\*|null|[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#@*]*\*?[^\s/?#@*]*")
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def rules_in(body: Mapping[str, Any], check: Callable[[Mapping[str, Any]], None], maximum: int) -> list[dict[str, Any]]:
    """
    Return the rules of a body.

    Raises:
        R2Refused: They aren't what they should be, or too many.
    """
    rules = body.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise _refused("rules must be an array of objects")
    if len(rules) > maximum:
        raise _refused(f"at most {maximum} rules are allowed")
    for rule in rules:
        check(rule)
    return rules


def lifecycle_of(bucket: Bucket) -> Sequence[dict[str, Any]]:
    """Return the lifecycle rules of a bucket: the one that every new bucket has, until others are put."""
    rules: Sequence[dict[str, Any]] = bucket.settings.get("lifecycle", (dict(DEFAULT_LIFECYCLE),))
    return rules


def check_cors(rule: Mapping[str, Any]) -> None:
    """
    Refuse what is no rule of CORS.

    Raises:
        R2Refused: 400.
    """
    allowed = rule.get("allowed")
    if not isinstance(allowed, dict):
        raise _refused("a CORS rule needs allowed.methods and allowed.origins")
    methods, origins = allowed.get("methods"), allowed.get("origins")
    if not isinstance(methods, list) or not methods or not all(method in _METHODS for method in methods):
        raise _refused(f"allowed.methods must be some of {', '.join(_METHODS)}")
    if not isinstance(origins, list) or not origins or not all(isinstance(origin, str) for origin in origins):
        raise _refused("allowed.origins must be an array of strings")
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise _refused("each of allowed.origins must be scheme://host[:port] or *")
    for name, given in (("allowed.headers", allowed.get("headers")), ("exposeHeaders", rule.get("exposeHeaders"))):
        if given is not None and not (
            isinstance(given, list) and all(isinstance(one, str) and _HEADER.fullmatch(one) for one in given)
        ):
            raise _refused(f"{name} must be an array of names of headers")
    age = rule.get("maxAgeSeconds")
    if age is not None and (isinstance(age, bool) or not isinstance(age, int | float) or not 0 <= age < 2**31):
        raise _refused("maxAgeSeconds must be a number of seconds")


def check_lifecycle(rule: Mapping[str, Any]) -> None:
    """
    Refuse what is no lifecycle rule.

    Raises:
        R2Refused: 400.
    """
    _check_id_and_enabled(rule)
    conditions = rule.get("conditions")
    if not isinstance(conditions, dict) or not isinstance(conditions.get("prefix", ""), str):
        raise _refused("a lifecycle rule needs conditions.prefix")
    transitions = [rule.get("abortMultipartUploadsTransition"), rule.get("deleteObjectsTransition")]
    colder = rule.get("storageClassTransitions") or []
    if not isinstance(colder, list):
        raise _refused("storageClassTransitions must be an array")
    for transition in [*transitions, *colder]:
        if transition is not None:
            _check_condition(transition.get("condition") if isinstance(transition, dict) else None, "maxAge", ())


def check_lock(rule: Mapping[str, Any]) -> None:
    """
    Refuse what is no rule of a bucket lock.

    Raises:
        R2Refused: 400.
    """
    _check_id_and_enabled(rule)
    if not isinstance(rule.get("prefix", ""), str):
        raise _refused("prefix must be a string")
    _check_condition(rule.get("condition"), "maxAgeSeconds", ("Indefinite",))


def _check_id_and_enabled(rule: Mapping[str, Any]) -> None:
    if not isinstance(rule.get("id"), str) or not isinstance(rule.get("enabled"), bool):
        raise _refused("each rule needs an id and enabled")


def _check_condition(condition: Any, age: str, more: tuple[str, ...]) -> None:
    kind = condition.get("type") if isinstance(condition, dict) else None
    if kind == "Age":
        if not isinstance(condition.get(age), int) or condition[age] < 0:
            raise _refused(f"condition.{age} must be a number of seconds")
    elif kind == "Date":
        try:
            datetime.fromisoformat(str(condition.get("date")))
        except ValueError as error:
            raise _refused("condition.date must be a date") from error
    elif kind not in more:
        raise _refused("condition.type is not valid")


def _refused(message: str) -> R2Refused:
    return R2Refused(INVALID_ARGUMENT.saying(f"Invalid rule: {message}."))
