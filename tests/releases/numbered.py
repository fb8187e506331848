"""A service whose states are numbered: code, migration, secret and triggers all tell which one is live."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from clodo.cloudflare.breaker import Breakers
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock
from clodo.ledger import Ledger, default_path
from clodo.releases.outcome import Outcome
from clodo.releases.reconciling import reconcile_releases
from clodo.releases.releasing import Surveyed, Wish, release_target, survey
from clodo.releases.site import AccountKeys, Site
from clodo.workspace.workspace import Workspace
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount

from . import quick_upload

CONFIG = """\
name = "{worker}"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = {workers_dev}
preview_urls = {previews}
routes = [
  {{ pattern = "{worker}-{number}.{zone}/*", zone_id = "{zone_id}" }},
  {{ pattern = "www-{worker}-{number}.{zone}", custom_domain = true }},
]

[triggers]
crons = ["{minute} * * * *"]

[observability]
enabled = {observed}

[version_metadata]
binding = "VERSION"

[[d1_databases]]
binding = "DB"
database_name = "{worker}"
database_id = "{database_id}"
"""

CODE = """\
async function digest(text) {{
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}}

export default {{
  async fetch(request, env) {{
    const url = new URL(request.url);
    const about = {{ number: {number}, version: env.VERSION.id, secret: await digest(env.KEY) }};
    const status = url.hostname.includes("-{worker}.") ? 200 : {live_status};
    if (url.pathname === "/health") return Response.json({{ ...about, ok: true }}, {{ status }});
    const rows = await env.DB.prepare("SELECT count(*) AS count FROM log").first();
    return Response.json({{ ...about, rows: rows.count }});
  }},
  async scheduled() {{}},
}};
"""

PORTFOLIO = """\
[portfolio]
name = "numbered"

[services.{worker}]
secrets = ["KEY"]
on_failure = {{ database = "{on_failure}" }}

[[services.{worker}.smoke_tests]]
path = "/health"
expect_json = {{ ok = true }}
version_json = "version"

[[services.{worker}.smoke_tests]]
path = "/"
expect_json = {{ number = {number} }}
version_json = "version"
"""


def quick(toolchain: Toolchain, folder: Path) -> Toolchain:
    """Return *toolchain* with something faster in place of wrangler; see there."""
    node = folder / "quick-upload"
    if not node.exists():
        node.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "{quick_upload.__file__}" "$@"\n')
        node.chmod(0o755)
    # What one of them bundles must not be taken for what the other does.
    return replace(toolchain, node=node, fingerprint="quick-upload")


class HastyClock:
    """Time that skips what is waited for, so that no test waits for a Retry-After or a pause between attempts."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds
        # Others must come to their turn.
        time.sleep(0.001)

    def as_clock(self) -> Clock:
        return Clock(monotonic=lambda: time.monotonic() + self.skipped, sleep=self.sleep, jitter=lambda: 0.0)


@dataclass(frozen=True)
class State:
    """All that can be seen of a Worker from outside, for comparing before and after."""

    exists: bool
    shares: Mapping[str, float] = field(default_factory=dict)
    triggers: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


