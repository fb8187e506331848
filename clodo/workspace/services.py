"""Finds the services of a workspace: the folders with a wrangler config."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from clodo.errors import BadConfiguration, Failed, ServiceNotFound
from clodo.workspace.layouts.base_files import LayerReader
from clodo.workspace.wrangler_config import WranglerConfig, find_config

PassOver = Callable[[BadConfiguration], None]
"""Is told what can't be read, where the rest will do."""

SKIPPED_FOLDERS = frozenset({"node_modules", ".git", ".clodo", ".wrangler", "dist", ".venv", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Service:
    """
    A folder with a wrangler config; becomes one Worker per target.

    Attributes:
        name: The config's ``name``, wherever the folder is.

        folder: Absolute.
    """

    name: str
    folder: Path
    config: WranglerConfig


def discover(root: Path, pass_over: PassOver | None = None) -> tuple[Service, ...]:
    """
    Return the services at and below *root*, by name.

    Folders of packages, builds and tools are skipped; linked folders are followed once.

    Args:
        pass_over: Is told of a config that is broken, which is then left out.

    Raises:
        BadConfiguration: A config is broken, or two services have one name.
    """
    found: dict[str, Service] = {}
    layers = LayerReader(root)
    for file in sorted(config_files(root.absolute())):
        try:
            config = layers.read_config(file)
        except BadConfiguration as error:
            if pass_over is None:
                raise
            pass_over(error)
            continue
        service = Service(config.name, file.parent, config)
        if config.name in found:
            other = found[config.name].config
            raise BadConfiguration(
                f'{config.document.place_of(("name",))}: the name "{config.name}" is taken by'
                f" {other.document.place_of(('name',))}",
                hint="Give one of the two another name.",
            )
        found[config.name] = service
    return tuple(found[name] for name in sorted(found))


def find_service(name: str, services: tuple[Service, ...]) -> Service:
    """
    Return the service called *name*.

    Raises:
        ServiceNotFound: None is; the hint lists the nearest names.
    """
    for service in services:
        if service.name == name:
            return service
    names = [service.name for service in services]
    close = get_close_matches(name, names, n=3, cutoff=0.4)
    if close:
        hint = "Did you mean " + " or ".join(close) + "?"
    elif names:
        hint = "There are " + ", ".join(names[:5]) + ("." if len(names) <= 5 else ", …")
    else:
        hint = "The workspace has no services."
    raise ServiceNotFound(f"{name}: no such service", hint=hint)


def config_files(root: Path) -> Iterator[Path]:
    """Yield the wrangler config of each folder at and below *root*; linked folders are followed once."""
    seen: set[tuple[int, int]] = set()
    for parent, folders, _ in os.walk(root, onerror=_raise_unless_passed_over, followlinks=True):
        folder = Path(parent)
        try:
            status = folder.stat()
        except OSError as error:
            _raise_unless_passed_over(error)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        file = find_config(folder)
        if file is not None:
            yield file


def _raise_unless_passed_over(error: OSError) -> None:
    """Pass over folders that are gone since they were listed (a build beside us tidies up), or closed to us."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
        raise Failed(
            f"{error.filename}: can't be read ({error.strerror}), so a service in it would be missed",
            hint="Run the same command again when the folder can be read.",
        ) from error
