"""Workers out of archives: what no version holds, compared with what is there, written, and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clodo.backups.documents import read_documents
from clodo.backups.workers import live_versions
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.settings import UnversionedSettings
from clodo.errors import WorkerNotFound

State = Mapping[str, Any]
"""
What there is of a Worker, as JSON: ``values`` is what is restored, of these names:

``setting logpush``, …, ``subdomain``, ``schedules``, and ``route ZONE PATTERN`` with the name of the Worker behind it.
"""

_SETTINGS: Mapping[str, Any] = {
    "logpush": False,
    "observability": {"enabled": False},
    "tags": [],
    "tail_consumers": [],
}
"""Settings that no version holds, and what they are when nobody set them."""


@dataclass(frozen=True, slots=True)
class WorkerChanges:
    """
    What makes a Worker that of a snapshot.

    Attributes:
        values: Names, and the values there and wanted; None: no such route.

        same: How many values are as in the snapshot.

        notes: What else is otherwise, and how it comes back.
    """

    values: tuple[tuple[str, Any, Any], ...] = ()
    same: int = 0
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Each change for a person; empty when there is nothing to do."""
        return tuple(
            f"{name}: {json.dumps(there, sort_keys=True)} → {json.dumps(wanted, sort_keys=True)}"
            for name, there, wanted in self.values
        )

    @property
    def summary(self) -> str:
        """How many of each, for a person."""
        return f"{len(self.values)} to change, {self.same} as they are"


def state_of(chunks: Iterator[bytes]) -> State:
    """
    Return what an archive has of a Worker.

    Raises:
        SnapshotDamaged: It is not what was written.
    """
    found: dict[str, Any] = {}
    routes: list[tuple[str, Any]] = []
    zones: list[str] = []
    for what, value in read_documents(chunks):
        if what == "routes":
            zones.append(str(value["zone_id"]))
            routes += [(str(value["zone_id"]), route) for route in value["routes"]]
        elif what not in ("module", "version"):
            found[what] = value
    # The archive's hash is compared at its very end.
    for _ in chunks:
        pass
    return _state(found, routes) | {"zones": zones}


def read_state(cloudflare: Cloudflare, worker: str, wanted: State) -> State:
    """
    Return what an account has of a Worker, and all routes of the zones that *wanted* names.

    Raises:
        WorkerNotFound: The account has no such Worker.
        ZoneNotFound: The token doesn't see one of the zones any more.
    """
    originals = cloudflare.originals
    try:
        settings = originals.worker(worker, "/script-settings")
    except WorkerNotFound as error:
        raise WorkerNotFound(
            error.message, hint="Release it first: `clodo deploy`. Then restore what no version holds."
        ) from error
    found = {
        "script settings": settings,
        "subdomain": originals.worker(worker, "/subdomain"),
        "schedules": originals.worker(worker, "/schedules"),
        "deployments": originals.worker(worker, "/deployments"),
        "secrets": originals.worker(worker, "/secrets"),
        "custom domains": originals.custom_domains(worker),
    }
    routes = [(zone, route) for zone in wanted["zones"] for route in originals.routes(zone)]
    return _state(found, routes) | {"zones": list(wanted["zones"])}


def compare_states(worker: str, wanted: State, there: State, *, exact: bool) -> WorkerChanges:
    """
    Say what makes the Worker that is *there* the one that is *wanted*.

    Args:
        exact: Whether schedules and routes of the Worker go that are not wanted.
    """
    before, after = there["values"], dict(wanted["values"])
    if exact:
        after |= {
            name: None
            for name, value in before.items()
            if name.startswith("route ") and value == worker and name not in after
        }
    else:
        after["schedules"] = sorted({*after["schedules"], *before["schedules"]})
    changed = tuple((name, before.get(name), after[name]) for name in sorted(after) if before.get(name) != after[name])
    taken = tuple(
        f"it takes {name.split(' ', 2)[2]} from the Worker {before[name]}"
        for name, value, _ in changed
        if name.startswith("route ") and value not in (None, "", worker)
    )
    return WorkerChanges(changed, len(after) - len(changed), (*taken, *_notes(wanted, there)))


def compare_states_back(planned: WorkerChanges, now: State) -> tuple[WorkerChanges, list[str]]:
    """Say what takes *planned* back, as far as it was done and nobody else changed it since, and what stays."""
    values = now["values"]
    back = tuple((name, after, before) for name, before, after in planned.values if values.get(name) == after)
    stays = [
        f"{name}: somebody changed it meanwhile"
        for name, before, after in planned.values
        if values.get(name) not in (before, after)
    ]
    return WorkerChanges(back), stays


def write_state(cloudflare: Cloudflare, worker: str, changes: WorkerChanges) -> None:
    """
    Carry out changes of a Worker, one request after the other; each is safe to repeat.

    Raises:
        ApiRefused: One of them is impossible; those before it were done.
    """
    wanted = {name: after for name, _, after in changes.values}
    settings = {name.partition(" ")[2]: value for name, value in wanted.items() if name.startswith("setting ")}
    if settings:
        cloudflare.settings.patch(worker, UnversionedSettings.model_validate(settings))
    if "subdomain" in wanted:
        subdomain = wanted["subdomain"]
        cloudflare.subdomains.set(worker, enabled=subdomain["enabled"], previews_enabled=subdomain["previews_enabled"])
    if "schedules" in wanted:
        cloudflare.schedules.put(worker, wanted["schedules"])
    for name, value in wanted.items():
        if name.startswith("route "):
            _, zone, pattern = name.split(" ", 2)
            _put_route(cloudflare, zone, pattern, value)


def _put_route(cloudflare: Cloudflare, zone: str, pattern: str, script: str | None) -> None:
    route = next((item for item in cloudflare.routes.list(zone) if item.pattern == pattern), None)
    if script is None:
        if route is not None:
            cloudflare.routes.delete(zone, route.id)
    elif route is None:
        cloudflare.routes.create(zone, pattern, script or None)
    else:
        cloudflare.routes.update(zone, route.id, pattern, script or None)


def _state(found: Mapping[str, Any], routes: list[tuple[str, Any]]) -> dict[str, Any]:
    settings, subdomain = found["script settings"] or {}, found["subdomain"] or {}
    schedules = found["schedules"]
    listed = schedules.get("schedules", ()) if isinstance(schedules, dict) else schedules or ()
    values = {f"setting {name}": settings.get(name) or default for name, default in _SETTINGS.items()}
    values["subdomain"] = {name: bool(subdomain.get(name)) for name in ("enabled", "previews_enabled")}
    values["schedules"] = sorted(str(item["cron"]) for item in listed)
    # A route without a Worker keeps others away from its pattern.
    values |= {f"route {zone} {route['pattern']}": route.get("script") or "" for zone, route in routes}
    return {
        "values": values,
        "versions": sorted(live_versions(found["deployments"])),
        "secrets": sorted(str(item["name"]) for item in found["secrets"] or ()),
        "custom domains": sorted(str(item["hostname"]) for item in found["custom domains"] or ()),
    }


def _notes(wanted: State, there: State) -> Iterator[str]:
    if wanted["versions"] != there["versions"]:
        yield "code: another version is live than in the snapshot: release it"
    for name in sorted({*wanted["secrets"]} - {*there["secrets"]}):
        yield f"the secret {name} is gone, and no snapshot has values of secrets: set it again"
    for name in sorted({*wanted["custom domains"]} - {*there["custom domains"]}):
        yield f"the custom domain {name} is gone: release the Worker"
