"""Capturing a Worker: code, versions that are live, settings, triggers; of secrets only their names."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clodo.backups.archive import seal
from clodo.backups.documents import to_line
from clodo.backups.manifest import Archive, Exactness, Kind
from clodo.backups.resources import Captured, Recipients
from clodo.cloudflare.client import Cloudflare

#: Paths below the script, and what their answers are.
_PARTS = (
    ("deployments", "/deployments"),
    ("settings", "/settings"),
    ("script settings", "/script-settings"),
    ("subdomain", "/subdomain"),
    ("schedules", "/schedules"),
    ("secrets", "/secrets"),
)


@dataclass(slots=True)
class WorkerResource:
    """
    A Worker.

    Attributes:
        cloudflare: A view in the backup lane.

        zones: Ids of the zones whose routes may lead to it.

        has_assets: It serves static assets; the API takes them and lists or gives back none.
    """

    cloudflare: Cloudflare
    id: str
    zones: Sequence[str] = ()
    has_assets: bool = False
    targets: tuple[str, ...] = ()
    kind: Kind = Kind.WORKER
    _requests: int = 0
    _modules: int = 0
    _versions: int = 0
    _secrets: int = 0

    @property
    def name(self) -> str:
        """Its name is its id."""
        return self.id

    @property
    def account_id(self) -> str:
        """Where it is."""
        return self.cloudflare.account_id

    def is_unchanged_since(self, archive: Archive) -> bool:
        """Nobody can tell: settings, triggers and secrets have no version."""
        return False

    def capture(self, target: Path, recipients: Recipients, kept: Collection[str] = ()) -> Captured:
        """Read all that the API tells of it. Assets, and values of secrets, are not among it."""
        self._requests = self._modules = self._versions = self._secrets = 0
        sealed = seal(self._lines(), target, recipients)
        absent = (("static assets", self.has_assets), ("values of secrets", self._secrets > 0))
        facts = {
            "modules": self._modules,
            "versions": self._versions,
            "not_captured": [what for what, is_absent in absent if is_absent],
        }
        return Captured(sealed, Exactness.PER_KEY, self._requests, facts)

    def _lines(self) -> Iterator[bytes]:
        found: dict[str, Any] = {}
        for what, path in _PARTS:
            found[what] = self._read(path)
            yield to_line(what, found[what])
        self._secrets = len(found["secrets"])
        for version in live_versions(found["deployments"]):
            self._versions += 1
            yield to_line("version", self._read("/versions/{}", version))
        self._requests += 1
        code = self.cloudflare.scripts.code(self.id)
        yield to_line("main", code.main)
        for module in code.modules:
            self._modules += 1
            content = base64.b64encode(module.content).decode()
            yield to_line("module", {"name": module.name, "type": module.type, "base64": content})
        self._requests += 1
        yield to_line("custom domains", self.cloudflare.originals.custom_domains(self.id))
        for zone in self.zones:
            self._requests += 1
            routes = [item for item in self.cloudflare.originals.routes(zone) if item.get("script") == self.id]
            yield to_line("routes", {"zone_id": zone, "routes": routes})

    def _read(self, path: str, *parts: str) -> Any:
        self._requests += 1
        return self.cloudflare.originals.worker(self.id, path, *parts)


def live_versions(deployments: Any) -> dict[str, float]:
    """Return the versions of the newest of a Worker's deployments, which is the first, with their percentages."""
    listed = deployments.get("deployments", []) if isinstance(deployments, dict) else deployments or []
    shares = listed[0].get("versions", []) if listed else []
    return {str(share["version_id"]): float(share["percentage"]) for share in shares}
