"""npm packages of the user: what a `package.json` says, npm workspaces, and which packages need which."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clodo.errors import BadConfiguration
from clodo.workspace.documents import Document, read_document
from clodo.workspace.source_tree import NEVER_SOURCES, repository_of

FILE_NAME = "package.json"
NPM_LOCKS = ("npm-shrinkwrap.json", "package-lock.json")
OTHER_LOCKS = {"yarn.lock": "yarn", "pnpm-lock.yaml": "pnpm", "bun.lock": "bun", "bun.lockb": "bun"}
DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
_LOCAL_PREFIXES = ("file:", "link:", "portal:")


@dataclass(frozen=True, slots=True)
class Package:
    """
    One ``package.json``.

    Attributes:
        folder: Absolute.

        name: None for a package that is only a folder.

        dependencies: Version or place by name, of all four kinds.

        scripts: Shell command by name.

        workspaces: Glob patterns of the member folders; empty when it is no npm workspace.
    """

    folder: Path
    document: Document
    name: str | None
    dependencies: Mapping[str, str]
    scripts: Mapping[str, str]
    workspaces: tuple[str, ...]

    def place_of(self, *path: str | int) -> str:
        """Return ``file:line`` of a value."""
        return self.document.place_of(path)


def read_package(folder: Path) -> Package | None:
    """
    Return the package in *folder*; None when there is no ``package.json``.

    Raises:
        BadConfiguration: It is broken.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return None
    document = read_document(file)
    data = document.data
    dependencies: dict[str, str] = {}
    for kind in DEPENDENCIES:
        dependencies.update(_texts(document, kind))
    workspaces = data.get("workspaces") or []
    if isinstance(workspaces, Mapping):
        workspaces = workspaces.get("packages") or []
    if not isinstance(workspaces, list) or not all(isinstance(pattern, str) for pattern in workspaces):
        raise document.error(("workspaces",), '"workspaces" must be a list of patterns')
    name = data.get("name")
    return Package(
        folder=folder,
        document=document,
        name=name if isinstance(name, str) else None,
        dependencies=MappingProxyType(dependencies),
        scripts=MappingProxyType(_texts(document, "scripts")),
        workspaces=tuple(workspaces),
    )


def top_of(root: Path) -> Path:
    """Return how far up packages are looked for: the git repository around *root*, else *root*."""
    return repository_of(root)


def folders_up(folder: Path, top: Path) -> tuple[Path, ...]:
    """Return *folder* and the folders above it, up to *top*; *folder* alone when it is not below *top*."""
    if not folder.is_relative_to(top):
        return (folder,)
    return (folder, *(parent for parent in folder.parents if parent.is_relative_to(top)))


def workspace_around(folder: Path, top: Path) -> Package | None:
    """
    Return the root of the npm workspace that *folder* is a member of.

    Raises:
        BadConfiguration: A ``package.json`` on the way is broken.
    """
    for parent in folders_up(folder, top)[1:]:
        package = read_package(parent)
        if package is not None and package.workspaces and _is_member(folder, package):
            return package
    return None


def package_around(folder: Path, top: Path) -> Package | None:
    """Return the nearest package at or above *folder*, up to *top*: the one node and npm go by."""
    for parent in folders_up(folder, top):
        package = read_package(parent)
        if package is not None:
            return package
    return None


def members_of(package: Package) -> tuple[Package, ...]:
    """Return the member packages of an npm workspace, by folder."""
    folders: set[Path] = set()
    for pattern in package.workspaces:
        is_excluding = pattern.startswith("!")
        matches = set(_matches(package.folder, pattern.removeprefix("!")))
        folders = folders - matches if is_excluding else folders | matches
    found = (read_package(folder) for folder in sorted(folders))
    return tuple(member for member in found if member is not None)


