"""
A service's wrangler config, read by wrangler's own rules.

Next door: `inheritance` says what environments inherit, `effective_config` holds the result.
"""

from __future__ import annotations

import datetime
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from clodo.errors import BadConfiguration
from clodo.workspace import inheritance
from clodo.workspace.documents import Document, KeyPath, read_document
from clodo.workspace.effective_config import (
    DEFAULT_MIGRATIONS_FOLDER,
    DEFAULT_MIGRATIONS_TABLE,
    AssetsBinding,
    BucketBinding,
    BuildCommand,
    DatabaseBinding,
    DurableObjectBinding,
    EffectiveConfig,
    NamespaceBinding,
    OtherBinding,
    QueueConsumer,
    QueueProducer,
    Route,
    ServiceBinding,
    WorkflowBinding,
)

# The order in which wrangler looks for them.
FILE_NAMES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
PRODUCTION = "production"

_WORKER_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LISTS_OF_OTHER_BINDINGS = (
    "vectorize",
    "ai_search_namespaces",
    "ai_search",
    "agent_memory",
    "hyperdrive",
    "analytics_engine_datasets",
    "dispatch_namespaces",
    "mtls_certificates",
    "pipelines",
    "k2",
    "secrets_store_secrets",
    "artifacts",
    "unsafe_hello_world",
    "flagship",
    "worker_loaders",
    "vpc_services",
    "vpc_networks",
)
_LISTS_OF_NAMED_BINDINGS = ("send_email", "ratelimits")
_SINGLE_BINDINGS = ("browser", "analytics", "ai", "images", "stream", "media")

_Value = TypeVar("_Value")


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
        return _Flattening(self, environment, section).result()

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


