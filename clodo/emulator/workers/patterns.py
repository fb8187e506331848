"""Route patterns: ``example.com/*``, ``*.example.com/api/*``; which one a request falls to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clodo.emulator.envelope import ApiError

#: Cloudflare's sentence and number for what can't be a route.
INVALID_PATTERN = 10022

_PATTERN = re.compile(r"^(?:https?://)?(?P<host>[^/?#]+)(?P<path>/[^?#]*)?$")


@dataclass(frozen=True, slots=True)
class Pattern:
    """
    A route pattern, taken apart.

    Attributes:
        host: Without the leading ``*``.

        any_subdomain: Whether it began with one.

        path: With the leading slash, without the trailing ``*``.

        any_path: Whether it ended with one.
    """

    host: str
    any_subdomain: bool
    path: str
    any_path: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """
        Take *text* apart.

        Raises:
            ApiError: It can't be a route.
        """
        match = _PATTERN.match(text)
        if match is None:
            raise ApiError(400, INVALID_PATTERN, f"Invalid route pattern {text!r}: expected a hostname and a path.")
        host, path = match["host"].lower(), match["path"] or "/"
        any_subdomain, any_path = host.startswith("*"), path.endswith("*")
        host, path = host.removeprefix("*"), path.removesuffix("*")
        if "*" in host or "*" in path:
            raise ApiError(
                400,
                INVALID_PATTERN,
                f"Invalid route pattern {text!r}: wildcards are allowed at the beginning of the hostname and at the end"
                " of the path only.",
            )
        return cls(host, any_subdomain, path, any_path)

    def matches(self, host: str, path: str) -> bool:
        """Say whether a request for *path* at *host* (lower case) falls under this pattern."""
        if not (host.endswith(self.host) if self.any_subdomain else host == self.host):
            return False
        return path.startswith(self.path) if self.any_path else path == self.path

    @property
    def precision(self) -> tuple[bool, int, int, bool]:
        """Order of patterns that match the same request: the greatest wins."""
        return (not self.any_subdomain, len(self.host), len(self.path), not self.any_path)

    @property
    def zone_host(self) -> str:
        """Return the hostname by which the zone is found."""
        return self.host.lstrip(".")
