"""
What one Worker gets: a wrangler config flattened for one environment, as typed values.

Next door: `wrangler_config` flattens it, `rendering` writes it back as JSON for wrangler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clodo.errors import BadConfiguration
from clodo.workspace.documents import Document, KeyPath

DEFAULT_MIGRATIONS_FOLDER = "migrations"
DEFAULT_MIGRATIONS_TABLE = "d1_migrations"


@dataclass(frozen=True, slots=True)
class DatabaseBinding:
    """
    A D1 database.

    Attributes:
        binding: The name in the Worker's ``env``.

        database_name: Exact name on the account; ``<worker>-<binding>`` when the config gives none, as wrangler does.

        database_id: UUID, None when the config leaves it to be looked up by name.

        migrations_folder: Absolute; it need not exist.

        migrations_table: Name of the table that remembers what was applied.

        migrations_pattern: Glob for the files, relative to *migrations_folder*; None for ``*.sql``.

        place: ``file:line`` of the binding.
    """

    binding: str
    database_name: str
    database_id: str | None
    migrations_folder: Path
    migrations_table: str
    migrations_pattern: str | None
    place: str


@dataclass(frozen=True, slots=True)
class NamespaceBinding:
    """A KV namespace; *namespace_id* is None when the config leaves it to be looked up by *title*."""

    binding: str
    namespace_id: str | None
    title: str
    place: str


@dataclass(frozen=True, slots=True)
class BucketBinding:
    """An R2 bucket; *bucket_name* is ``<worker>-<binding>`` when the config gives none, as wrangler does."""

    binding: str
    bucket_name: str
    jurisdiction: str | None
    place: str


@dataclass(frozen=True, slots=True)
class ServiceBinding:
    """Another Worker, called directly; *service* is that Worker's name on the account."""

    binding: str
    service: str
    environment: str | None
    entrypoint: str | None
    place: str


@dataclass(frozen=True, slots=True)
class DurableObjectBinding:
    """A Durable Object class; *script_name* is None when this Worker exports the class itself."""

    binding: str
    class_name: str
    script_name: str | None
    place: str


@dataclass(frozen=True, slots=True)
class WorkflowBinding:
    """A workflow; *script_name* is None when this Worker exports the class itself."""

    binding: str
    name: str
    class_name: str
    script_name: str | None
    place: str


@dataclass(frozen=True, slots=True)
class QueueProducer:
    """A queue that the Worker sends to."""

    binding: str
    queue: str
    place: str


