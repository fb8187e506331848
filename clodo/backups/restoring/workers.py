"""Workers out of archives: code, bindings, triggers and settings; compared with what is there, written, taken back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clodo.backups.documents import read_documents
from clodo.backups.restoring.plan import Way
from clodo.backups.restoring.sources import Source
from clodo.backups.restoring.worker_code import Moved, WorkerCode, differences, most_of, read_code
from clodo.backups.workers import live_versions
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.scripts import Code, Module
from clodo.cloudflare.settings import UnversionedSettings

State = Mapping[str, Any]
"""
What there is of a Worker: ``values`` is what is restored, as JSON, of these names:

``code`` (a description; None: there is no such Worker), ``setting logpush``, …, ``subdomain``, ``schedules``, and
``route ZONE PATTERN`` and ``domain ZONE HOST`` with the name of the Worker behind them.

Of an archive also ``upload``, the `WorkerCode`, or None and ``not_whole``, why it can't be uploaded.
"""

_SETTINGS: Mapping[str, Any] = {
    "logpush": False,
    "observability": {"enabled": False},
    "tags": [],
    "tail_consumers": [],
}
"""Settings that no version holds, and what they are when nobody set them."""

_NOTHING = (*_SETTINGS.values(), {"enabled": False, "previews_enabled": False})
_LEADS = ("route ", "domain ")
"""How names begin of what belongs to a zone, and may lead to another Worker."""


@dataclass(frozen=True, slots=True)
class WorkerChanges:
    """
    What makes a Worker that of a snapshot.

    Attributes:
        values: Names, and the values there and wanted; None: no such route, domain or Worker.

        same: How many values are as in the snapshot.

        notes: What else is otherwise, and how it comes back.

        upload: The code that is wanted; None when changes are taken back.

        traffic: Versions that were live before, with their percentages.
    """

    values: tuple[tuple[str, Any, Any], ...] = ()
    same: int = 0
    notes: tuple[str, ...] = ()
    upload: WorkerCode | None = None
    traffic: Mapping[str, float] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        """Each change for a person; empty when there is nothing to do."""
        return tuple(line for name, there, wanted in self.values for line in _lines(name, there, wanted))

    @property
    def summary(self) -> str:
        """How many of each, for a person."""
        return f"{len(self.values)} to change, {self.same} as they are"

    @property
    def makes_worker(self) -> bool:
        """Is there no such Worker yet?"""
        return any(name == "code" and there is None for name, there, _ in self.values)


def state_of(worker: str, source: Source, moved: Moved) -> State:
    """
    Return what an archive has of a Worker.

    Raises:
        SnapshotDamaged: It is not what was written.
    """
    found: dict[str, Any] = {}
    modules: list[Module] = []
    leads: list[tuple[str, str]] = []
    zones: list[str] = []
    chunks = source.chunks()
    for what, value in read_documents(chunks):
        if what == "routes":
            zones.append(str(value["zone_id"]))
            leads += _routes(str(value["zone_id"]), value["routes"])
        elif what == "version":
            found[f"version {value['id']}"] = value
        elif what == "module":
            modules.append(Module(value["name"], value.get("type", ""), base64.b64decode(value["base64"])))
        else:
            found[what] = value
    # The archive's hash is compared at its very end.
    for _ in chunks:
        pass
    leads += _domains(found["custom domains"])
    shares = live_versions(found["deployments"])
    state = _state(found, leads) | {"zones": zones, "shares": shares, "upload": None}
    if "static assets" in source.facts.get("not_captured", ()):
        return state | {"not_whole": "it serves static assets, which no snapshot has"}
    if not shares or not found.get("main"):
        return state | {"not_whole": "the snapshot has not all that an upload needs"}
    version, code = found[f"version {most_of(shares)}"], Code(found["main"], tuple(modules))
    upload = WorkerCode.of(worker, code, version, found["settings"] or {}, moved)
    return state | {"upload": upload, "values": {**state["values"], "code": upload.wanted()}}


def read_state(cloudflare: Cloudflare, worker: str, wanted: State) -> State:
    """
    Return what an account has of a Worker, and all routes and domains that *wanted* might take.

    Raises:
        ZoneNotFound: The token doesn't see one of the zones any more.
    """
    originals = cloudflare.originals
    leads = [route for zone in wanted["zones"] for route in _routes(zone, originals.routes(zone))]
    domains = dict(_domains(originals.custom_domains()))
    leads += [(name, owner) for name, owner in domains.items() if owner == worker or name in wanted["values"]]
    moved = wanted["upload"].moved if wanted.get("upload") is not None else {}
    live = read_code(cloudflare, worker, moved)
    if live is None:
        return {"values": {"code": None, **dict(leads)}, "shares": {}, "secrets": []}
    code, shares = live
    found = {
        "script settings": originals.worker(worker, "/script-settings"),
        "subdomain": originals.worker(worker, "/subdomain"),
        "schedules": originals.worker(worker, "/schedules"),
        "secrets": originals.worker(worker, "/secrets"),
    }
    state = _state(found, leads)
    return state | {"shares": shares, "values": {**state["values"], "code": code.there()}}


def compare_states(worker: str, wanted: State, there: State, way: Way) -> WorkerChanges:
    """
    Say what makes the Worker that is *there* the one that is *wanted*.

    Args:
        way: CREATE and OVERWRITE take the code too; OVERWRITE takes away schedules, routes and domains of the Worker
            that are not wanted.
    """
    before, after = there["values"], dict(wanted["values"])
    if way is Way.MERGE:
        after.pop("code", None)
    if way is Way.OVERWRITE:
        after |= {
            name: None
            for name, value in before.items()
            if name.startswith(_LEADS) and value == worker and name not in after
        }
    else:
        after["schedules"] = sorted({*after["schedules"], *before.get("schedules", ())})
    changed = tuple((name, before.get(name), after[name]) for name in sorted(after) if before.get(name) != after[name])
    taken = tuple(
        f"it takes {name.split(' ', 2)[2]} from the Worker {before[name]}"
        for name, value, _ in changed
        if name.startswith(_LEADS) and value not in (None, "", worker)
    )
    takes_code = any(name == "code" for name, _, _ in changed)
    notes = (*taken, *(_code_notes(wanted, there) if takes_code else _left_notes(wanted, there, way)))
    notes += tuple(_secret_notes(worker, wanted, there))
    return WorkerChanges(changed, len(after) - len(changed), notes, wanted.get("upload"), there.get("shares", {}))


def compare_states_back(planned: WorkerChanges, now: State) -> tuple[WorkerChanges, list[str]]:
    """Say what takes *planned* back, as far as it was done and nobody else changed it since, and what stays."""
    values = now["values"]
    # What belongs to a Worker that was made goes with it.
    ours = [item for item in planned.values if not planned.makes_worker or item[0].startswith((*_LEADS, "code"))]
    back = tuple((name, after, before) for name, before, after in ours if values.get(name) == after)
    stays = [
        f"{name}: somebody changed it meanwhile"
        for name, before, after in ours
        if values.get(name) not in (before, after)
    ]
    return WorkerChanges(back, traffic=planned.traffic), stays


def write_state(cloudflare: Cloudflare, worker: str, changes: WorkerChanges) -> None:
    """
    Carry out changes of a Worker, one request after the other; each is safe to repeat.

    Raises:
        ApiRefused: One of them is impossible; those before it were done.
    """
    wanted = {name: after for name, _, after in changes.values}
    if "code" in wanted and changes.upload is not None:
        changes.upload.upload(cloudflare, is_new=changes.makes_worker)
    settings = {name.partition(" ")[2]: value for name, value in wanted.items() if name.startswith("setting ")}
    if settings:
        cloudflare.settings.patch(worker, UnversionedSettings.model_validate(settings))
    if "subdomain" in wanted:
        subdomain = wanted["subdomain"]
        cloudflare.subdomains.set(worker, enabled=subdomain["enabled"], previews_enabled=subdomain["previews_enabled"])
    if "schedules" in wanted:
        cloudflare.schedules.put(worker, wanted["schedules"])
    for name, value in wanted.items():
        if name.startswith(_LEADS):
            what, zone, address = name.split(" ", 2)
            (_put_route if what == "route" else _put_domain)(cloudflare, zone, address, value)
    if "code" in wanted and changes.upload is None:
        if wanted["code"] is None:
            cloudflare.scripts.delete(worker, force=True)
        else:
            message = "taken back: a restore failed"
            cloudflare.deployments.create(worker, changes.traffic, message=message, force=True)


def is_somebody_elses(wanted: State, there: State) -> bool:
    """Is there a Worker that this restore did not make?"""
    return there["values"]["code"] not in (None, wanted["values"].get("code"))


def workers_needed(worker: str, wanted: State) -> frozenset[str]:
    """Return the other Workers that this one can't do without: its bindings and its tails lead there."""
    tails = frozenset(str(item.get("service")) for item in wanted["values"]["setting tail_consumers"])
    upload: WorkerCode | None = wanted["upload"]
    return (tails if upload is None else tails | upload.workers_needed) - {worker}