@dataclass
class Numbered:
    """One Worker on an account of the embedded cloud, its sources, and the releases of it."""

    account: CloudAccount
    toolchain: Toolchain
    root: Path
    worker: str
    database_id: str
    number: int = 0
    previews: bool = True
    workers_dev: bool = True
    has_down_files: bool = False
    on_failure: str = "keep"
    answers_within: timedelta = timedelta(seconds=20)
    said: list[str] = field(default_factory=list)
    ledger_url: str | None = None

    @classmethod
    def create(cls, account: CloudAccount, toolchain: Toolchain, root: Path, worker: str = "svc") -> Numbered:
        """Make the database and an empty workspace."""
        root.mkdir(parents=True, exist_ok=True)
        database = account.result("POST", "/d1/database", json={"name": f"{worker}-{account.account_id[:8]}"})
        return cls(account, toolchain, root, worker, database["uuid"])

    @property
    def target(self) -> str:
        return f"{self.worker}@production"

    def secret(self, number: int | None = None) -> str:
        state = f"secret of state {self.number if number is None else number} of {self.worker}"
        return hashlib.sha256(state.encode()).hexdigest()

    def digest(self, number: int) -> str:
        return hashlib.sha256(self.secret(number).encode()).hexdigest()

    def write(self, number: int, *, live_status: int = 200) -> None:
        """
        Write the sources of state *number*; its migration stays beside those of all states before.

        Args:
            live_status: What its health says where users reach it; at its preview URL it is well.
        """
        self.number = number
        folder = self.root / self.worker
        migrations = folder / "migrations"
        migrations.mkdir(parents=True, exist_ok=True)
        (folder / "wrangler.toml").write_text(
            CONFIG.format(
                worker=self.worker,
                number=number,
                zone=self.account.zone,
                zone_id=self.account.zone_id,
                minute=number % 60,
                observed=str(number % 2 == 0).lower(),
                database_id=self.database_id,
                previews=str(self.previews).lower(),
                workers_dev=str(self.workers_dev).lower(),
            )
        )
        (folder / "index.js").write_text(CODE.format(number=number, worker=self.worker, live_status=live_status))
        first = "CREATE TABLE IF NOT EXISTS log (text TEXT);\n"
        (migrations / f"{number:04}_state.sql").write_text(f"{first}CREATE TABLE state_{number} (id INTEGER);\n")
        if self.has_down_files:
            (migrations / f"{number:04}_state.down.sql").write_text(f"DROP TABLE state_{number};\n")
        (self.root / "portfolio.toml").write_text(
            PORTFOLIO.format(worker=self.worker, number=number, on_failure=self.on_failure)
        )

    @contextmanager
    def site(self, **differences: Any) -> Iterator[Site]:
        """Open the workspace as it is now, with a clock that doesn't wait and breakers of its own."""
        keys = AccountKeys(
            self.account.account_id, self.account.token, self.account.cloud.url, self.account.cloud.edge_url
        )
        clock = HastyClock().as_clock()
        given: dict[str, Any] = {
            "accounts": lambda block: keys,
            "secrets": lambda target: {"KEY": self.secret()},
            "toolchain": lambda: self.toolchain,
            "actor": "a test",
            "tool_environment": {},
            "log": self.said.append,
            "tool_log": self.said.append,
            "clock": clock,
            "breakers": Breakers(clock=clock),
            "answers_within": self.answers_within,
        }
        with Site(Workspace.load(self.root), self.ledger(), **{**given, **differences}) as site:
            yield site

    def survey(self, **differences: Any) -> Surveyed:
        """Compare what is written with what is live."""
        with self.site(**differences) as site:
            return survey(site, [site.workspace.find(self.target)])[0]

    def release(self, wish: Wish | None = None, **differences: Any) -> Outcome:
        """Release what is written."""
        with self.site(**differences) as site:
            surveyed = survey(site, [site.workspace.find(self.target)])[0]
            return release_target(site, surveyed, wish or Wish())

    def reconcile(self) -> tuple[Outcome, ...]:
        """Finish or undo what was left half-way."""
        with self.site() as site:
            return reconcile_releases(site)

    # --- what is there ------------------------------------------------------------------------------------------------

    @contextmanager
    def cloudflare(self) -> Iterator[Cloudflare]:
        with Cloudflare(
            self.account.account_id, self.account.token, self.account.cloud.url, breakers=Breakers()
        ) as client:
            yield client

    def observe(self) -> State:
        """Look at everything from outside."""
        with self.cloudflare() as cloudflare:
            if self.worker not in {script.id for script in cloudflare.scripts.list()}:
                return State(exists=False, triggers={"routes": self._routes(cloudflare)})
            current = cloudflare.deployments.current(self.worker)
            shares = dict(current.shares) if current else {}
            subdomain = cloudflare.subdomains.get(self.worker)
            settings = cloudflare.settings.get(self.worker)
            live = max(shares, key=lambda version: shares[version]) if shares else None
            triggers = {
                "routes": self._routes(cloudflare),
                "domains": sorted(domain.hostname for domain in cloudflare.domains.list(worker=self.worker)),
                "schedules": sorted(schedule.cron for schedule in cloudflare.schedules.get(self.worker)),
                "workers_dev": subdomain.enabled,
                "previews": subdomain.previews_enabled,
                "observability": (settings.observability or {}).get("enabled"),
            }
            secrets = cloudflare.versions.get(self.worker, live).secret_names if live else ()
            return State(True, shares, triggers, self.answer() if triggers["workers_dev"] else {}, secrets)

    def _routes(self, cloudflare: Cloudflare) -> list[str]:
        return sorted(
            route.pattern for route in cloudflare.routes.list(self.account.zone_id) if route.script == self.worker
        )

    def answer(self, host: str | None = None) -> dict[str, Any]:
        """Ask what is live; *rows* is left out since users write."""
        found = self.account.visit(host or self.account.hostname(self.worker)).json()
        return {name: value for name, value in found.items() if name != "rows"}

    def tags(self) -> list[str]:
        """Return the release ids in the tags of all versions."""
        with self.cloudflare() as cloudflare:
            return [(version.tag or "").partition(".")[0] for version in cloudflare.versions.list(self.worker)]

    def migrations(self) -> list[str]:
        """Return the names in the table of applied migrations, and fail if Clodo's own table says otherwise."""
        with self.cloudflare() as cloudflare:
            tables = cloudflare.d1.query(self.database_id, "SELECT name FROM sqlite_master WHERE type = 'table'")
            names = {row["name"] for row in tables[0].results}
            if "d1_migrations" not in names:
                return []
            theirs, ours = cloudflare.d1.query(
                self.database_id,
                "SELECT name FROM d1_migrations ORDER BY id; SELECT name FROM clodo_migrations ORDER BY name",
            )
            applied = [row["name"] for row in theirs.results]
            assert sorted(applied) == [row["name"] for row in ours.results]
            # The tables that the files make are there exactly if their names are.
            states = {f"state_{int(name[:4])}" for name in applied}
            assert {name for name in names if name.startswith("state_")} == states
            return applied

    def ledger(self) -> Ledger:
        """Open the ledger; close it."""
        return Ledger.open(self.ledger_url or default_path(self.root))
