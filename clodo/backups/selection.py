"""Which resources a snapshot is taken of: those that the bindings of the chosen targets name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from clodo.backups.d1.capture import DatabaseResource
from clodo.backups.d1.exporting import MayExport
from clodo.backups.dns import ZoneResource
from clodo.backups.kv.capture import NamespaceResource
from clodo.backups.manifest import Kind, Missing
from clodo.backups.r2.capture import BucketResource
from clodo.backups.r2.memory import Memory
from clodo.backups.resources import Resource
from clodo.backups.workers import WorkerResource
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.scripts import Script
from clodo.cloudflare.zones import Zone
from clodo.errors import BadUsage, NotFound
from clodo.workspace.effective_config import EffectiveConfig
from clodo.workspace.targets import Target
from clodo.workspace.workspace import Workspace


class AccountView(Protocol):
    """What is needed of an account."""

    @property
    def cloudflare(self) -> Cloudflare:
        """Its client."""
        ...

    def databases(self, name: str) -> str:
        """Return the UUID of the D1 database of exactly this name."""
        ...

    @property
    def zones(self) -> Sequence[Zone]:
        """The zones of the account."""
        ...

    def namespaces(self, title: str) -> str:
        """Return the id of the KV namespace of exactly this title."""
        ...


@dataclass(slots=True)
class Selected:
    """
    What a snapshot is to hold, and what was named and is not there.

    Attributes:
        not_deployed: Workers that the account doesn't have, so that there is nothing of them to back up.
    """

    resources: list[Resource] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    not_deployed: tuple[str, ...] = ()


def choose_targets(workspace: Workspace, names: Sequence[str] = (), tags: Collection[str] = ()) -> tuple[Target, ...]:
    """
    Return the targets that *names* say and whose services have one of *tags*; all of the portfolio without either.

    Raises:
        TargetNotFound: A name is none.
        BadUsage: No service has such a tag.
    """
    chosen = {workspace.find(name) for name in names}
    for tag in tags:
        tagged = [item for item in workspace.targets if tag in workspace.portfolio.settings_of(item.service).tags]
        if not tagged:
            raise BadUsage(
                f'no service of the portfolio has the tag "{tag}"', hint="Tags are `tags` in portfolio.toml."
            )
        chosen.update(tagged)
    return tuple(sorted(chosen)) if names or tags else workspace.targets


def select_resources(
    workspace: Workspace,
    targets: Iterable[Target],
    account_of: Callable[[Target], AccountView],
    kinds: Collection[Kind],
    *,
    may_export: MayExport | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Selected:
    """
    Find what the targets' bindings name; each resource once, however many name it.

    Args:
        may_export: Asked before a database is exported instead of read by pages; None when nobody wants that.

        say: Gets a line for a person, from several threads.
    """
    memories = workspace.state_dir / "backups" / "buckets"
    found = _Finder(kinds, workspace.portfolio.backups.passes, memories, may_export, say)
    for target in targets:
        config = workspace.effective(target)
        account = account_of(target)
        for database in config.databases:
            found.database(account, str(target), database.database_id, database.database_name)
        for namespace in config.namespaces:
            found.namespace(account, str(target), namespace.namespace_id, namespace.title)
        for bucket in config.buckets:
            found.bucket(account, str(target), bucket.bucket_name)
        zones = _zones_of(account, config) if {Kind.DNS, Kind.WORKER} & set(kinds) else ()
        for zone in zones:
            found.zone(account, str(target), zone)
        found.worker(account, str(target), config.worker_name, [zone.id for zone in zones])
    return found.selected()


class _Finder:
    """Collects resources by kind, account and id."""

    def __init__(
        self,
        kinds: Collection[Kind],
        passes: int,
        memories: Path,
        may_export: MayExport | None,
        say: Callable[[str], None],
    ) -> None:
        self._kinds = kinds
        self._may_export = may_export
        self._say = say
        self._memories = memories
        self._passes = passes
        self._resources: dict[tuple[Kind, str, str], tuple[Resource, list[str]]] = {}
        self._missing: dict[tuple[Kind, str], Missing] = {}
        self._workers: dict[str, dict[str, Script]] = {}
        self._not_deployed: set[str] = set()

    def database(self, account: AccountView, target: str, database_id: str | None, name: str) -> None:
        def make(view: Cloudflare, found: str) -> Resource:
            return DatabaseResource(view, found, name, passes=self._passes, may_export=self._may_export, say=self._say)

        self._add(Kind.D1, account, target, name, lambda: database_id or account.databases(name), make)

    def namespace(self, account: AccountView, target: str, namespace_id: str | None, title: str) -> None:
        def make(view: Cloudflare, found: str) -> Resource:
            return NamespaceResource(view, found, title)

        self._add(Kind.KV, account, target, title, lambda: namespace_id or account.namespaces(title), make)

    def bucket(self, account: AccountView, target: str, name: str) -> None:
        def make(view: Cloudflare, found: str) -> Resource:
            return BucketResource(view, found, Memory(self._memories / f"{view.account_id}-{found}.jsonl"))

        self._add(Kind.R2, account, target, name, lambda: name, make)

    def zone(self, account: AccountView, target: str, zone: Zone) -> None:
        def make(view: Cloudflare, found: str) -> Resource:
            return ZoneResource(view, found, zone.name)

        self._add(Kind.DNS, account, target, zone.name, lambda: zone.id, make)

    def worker(self, account: AccountView, target: str, name: str, zones: Sequence[str]) -> None:
        if Kind.WORKER not in self._kinds:
            return
        account_id = account.cloudflare.account_id
        if account_id not in self._workers:
            view = account.cloudflare.with_lane(Lane.BACKUP)
            self._workers[account_id] = {script.id: script for script in view.scripts.list()}
        if name not in self._workers[account_id]:
            self._not_deployed.add(name)
            return

        has_assets = self._workers[account_id][name].has_assets is True

        def make(view: Cloudflare, found: str) -> Resource:
            return WorkerResource(view, found, tuple(zones), has_assets)

        self._add(Kind.WORKER, account, target, name, lambda: name, make)

    def selected(self) -> Selected:
        resources = []
        for resource, targets in self._resources.values():
            resource.targets = tuple(sorted(targets))
            resources.append(resource)
        return Selected(resources, list(self._missing.values()), tuple(sorted(self._not_deployed)))

    def _add(
        self,
        kind: Kind,
        account: AccountView,
        target: str,
        name: str,
        find: Callable[[], str],
        make: Callable[[Cloudflare, str], Resource],
    ) -> None:
        if kind not in self._kinds:
            return
        try:
            found = find()
        except NotFound as error:
            self._missing[kind, name] = Missing(kind, name, error.message)
            return
        key = (kind, account.cloudflare.account_id, found)
        if key not in self._resources:
            self._resources[key] = (make(account.cloudflare.with_lane(Lane.BACKUP), found), [])
        self._resources[key][1].append(target)


def _zones_of(account: AccountView, config: EffectiveConfig) -> tuple[Zone, ...]:
    """Return the zones that the routes and custom domains of a Worker are in."""
    found: dict[str, Zone] = {}
    for route in config.routes:
        hostname = route.pattern.split("://")[-1].split("/")[0].removeprefix("*").lstrip(".")
        named = [
            zone
            for zone in account.zones
            if zone.id == route.zone_id
            or zone.name == route.zone_name
            or (not route.zone_id and not route.zone_name and f".{hostname}".endswith(f".{zone.name}"))
        ]
        if named:
            zone = max(named, key=lambda zone: len(zone.name))
            found[zone.id] = zone
    return tuple(found.values())
