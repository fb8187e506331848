"""Finds every file that decides what a package or a service becomes, by following packages, imports and the config."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clodo.errors import Failed
from clodo.workspace import imports, packages
from clodo.workspace.effective_config import DEFAULT_MIGRATIONS_FOLDER, EffectiveConfig
from clodo.workspace.file_digests import FileDigests
from clodo.workspace.inheritance import flatten
from clodo.workspace.packages import NPM_LOCKS, OTHER_LOCKS, Package
from clodo.workspace.source_tree import files_below
from clodo.workspace.wrangler_config import FILE_NAMES

_PINNING_FILES = ("package.json", *NPM_LOCKS, *OTHER_LOCKS, ".npmrc", "tsconfig.json", "jsconfig.json")
# patch-package changes installed packages by what is in here.
_PATCHES = "patches"


class Inputs:
    """
    The files of a service or package, with their digests.

    Args:
        folder: The service's or package's, absolute.

        root: The workspace's root; paths are hashed relative to it, so that a checkout elsewhere hashes the same.

        configured: Files and folders that a config names; all in them counts, whatever git ignores.
    """

    def __init__(self, folder: Path, *, root: Path, digests: FileDigests, configured: Iterable[Path] = ()) -> None:
        self.folder = folder
        self.root = root
        self.top = packages.top_of(root)
        self.digests = digests
        self.found: dict[Path, str] = {}
        self.doubts: list[str] = []
        self._trees: set[tuple[Path, bool]] = set()
        self._pending: list[Path] = []
        self._packages: set[Path] = set()
        self._named: set[tuple[Path, str]] = set()
        # A wrangler config counts by what it means; comments in it are nobody's release.
        self._configs = {folder / name for name in FILE_NAMES}
        try:
            self._gather(configured)
        except OSError as error:
            raise Failed(f"{error.filename or folder}: can't be read ({error.strerror})") from error

    @classmethod
    def of_service(
        cls, effective: EffectiveConfig, *, root: Path, digests: FileDigests, every_environment: bool = False
    ) -> Inputs:
        """
        Gather what *effective*'s upload is made from; or what the service's upload to any environment is made from.

        Raises:
            BadConfiguration: A ``package.json`` is broken.

            Failed: A file can't be read.
        """
        configured = list(configured_paths(effective.folder, effective.raw))
        if every_environment:
            data = effective.document.data
            for section in (None, *(data.get("env") or {})):
                configured += configured_paths(effective.folder, flatten(data, section).values)
        return cls(effective.folder, root=root, digests=digests, configured=dict.fromkeys(configured))

    def digest(self) -> str:
        """Return one hash over the files' paths and contents."""
        pairs = [[Path(os.path.relpath(file, self.root)).as_posix(), self.found[file]] for file in sorted(self.found)]
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()

    def _gather(self, configured: Iterable[Path]) -> None:
        self._add_tree(self.folder)
        self._add_pinning_files(self.folder)
        self._add_packages()
        for path in configured:
            if path.is_dir():
                self._add_tree(path, is_whole=True)
            elif path.is_file():
                self._add_target(path)
        while self._pending:
            self._follow(self._pending.pop())

    def _add_tree(self, folder: Path, *, is_whole: bool = False) -> None:
        if (folder, is_whole) in self._trees:
            return
        self._trees.add((folder, is_whole))
        for file in files_below(folder, is_whole=is_whole):
            self._add_file(file)

    def _add_file(self, file: Path) -> None:
        if file in self.found or file in self._configs or packages.is_installed(file, self.top):
            return
        self.found[file] = ""
        self._pending.append(file)

    def _add_pinning_files(self, folder: Path) -> None:
        for parent in packages.folders_up(folder, self.top):
            for name in _PINNING_FILES:
                if (parent / name).is_file():
                    self._add_file(parent / name)
            if (parent / _PATCHES).is_dir() and (parent / packages.FILE_NAME).is_file():
                self._add_tree(parent / _PATCHES)

    def _add_packages(self) -> None:
        package = packages.package_around(self.folder, self.top)
        if package is None:
            return
        self._packages.update((package.folder, self.folder))
        self._add_needs_of(package)
        if package.dependencies and not self._is_pinned():
            self.doubts.append(f"{package.place_of()}: no lock file pins the packages it depends on")

    def _add_needs_of(self, package: Package) -> None:
        for folder in packages.local_dependencies(package, self.top):
            self._add_package(folder)

    def _add_package(self, folder: Path) -> None:
        if folder in self._packages:
            return
        self._packages.add(folder)
        self._add_tree(folder)
        self._add_pinning_files(folder)
        package = packages.read_package(folder)
        if package is not None:
            self._add_entry_points(package)
            self._add_needs_of(package)

    def _is_pinned(self) -> bool:
        return any(
            (parent / name).is_file()
            for parent in packages.folders_up(self.folder, self.top)
            for name in (*NPM_LOCKS, *OTHER_LOCKS)
        )

    def _add_entry_points(self, package: Package) -> None:
        # Often built, hence ignored by git; `exports` is followed like an import.
        for key in ("main", "module", "browser"):
            value = package.document.data.get(key)
            if isinstance(value, str):
                for target in imports.resolve(f"./{value}", package.folder):
                    self._add_target(target)

    def _follow(self, file: Path) -> None:
        facts = self.digests.facts_of(file)
        self.found[file] = facts.digest
        for name in facts.imports:
            for target in imports.resolve(name, file.parent):
                self._add_target(target, is_open_ended=imports.is_open_ended(name))
        start = self.folder if file.is_relative_to(self.folder) else file.parent
        for name in facts.packages:
            if (start, name) not in self._named:
                self._named.add((start, name))
                # Also what no package.json declares: node finds it in node_modules all the same.
                folder = packages.linked_package(name, start, self.top)
                if folder is not None:
                    self._add_package(folder)

    def _add_target(self, target: Path, *, is_open_ended: bool = False) -> None:
        if not target.is_dir():
            self._add_file(target)
            folder = target.parent
        else:
            folder = target
            is_whole = not self._is_around(folder) or (is_open_ended and folder == self.folder)
            self._add_tree(folder, is_whole=is_whole)
            if is_open_ended and not is_whole:
                self.doubts.append(f"{folder}: imports may name any file below it, above the service, ignored or not")
        if not folder.is_relative_to(self.folder) and not self._is_around(folder):
            self._add_tree(folder)
            self._add_pinning_files(folder)

    def _is_around(self, folder: Path) -> bool:
        """Whether *folder* holds the service itself: its tree would be everybody's."""
        return self.folder.is_relative_to(folder)