def _put_route(cloudflare: Cloudflare, zone: str, pattern: str, script: str | None) -> None:
    route = next((item for item in cloudflare.routes.list(zone) if item.pattern == pattern), None)
    if script is None:
        if route is not None:
            cloudflare.routes.delete(zone, route.id)
    elif route is None:
        cloudflare.routes.create(zone, pattern, script or None)
    else:
        cloudflare.routes.update(zone, route.id, pattern, script or None)


def _put_domain(cloudflare: Cloudflare, zone: str, hostname: str, worker: str | None) -> None:
    if worker is not None:
        cloudflare.domains.attach(hostname, worker, zone_id=zone)
        return
    for domain in cloudflare.domains.list(hostname=hostname):
        cloudflare.domains.detach(domain.id)


def _state(found: Mapping[str, Any], leads: Iterable[tuple[str, str]]) -> dict[str, Any]:
    settings, subdomain = found["script settings"] or {}, found["subdomain"] or {}
    schedules = found["schedules"]
    listed = schedules.get("schedules", ()) if isinstance(schedules, dict) else schedules or ()
    values = {f"setting {name}": settings.get(name) or default for name, default in _SETTINGS.items()}
    values["subdomain"] = {name: bool(subdomain.get(name)) for name in ("enabled", "previews_enabled")}
    values["schedules"] = sorted(str(item["cron"]) for item in listed)
    return {
        "values": values | dict(leads),
        "secrets": sorted(str(item["name"]) for item in found["secrets"] or ()),
    }


