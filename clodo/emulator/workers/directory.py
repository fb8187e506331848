"""What is deployed where, kept in memory for the data plane, which asks at each request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clodo.emulator.accounts.store import Accounts
from clodo.emulator.blobs import Blobs
from clodo.emulator.runtime.ports import Assets, DurableObjectClass, Module, Resolved, Traffic, VersionSpec
from clodo.emulator.workers.objects import ObjectClass
from clodo.emulator.workers.patterns import Pattern
from clodo.emulator.workers.store import Content, Script, Scripts
from clodo.emulator.zones.store import Zones

#: Hostnames below this belong to accounts' Workers.
WORKERS_DEV = ".workers.dev"

#: A preview hostname opens with this many digits of the version's id.
PREVIEW_DIGITS = 8


@dataclass(frozen=True, slots=True)
class _Route:
    pattern: Pattern
    account_id: str
    script: str | None


class WorkerDirectory:
    """
    The data plane's `Directory` over the control plane's stores.

    It answers from memory; whoever changes something calls `refresh` or `refresh_hosts` afterwards.

    Args:
        clock: Seconds that only go forward; what deployments take to arrive is measured by it.
    """

    def __init__(
        self,
        scripts: Scripts,
        accounts: Accounts,
        zones: Zones,
        blobs: Blobs,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: How long a deployment takes until visitors get it; none here unless asked for.
        self.propagation_seconds = 0.0
        self._clock = clock
        self._before: dict[tuple[str, str], tuple[float, Traffic]] = {}
        self._scripts = scripts
        self._accounts = accounts
        self._zones = zones
        self._blobs = blobs
        self._by_name: dict[tuple[str, str], Script] = {}
        self._traffic: dict[tuple[str, str], Traffic] = {}
        self._specs: dict[str, VersionSpec] = {}
        self._subdomains: dict[str, str] = {}
        self._routes: dict[str, list[_Route]] = {}
        self._domains: dict[str, tuple[str, str, bool]] = {}
        for script in scripts.all():
            self.refresh(script.account_id, script.name)
        self.refresh_hosts()

    # --- keeping up

    def refresh(self, account_id: str, name: str) -> None:
        """Read one Worker again: after an upload, a deployment, a change of its settings, or its deletion."""
        key = (account_id, name)
        script = self._scripts.get(account_id, name)
        known = self._by_name.pop(key, None)
        before = self.live_traffic(*key)
        self._traffic.pop(key, None)
        if known is not None:
            self._specs = {
                version_id: spec for version_id, spec in self._specs.items() if (spec.account_id, spec.script) != key
            }
        if script is None:
            self._before.pop(key, None)
            return
        self._by_name[key] = script
        current = self._scripts.current_deployment(script)
        if current is None:
            return
        self._traffic[key] = current.traffic
        if self.propagation_seconds and before != current.traffic:
            self._before[key] = self._clock() + self.propagation_seconds, before or ()

    def forget_specs(self, account_id: str) -> None:
        """Compose anew what the account's versions need: a class that one of them is bound to has moved."""
        self._specs = {key: spec for key, spec in self._specs.items() if spec.account_id != account_id}

    def propagate_after(self, seconds: float) -> None:
        """Let deployments take so long from now on until visitors get them; with 0, those under way arrive at once."""
        self.propagation_seconds = seconds
        if not seconds:
            self._before.clear()

    def refresh_hosts(self) -> None:
        """Read subdomains, routes and custom domains again."""
        self._subdomains = self._accounts.subdomains()
        routes: dict[str, list[_Route]] = {}
        for row in self._scripts.all_routes():
            route = _Route(Pattern.parse(row["pattern"]), row["account_id"], row["script"])
            routes.setdefault(row["zone_id"], []).append(route)
        for found in routes.values():
            found.sort(key=lambda route: route.pattern.precision, reverse=True)
        self._routes = routes
        self._domains = {
            row["hostname"]: (row["account_id"], row["service"], bool(row["enabled"]))
            for row in self._scripts.all_domains()
        }

    def knows(self, host: str) -> bool:
        """Say whether *host* is one of this cloud's: below an account's subdomain, or in a zone."""
        if host.endswith(WORKERS_DEV):
            return host.removesuffix(WORKERS_DEV).rpartition(".")[2] in self._subdomains
        return self._zones.holding(host) is not None

    # --- the port

    def resolve(self, host: str, path: str) -> Resolved | None:
        """Say who answers *path* at *host* (lower case, without port); None if *host* isn't this cloud's at all."""
        if host.endswith(WORKERS_DEV):
            return self._resolve_workers_dev(host)
        zone = self._zones.holding(host)
        if zone is None:
            return None
        for route in self._routes.get(zone["id"], ()):
            if route.pattern.matches(host, path):
                if route.script is None:
                    return Resolved(route.account_id, "", "none", (), "no_route")
                return self._live(route.account_id, route.script)
        domain = self._domains.get(host)
        if domain is not None:
            account_id, service, is_enabled = domain
            return self._live(account_id, service) if is_enabled else _nobody(account_id, service, "disabled")
        return Resolved(zone["account_id"], "", "none", (), "no_route")

    def spec(self, account_id: str, script: str, version_id: str) -> VersionSpec | None:
        """Return what is needed to run this version; None if there is no such version."""
        known = self._specs.get(version_id)
        if known is not None and (known.account_id, known.script) == (account_id, script):
            return known
        owner = self._by_name.get((account_id, script))
        version = self._scripts.version(owner, version_id) if owner else None
        if owner is None or version is None:
            return None
        spec = self.spec_of(
            owner,
            version_id,
            version.content,
            self._scripts.object_classes(owner),
            tag=version.annotations.get("workers/tag"),
            message=version.annotations.get("workers/message"),
            created_on=version.created_on,
        )
        self._specs[version_id] = spec
        return spec

    def live_traffic(self, account_id: str, script: str) -> Traffic | None:
        """Return the current deployment of *script*, for service bindings; None if it is not deployed or unknown."""
        key = (account_id, script)
        due, before = self._before.get(key, (0.0, ()))
        if due:
            if self._clock() < due:
                return before or None
            del self._before[key]
        return self._traffic.get(key)

    def deployed(self) -> Mapping[tuple[str, str], Traffic]:
        """Return the current deployment of each Worker, by account and name."""
        return self._traffic

    def tail_consumers(self, account_id: str, script: str) -> Sequence[str]:
        """Return the names of the tail Workers that are given the events of *script*."""
        known = self._by_name.get((account_id, script))
        named = known.settings.get("tail_consumers") if known is not None else None
        return [str(consumer["service"]) for consumer in named or () if consumer.get("service")]

    # --- for the control plane

    def spec_of(
        self,
        script: Script,
        version_id: str,
        content: Content,
        classes: Sequence[ObjectClass],
        *,
        tag: str | None = None,
        message: str | None = None,
        created_on: str = "",
    ) -> VersionSpec:
        """Return what the data plane needs to run *content*, also before it is stored as a version."""
        assets = content.assets
        binding = next((found["name"] for found in content.bindings if found["type"] == "assets"), None)
        return VersionSpec(
            account_id=script.account_id,
            script=script.name,
            version_id=version_id,
            main_module=content.main_module,
            body_part=content.body_part,
            modules=tuple(
                Module(module["name"], module["type"], self._blobs.path(module["blob"])) for module in content.modules
            ),
            compatibility_date=content.compatibility_date,
            compatibility_flags=tuple(content.compatibility_flags),
            bindings=tuple(self._led(script, binding) for binding in content.bindings),
            assets=None
            if assets is None
            else Assets(
                {path: self._blobs.path(file["blob"]) for path, file in assets["files"].items()},
                assets["config"],
                binding,
            ),
            durable_objects=tuple(DurableObjectClass(known.name, known.id, known.uses_sqlite) for known in classes),
            tag=tag,
            message=message,
            created_on=created_on,
        )

    def _led(self, script: Script, binding: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a binding as it leads now: to the Worker that a Durable Object class was given to."""
        if binding["type"] != "durable_object_namespace":
            return binding
        owner = binding.get("script_name") or script.name
        given = self._scripts.given_to(script.account_id, owner, binding["class_name"])
        return binding if given is None else {**binding, "script_name": given[0], "class_name": given[1]}

    def preview_suffix(self, script: Script) -> str | None:
        """Return what follows a version's digits in its preview hostname; None without a workers.dev subdomain."""
        subdomain = self._accounts.subdomain(script.account_id)
        return None if subdomain is None else f"-{script.name}.{subdomain}{WORKERS_DEV}"

    def _resolve_workers_dev(self, host: str) -> Resolved | None:
        label, _, subdomain = host.removesuffix(WORKERS_DEV).rpartition(".")
        account_id = self._subdomains.get(subdomain)
        if account_id is None:
            return None
        script = self._by_name.get((account_id, label))
        if script is not None:
            if not script.subdomain_enabled:
                return _nobody(account_id, label, "disabled")
            return self._live(account_id, label)
        return self._preview(account_id, label) or _nobody(account_id, label, "no_worker")

    def _preview(self, account_id: str, label: str) -> Resolved | None:
        for position, letter in enumerate(label):
            script = self._by_name.get((account_id, label[position + 1 :])) if letter == "-" else None
            if script is None:
                continue
            prefix = label[:position]
            version_id = self._scripts.version_with_alias(script, prefix)
            if version_id is None and len(prefix) == PREVIEW_DIGITS:
                version_id = next(iter(self._scripts.version_ids_starting(script, prefix)), None)
            version = version_id and self._scripts.version(script, version_id)
            if not version:
                continue
            if not script.previews_enabled or not version.has_preview:
                return _nobody(account_id, script.name, "disabled")
            return Resolved(account_id, script.name, "preview", ((version.id, 100.0),))
        return None

    def _live(self, account_id: str, script: str) -> Resolved:
        if (account_id, script) not in self._by_name:
            return _nobody(account_id, script, "no_worker")
        return Resolved(account_id, script, "live", self.live_traffic(account_id, script) or ())


def _nobody(account_id: str, script: str, reason: Literal["no_worker", "disabled"]) -> Resolved:
    return Resolved(account_id, script, "none", (), reason)