def configured_paths(folder: Path, values: Mapping[str, Any]) -> tuple[Path, ...]:
    """
    Return the absolute paths, existing or not, whose content a flattened config puts into the upload.

    Args:
        folder: The config's.

        values: wrangler's keys; those of a wrong type are passed over, whoever reads them complains.
    """

    def texts(*found: object) -> list[Path]:
        return [Path(os.path.normpath(folder / text)) for text in found if isinstance(text, str) and text]

    def tables(found: object) -> list[Mapping[str, Any]]:
        return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []

    def table(key: str) -> Mapping[str, Any]:
        return values[key] if isinstance(values.get(key), Mapping) else {}

    main, base = texts(values.get("main")), texts(values.get("base_dir"))
    paths = [*main, *base]
    is_python = any(path.suffix == ".py" for path in main)
    if not base and (is_python or values.get("no_bundle") or values.get("find_additional_modules")):
        paths += [path.parent for path in main]
    paths += texts(table("assets").get("directory"), values.get("tsconfig"))
    paths += texts(table("site").get("bucket"), table("site").get("entry-point"))
    for key in ("wasm_modules", "text_blobs", "data_blobs"):
        paths += texts(*table(key).values())
    for database in tables(values.get("d1_databases")):
        paths += texts(database.get("migrations_dir") or DEFAULT_MIGRATIONS_FOLDER)
    for name in table("alias").values():
        if isinstance(name, str) and name.startswith("."):
            paths += imports.resolve(name, folder)
        elif isinstance(name, str):
            package = "/".join(name.split("/")[: 2 if name.startswith("@") else 1])
            linked = packages.linked_package(package, folder, folder)
            paths += [linked] if linked is not None else []
    for container in tables(values.get("containers")):
        paths += texts(container.get("image_build_context"))
        # A Dockerfile sees the folder it is in, unless another context is given.
        paths += [path.parent for path in texts(container.get("image")) if path.is_file()]
    return tuple(paths)
