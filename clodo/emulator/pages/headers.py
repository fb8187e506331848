"""
Headers of a site's files: those that Pages gives by itself, and those of the site's ``_headers``.

Source:
    Cloudflare's published asset server of Pages (packages/pages-shared in cloudflare/workers-sdk).
"""

from __future__ import annotations

from collections.abc import Iterator

#: What every file is given.
_DEFAULTS = {
    "access-control-allow-origin": "*",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-content-type-options": "nosniff",
}
#: Every path. There can be one rule for it only: the last.
_EVERYWHERE = "/*"
#: No search engine shall find an old deployment or a preview.
_PREVIEWS = "https://:deployment.:project.pages.dev/*"
_OF_PREVIEWS = {"x-robots-tag": "noindex"}


def headers_of(text: str | None) -> str:
    """Return the rules for headers of a site that says these itself; what it sets or takes away goes before."""
    rules = list(_rules(text or ""))
    if not any(path == _EVERYWHERE for path, _ in rules):
        rules.insert(0, (_EVERYWHERE, []))
    written = [_PREVIEWS, *(f"  {name}: {value}" for name, value in _OF_PREVIEWS.items())]
    for path, lines in rules:
        said = {_name(line) for line in lines}
        written.append(path)
        for line in lines:
            # Without this, headers of two rules for one path are joined.
            if ":" in line and _name(line) in {*_DEFAULTS, *_OF_PREVIEWS} and not line.startswith("!"):
                written.append(f"  ! {_name(line)}")
            written.append(f"  {line}")
        if path == _EVERYWHERE:
            written += [f"  {name}: {value}" for name, value in _DEFAULTS.items() if name not in said]
    return "\n".join(written) + "\n"


def _rules(text: str) -> Iterator[tuple[str, list[str]]]:
    """Give each path with its lines, as they are; lines before the first path say nothing."""
    path, lines = "", list[str]()
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("/", "https://", "http://")):
            if path:
                yield path, lines
            path, lines = line, []
        elif line and not line.startswith("#"):
            lines.append(line)
    if path:
        yield path, lines


def _name(line: str) -> str:
    return line.removeprefix("!").partition(":")[0].strip().lower()
