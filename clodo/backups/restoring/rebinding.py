"""Pointing services at what was restored: their wrangler configs name it, and a release makes it so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clodo.backups.restoring.restorer import Restored, RestoredResource
from clodo.errors import TargetNotFound
from clodo.workspace.editing import FileEdit, PutBinding, apply, edit_config
from clodo.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Rebinding:
    """
    A binding that still leads to what was, and the edit that leads it to what was restored.

    Attributes:
        diff: Of the wrangler config; empty when the name alone leads there and only a release is missing.
    """

    target: str
    binding: str
    resource: str
    id: str
    diff: str

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return asdict(self)


def rebindings(workspace: Workspace, restored: Restored) -> tuple[Rebinding, ...]:
    """Say which bindings have to change so that services use what was restored; nothing is written."""
    return tuple(found for found, _ in _found(workspace, restored))


def rebind(root: Path, restored: Restored) -> tuple[Rebinding, ...]:
    """
    Edit the wrangler configs so that bindings lead to what was restored.

    Raises:
        PlanIsStale: Somebody changed a config meanwhile; it was left alone.
        LockHeld: Somebody else is editing this workspace's files.
    """
    done: list[Rebinding] = []
    while True:
        # Two edits of one file: the second one is made of what the first one wrote.
        waiting = [item for item in _found(Workspace.load(root), restored) if item[0].diff]
        if not waiting:
            break
        found, edit = waiting[0]
        apply([edit])
        done.append(found)
    edited = {(item.target, item.binding) for item in done}
    rest = [item for item in rebindings(Workspace.load(root), restored) if (item.target, item.binding) not in edited]
    return (*done, *rest)


def _found(workspace: Workspace, restored: Restored) -> Iterator[tuple[Rebinding, FileEdit]]:
    for resource in restored.resources:
        if resource.way != "create":
            continue
        for name in resource.targets:
            try:
                target = workspace.find(name)
            except TargetNotFound:
                continue
            config = workspace.effective(target)
            for binding, operation in _operations(config, resource):
                edit = edit_config(config.file, [operation])
                yield Rebinding(name, binding, resource.name, resource.id, edit.diff(workspace.root)), edit


def _operations(config: Any, resource: RestoredResource) -> Iterator[tuple[str, PutBinding]]:
    if resource.kind == "d1":
        for database in config.databases:
            if resource.source_id == database.database_id or resource.source == database.database_name:
                # A config without an id goes by the name; then an unchanged name needs no edit.
                ident = resource.id if database.database_id is not None else None
                yield (
                    database.binding,
                    PutBinding.database(
                        config.section, database.binding, database_name=resource.name, database_id=ident
                    ),
                )
    elif resource.kind == "r2":
        for bucket in config.buckets:
            if resource.source == bucket.bucket_name:
                put = PutBinding.bucket(
                    config.section, bucket.binding, bucket_name=resource.name, jurisdiction=bucket.jurisdiction
                )
                yield bucket.binding, put
    elif resource.kind == "kv":
        for namespace in config.namespaces:
            if resource.source_id == namespace.namespace_id or resource.source == namespace.title:
                keeps_title = namespace.namespace_id is None and namespace.title == resource.name
                ident = None if keeps_title else resource.id
                yield namespace.binding, PutBinding.namespace(config.section, namespace.binding, namespace_id=ident)
