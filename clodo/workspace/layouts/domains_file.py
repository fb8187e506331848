"""``src/config/domains.js``: an older way to say which hostnames, account, zone and databases a service has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clodo.errors import BadConfiguration
from clodo.workspace.documents import KeyPath, read_text
from clodo.workspace.layouts import js_literals

PLACES = (Path("src/config/domains.js"), Path("src/config/domains.mjs"), Path("config/domains.js"))
_ACCOUNT = ("accountId", "account_id")
_ZONE = ("zoneId", "zone_id")
_HOSTS = ("domains", "hosts", "environments")


@dataclass(frozen=True, slots=True)
class Said:
    """Something the file says, and where."""

    value: str
    place: str


@dataclass(frozen=True, slots=True)
class Domain:
    """
    One entry of the file.

    Attributes:
        name: The entry's key.

        hosts: Environment to hostname.

        databases: Name to id, as far as both are given.
    """

    name: str
    account_id: Said | None
    zone_id: Said | None
    hosts: Mapping[str, Said]
    databases: Mapping[str, Said]


@dataclass(frozen=True, slots=True)
class DomainsFile:
    """
    What the file says.

    Attributes:
        computed: ``file:line`` and a clause for each thing that only running the file would tell.
    """

    file: Path
    domains: tuple[Domain, ...]
    computed: tuple[tuple[str, str], ...]

    def hosts(self) -> Iterator[tuple[str, Said]]:
        """Yield environment and hostname of all entries."""
        for domain in self.domains:
            yield from domain.hosts.items()


def find_domains_file(folder: Path) -> Path | None:
    """Return the file of the service in *folder*, or None."""
    return next((folder / place for place in PLACES if (folder / place).is_file()), None)


def read_domains_file(file: Path) -> DomainsFile:
    """
    Read *file* without running it.

    Raises:
        BadConfiguration: It can't be read; the message opens with file:line.
    """
    try:
        module = js_literals.read(read_text(file))
    except js_literals.NotReadable as error:
        raise BadConfiguration(f"{file}:{error.line}: {error.what}", hint="Correct the file's syntax.") from error
    except RecursionError as error:
        raise BadConfiguration(f"{file}:1: values are nested too deeply") from error
    domains: dict[str, Domain] = {}
    for constant, value in module.values.items():
        for path, entry in _entries((constant,), value):
            domain = _domain(file, module, path, entry)
            # The default export says once more what a constant said.
            domains.setdefault(domain.name, domain)
    computed = {
        (f"{file}:{item.line}", f'"{_dotted(item.path)}" {item.what}, and so not known without running the file')
        for item in module.computed
        if item.path[0] in _roots(module)
    }
    return DomainsFile(file, tuple(domains.values()), tuple(sorted(computed)))


def _roots(module: js_literals.Module) -> set[str]:
    """Return the constants that hold entries, or would if they were not computed."""
    return {
        name for name in (*module.values, *(str(item.path[0]) for item in module.computed)) if "domain" in name.lower()
    } | {js_literals.DEFAULT}


def _entries(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield the tables that say hostnames by environment, wherever they lie."""
    if not isinstance(value, Mapping):
        return
    if any(_is_hosts(value.get(key)) for key in _HOSTS):
        yield path, value
        return
    for key, item in value.items():
        yield from _entries((*path, key), item)


def _is_hosts(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(item, str) and "." in item for item in value.values())
    )


def _domain(file: Path, module: js_literals.Module, path: KeyPath, entry: Mapping[str, Any]) -> Domain:
    def said(*keys: str | int) -> str:
        here = (*path, *keys)
        while here and here not in module.lines:
            here = here[:-1]
        return f"{file}:{module.lines.get(here, 1)}"

    def first(names: tuple[str, ...]) -> Said | None:
        return next((Said(entry[name], said(name)) for name in names if isinstance(entry.get(name), str)), None)

    key = next(key for key in _HOSTS if _is_hosts(entry.get(key)))
    databases = entry.get("databases")
    listed = databases if isinstance(databases, list) else []
    return Domain(
        name=str(entry.get("name") or path[-1]),
        account_id=first(_ACCOUNT),
        zone_id=first(_ZONE),
        hosts={environment: Said(host.lower(), said(key, environment)) for environment, host in entry[key].items()},
        databases={
            item["name"]: Said(item["id"], said("databases", index))
            for index, item in enumerate(listed)
            if isinstance(item, Mapping) and isinstance(item.get("name"), str) and isinstance(item.get("id"), str)
        },
    )


def _dotted(path: KeyPath) -> str:
    return ".".join(str(step) for step in path)
