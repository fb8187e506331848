"""The code of a Worker with its bindings: as an archive or an account has it, compared, uploaded, and taken back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clodo.backups.manifest import Kind
from clodo.backups.workers import live_versions
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.scripts import Code
from clodo.cloudflare.versions import SECRET_TYPES
from clodo.errors import OutcomeUnknown, WorkerNotFound

Moved = Mapping[tuple[Kind, str], str]
"""What the same restore brings back under another id: kind and id in the snapshot to the new id, empty until it is."""

MESSAGE = "restored from a snapshot"

_REFERENCES = {
    "d1": (Kind.D1, "id"),
    "kv_namespace": (Kind.KV, "namespace_id"),
    "r2_bucket": (Kind.R2, "bucket_name"),
}
"""Types of bindings that lead to what a snapshot holds, and where they name it."""

_PLACEMENT = ("mode", "region", "host", "hostname")
"""What one may set of a placement; the rest is what came of it."""

_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class WorkerCode:
    """
    What a version of a Worker is made of.

    Attributes:
        bindings: As Cloudflare has them; of secrets only the names.

        runtime: Compatibility date and flags, limits, placement: those that are set.

        migration_tag: Up to where Durable Object migrations went.

        moved: What else comes back, and where bindings to it are to lead.
    """

    worker: str
    code: Code
    bindings: tuple[Mapping[str, Any], ...]
    runtime: Mapping[str, Any]
    migration_tag: str | None
    moved: Moved

    @classmethod
    def of(
        cls, worker: str, code: Code, version: Mapping[str, Any], settings: Mapping[str, Any], moved: Moved
    ) -> WorkerCode:
        """Put together what Cloudflare says of a Worker's code, of its live version, and of its settings."""
        resources = version.get("resources") or {}
        found = resources.get("script_runtime") or {}
        placement = settings.get("placement") or {}
        runtime = {name: found.get(name) for name in ("compatibility_date", "compatibility_flags", "limits")}
        runtime["placement"] = {name: placement[name] for name in _PLACEMENT if placement.get(name)}
        return cls(
            worker,
            code,
            tuple(resources.get("bindings") or ()),
            {name: value for name, value in runtime.items() if value},
            found.get("migration_tag"),
            moved,
        )

    @property
    def object_classes(self) -> tuple[str, ...]:
        """Classes of its own Durable Objects that it binds to, sorted."""
        return tuple(sorted({str(item["class_name"]) for item in self.bindings if self._is_own_object(item)}))

    @property
    def workers_needed(self) -> frozenset[str]:
        """Other Workers that its bindings lead to."""
        named = {item.get("service") for item in self.bindings} | {item.get("script_name") for item in self.bindings}
        return frozenset(str(name) for name in named if name and name != self.worker)

    @property
    def rebound(self) -> tuple[str, ...]:
        """Names of bindings that lead to what comes back under another id."""
        return tuple(str(item["name"]) for item in self.bindings if _reference(item) in self.moved)

    def wanted(self) -> dict[str, Any]:
        """Return it as JSON, for comparing: what comes back under another id goes by the one of the snapshot."""
        return self._described({key: _again(key[1]) for key in self.moved})

    def there(self) -> dict[str, Any]:
        """Return it as JSON, for comparing with what is `wanted`."""
        return self._described({(kind, new): _again(old) for (kind, old), new in self.moved.items() if new})

    def upload(self, cloudflare: Cloudflare, *, is_new: bool) -> None:
        """
        Make it what gets all traffic; a new Worker has no secrets, one that is there keeps its own.

        Raises:
            ApiRefused: A binding leads nowhere, or the code does not start; the version before goes on.
        """
        bindings = [
            self._leading_to(item, self.moved) for item in self.bindings if item.get("type") not in SECRET_TYPES
        ]
        metadata = {**self.runtime, "bindings": bindings, "annotations": {"workers/message": MESSAGE}}
        if not is_new:
            made = cloudflare.versions.upload(self.worker, self.code, metadata | {"keep_bindings": [*SECRET_TYPES]})
            cloudflare.deployments.create(self.worker, {made.id: 100}, message=MESSAGE, force=True)
            return
        if self.object_classes:
            # Which storage a class had nobody tells; SQLite serves both ways of using it.
            steps = [{"new_sqlite_classes": list(self.object_classes)}]
            metadata["migrations"] = {"new_tag": self.migration_tag or "restored", "steps": steps}
        try:
            cloudflare.scripts.upload(self.worker, self.code, metadata)
        except OutcomeUnknown:
            found = read_code(cloudflare, self.worker, self.moved)
            if found is None or found[0].there() != self.wanted():
                raise

    def _described(self, names: Moved) -> dict[str, Any]:
        found: dict[str, Any] = {"main module": self.code.main}
        for module in self.code.modules:
            found[f"module {module.name}"] = f"{module.type} sha256:{_sha256(module.content)}"
        for binding in self.bindings:
            if binding.get("type") not in SECRET_TYPES:
                found[f"binding {binding['name']}"] = self._described_binding(binding, names)
        return found | {name.replace("_", " "): value for name, value in self.runtime.items()}

    def _described_binding(self, binding: Mapping[str, Any], names: Moved) -> dict[str, Any]:
        if self._is_own_object(binding):
            return {"type": binding["type"], "class_name": binding["class_name"]}
        found = self._leading_to(binding, names)
        del found["name"]
        for name in ("text", "json"):
            if name in found:
                # Variables are for the Worker's eyes, not for plans and pages.
                found[name] = f"sha256:{_sha256(json.dumps(found[name], sort_keys=True).encode())}"
        return found

    def _leading_to(self, binding: Mapping[str, Any], names: Moved) -> dict[str, Any]:
        """Return a binding that leads where *names* says, and has only what may be uploaded."""
        found = dict(binding)
        reference = _reference(binding)
        if reference is not None:
            # Cloudflare's answer may carry the id of a database under two names.
            found.pop("database_id", None)
            found[_REFERENCES[str(binding["type"])][1]] = names.get(reference) or reference[1]
        if binding.get("type") == "durable_object_namespace" and "class_name" in binding:
            # The namespace went with its Worker; the class is enough to find the new one.
            found.pop("namespace_id", None)
        return found

    def _is_own_object(self, binding: Mapping[str, Any]) -> bool:
        return binding.get("type") == "durable_object_namespace" and binding.get("script_name") in (None, self.worker)


