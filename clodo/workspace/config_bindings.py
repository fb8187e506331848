"""The bindings of one environment, out of its section of a wrangler config."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping
from typing import Any

from clodo.workspace.config_section import Section, absolute
from clodo.workspace.effective_config import (
    DEFAULT_MIGRATIONS_FOLDER,
    DEFAULT_MIGRATIONS_TABLE,
    AssetsBinding,
    BucketBinding,
    DatabaseBinding,
    DurableObjectBinding,
    NamespaceBinding,
    OtherBinding,
    QueueProducer,
    ServiceBinding,
    WorkflowBinding,
)

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


def databases(section: Section, worker: str) -> Iterator[DatabaseBinding]:
    """Yield the D1 databases."""
    for index, item in section.tables("d1_databases"):
        where = ("d1_databases", index)
        binding = section.text(item, "binding", *where)
        folder = section.maybe_text(item, "migrations_dir", *where) or DEFAULT_MIGRATIONS_FOLDER
        yield DatabaseBinding(
            binding=binding,
            database_name=section.maybe_text(item, "database_name", *where) or provisioned_name(worker, binding),
            database_id=section.maybe_text(item, "database_id", *where),
            migrations_folder=absolute(section.folder, folder),
            migrations_table=section.maybe_text(item, "migrations_table", *where) or DEFAULT_MIGRATIONS_TABLE,
            migrations_pattern=_migrations_pattern(section, item, folder, *where),
            place=section.place(*where),
        )


def namespaces(section: Section, worker: str) -> Iterator[NamespaceBinding]:
    """Yield the KV namespaces."""
    for index, item in section.tables("kv_namespaces"):
        where = ("kv_namespaces", index)
        binding = section.text(item, "binding", *where)
        yield NamespaceBinding(
            binding=binding,
            namespace_id=section.maybe_text(item, "id", *where),
            title=provisioned_name(worker, binding),
            place=section.place(*where),
        )


def buckets(section: Section, worker: str) -> Iterator[BucketBinding]:
    """Yield the R2 buckets."""
    for index, item in section.tables("r2_buckets"):
        where = ("r2_buckets", index)
        binding = section.text(item, "binding", *where)
        yield BucketBinding(
            binding=binding,
            bucket_name=section.maybe_text(item, "bucket_name", *where) or provisioned_name(worker, binding),
            jurisdiction=section.maybe_text(item, "jurisdiction", *where),
            place=section.place(*where),
        )


def services(section: Section) -> Iterator[ServiceBinding]:
    """Yield the Workers that are called directly."""
    for index, item in section.tables("services"):
        where = ("services", index)
        yield ServiceBinding(
            binding=section.text(item, "binding", *where),
            service=section.text(item, "service", *where),
            environment=section.maybe_text(item, "environment", *where),
            entrypoint=section.maybe_text(item, "entrypoint", *where),
            place=section.place(*where),
        )


def durable_objects(section: Section) -> Iterator[DurableObjectBinding]:
    """Yield the Durable Object classes."""
    for index, item in section.tables("durable_objects", "bindings"):
        where = ("durable_objects", "bindings", index)
        yield DurableObjectBinding(
            binding=section.text(item, "name", *where),
            class_name=section.text(item, "class_name", *where),
            script_name=section.maybe_text(item, "script_name", *where),
            place=section.place(*where),
        )


def workflows(section: Section) -> Iterator[WorkflowBinding]:
    """Yield the workflows."""
    for index, item in section.tables("workflows"):
        where = ("workflows", index)
        yield WorkflowBinding(
            binding=section.text(item, "binding", *where),
            name=section.text(item, "name", *where),
            class_name=section.text(item, "class_name", *where),
            script_name=section.maybe_text(item, "script_name", *where),
            place=section.place(*where),
        )


def queue_producers(section: Section) -> Iterator[QueueProducer]:
    """Yield the queues that are sent to."""
    for index, item in section.tables("queues", "producers"):
        where = ("queues", "producers", index)
        yield QueueProducer(
            section.text(item, "binding", *where), section.text(item, "queue", *where), section.place(*where)
        )


def assets(section: Section) -> AssetsBinding | None:
    """Return the static assets, None without."""
    assets = section.take("assets", dict)
    if assets is None:
        return None
    directory = section.maybe_text(assets, "directory", "assets")
    if directory is None:
        raise section.error("assets", what='"assets" lacks "directory"', hint="Name the folder that holds the assets.")
    return AssetsBinding(
        directory=absolute(section.folder, directory),
        binding=section.maybe_text(assets, "binding", "assets"),
        settings={key: value for key, value in assets.items() if key not in ("directory", "binding")},
        place=section.place("assets"),
    )


def other_bindings(section: Section) -> Iterator[OtherBinding]:
    """Yield what Clodo passes on without looking inside."""
    for kind in _LISTS_OF_OTHER_BINDINGS:
        for index, item in section.tables(kind):
            yield OtherBinding(kind, section.text(item, "binding", kind, index), section.place(kind, index))
    for kind in _LISTS_OF_NAMED_BINDINGS:
        for index, item in section.tables(kind):
            yield OtherBinding(kind, section.text(item, "name", kind, index), section.place(kind, index))
    for kind in _SINGLE_BINDINGS:
        single = section.take(kind, dict)
        if single is not None:
            yield OtherBinding(kind, section.text(single, "binding", kind), section.place(kind))
    for index, item in section.tables("unsafe", "bindings"):
        where = ("unsafe", "bindings", index)
        yield OtherBinding("unsafe", section.text(item, "name", *where), section.place(*where))
    for kind in ("wasm_modules", "text_blobs", "data_blobs"):
        for name in section.take(kind, dict) or {}:
            yield OtherBinding(kind, name, section.place(kind, name))


def version_metadata(section: Section) -> str | None:
    """Return the name under which the Worker knows its version."""
    item = section.take("version_metadata", dict)
    return None if item is None else section.text(item, "binding", "version_metadata")


def provisioned_name(worker: str, binding: str) -> str:
    """Return the name wrangler gives a resource that the config doesn't name."""
    return f"{worker}-{binding.lower().replace('_', '-')}"


def _migrations_pattern(section: Section, item: Mapping[str, Any], folder: str, *where: str | int) -> str | None:
    pattern = section.maybe_text(item, "migrations_pattern", *where)
    if pattern is None:
        return None
    prefix = os.path.normpath(folder) + "/"
    cleaned = os.path.normpath(pattern)
    if item.get("migrations_dir") is None or not (cleaned.startswith(prefix) or prefix == "./"):
        key, *rest = where
        raise section.error(
            str(key),
            *rest,
            "migrations_pattern",
            what='"migrations_pattern" must start with "migrations_dir", which must be given too',
            hint=f'Write migrations_dir = "{folder}" and migrations_pattern = "{prefix}*.sql".',
        )
    return cleaned.removeprefix(prefix)
