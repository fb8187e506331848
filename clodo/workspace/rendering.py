"""
Writes an effective config as the JSON that wrangler is given for one upload.

What is not part of a version stays out: routes, domains, schedules, queue consumers, the build command.
"""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clodo.workspace.effective_config import EffectiveConfig

FILE_NAME = "wrangler.json"
_LEFT_OUT = (
    "$schema",
    "addresses",
    "build",
    "dev",
    "env",
    "previews",
    "route",
    "routes",
    "triggers",
)
# wrangler looks for these beside the config, whatever `main` says.
_LINKED = ("node_modules", "package.json", "python_modules")


def render_config(
    effective: EffectiveConfig,
    *,
    destination: Path,
    account_id: str,
    database_ids: Mapping[str, str],
    namespace_ids: Mapping[str, str],
    workers_dev: bool,
    preview_urls: bool,
    queue_consumers: bool = False,
) -> dict[str, Any]:
    """
    Return the config to write as ``wrangler.json`` in the folder *destination*.

    wrangler must be run *in* that folder: it finds a ``tsconfig`` only when its working directory is the config's.

    Args:
        effective: What the Worker gets.

        destination: Absolute folder; some of wrangler's keys only take paths relative to it.

        account_id: 32 hex digits.

        database_ids: UUID by exact database name; wins over an id in the config.

        namespace_ids: KV namespace id by binding; wins over an id in the config.

        workers_dev: Whether the Worker shall answer on workers.dev after a ``deploy``.

        preview_urls: The same for preview URLs.

        queue_consumers: Keep the consumers, which a ``deploy`` attaches at once.

    Raises:
        BadConfiguration: Nothing to upload, no compatibility date, an id nobody knows, or a value JSON can't say.
    """
    _raise_if_incomplete(effective)
    rendered: dict[str, Any] = {
        key: _plain(effective, value, key) for key, value in effective.raw.items() if key not in _LEFT_OUT
    }
    rendered["name"] = effective.worker_name
    rendered["account_id"] = account_id
    rendered["workers_dev"] = workers_dev
    rendered["preview_urls"] = preview_urls
    rendered["send_metrics"] = False
    _place_paths(effective, rendered, destination)
    _name_databases(effective, rendered, database_ids)
    _name_namespaces(effective, rendered, namespace_ids)
    if "queues" in rendered and not queue_consumers:
        rendered["queues"].pop("consumers", None)
    return {key: rendered[key] for key in sorted(rendered)}


def write_rendered(rendered: Mapping[str, Any], folder: Path, *, service_folder: Path) -> Path:
    """
    Write *rendered* into *folder* and return the file's path.

    Packages of *service_folder* are linked beside it, because wrangler resolves `alias` and reads
    ``package.json`` from the config's folder. What *folder* held before is replaced.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _LINKED:
        link, source = folder / name, service_folder / name
        if source.exists():
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(source)
            fresh.replace(link)
        else:
            link.unlink(missing_ok=True)
    file = folder / FILE_NAME
    fresh = folder / f".{FILE_NAME}.{os.getpid()}"
    fresh.write_text(json.dumps(rendered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(file)
    return file


def _raise_if_incomplete(effective: EffectiveConfig) -> None:
    site = effective.raw.get("site")
    if effective.main is None and effective.assets is None and not site:
        raise effective.error(
            "main",
            what=f'{effective.worker_name} has neither "main" nor "assets": there is nothing to upload',
            hint='Add main = "src/index.ts", or an [assets] section with a directory.',
        )
    if effective.compatibility_date is None:
        raise effective.error(
            "compatibility_date",
            what=f'{effective.worker_name} has no "compatibility_date"',
            hint='Add compatibility_date = "<today as YYYY-MM-DD>".',
        )


def _plain(effective: EffectiveConfig, value: Any, *where: str | int) -> Any:
    """Copy *value* so that it can be changed, refusing what JSON can't say."""
    key, *rest = where
    if isinstance(value, Mapping):
        return {name: _plain(effective, item, *where, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(effective, item, *where, index) for index, item in enumerate(value)]
    if isinstance(value, datetime.date | datetime.time):
        raise effective.error(str(key), *rest, what=f'"{where[-1]}" is a date', hint="Put it in quotes.")
    if isinstance(value, float) and not math.isfinite(value):
        raise effective.error(str(key), *rest, what=f'"{where[-1]}" is not a finite number')
    return value


def _place_paths(effective: EffectiveConfig, rendered: dict[str, Any], destination: Path) -> None:
    folder = effective.folder

    def absolute(text: str) -> str:
        return os.path.normpath(folder / text)

    def relative(text: str) -> str:
        # wrangler joins these with the config's folder instead of resolving them, so an absolute path would be wrong.
        return os.path.relpath(folder / text, destination)

    for key in ("main", "base_dir"):
        _change(rendered, key, absolute)
    _change(rendered, "tsconfig", relative)
    for key in ("wasm_modules", "text_blobs", "data_blobs"):
        for name in rendered.get(key, {}):
            _change(rendered[key], name, relative)
    if "assets" in rendered:
        _change(rendered["assets"], "directory", absolute)
    if "site" in rendered:
        _change(rendered["site"], "bucket", relative)
        _change(rendered["site"], "entry-point", relative)
    for name, path in rendered.get("alias", {}).items():
        # A package's name stays: it is looked up in node_modules, which are linked beside the rendered file.
        if isinstance(path, str) and path.startswith("."):
            rendered["alias"][name] = absolute(path)
    for database in rendered.get("d1_databases", []):
        _change(database, "migrations_dir", relative)
        _change(database, "migrations_pattern", relative)
    for container in rendered.get("containers", []):
        _place_image(container, folder, absolute)
        if isinstance(container.get("configuration"), dict):
            _place_image(container["configuration"], folder, absolute)
        for image in (container.get("images") or {}).values():
            if isinstance(image, dict):
                _change(image, "dockerfile", absolute)


def _place_image(container: dict[str, Any], folder: Path, absolute: Callable[[str], str]) -> None:
    # An image is a Dockerfile when a file of that name is there, else the name of an image in a registry.
    image = container.get("image")
    if isinstance(image, str) and (folder / image).is_file():
        container["image"] = absolute(image)
    _change(container, "image_build_context", absolute)


def _change(values: dict[str, Any], key: str, change: Callable[[str], str]) -> None:
    if isinstance(values.get(key), str):
        values[key] = change(values[key])


def _name_databases(effective: EffectiveConfig, rendered: dict[str, Any], ids: Mapping[str, str]) -> None:
    for database, binding in zip(rendered.get("d1_databases", []), effective.databases, strict=True):
        known = ids.get(binding.database_name) or binding.database_id
        if known is None:
            raise effective.error(
                "d1_databases",
                effective.databases.index(binding),
                what=f'nobody knows the id of the D1 database "{binding.database_name}"',
                hint="Create the database, or write its database_id.",
            )
        database["database_name"] = binding.database_name
        database["database_id"] = known


def _name_namespaces(effective: EffectiveConfig, rendered: dict[str, Any], ids: Mapping[str, str]) -> None:
    for namespace, binding in zip(rendered.get("kv_namespaces", []), effective.namespaces, strict=True):
        known = ids.get(binding.binding) or binding.namespace_id
        if known is None:
            raise effective.error(
                "kv_namespaces",
                effective.namespaces.index(binding),
                what=f'nobody knows the id of the KV namespace bound as "{binding.binding}"',
                hint=f'Create the namespace "{binding.title}", or write its id.',
            )
        namespace["id"] = known