@dataclass(frozen=True, slots=True)
class QueueConsumer:
    """A queue that the Worker receives from; *settings* are the other keys, as written."""

    queue: str
    settings: Mapping[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class AssetsBinding:
    """
    Static assets.

    Attributes:
        directory: Absolute.

        binding: The name in the Worker's ``env``; None when the Worker's code doesn't read assets.

        settings: The other keys (``html_handling``, ``not_found_handling``, …), as written.
    """

    directory: Path
    binding: str | None
    settings: Mapping[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class OtherBinding:
    """A binding of a kind that Clodo passes on without looking inside; *kind* is wrangler's key."""

    kind: str
    binding: str
    place: str


@dataclass(frozen=True, slots=True)
class Route:
    """
    Where requests come from.

    Attributes:
        pattern: ``example.com/api/*``, or the host name of a custom domain.

        is_custom_domain: Cloudflare makes the DNS record and the certificate.

        zone_name: At most one of *zone_name* and *zone_id* is given.

        enabled: False: the custom domain is kept but answers nothing; None: not said.

        previews_enabled: Whether previews are served on the custom domain; None: not said.
    """

    pattern: str
    is_custom_domain: bool
    zone_name: str | None
    zone_id: str | None
    enabled: bool | None
    previews_enabled: bool | None
    place: str


@dataclass(frozen=True, slots=True)
class BuildCommand:
    """wrangler's ``[build]``: a shell command, and the absolute folder it runs in."""

    command: str
    folder: Path
    watch_folders: tuple[Path, ...]
    place: str


@dataclass(frozen=True, slots=True)
class EffectiveConfig:
    """
    A service's config for one environment, by wrangler's own rules of inheritance.

    Attributes:
        document: The file all of it comes from.

        service: The service's name: the top-level ``name``.

        environment: The name that was asked for; None for the top level.

        section: The section that was used: None for the top level, else the name under ``[env.…]``.

        worker_name: Name of the Worker on the account.

        main: Absolute path of the entry point; None for a Worker of assets alone.

        base_folder: wrangler's ``base_dir``, absolute.

        workers_dev: As the config says; None when it does not say (see `is_on_workers_dev`).

        variables: The plain-text and JSON vars; never secrets.

        required_secrets: Names under ``secrets.required``.

        crons: None when the config doesn't speak of schedules (leave them), empty to have none.

        durable_object_migrations: As written, in order.

        queue_consumers: Triggers, like routes and crons: no part of a version.

        warnings: What wrangler would warn of: ``file:line: sentence`` each.

        raw: The flattened section with wrangler's own keys and the values as written (paths still relative).
    """

    document: Document = field(repr=False)
    service: str
    environment: str | None
    section: str | None
    worker_name: str
    main: Path | None
    base_folder: Path | None
    compatibility_date: str | None
    compatibility_flags: tuple[str, ...]
    account_id: str | None
    workers_dev: bool | None
    preview_urls: bool | None
    routes: tuple[Route, ...]
    crons: tuple[str, ...] | None
    variables: Mapping[str, Any]
    required_secrets: tuple[str, ...]
    databases: tuple[DatabaseBinding, ...]
    namespaces: tuple[NamespaceBinding, ...]
    buckets: tuple[BucketBinding, ...]
    services: tuple[ServiceBinding, ...]
    durable_objects: tuple[DurableObjectBinding, ...]
    durable_object_migrations: tuple[Mapping[str, Any], ...]
    workflows: tuple[WorkflowBinding, ...]
    queue_producers: tuple[QueueProducer, ...]
    queue_consumers: tuple[QueueConsumer, ...]
    assets: AssetsBinding | None
    other_bindings: tuple[OtherBinding, ...]
    version_metadata: str | None
    observability: Mapping[str, Any] | None
    logpush: bool | None
    tail_consumers: tuple[str, ...]
    build: BuildCommand | None
    warnings: tuple[str, ...]
    raw: Mapping[str, Any] = field(repr=False)
    origins: Mapping[str, KeyPath] = field(repr=False, default_factory=dict)

    @property
    def file(self) -> Path:
        """The wrangler config's absolute path."""
        return self.document.file

    @property
    def folder(self) -> Path:
        """The service's folder: what relative paths in the config start from."""
        return self.document.file.parent

    @property
    def is_on_workers_dev(self) -> bool:
        """Whether the Worker answers on workers.dev: as said, else when it has no routes."""
        return self.workers_dev if self.workers_dev is not None else not self.routes

    @property
    def own_object_classes(self) -> frozenset[str]:
        """The Durable Object classes that the Worker implements itself; those of others that it uses are left out."""
        own = {item.class_name for item in self.durable_objects if item.script_name in (None, self.worker_name)}
        for step in self.durable_object_migrations:
            moved = [*step.get("renamed_classes", ()), *step.get("transferred_classes", ())]
            own -= {*step.get("deleted_classes", ()), *(item["from"] for item in step.get("renamed_classes", ()))}
            own |= {*step.get("new_classes", ()), *step.get("new_sqlite_classes", ()), *(item["to"] for item in moved)}
        return frozenset(own)

    @property
    def binding_names(self) -> tuple[str, ...]:
        """Every name in the Worker's ``env``, secrets excepted, sorted."""
        names = [
            binding.binding
            for group in (
                self.databases,
                self.namespaces,
                self.buckets,
                self.services,
                self.durable_objects,
                self.workflows,
                self.queue_producers,
                self.other_bindings,
            )
            for binding in group
        ]
        names += list(self.variables)
        names += [name for name in (self.version_metadata, self.assets and self.assets.binding) if name]
        return tuple(sorted(set(names)))

    def place_of(self, key: str, *rest: str | int) -> str:
        """Return ``file:line`` of a value, in the environment's section or where it was inherited from."""
        return self.document.place_of((*self.origins.get(key, (key,)), *rest))

    def error(self, key: str, *rest: str | int, what: str, hint: str | None = None) -> BadConfiguration:
        """Build the error that says *what* is wrong with *key*; the caller raises it."""
        return BadConfiguration(f"{self.place_of(key, *rest)}: {what}", hint=hint)
