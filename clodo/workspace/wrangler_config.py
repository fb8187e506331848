"""
A service's wrangler config, read by wrangler's own rules.

Next door: `inheritance` says what environments inherit, `config_section` reads values, `config_bindings` and
`config_triggers` the parts that are made of them, `effective_config` holds the result.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from clodo.errors import BadConfiguration
from clodo.workspace import config_bindings, config_triggers
from clodo.workspace.config_section import Section, absolute
from clodo.workspace.documents import Document, KeyPath, read_document
from clodo.workspace.effective_config import BuildCommand, EffectiveConfig

# The order in which wrangler looks for them.
FILE_NAMES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
PRODUCTION = "production"

_WORKER_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def find_config(folder: Path) -> Path | None:
    """Return the wrangler config in *folder*, the one wrangler itself would take, or None."""
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    return None


@dataclass(frozen=True, slots=True)
class WranglerConfig:
    """
    A ``wrangler.toml``, ``wrangler.json`` or ``wrangler.jsonc`` as the user wrote it.

    Attributes:
        document: Its values, and the line of each.

        name: The top-level ``name``: the service's name in the workspace.

        environments: The names under ``[env.…]``, in the file's order.
    """

    document: Document
    name: str
    environments: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> WranglerConfig:
        """
        Read *file*.

        Raises:
            BadConfiguration: Unreadable, broken, without a usable ``name``, or with a key wrangler no longer takes.
        """
        return cls.from_document(read_document(file.absolute()))

    @classmethod
    def from_document(cls, document: Document) -> WranglerConfig:
        """
        Check what the rest relies on: a name, and a table of environments.

        Raises:
            BadConfiguration: As `read`.
        """
        data = document.data
        if "legacy_env" in data:
            raise document.error(
                ("legacy_env",),
                '"legacy_env" is no longer taken by wrangler',
                hint="Remove it: each environment is a Worker of its own, named <name>-<environment>.",
            )
        if "pages_build_output_dir" in data:
            raise document.error(
                ("pages_build_output_dir",),
                "this is a Pages project, not a Worker",
                hint="Serve the folder as a Worker with [assets], or keep the project out of the workspace.",
            )
        name = data.get("name")
        if name is None:
            raise document.error((), 'has no "name"', hint='Add name = "<worker>" at the top of the file.')
        _check_worker_name(document, ("name",), name)
        environments = data.get("env") or {}
        if not isinstance(environments, Mapping):
            raise document.error(("env",), '"env" must be a table with one section per environment')
        for environment, section in environments.items():
            if not isinstance(section, Mapping):
                raise document.error(("env", environment), f'"env.{environment}" must be a table')
        return cls(document, name, tuple(environments))

    @property
    def file(self) -> Path:
        """Absolute path."""
        return self.document.file

    def has_environment(self, environment: str) -> bool:
        """Whether `for_environment` knows *environment*: a section of that name, or production (the top level)."""
        return environment in self.environments or environment == PRODUCTION

    def for_environment(self, environment: str | None) -> EffectiveConfig:
        """
        Return what the Worker of *environment* gets.

        None is the top level. ``production`` is ``[env.production]``, or the top level when there is no such section.

        Raises:
            BadConfiguration: No such environment (the hint names the nearest), or a value wrangler would refuse.
        """
        section = environment
        if environment is not None and environment not in self.environments:
            if environment != PRODUCTION:
                raise self._no_such_environment(environment)
            section = None
        return _flattened(self, environment, section)

    def _no_such_environment(self, environment: str) -> BadConfiguration:
        close = get_close_matches(environment, self.environments, n=3, cutoff=0.4)
        if close:
            hint = "Did you mean " + " or ".join(close) + "?"
        elif self.environments:
            hint = "It has " + ", ".join(self.environments) + "."
        else:
            hint = f"Add an [env.{environment}] section."
        return self.document.error(("env",), f'{self.name} has no environment "{environment}"', hint=hint)


def _check_worker_name(document: Document, path: KeyPath, name: object) -> None:
    if not isinstance(name, str) or not _WORKER_NAME.fullmatch(name):
        raise document.error(
            path,
            f'"{name}" is not a Worker name',
            hint="Use lower-case letters, digits, - and _; start with a letter or digit.",
        )


def _flattened(config: WranglerConfig, environment: str | None, name: str | None) -> EffectiveConfig:
    """Return what one environment gets, by the section *name*."""
    section = Section(config.document, name)
    section.values["name"] = worker = _worker_name(section)
    effective = EffectiveConfig(
        document=section.document,
        service=config.name,
        environment=environment,
        section=name,
        worker_name=worker,
        main=section.path("main"),
        base_folder=section.path("base_dir"),
        compatibility_date=_compatibility_date(section),
        compatibility_flags=section.strings("compatibility_flags"),
        account_id=section.take("account_id", str) or None,
        workers_dev=section.take("workers_dev", bool),
        preview_urls=section.take("preview_urls", bool),
        routes=tuple(config_triggers.routes(section)),
        crons=config_triggers.crons(section),
        variables=dict(_variables(section)),
        required_secrets=_required_secrets(section),
        databases=tuple(config_bindings.databases(section, worker)),
        namespaces=tuple(config_bindings.namespaces(section, worker)),
        buckets=tuple(config_bindings.buckets(section, worker)),
        services=tuple(config_bindings.services(section)),
        durable_objects=tuple(config_bindings.durable_objects(section)),
        durable_object_migrations=tuple(_object_migrations(section)),
        workflows=tuple(config_bindings.workflows(section)),
        queue_producers=tuple(config_bindings.queue_producers(section)),
        queue_consumers=tuple(config_triggers.queue_consumers(section)),
        assets=config_bindings.assets(section),
        other_bindings=tuple(config_bindings.other_bindings(section)),
        version_metadata=config_bindings.version_metadata(section),
        observability=section.take("observability", dict),
        logpush=section.take("logpush", bool),
        tail_consumers=config_triggers.tail_consumers(section),
        build=_build(section),
        warnings=tuple(f"{section.document.place_of(warned.path)}: {warned.what}" for warned in section.flat.warnings),
        raw=section.values,
        origins=section.flat.origins,
    )
    _raise_if_names_clash(effective)
    return effective


def _worker_name(section: Section) -> str:
    if section.name is not None and section.flat.origins["name"] == ("name",):
        return f"{section.values['name']}-{section.name}"
    _check_worker_name(section.document, section.at("name"), section.values["name"])
    return str(section.values["name"])


def _object_migrations(section: Section) -> Iterator[Mapping[str, Any]]:
    for index, item in section.tables("migrations"):
        for key in ("new_classes", "new_sqlite_classes", "deleted_classes"):
            names = item.get(key, [])
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise section.error("migrations", index, key, what=f'"{key}" must be a list of class names')
        for key in ("renamed_classes", "transferred_classes"):
            moved = item.get(key, [])
            if not isinstance(moved, list) or not all(_is_move(each) for each in moved):
                raise section.error("migrations", index, key, what=f'"{key}" must be a list of tables with from and to')
        yield item


def _is_move(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in ("from", "to"))


def _compatibility_date(section: Section) -> str | None:
    value = section.values.get("compatibility_date")
    if isinstance(value, datetime.date):
        raise section.error(
            "compatibility_date",
            what="the compatibility date must be a string",
            hint=f'Put it in quotes: compatibility_date = "{value.isoformat()}".',
        )
    date = section.take("compatibility_date", str)
    if date is None:
        return None
    try:
        is_date = _DATE.fullmatch(date) is not None and datetime.date.fromisoformat(date) is not None
    except ValueError:
        is_date = False
    if not is_date:
        raise section.error("compatibility_date", what=f'"{date}" is not a date of the form YYYY-MM-DD')
    return date


def _variables(section: Section) -> Iterator[tuple[str, Any]]:
    for name, value in (section.take("vars", dict) or {}).items():
        if isinstance(value, datetime.date | datetime.time):
            raise section.error(
                "vars", name, what=f'var "{name}" is a TOML date, which wrangler refuses', hint="Put it in quotes."
            )
        yield name, value


def _required_secrets(section: Section) -> tuple[str, ...]:
    names = (section.take("secrets", dict) or {}).get("required") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise section.error("secrets", "required", what='"secrets.required" must be a list of names')
    return tuple(names)


def _build(section: Section) -> BuildCommand | None:
    build = section.take("build", dict)
    if build is None:
        return None
    command = section.maybe_text(build, "command", "build")
    if command is None:
        return None
    watched = build.get("watch_dir", "./src")
    if not isinstance(watched, str | list):
        raise section.error("build", "watch_dir", what='"build.watch_dir" must be a folder or a list of folders')
    folders = [watched] if isinstance(watched, str) else [str(folder) for folder in watched]
    # wrangler runs it in its own working directory, which is the config's folder when a person types the command.
    return BuildCommand(
        command=command,
        folder=absolute(section.folder, section.maybe_text(build, "cwd", "build") or "."),
        watch_folders=tuple(absolute(section.folder, folder) for folder in folders),
        place=section.place("build", "command"),
    )


def _raise_if_names_clash(effective: EffectiveConfig) -> None:
    seen: dict[str, str] = {}
    for name, place in _names_and_places(effective):
        if name in seen:
            raise BadConfiguration(
                f'{place}: the binding name "{name}" is taken by {seen[name]}',
                hint="Give each binding, var and secret of a Worker a name of its own.",
            )
        seen[name] = place


def _names_and_places(effective: EffectiveConfig) -> Iterable[tuple[str, str]]:
    for group in (
        effective.databases,
        effective.namespaces,
        effective.buckets,
        effective.services,
        effective.durable_objects,
        effective.workflows,
        effective.queue_producers,
        effective.other_bindings,
    ):
        for binding in group:
            yield binding.binding, binding.place
    for name in effective.variables:
        yield name, effective.place_of("vars", name)
    for name in effective.required_secrets:
        yield name, effective.place_of("secrets", "required")
    if effective.version_metadata:
        yield effective.version_metadata, effective.place_of("version_metadata")
    if effective.assets and effective.assets.binding:
        yield effective.assets.binding, effective.assets.place
