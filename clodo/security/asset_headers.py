"""
The `_headers` file of static assets: which path gets which response header.

Source: https://developers.cloudflare.com/workers/static-assets/headers/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clodo.errors import BadConfiguration

FILE_NAME = "_headers"
MAX_BYTES = 1024 * 1024
WANTED = ("X-Content-Type-Options", "Referrer-Policy", "Strict-Transport-Security", "Content-Security-Policy")
FRAMING = "X-Frame-Options"


@dataclass(frozen=True, slots=True)
class Header:
    """A header that answers for *path* get; the path may hold ``*`` and ``:placeholder``."""

    path: str
    name: str
    value: str
    place: str


@dataclass(frozen=True, slots=True)
class AssetHeaders:
    """
    The headers of a folder of assets.

    Attributes:
        place: ``file:line`` of the file, or of the assets' section when there is no file.
    """

    place: str
    headers: tuple[Header, ...]

    def of(self, name: str) -> Iterator[Header]:
        """Yield the headers called *name*, in any case."""
        return (header for header in self.headers if header.name.lower() == name.lower())


def wanted_headers(found: AssetHeaders) -> tuple[str, ...]:
    """Return which of the headers that every page should have are not set for all paths."""
    everywhere = {header.name.lower(): header.value for header in found.headers if header.path in ("/*", "/:splat")}
    missing = [name for name in WANTED if name.lower() not in everywhere]
    policy = everywhere.get("content-security-policy", "")
    if FRAMING.lower() not in everywhere and "frame-ancestors" not in policy:
        missing.append(FRAMING)
    return tuple(missing)


def parse_headers(text: str, file: Path) -> AssetHeaders:
    """Return what the text of a ``_headers`` file says; lines that say nothing are passed over, as Cloudflare does."""
    headers: list[Header] = []
    path = ""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith("/") or "://" in stripped.partition(" ")[0]:
            path = stripped
        elif stripped.startswith("!"):
            detached = stripped.removeprefix("!").strip().lower()
            headers = [item for item in headers if (item.path, item.name.lower()) != (path, detached)]
        elif ":" in stripped and path:
            name, _, value = stripped.partition(":")
            headers.append(Header(path, name.strip(), value.strip(), f"{file}:{number}"))
    return AssetHeaders(f"{file}:1", tuple(headers))


def read_headers(directory: Path, *, declared_at: str) -> AssetHeaders:
    """
    Read the ``_headers`` file in *directory*.

    Args:
        declared_at: ``file:line`` of the assets' section, the place when there is no such file.

    Raises:
        BadConfiguration: It can't be read.
    """
    file = directory / FILE_NAME
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return AssetHeaders(declared_at, ())
    except OSError as error:
        raise BadConfiguration(f"{file}:1: can't be read ({error.strerror})", hint="Check its permissions.") from error
    return parse_headers(text, file)
