"""
Which files a source file names by relative path, found without a parser.

It finds too much rather than too little: a name in a comment counts. What it finds is only used to hash more files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

# JSON, because `paths`, `imports`, `exports` and `extends` send imports to other files.
_SOURCES = (
    ".js",
    ".mjs",
    ".cjs",
    ".jsx",
    ".ts",
    ".mts",
    ".cts",
    ".tsx",
    ".css",
    ".vue",
    ".svelte",
    ".astro",
    ".html",
    ".json",
)
_ENDINGS = ("", ".tsx", ".ts", ".jsx", ".js", ".mts", ".mjs", ".cts", ".cjs", ".json", ".css")
# TypeScript is imported by the name of the JavaScript it becomes.
_REWRITTEN = {".js": (".ts", ".tsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
# Any quoted text that is . or .. or starts with ./ or ../: covers import, export from, require, import(), new URL().
_RELATIVE = re.compile(rb"""["'`](\.\.?(?:/[^"'`\r\n]*)?)["'`]""")
_OPEN_END = re.compile(r"\$\{|\*")


def is_source(path: str | Path) -> bool:
    """Whether the file can name others that then go into the bundle."""
    return os.fspath(path).endswith(_SOURCES)


def relative_imports(content: bytes) -> tuple[str, ...]:
    """Return the relative names in *content*, each once, in order of appearance, without ``?query``."""
    found: dict[str, None] = {}
    for match in _RELATIVE.finditer(content):
        name = match[1].decode("utf-8", errors="replace")
        found.setdefault(name if _OPEN_END.search(name) else name.split("?", 1)[0])
    return tuple(found)


def resolve(name: str, folder: Path) -> Iterator[Path]:
    """
    Yield the files that *name* may mean in a file of *folder*; or one folder, when it may mean anything in it.

    Yields nothing when nothing is there: the quoted text was no import, or the bundler will say so.
    """
    open_end = _OPEN_END.search(name)
    if open_end:
        # esbuild takes every file that fits a template; we take the folder above the first placeholder.
        start = Path(os.path.normpath(folder / name[: open_end.start()].rpartition("/")[0]))
        if start.is_dir():
            yield start
        return
    base = Path(os.path.normpath(folder / name))
    candidates = [Path(f"{base}{ending}") for ending in _ENDINGS]
    candidates += [base.with_suffix(other) for other in _REWRITTEN.get(base.suffix, ())]
    files = [candidate for candidate in candidates if candidate.is_file()]
    if files:
        yield from files
    elif (base / "package.json").is_file():
        # Its package.json may send the import anywhere in it.
        yield base
    elif base.is_dir():
        yield from (file for ending in _ENDINGS[1:] if (file := base / f"index{ending}").is_file())