def _routes(zone: str, routes: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    # A route without a Worker keeps others away from its pattern.
    return [(f"route {zone} {route['pattern']}", route.get("script") or "") for route in routes]


def _domains(domains: Iterable[Mapping[str, Any]] | None) -> list[tuple[str, str]]:
    return [(f"domain {item['zone_id']} {item['hostname']}", str(item["service"])) for item in domains or ()]


def _lines(name: str, there: Any, wanted: Any) -> Iterator[str]:
    if name == "code" and wanted is not None:
        yield from differences(there, wanted)
    elif there is not None or wanted not in _NOTHING:
        yield f"{name}: {json.dumps(there, sort_keys=True)} → {json.dumps(wanted, sort_keys=True)}"


def _code_notes(wanted: State, there: State) -> Iterator[str]:
    upload: WorkerCode = wanted["upload"]
    if upload.rebound:
        names = ", ".join(upload.rebound)
        yield f"its bindings {names} lead to what this restore brings back; the config follows by --rebind"
    if upload.object_classes:
        names = ", ".join(upload.object_classes)
        is_new = there["values"]["code"] is None
        what = "come back empty, since no snapshot has what they store" if is_new else "keep what they store now"
        yield f"its Durable Objects ({names}) {what}"
    if len(wanted["shares"]) > 1:
        rest = 100 - max(wanted["shares"].values())
        yield f"{rest:g} % of its traffic had another version, which no snapshot has: this one gets all of it"


def _left_notes(wanted: State, there: State, way: Way) -> Iterator[str]:
    if wanted.get("upload") is None:
        if wanted["shares"] != there["shares"]:
            yield f"code: another version is live than in the snapshot, and {wanted['not_whole']}: release it"
    elif way is Way.MERGE and wanted["values"]["code"] != there["values"]["code"]:
        yield "code: another one is live than in the snapshot: release it, or bring it back by --in-place"


def _secret_notes(worker: str, wanted: State, there: State) -> Iterator[str]:
    for name in sorted({*wanted["secrets"]} - {*there["secrets"]}):
        yield (
            f"the secret {name} is gone, and no snapshot has values of secrets: put it again by"
            f" `wrangler secret put {name} --name {worker}`, or by `clodo secrets push` if its value is kept"
        )