class _Flattening:
    """One environment on its way to an `EffectiveConfig`; every complaint carries file:line."""

    def __init__(self, config: WranglerConfig, environment: str | None, section: str | None) -> None:
        self.config = config
        self.document = config.document
        self.environment = environment
        self.section = section
        self.flat = inheritance.flatten(config.document.data, section)
        self.values = self.flat.values
        self.folder = config.file.parent

    def result(self) -> EffectiveConfig:
        self.values["name"] = worker = self.worker_name()
        effective = EffectiveConfig(
            document=self.document,
            service=self.config.name,
            environment=self.environment,
            section=self.section,
            worker_name=worker,
            main=self.path("main"),
            base_folder=self.path("base_dir"),
            compatibility_date=self.compatibility_date(),
            compatibility_flags=self.strings("compatibility_flags"),
            account_id=self.take("account_id", str) or None,
            workers_dev=self.take("workers_dev", bool),
            preview_urls=self.take("preview_urls", bool),
            routes=tuple(self.routes()),
            crons=self.crons(),
            variables=dict(self.variables()),
            required_secrets=self.required_secrets(),
            databases=tuple(self.databases(worker)),
            namespaces=tuple(self.namespaces(worker)),
            buckets=tuple(self.buckets(worker)),
            services=tuple(self.services()),
            durable_objects=tuple(self.durable_objects()),
            durable_object_migrations=tuple(item for _, item in self.tables("migrations")),
            workflows=tuple(self.workflows()),
            queue_producers=tuple(self.queue_producers()),
            queue_consumers=tuple(self.queue_consumers()),
            assets=self.assets(),
            other_bindings=tuple(self.other_bindings()),
            version_metadata=self.version_metadata(),
            observability=self.take("observability", dict),
            logpush=self.take("logpush", bool),
            tail_consumers=self.tail_consumers(),
            build=self.build(),
            warnings=tuple(f"{self.document.place_of(warned.path)}: {warned.what}" for warned in self.flat.warnings),
            raw=self.values,
            origins=self.flat.origins,
        )
        self.raise_if_names_clash(effective)
        return effective

    # -- reading with complaints

    def at(self, key: str, *rest: str | int) -> KeyPath:
        return (*self.flat.origins.get(key, (key,)), *rest)

    def error(self, key: str, *rest: str | int, what: str, hint: str | None = None) -> BadConfiguration:
        return self.document.error(self.at(key, *rest), what, hint=hint)

    def place(self, key: str, *rest: str | int) -> str:
        return self.document.place_of(self.at(key, *rest))

    def take(self, key: str, kind: type[_Value]) -> _Value | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, kind):
            raise self.error(key, what=f'"{key}" must be {_WORDS[kind]}, not {_word_of(value)}')
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.take(key, list)
        if value is None:
            return ()
        if not all(isinstance(item, str) for item in value):
            raise self.error(key, what=f'"{key}" must be a list of strings')
        return tuple(value)

    def path(self, key: str) -> Path | None:
        value = self.take(key, str)
        return _absolute(self.folder, value) if value else None

    def tables(self, key: str, *inner: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield (index, table) of a list of tables, at *key* or deeper."""
        value: Any = self.values.get(key)
        for step in inner:
            if value is None:
                return
            if not isinstance(value, Mapping):
                raise self.error(key, what=f'"{key}" must be a table, not {_word_of(value)}')
            value = value.get(step)
        if value is None:
            return
        name = ".".join((key, *inner))
        if not isinstance(value, list):
            raise self.error(key, *inner, what=f'"{name}" must be a list of tables, not {_word_of(value)}')
        for index, item in enumerate(value):
            if not isinstance(item, Mapping):
                raise self.error(key, *inner, index, what=f'each of "{name}" must be a table, not {_word_of(item)}')
            yield index, item

    def text(self, item: Mapping[str, Any], name: str, *where: str | int) -> str:
        """Return a string that must be there."""
        value = self.maybe_text(item, name, *where)
        if not value:
            key, *rest = where
            raise self.error(str(key), *rest, what=f'"{_dotted(where)}" lacks "{name}"')
        return value

    def maybe_text(self, item: Mapping[str, Any], name: str, *where: str | int) -> str | None:
        value = item.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            key, *rest = where
            raise self.error(str(key), *rest, name, what=f'"{name}" must be a string, not {_word_of(value)}')
        return value or None

    # -- the parts

    def worker_name(self) -> str:
        if self.section is not None and self.flat.origins["name"] == ("name",):
            return f"{self.values['name']}-{self.section}"
        _check_worker_name(self.document, self.at("name"), self.values["name"])
        return str(self.values["name"])

    def compatibility_date(self) -> str | None:
        value = self.values.get("compatibility_date")
        if isinstance(value, datetime.date):
            raise self.error(
                "compatibility_date",
                what="the compatibility date must be a string",
                hint=f'Put it in quotes: compatibility_date = "{value.isoformat()}".',
            )
        date = self.take("compatibility_date", str)
        if date is None:
            return None
        try:
            is_date = _DATE.fullmatch(date) is not None and datetime.date.fromisoformat(date) is not None
        except ValueError:
            is_date = False
        if not is_date:
            raise self.error("compatibility_date", what=f'"{date}" is not a date of the form YYYY-MM-DD')
        return date

    def routes(self) -> Iterator[Route]:
        route, routes = self.values.get("route"), self.values.get("routes")
        own = self.document.data if self.section is None else self.document.data["env"][self.section]
        if own.get("route") and own.get("routes") is not None:
            raise self.error("route", what='only one of "route" and "routes" may be given')
        if routes is not None:
            if not isinstance(routes, list):
                raise self.error("routes", what=f'"routes" must be a list, not {_word_of(routes)}')
            for index, item in enumerate(routes):
                yield self.route(item, "routes", index)
        elif route:
            yield self.route(route, "route")

    def route(self, item: object, *where: str | int) -> Route:
        key, *rest = where
        place = self.place(str(key), *rest)
        if isinstance(item, str) and item:
            return Route(item, False, None, None, None, None, place)
        if not isinstance(item, Mapping):
            raise self.error(str(key), *rest, what="a route must be a pattern, or a table with a pattern")
        unknown = [name for name in item if name not in _ROUTE_KEYS]
        if unknown:
            raise self.error(str(key), *rest, what=f'a route has no key "{unknown[0]}"')
        zone_name, zone_id = (self.maybe_text(item, name, *where) for name in ("zone_name", "zone_id"))
        if zone_name and zone_id:
            raise self.error(str(key), *rest, what='a route has "zone_name" or "zone_id", not both')
        flags = {name: item.get(name) for name in ("custom_domain", "enabled", "previews_enabled")}
        for name, flag in flags.items():
            if flag is not None and not isinstance(flag, bool):
                raise self.error(str(key), *rest, name, what=f'"{name}" must be true or false')
        if flags["custom_domain"] is None and not zone_name and not zone_id:
            raise self.error(
                str(key),
                *rest,
                what="a route given as a table needs zone_name, zone_id or custom_domain",
                hint="Name the zone, or write the pattern alone as a string.",
            )
        return Route(
            pattern=self.text(item, "pattern", *where),
            is_custom_domain=flags["custom_domain"] is True,
            zone_name=zone_name,
            zone_id=zone_id,
            enabled=flags["enabled"],
            previews_enabled=flags["previews_enabled"],
            place=place,
        )

    def crons(self) -> tuple[str, ...] | None:
        triggers = self.take("triggers", dict)
        if triggers is None or triggers.get("crons") is None:
            return None
        crons = triggers["crons"]
        if not isinstance(crons, list) or not all(isinstance(cron, str) for cron in crons):
            raise self.error("triggers", "crons", what='"triggers.crons" must be a list of strings')
        return tuple(crons)

    def variables(self) -> Iterator[tuple[str, Any]]:
        for name, value in (self.take("vars", dict) or {}).items():
            if isinstance(value, datetime.date | datetime.time):
                raise self.error(
                    "vars", name, what=f'var "{name}" is a TOML date, which wrangler refuses', hint="Put it in quotes."
                )
            yield name, value

    def required_secrets(self) -> tuple[str, ...]:
        names = (self.take("secrets", dict) or {}).get("required") or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.error("secrets", "required", what='"secrets.required" must be a list of names')
        return tuple(names)

    def databases(self, worker: str) -> Iterator[DatabaseBinding]:
        for index, item in self.tables("d1_databases"):
            where = ("d1_databases", index)
            binding = self.text(item, "binding", *where)
            folder = self.maybe_text(item, "migrations_dir", *where) or DEFAULT_MIGRATIONS_FOLDER
            yield DatabaseBinding(
                binding=binding,
                database_name=self.maybe_text(item, "database_name", *where) or provisioned_name(worker, binding),
                database_id=self.maybe_text(item, "database_id", *where),
                migrations_folder=_absolute(self.folder, folder),
                migrations_table=self.maybe_text(item, "migrations_table", *where) or DEFAULT_MIGRATIONS_TABLE,
                migrations_pattern=self.migrations_pattern(item, folder, *where),
                place=self.place(*where),
            )

    def migrations_pattern(self, item: Mapping[str, Any], folder: str, *where: str | int) -> str | None:
        pattern = self.maybe_text(item, "migrations_pattern", *where)
        if pattern is None:
            return None
        prefix = os.path.normpath(folder) + "/"
        cleaned = os.path.normpath(pattern)
        if item.get("migrations_dir") is None or not (cleaned.startswith(prefix) or prefix == "./"):
            key, *rest = where
            raise self.error(
                str(key),
                *rest,
                "migrations_pattern",
                what='"migrations_pattern" must start with "migrations_dir", which must be given too',
                hint=f'Write migrations_dir = "{folder}" and migrations_pattern = "{prefix}*.sql".',
            )
        return cleaned.removeprefix(prefix)

    def namespaces(self, worker: str) -> Iterator[NamespaceBinding]:
        for index, item in self.tables("kv_namespaces"):
            where = ("kv_namespaces", index)
            binding = self.text(item, "binding", *where)
            yield NamespaceBinding(
                binding=binding,
                namespace_id=self.maybe_text(item, "id", *where),
                title=provisioned_name(worker, binding),
                place=self.place(*where),
            )

    def buckets(self, worker: str) -> Iterator[BucketBinding]:
        for index, item in self.tables("r2_buckets"):
            where = ("r2_buckets", index)
            binding = self.text(item, "binding", *where)
            yield BucketBinding(
                binding=binding,
                bucket_name=self.maybe_text(item, "bucket_name", *where) or provisioned_name(worker, binding),
                jurisdiction=self.maybe_text(item, "jurisdiction", *where),
                place=self.place(*where),
            )

    def services(self) -> Iterator[ServiceBinding]:
        for index, item in self.tables("services"):
            where = ("services", index)
            yield ServiceBinding(
                binding=self.text(item, "binding", *where),
                service=self.text(item, "service", *where),
                environment=self.maybe_text(item, "environment", *where),
                entrypoint=self.maybe_text(item, "entrypoint", *where),
                place=self.place(*where),
            )

    def durable_objects(self) -> Iterator[DurableObjectBinding]:
        for index, item in self.tables("durable_objects", "bindings"):
            where = ("durable_objects", "bindings", index)
            yield DurableObjectBinding(
                binding=self.text(item, "name", *where),
                class_name=self.text(item, "class_name", *where),
                script_name=self.maybe_text(item, "script_name", *where),
                place=self.place(*where),
            )

    def workflows(self) -> Iterator[WorkflowBinding]:
        for index, item in self.tables("workflows"):
            where = ("workflows", index)
            yield WorkflowBinding(
                binding=self.text(item, "binding", *where),
                name=self.text(item, "name", *where),
                class_name=self.text(item, "class_name", *where),
                script_name=self.maybe_text(item, "script_name", *where),
                place=self.place(*where),
            )

    def queue_producers(self) -> Iterator[QueueProducer]:
        for index, item in self.tables("queues", "producers"):
            where = ("queues", "producers", index)
            yield QueueProducer(
                self.text(item, "binding", *where), self.text(item, "queue", *where), self.place(*where)
            )

    def queue_consumers(self) -> Iterator[QueueConsumer]:
        for index, item in self.tables("queues", "consumers"):
            where = ("queues", "consumers", index)
            settings = {name: value for name, value in item.items() if name != "queue"}
            yield QueueConsumer(self.text(item, "queue", *where), settings, self.place(*where))

    def assets(self) -> AssetsBinding | None:
        assets = self.take("assets", dict)
        if assets is None:
            return None
        directory = self.maybe_text(assets, "directory", "assets")
        if directory is None:
            raise self.error("assets", what='"assets" lacks "directory"', hint="Name the folder that holds the assets.")
        return AssetsBinding(
            directory=_absolute(self.folder, directory),
            binding=self.maybe_text(assets, "binding", "assets"),
            settings={key: value for key, value in assets.items() if key not in ("directory", "binding")},
            place=self.place("assets"),
        )

    def other_bindings(self) -> Iterator[OtherBinding]:
        for kind in _LISTS_OF_OTHER_BINDINGS:
            for index, item in self.tables(kind):
                yield OtherBinding(kind, self.text(item, "binding", kind, index), self.place(kind, index))
        for kind in _LISTS_OF_NAMED_BINDINGS:
            for index, item in self.tables(kind):
                yield OtherBinding(kind, self.text(item, "name", kind, index), self.place(kind, index))
        for kind in _SINGLE_BINDINGS:
            single = self.take(kind, dict)
            if single is not None:
                yield OtherBinding(kind, self.text(single, "binding", kind), self.place(kind))
        for index, item in self.tables("unsafe", "bindings"):
            where = ("unsafe", "bindings", index)
            yield OtherBinding("unsafe", self.text(item, "name", *where), self.place(*where))
        for kind in ("wasm_modules", "text_blobs", "data_blobs"):
            for name in self.take(kind, dict) or {}:
                yield OtherBinding(kind, name, self.place(kind, name))

    def version_metadata(self) -> str | None:
        item = self.take("version_metadata", dict)
        return None if item is None else self.text(item, "binding", "version_metadata")

    def tail_consumers(self) -> tuple[str, ...]:
        return tuple(
            self.text(item, "service", key, index)
            for key in ("tail_consumers", "streaming_tail_consumers")
            for index, item in self.tables(key)
        )

    def build(self) -> BuildCommand | None:
        build = self.take("build", dict)
        if build is None:
            return None
        command = self.maybe_text(build, "command", "build")
        if command is None:
            return None
        watched = build.get("watch_dir", "./src")
        if not isinstance(watched, str | list):
            raise self.error("build", "watch_dir", what='"build.watch_dir" must be a folder or a list of folders')
        folders = [watched] if isinstance(watched, str) else [str(folder) for folder in watched]
        # wrangler runs it in its own working directory, which is the config's folder when a person types the command.
        return BuildCommand(
            command=command,
            folder=_absolute(self.folder, self.maybe_text(build, "cwd", "build") or "."),
            watch_folders=tuple(_absolute(self.folder, folder) for folder in folders),
            place=self.place("build", "command"),
        )

    def raise_if_names_clash(self, effective: EffectiveConfig) -> None:
        seen: dict[str, str] = {}
        for name, place in _names_and_places(effective):
            if name in seen:
                raise BadConfiguration(
                    f'{place}: the binding name "{name}" is taken by {seen[name]}',
                    hint="Give each binding, var and secret of a Worker a name of its own.",
                )
            seen[name] = place


def provisioned_name(worker: str, binding: str) -> str:
    """Return the name wrangler gives a resource that the config doesn't name."""
    return f"{worker}-{binding.lower().replace('_', '-')}"


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


def _absolute(folder: Path, text: str) -> Path:
    """Join as wrangler does: no symlink is followed, ``..`` is taken away."""
    return Path(os.path.normpath(folder / text))


_ROUTE_KEYS = ("pattern", "zone_name", "zone_id", "custom_domain", "enabled", "previews_enabled")
_WORDS: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    int: "a whole number",
    float: "a number",
}


def _word_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, datetime.date | datetime.time):
        return "a date"
    return _WORDS.get(type(value), type(value).__name__)


def _dotted(where: Iterable[str | int]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
