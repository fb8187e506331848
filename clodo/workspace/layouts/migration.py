"""
Moves what older layouts say into the wrangler configs, as edits to be shown before they are made.

``src/config/domains.js`` itself stays: it lies in the Worker's source, whose code may import it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clodo.errors import BadUsage
from clodo.workspace.documents import Document, KeyPath, read_document
from clodo.workspace.editing import (
    BindingKind,
    Change,
    FileEdit,
    Operation,
    Put,
    PutBinding,
    PutRoute,
    Remove,
    edit_config,
    edit_of,
    section_of,
    set_account_id,
)
from clodo.workspace.hostnames import host_of_route
from clodo.workspace.layouts.base_files import LayerReader, additions, not_applied, with_layers
from clodo.workspace.layouts.domains_file import Domain, DomainsFile, find_domains_file, read_domains_file
from clodo.workspace.services import config_files


@dataclass(frozen=True, slots=True)
class Migration:
    """
    What would change, and what a person must decide.

    Attributes:
        edits: Of wrangler configs first, then of older files that nothing needs any more.

        notes: ``file:line: sentence`` each.
    """

    edits: tuple[FileEdit, ...]
    notes: tuple[str, ...]

    @property
    def has_changes(self) -> bool:
        """Whether anything would be written."""
        return any(edit.has_changes for edit in self.edits)


@dataclass(frozen=True, slots=True)
class _Fill:
    """Write what other files say into the config itself."""

    added: tuple[tuple[KeyPath, Any], ...]

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        yield from (Put(path, value) for path, value in self.added)


@dataclass(frozen=True, slots=True)
class _NodeCompatibility:
    """``nodejs_compat = true`` is no key of wrangler's; the compatibility flag is what was meant."""

    def changes(self, data: Mapping[str, Any]) -> Iterator[Change]:
        """Give the changes to *data*."""
        sections: list[tuple[KeyPath, Mapping[str, Any]]] = [((), data)]
        sections += [(("env", name), section) for name, section in (data.get("env") or {}).items()]
        for path, section in sections:
            if "nodejs_compat" not in section:
                continue
            flags = list(section.get("compatibility_flags") or [])
            if section["nodejs_compat"] is True and "nodejs_compat" not in flags:
                yield Put((*path, "compatibility_flags"), [*flags, "nodejs_compat"])
            yield Remove((*path, "nodejs_compat"))


def plan_migration(root: Path) -> Migration:
    """
    Return the edits that make the older files of the workspace at *root* unnecessary; nothing is written.

    Raises:
        BadConfiguration: A file is broken.
    """
    root = root.absolute()
    reader = LayerReader(root)
    edits: list[FileEdit] = []
    notes: list[str] = []
    older: dict[Path, bool] = {}
    for file in sorted(config_files(root)):
        own = read_document(file)
        layers = reader.of(file.parent)
        merged = with_layers(own, layers)
        left = tuple(not_applied(own, layers))
        notes += [f"{place}: {what}" for place, what in left]
        kept = {place.rpartition(":")[0] for place, _ in left}
        for layer in layers:
            older[layer.file] = older.get(layer.file, True) and str(layer.file) not in kept
        operations: list[Operation] = [_Fill(tuple(additions(merged))), _NodeCompatibility()]
        domains = find_domains_file(file.parent)
        if domains is not None:
            operations += _of_domains(read_domains_file(domains), merged, notes)
        edit = edit_config(file, operations)
        if edit.has_changes:
            edits.append(edit)
    edits += [edit_of(file, None) for file, is_free in sorted(older.items()) if is_free]
    return Migration(tuple(edits), tuple(dict.fromkeys(notes)))


def _of_domains(said: DomainsFile, document: Document, notes: list[str]) -> list[Operation]:
    """Turn what a ``domains.js`` says into operations; what contradicts the config is left to a person."""
    notes += [f"{place}: {what}" for place, what in said.computed]
    operations: list[Operation] = []
    for domain in said.domains:
        operations += _account(domain, document, notes)
        operations += _routes(domain, document, notes)
        operations += _databases(domain, document, notes)
    return operations


def _account(domain: Domain, document: Document, notes: list[str]) -> Iterator[Operation]:
    if domain.account_id is None:
        return
    known = document.data.get("account_id")
    if not known:
        yield set_account_id(domain.account_id.value)
    elif known != domain.account_id.value:
        where = document.place_of(("account_id",))
        notes.append(f"{domain.account_id.place}: the account is another one than at {where}, which counts")


def _routes(domain: Domain, document: Document, notes: list[str]) -> Iterator[Operation]:
    for environment, host in domain.hosts.items():
        try:
            section = section_of(document.data, environment)
        except BadUsage:
            notes.append(f'{host.place}: the config has no environment "{environment}"; {host.value} is left out')
            continue
        if host.value in _hosts(document.data, section):
            continue
        zone = domain.zone_id.value if domain.zone_id else None
        yield PutRoute(environment, f"{host.value}/*", zone_id=zone)


def _hosts(data: Mapping[str, Any], section: KeyPath) -> set[str]:
    own: Any = data
    for step in section:
        own = own[step]
    routes = [*(own.get("routes") or []), *([own["route"]] if own.get("route") else [])]
    patterns = [route.get("pattern") if isinstance(route, Mapping) else route for route in routes]
    return {host_of_route(str(pattern)) for pattern in patterns}


def _databases(domain: Domain, document: Document, notes: list[str]) -> Iterator[Operation]:
    sections: list[tuple[str | None, Mapping[str, Any]]] = [(None, document.data)]
    sections += list((document.data.get("env") or {}).items())
    for name, database in domain.databases.items():
        found = False
        for environment, section in sections:
            for binding in section.get("d1_databases") or []:
                if binding.get("database_name") != name:
                    continue
                found = True
                known = binding.get("database_id")
                if not known:
                    values = {"database_id": database.value}
                    yield PutBinding(environment, BindingKind.DATABASE, binding["binding"], values)
                elif known != database.value:
                    notes.append(f'{database.place}: the id of "{name}" is another one than in the wrangler config')
        if not found:
            notes.append(f'{database.place}: no binding names the D1 database "{name}"; add one if the Worker needs it')
