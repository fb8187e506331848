"""Which version a request goes to; pure."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable

from clodo.emulator.runtime.ports import Traffic

OVERRIDES_HEADER = b"cloudflare-workers-version-overrides"
KEY_HEADER = b"cloudflare-workers-version-key"

#: One member of a structured dictionary (RFC 8941) with a string for its value.
_MEMBER = re.compile(r'\s*([a-zA-Z0-9_.*-]+)\s*=\s*"((?:[^"\\]|\\["\\])*)"\s*(?:;[^,]*)?(?:,|\Z)')


def parse_overrides(header: str) -> dict[str, str]:
    """
    Return the version asked for by script name.

    A header that isn't a structured dictionary of strings asks for nothing, as on Cloudflare.

    Source:
        https://developers.cloudflare.com/workers/configuration/versions-and-deployments/gradual-deployments/
    """
    overrides: dict[str, str] = {}
    position = 0
    header = header.rstrip()
    while position < len(header):
        member = _MEMBER.match(header, position)
        if member is None:
            return {}
        overrides[member[1]] = re.sub(r"\\(.)", r"\1", member[2])
        position = member.end()
    return overrides


def version_of_key(traffic: Traffic, key: str) -> str:
    """
    Return the version that *key* sticks to.

    Weighted rendezvous hashing: when one version's share grows, keys only move to it, never between the others.
    """

    def score(version_id: str, percentage: float) -> float:
        digest = hashlib.sha256(f"{key}\0{version_id}".encode()).digest()
        uniform = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 2)
        return -math.log(uniform) / percentage

    return min((score(version, share), version) for version, share in traffic if share > 0)[1]


def choose_version(
    traffic: Traffic,
    script: str,
    headers: Iterable[tuple[bytes, bytes]],
    random: Callable[[], float],
    *,
    ignore_overrides: bool = False,
) -> str:
    """
    Return the version that a request with *headers* goes to.

    Args:
        traffic: Of the current deployment; not empty. An override that names any other version is ignored, as on
            Cloudflare: the request then goes by percentages, without a word.
    """
    key = None
    for name, value in headers:
        if name == OVERRIDES_HEADER and not ignore_overrides:
            wanted = parse_overrides(value.decode("latin-1")).get(script)
            if any(wanted == version for version, _ in traffic):
                return str(wanted)
        elif name == KEY_HEADER:
            key = value.decode("latin-1")
    if len(traffic) == 1:
        return traffic[0][0]
    if not any(share > 0 for _, share in traffic):
        return traffic[0][0]
    if key is not None:
        return version_of_key(traffic, key)
    point = random() * sum(share for _, share in traffic)
    for version, share in traffic:
        point -= share
        if point < 0:
            return version
    return next(version for version, share in reversed(traffic) if share > 0)
