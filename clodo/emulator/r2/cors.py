"""
CORS: which pages of other origins a bucket's rules let in, and the headers that tell browsers so.

Source:
    https://developers.cloudflare.com/r2/buckets/cors/ and R2's release notes; which rule it is, as in
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clodo.emulator.r2.errors import CORS_NOT_CONFIGURED, CORS_WITHOUT_ORIGIN, R2Refused

#: A preflight's answer depends on these.
_PREFLIGHT_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

Rules = Sequence[Mapping[str, Any]]


def preflight_headers(rules: Rules, headers: Mapping[str, str]) -> dict[str, str]:
    """
    Return what a preflight (``OPTIONS``) is answered with: what pages of its origin may send.

    Args:
        headers: The request's, by lower-case name.

    Raises:
        R2Refused: 400 without an origin, 403 if no rule lets it in.
    """
    origin, method = headers.get("origin"), headers.get("access-control-request-method")
    if not origin:
        raise R2Refused(CORS_WITHOUT_ORIGIN)
    asked = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
    wanted = [name for name in asked if name]
    rule = _first_of(rules, origin, method or "", wanted)
    if rule is None:
        raise R2Refused(CORS_NOT_CONFIGURED)
    allowed = rule["allowed"]
    found = {
        **_told_always(rule, origin),
        "access-control-allow-methods": ", ".join(allowed["methods"]),
        "vary": _PREFLIGHT_VARY,
    }
    names = allowed.get("headers") or ()
    # A star doesn't cover Authorization, so browsers are told what they asked for.
    if told := wanted if any("*" in name for name in names) else names:
        found["access-control-allow-headers"] = ", ".join(told)
    if rule.get("maxAgeSeconds") is not None:
        found["access-control-max-age"] = str(int(rule["maxAgeSeconds"]))
    return found


def answer_headers(rules: Rules, origin: str | None, method: str) -> dict[str, str]:
    """Return what an answer to a page of *origin* has besides; nothing if no rule lets it in."""
    rule = _first_of(rules, origin, method) if origin else None
    return {} if rule is None or not origin else {**_told_always(rule, origin), "vary": "Origin"}


def _told_always(rule: Mapping[str, Any], origin: str) -> dict[str, str]:
    found = {"access-control-allow-origin": "*" if "*" in rule["allowed"]["origins"] else origin}
    if exposed := rule.get("exposeHeaders"):
        found["access-control-expose-headers"] = ", ".join(exposed)
    return found


def _first_of(rules: Rules, origin: str, method: str, headers: Sequence[str] = ()) -> Mapping[str, Any] | None:
    for rule in rules:
        allowed = rule["allowed"]
        names = [name.lower() for name in allowed.get("headers") or ()]
        if (
            method in allowed["methods"]
            and any(_fits(pattern, origin) for pattern in allowed["origins"])
            and all(any(_fits(pattern, name) for pattern in names) for name in headers)
        ):
            return rule
    return None


def _fits(pattern: str, text: str) -> bool:
    """Say whether *text* is *pattern*, in which one star may stand for anything."""
    before, star, after = pattern.partition("*")
    if not star:
        return text == pattern
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)