def read_code(cloudflare: Cloudflare, worker: str, moved: Moved) -> tuple[WorkerCode, dict[str, float]] | None:
    """Return the code of a Worker as the account has it, and which versions get what traffic; None without one."""
    originals = cloudflare.originals
    try:
        shares = live_versions(originals.worker(worker, "/deployments"))
        settings = originals.worker(worker, "/settings")
        version = originals.worker(worker, "/versions/{}", most_of(shares)) if shares else {}
        code = cloudflare.scripts.code(worker)
    except WorkerNotFound:
        return None
    return WorkerCode.of(worker, code, version, settings or {}, moved), shares


def most_of(shares: Mapping[str, float]) -> str:
    """Return the version that gets most of the traffic, the first of several."""
    return max(shares, key=lambda version: shares[version])


def differences(there: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what makes one description of code the other, part by part, for a person."""
    for name in sorted({*(there or {}), *(wanted or {})}):
        before, after = (there or {}).get(name), (wanted or {}).get(name)
        if before != after:
            yield f"{name}: {json.dumps(before, sort_keys=True)} → {json.dumps(after, sort_keys=True)}"


def _reference(binding: Mapping[str, Any]) -> tuple[Kind, str] | None:
    if binding.get("type") not in _REFERENCES:
        return None
    kind, key = _REFERENCES[str(binding["type"])]
    return kind, str(binding.get(key) or binding.get("database_id"))


def _again(ident: str) -> str:
    return f"{ident}, as restored"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]