def local_dependencies(package: Package, top: Path) -> tuple[Path, ...]:
    """
    Return the folders of the user's own packages that *package* needs, sorted.

    They are ``file:``, ``link:`` and ``portal:`` dependencies, whatever is linked into ``node_modules`` (by npm, for
    members of its workspace, or by hand), and members of the workspace that are not installed yet.

    Raises:
        BadConfiguration: A ``package.json`` is broken.
    """
    found: set[Path] = set()
    missing: set[str] = set()
    for name, version in package.dependencies.items():
        prefix = next((prefix for prefix in _LOCAL_PREFIXES if version.startswith(prefix)), None)
        if prefix is not None:
            found.add(Path(os.path.normpath(package.folder / version.removeprefix(prefix))))
        installed = _installed(package.folder, name)
        if installed is None:
            missing.add(name)
        else:
            found.update(_sources_behind(installed, top))
    if missing:
        # Reading every member is dear in a big workspace, so it is done only for what npm has not linked.
        root = package if package.workspaces else workspace_around(package.folder, top)
        members = members_of(root) if root is not None else ()
        found |= {member.folder for member in members if member.name in missing}
    found.discard(package.folder)
    return tuple(sorted(folder for folder in found if folder.is_dir()))


def in_order_of_need(package: Package, top: Path) -> tuple[Package, ...]:
    """
    Return *package* and its local dependencies, each after what it needs.

    Raises:
        BadConfiguration: They need each other in a circle.
    """
    order: list[Package] = []
    path: list[Package] = []

    def visit(current: Package) -> None:
        if any(current.folder == done.folder for done in order):
            return
        if any(current.folder == above.folder for above in path):
            start = next(index for index, above in enumerate(path) if above.folder == current.folder)
            circle = " → ".join(str(item.name or item.folder.name) for item in [*path[start:], current])
            raise BadConfiguration(
                f"{current.place_of('dependencies')}: packages need each other in a circle: {circle}",
                hint="Take one of these dependencies out.",
            )
        path.append(current)
        for folder in local_dependencies(current, top):
            needed = read_package(folder)
            if needed is not None:
                visit(needed)
        path.pop()
        order.append(current)

    visit(package)
    return tuple(order)


def linked_package(name: str, folder: Path, top: Path) -> Path | None:
    """Return the folder of the user's own package that importing *name* from *folder* leads to; None for others."""
    installed = _installed(folder, name)
    return None if installed is None else next(_sources_behind(installed, top), None)


def is_installed(path: Path, top: Path) -> bool:
    """Whether *path* is somebody else's, in a ``node_modules``; where the workspace itself lies doesn't matter."""
    return "node_modules" in (path.relative_to(top) if path.is_relative_to(top) else path).parts


def _sources_behind(entry: Path, top: Path) -> Iterator[Path]:
    # pnpm links into its own store, which its lock file pins; the rest is linked to where somebody works on it.
    if entry.is_symlink():
        target = entry.resolve()
        if not is_installed(target, top) and not target.is_relative_to(entry.parent):
            yield target


def _installed(folder: Path, name: str) -> Path | None:
    """Return the ``node_modules`` entry that *name* resolves to from *folder*."""
    for parent in (folder, *folder.parents):
        entry = parent / "node_modules" / name
        if entry.exists():
            return entry
    return None


def _is_member(folder: Path, package: Package) -> bool:
    parts = folder.relative_to(package.folder).parts
    if NEVER_SOURCES.intersection(parts):
        return False
    verdict = False
    for pattern in package.workspaces:
        if _fits(parts, _parts_of(pattern.removeprefix("!"))):
            verdict = not pattern.startswith("!")
    return verdict


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _parts_of(pattern: str) -> tuple[str, ...]:
    return tuple(part for part in pattern.split("/") if part not in ("", "."))


def _matches(folder: Path, pattern: str) -> Iterator[Path]:
    parts = _parts_of(pattern)
    for match in folder.glob("/".join(parts)) if parts else [folder]:
        if match.is_dir() and not NEVER_SOURCES.intersection(match.relative_to(folder).parts):
            yield match


def _texts(document: Document, key: str) -> dict[str, str]:
    values: Any = document.data.get(key) or {}
    if not isinstance(values, Mapping):
        raise document.error((key,), f'"{key}" must be an object')
    return {name: value for name, value in values.items() if isinstance(value, str)}
