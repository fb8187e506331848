"""
Which files and packages a source file names, found without a parser.

It finds too much rather than too little: a name in a comment counts. What it finds is only used to hash more files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from clodo.workspace import jsonc

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
_PACKAGE = re.compile(
    rb"""(?:\bfrom|\bimport|\brequire)\s*\(?\s*["'`]((?:@[A-Za-z0-9._~-]+/)?[A-Za-z0-9_~-][A-Za-z0-9._~-]*)(?:/[^"'`\r\n]*)?["'`]"""
)


def is_source(path: str | Path) -> bool:
    """Whether the file can name others that then go into the bundle."""
    return os.fspath(path).endswith(_SOURCES)


def relative_imports(content: bytes) -> tuple[str, ...]:
    """Return the relative names in *content*, each once, without ``?query``; a tsconfig's paths made relative."""
    found: dict[str, None] = {}
    for match in _RELATIVE.finditer(content):
        name = match[1].decode("utf-8", errors="replace")
        found.setdefault(name if is_open_ended(name) else name.split("?", 1)[0])
    if b'"compilerOptions"' in content:
        found.update(dict.fromkeys(_paths_of_tsconfig(content)))
    return tuple(found)


def imported_packages(content: bytes) -> tuple[str, ...]:
    """Return the names of the packages that *content* imports, each once."""
    return tuple(dict.fromkeys(match[1].decode("ascii") for match in _PACKAGE.finditer(content)))


def is_open_ended(name: str) -> bool:
    """Whether *name* has a placeholder, so that it may mean many files."""
    return _OPEN_END.search(name) is not None


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


def _paths_of_tsconfig(content: bytes) -> Iterator[str]:
    """Yield what `paths` and `baseUrl` open to imports that look like packages; anything below `baseUrl` is."""
    try:
        data, _ = jsonc.parse(content.decode("utf-8-sig", errors="replace"))
    except jsonc.SyntaxFault:
        # esbuild will say so.
        return
    options = data.get("compilerOptions") if isinstance(data, dict) else None
    if not isinstance(options, dict):
        return
    base = options.get("baseUrl")
    if isinstance(base, str):
        yield f"./{base}/*"
    paths = options.get("paths")
    for targets in paths.values() if isinstance(paths, dict) else ():
        for target in targets if isinstance(targets, list) else ():
            if isinstance(target, str):
                yield f"./{base}/{target}" if isinstance(base, str) else f"./{target}"
