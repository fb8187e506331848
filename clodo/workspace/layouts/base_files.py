"""
``config/base`` and ``config/environments``: what older workspaces say once for all services.

Read in this order, each only where nothing before it says the same key: the service's own wrangler config, the
environment's ``config/environments/<environment>.toml``, ``config/base/wrangler.base.toml``, and for vars
``config/base/variables.base.env``. The folders stand in the service's folder or at the workspace's root.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clodo.workspace.documents import Document, KeyPath, read_document, read_text
from clodo.workspace.env_files import read_env
from clodo.workspace.inheritance import INHERITED
from clodo.workspace.wrangler_config import WranglerConfig

BASE = Path("config/base/wrangler.base.toml")
VARIABLES = Path("config/base/variables.base.env")
ENVIRONMENTS = Path("config/environments")
PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Layer:
    """
    One older file as keys of a wrangler config.

    Attributes:
        environment: Whose keys they are; None for every environment's.

        document: The values, and where they stand.
    """

    environment: str | None
    document: Document

    @property
    def file(self) -> Path:
        """Absolute path."""
        return self.document.file


class LayerReader:
    """Reads the older files of one workspace, each once, however many services they count for."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._known: dict[Path, tuple[tuple[Layer, ...], tuple[Layer, ...]]] = {}

    def of(self, folder: Path) -> tuple[Layer, ...]:
        """
        Return what counts for the service in *folder*, the strongest first; empty for most workspaces.

        Raises:
            BadConfiguration: One of the files is broken.
        """
        read = [self._read(place) for place in dict.fromkeys((folder.absolute(), self._root))]
        return tuple(layer for part in (0, 1) for layers in read for layer in layers[part])

    def read_config(self, file: Path) -> WranglerConfig:
        """
        Read a service's wrangler config with what older files add to it.

        Raises:
            BadConfiguration: One of the files is broken, or wrangler would refuse the config.
        """
        return WranglerConfig.from_document(with_layers(read_document(file.absolute()), self.of(file.parent)))

    def _read(self, place: Path) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
        if place not in self._known:
            overlays = tuple(
                Layer(file.stem, read_document(file)) for file in sorted((place / ENVIRONMENTS).glob("*.toml"))
            )
            base = [Layer(None, read_document(place / BASE))] if (place / BASE).is_file() else []
            if (place / VARIABLES).is_file():
                base.append(Layer(None, _read_variables(place / VARIABLES)))
            self._known[place] = (overlays, tuple(base))
        return self._known[place]


def with_layers(document: Document, layers: tuple[Layer, ...]) -> Document:
    """
    Return *document* with what *layers* add; a key that the service says itself is never changed.

    Tables are filled key by key, everything else is taken whole. vars also go to each environment's section, where
    wrangler would not inherit them. See `not_applied` for what is left out.
    """
    if not layers:
        return document
    data = copy.deepcopy(document.data)
    elsewhere: dict[KeyPath, str] = {}
    for layer in layers:
        for path in _sections(data):
            for key, value in layer.document.data.items():
                if _applies(layer, path, key, data):
                    _fill(_at(data, path), {key: value}, path, (), layer.document, elsewhere)
    return replace(document, data=data, elsewhere=elsewhere)


def not_applied(document: Document, layers: tuple[Layer, ...]) -> Iterator[tuple[str, str]]:
    """Yield ``file:line`` and a clause for each key of *layers* that can't be meant for one environment alone."""
    for layer in layers:
        if layer.environment is None or not _is_top(layer.environment, document.data):
            continue
        for key in layer.document.data:
            if not _applies(layer, (), key, document.data):
                what = (
                    f'"{key}" is not taken where production is the top level, from which other environments inherit it'
                )
                yield layer.document.place_of((key,)), what


def _applies(layer: Layer, path: KeyPath, key: str, data: Mapping[str, Any]) -> bool:
    if key in ("name", "env"):
        return False
    if layer.environment is None:
        # What is not inherited but belongs to everybody goes to every section; the rest is inherited.
        return not path or key == "vars"
    if path:
        return path[1] == layer.environment
    has_others = bool(data.get("env"))
    return _is_top(layer.environment, data) and not (has_others and key in INHERITED)


def _is_top(environment: str, data: Mapping[str, Any]) -> bool:
    environments = data.get("env")
    return environment == PRODUCTION and not (isinstance(environments, Mapping) and PRODUCTION in environments)


def additions(document: Document) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the outermost keys that layers added to *document*, with their values."""
    for path in document.elsewhere:
        if path[:-1] not in document.elsewhere:
            yield path, _at(document.data, path)


def _sections(data: Mapping[str, Any]) -> list[KeyPath]:
    environments = data.get("env")
    return [(), *(("env", name) for name in environments)] if isinstance(environments, Mapping) else [()]


def _fill(
    here: Any,
    values: Mapping[str, Any],
    path: KeyPath,
    inside: KeyPath,
    source: Document,
    elsewhere: dict[KeyPath, str],
) -> None:
    if not isinstance(here, dict):
        # The file is wrong in a way that is said where it is checked.
        return
    for key, value in values.items():
        there = (*inside, key)
        if key not in here:
            here[key] = copy.deepcopy(value)
            _note(value, (*path, *there), there, source, elsewhere)
        elif isinstance(value, Mapping) and isinstance(here[key], dict):
            _fill(here[key], value, path, there, source, elsewhere)


def _note(value: Any, path: KeyPath, there: KeyPath, source: Document, elsewhere: dict[KeyPath, str]) -> None:
    elsewhere[path] = source.place_of(there)
    items: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value))
    for key, item in items:
        _note(item, (*path, key), (*there, key), source, elsewhere)


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data[step]
    return data


def _read_variables(file: Path) -> Document:
    env = read_env(file)
    lines: dict[KeyPath, int] = {("vars",): 1, **{("vars", name): line for name, line in env.lines.items()}}
    return Document(file, {"vars": dict(env.values)}, lines, read_text(file))
