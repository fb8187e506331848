"""A small stage for releases: a fresh account of the embedded cloud, a workspace with one service, and its ledger."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from clodo.cloudflare.client import Cloudflare
from clodo.ledger import Ledger, default_path
from clodo.ledger.journal import Entry
from clodo.ledger.releases import Release as ReleaseRow
from clodo.releases.outcome import Outcome
from clodo.releases.reconciling import DIRECT_FOLDER, reconcile_releases
from clodo.releases.recovery import lock_name
from clodo.releases.releasing import Surveyed, Wish, release_target, survey
from clodo.releases.rollback import roll_back, roll_back_directly
from clodo.releases.site import AccountKeys, Site
from clodo.releases.story import Take, directly
from clodo.workspace.workspace import Workspace
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount

WORKER = "shop"
TARGET = "shop@production"
DATABASE = "shop-orders"
ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL);"
PROPAGATION = timedelta(seconds=3)

CODE = """\
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export default {
  async fetch(request, env) {
    const { pathname, hostname } = new URL(request.url);
    if (pathname === "/orders" && request.method === "POST") {
      const { meta } = await env.DB.prepare(INSERT).bind(await request.text()).run();
      return Response.json({ id: meta.last_row_id, version: env.VERSION.id }, { status: 201 });
    }
    const signs = hex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(env.SIGNING_KEY ?? "")));
    const { orders } = await env.DB.prepare(COUNT).first();
    const status = hostname.includes("-shop.") ? STATUS : LIVE;
    return Response.json({ says: SAYS, version: env.VERSION.id, signs, orders }, { status });
  },
  async scheduled() {},
  async queue() {},
};
"""

PORTFOLIO = """\
[portfolio]
name = "stage"

[services.shop]
secrets = ["SIGNING_KEY"]

[services.shop.on_failure]
database = "{on_failure}"

[[services.shop.smoke_tests]]
path = "/health"
version_json = "version"

[[services.shop.smoke_tests]]
path = "/"
expect_json = {{ says = "{expects}" }}
version_json = "version"
"""


@dataclass(frozen=True)
class Shop:
    """
    What the workspace says about its one service.

    Attributes:
        says: What the Worker answers; a smoke test of ``/`` expects it, unless *expects* says otherwise. Another, of
            ``/health``, passes with every version that answers 200.

        status: What it answers with; anything but 200 fails the smoke test.

        live_status: The same where users reach it, unlike at preview URLs; *status* by default.

        migrations: File name to SQL, all of them.

        crons: None leaves schedules out of the config.

        routes: Patterns; None leaves them out.

        workers_dev, previews: None leaves them out.

        insert, count: How the Worker writes and counts orders.

        more: Further lines of TOML for the wrangler config's top.
    """

    says: str = "one"
    expects: str | None = None
    status: int = 200
    live_status: int | None = None
    signing_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    migrations: Mapping[str, str] = field(default_factory=lambda: {"0001_orders.sql": ORDERS})
    crons: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    workers_dev: bool | None = True
    previews: bool | None = True
    on_failure: str = "keep"
    insert: str = "INSERT INTO orders (item) VALUES (?)"
    count: str = "SELECT count(*) AS orders FROM orders"
    more: str = ""

    @property
    def signs(self) -> str:
        """What the Worker says of its secret: a digest."""
        return hashlib.sha256(self.signing_key.encode()).hexdigest()

    def code(self) -> str:
        """Return the Worker's source."""
        live = self.status if self.live_status is None else self.live_status
        values = {
            "INSERT": self.insert,
            "COUNT": self.count,
            "SAYS": self.says,
            "STATUS": self.status,
            "LIVE": live,
        }
        code = CODE
        for name, value in values.items():
            code = code.replace(name, json.dumps(value))
        return code

    def config(self, database_id: str) -> str:
        """Return the wrangler config."""
        lines = [f'name = "{WORKER}"', 'main = "src/index.js"', 'compatibility_date = "2026-01-01"', self.more]
        if self.workers_dev is not None:
            lines.append(f"workers_dev = {json.dumps(self.workers_dev)}")
        if self.previews is not None:
            lines.append(f"preview_urls = {json.dumps(self.previews)}")
        if self.routes is not None:
            lines.append(f"routes = {json.dumps(list(self.routes))}")
        if self.crons is not None:
            lines += ["[triggers]", f"crons = {json.dumps(list(self.crons))}"]
        lines += ["[version_metadata]", 'binding = "VERSION"']
        lines += ["[[d1_databases]]", 'binding = "DB"', f'database_name = "{DATABASE}"']
        lines += [f'database_id = "{database_id}"']
        return "\n".join(lines) + "\n"


@dataclass
class Stage:
    """
    Where a test releases the shop; `write` says what it should be, `release` takes it there.

    Attributes:
        shop: What was written last.

        lines: What releases said to a person, all together.
    """

    account: CloudAccount
    folder: Path
    toolchain: Toolchain
    cloudflare: Cloudflare
    database_id: str
    shop: Shop = field(default_factory=Shop)
    lines: list[str] = field(default_factory=list)
    propagation: timedelta = PROPAGATION

    # --- what is wanted

    def write(self, **changes: Any) -> Shop:
        """Write the workspace: what it said before, with *changes* to the `Shop`."""
        self.shop = replace(self.shop, **changes)
        write_shop(self.folder, self.shop, self.database_id)
        return self.shop

    @property
    def workspace(self) -> Workspace:
        """The workspace as it is written now."""
        return Workspace.load(self.folder)

    # --- doing

    @property
    def keys(self) -> AccountKeys:
        """What the account's block would give."""
        return keys_of(self.account)

    @contextmanager
    def site(
        self,
        *,
        keys: AccountKeys | None = None,
        toolchain: Callable[[], Toolchain] | None = None,
        propagation: timedelta | None = None,
    ) -> Iterator[Site]:
        """Open the site; its ledger is closed with it."""
        with open_site(
            self.folder,
            keys or self.keys,
            self.shop.signing_key,
            toolchain or (lambda: self.toolchain),
            log=self.lines.append,
            propagation=propagation or self.propagation,
        ) as site:
            yield site

    def survey(self) -> Surveyed:
        """Compare the shop with what is live."""
        with self.site() as site:
            return survey_shop(site)

    def release(self, *, take: Take = directly, **wish: Any) -> Outcome:
        """Release the shop, as `clodo deploy shop` does."""
        with self.site() as site:
            return release_shop(site, take=take, **wish)

    def roll_back(self, *, to: str | None = None) -> Outcome:
        """Roll the shop back, as `clodo rollback shop` does."""
        with self.site() as site:
            return roll_back(site, site.workspace.find(TARGET), Wish(), to=to)

    def roll_back_directly(self, *, to: str | None = None) -> Outcome:
        """Roll the shop back, as `clodo rollback shop --direct` does."""
        return roll_back_shop_directly(self.workspace, self.keys, to=to)

    def reconcile(self) -> tuple[Outcome, ...]:
        """Finish or undo what was left half-way, as `clodo reconcile` does."""
        with self.site() as site:
            return reconcile_releases(site)

    # --- looking

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Open the workspace's ledger."""
        with Ledger.open(default_path(self.folder)) as ledger:
            yield ledger

    def releases(self) -> list[ReleaseRow]:
        """Return all releases, the newest first."""
        with self.ledger() as ledger:
            return list(ledger.releases.list(TARGET, limit=100))

    def steps(self, release_id: str) -> list[tuple[str, str]]:
        """Return the journal of a release as pairs of step and phase."""
        return [(entry.step, entry.phase.value) for entry in self.entries(release_id)]

    def entries(self, release_id: str) -> list[Entry]:
        """Return the journal of a release."""
        with self.ledger() as ledger:
            return list(ledger.journal.entries(release_id))

    def visit(self, path: str = "/", *, method: str = "GET", content: str | None = None) -> httpx.Response:
        """Ask the live shop as a visitor does."""
        return self.account.visit(self.account.hostname(WORKER), path, method=method, content=content)

    def order(self, item: str) -> httpx.Response:
        """Order something at the live shop."""
        return self.visit("/orders", method="POST", content=item)

    def says(self) -> str:
        """Return what the live shop says."""
        answer: dict[str, str] = self.visit().json()
        return answer["says"]

    @property
    def live_version(self) -> str | None:
        """The version that has all the traffic, None without a Worker."""
        found = self.api("GET", f"/workers/scripts/{WORKER}/deployments", missing_ok=True)
        if not found or not found["deployments"]:
            return None
        versions = found["deployments"][0]["versions"]
        assert len(versions) == 1, f"half a deployment: {versions}"
        assert versions[0]["percentage"] == 100
        version_id: str = versions[0]["version_id"]
        return version_id

    @property
    def versions(self) -> list[dict[str, Any]]:
        """All versions of the shop, the newest first; empty without a Worker."""
        found = self.api("GET", f"/workers/scripts/{WORKER}/versions", missing_ok=True)
        return list(found["items"]) if found else []

    @property
    def tags(self) -> list[str]:
        """The tags of all versions, the newest first."""
        return [version["annotations"].get("workers/tag", "") for version in self.versions]

    @property
    def crons(self) -> list[str]:
        """The shop's schedules."""
        found = self.api("GET", f"/workers/scripts/{WORKER}/schedules", missing_ok=True)
        return sorted(item["cron"] for item in found["schedules"]) if found else []

    @property
    def routes(self) -> list[str]:
        """The patterns of the zone's routes that lead to the shop."""
        answer = self.account.api.get(f"/zones/{self.account.zone_id}/workers/routes").json()["result"]
        return sorted(route["pattern"] for route in answer if route.get("script") == WORKER)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask the shop's database."""
        return [dict(row) for row in self.cloudflare.d1.query(self.database_id, sql)[-1].results]

    @property
    def tables(self) -> list[str]:
        """The database's own tables, by name."""
        rows = self.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [row["name"] for row in rows if not row["name"].startswith(("sqlite_", "_cf", "d1_", "clodo_"))]

    @property
    def applied(self) -> list[str]:
        """The names that ``d1_migrations`` has, in order; one that is there twice shows twice."""
        rows = self.query("SELECT name FROM sqlite_master WHERE name = 'd1_migrations'")
        return [row["name"] for row in self.query("SELECT name FROM d1_migrations ORDER BY id")] if rows else []

    def api(self, method: str, path: str, *, missing_ok: bool = False, **request: Any) -> Any:
        """Call the API below the account; None for a Worker that isn't there when *missing_ok*."""
        answer = self.account.api.request(method, self.account.root + path, **request)
        if missing_ok and answer.status_code == 404:
            return None
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()["result"]

    def admin(self, method: str, path: str, **request: Any) -> Any:
        """Call the embedded cloud's own endpoints, below ``/__clodo``."""
        cloud = self.account.cloud
        answer = httpx.request(
            method,
            f"{cloud.edge_url}/__clodo{path}",
            headers={"Authorization": f"Bearer {cloud.admin_token}"},
            trust_env=False,
            **request,
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()["result"]

    def requests(self, *, since: int = 0) -> list[dict[str, Any]]:
        """Return the API calls to this account, oldest first; their ``number`` counts up."""
        return list(
            self.admin("GET", "/requests", params={"account_id": self.account.account_id, "since": since})["calls"]
        )

    def raise_if_unsettled(self) -> None:
        """
        Fail unless the target is whole: nothing is open, locked, split or twice there, and what is live works.

        The lock of a process that is gone is nobody's: whoever asks next gets it.

        What is live must be what the ledger remembers, if it remembers anything.
        """
        with self.ledger() as ledger:
            assert not ledger.releases.open_releases(), "a release is open"
            holding = ledger.locks.holding(lock_name(self.account.account_id, WORKER))
            assert holding is None or holding.owner.is_gone(), f"locked by {holding}"
            remembered = ledger.live.get(TARGET)
            for row in ledger.releases.list(TARGET, limit=100):
                raise_if_done_twice(row, ledger.journal.entries(row.id))
        releases = [tag.partition(".")[0] for tag in self.tags if tag]
        assert len(releases) == len(set(releases)), f"a release uploaded twice: {self.tags}"
        assert len(self.applied) == len(set(self.applied)), f"a migration is there twice: {self.applied}"
        assert len(self.crons) == len(set(self.crons)), self.crons
        assert len(self.routes) == len(set(self.routes)), self.routes
        live = self.live_version
        assert (remembered and remembered.version_id) == live, f"remembered {remembered}, but {live} is live"
        if live is None:
            assert self.versions == []
            assert self.routes == []
            return
        answer = self.visit()
        assert answer.status_code == 200, answer.text
        assert answer.json()["version"] == live


def raise_if_done_twice(row: ReleaseRow, entries: Iterable[Entry]) -> None:
    """Fail if the journal of *row* does anything twice, or both finishes and undoes."""
    seen = [(entry.step, entry.phase.value) for entry in entries]
    for phase in ("intent", "done", "undone"):
        steps = [step for step, found in seen if found == phase]
        assert len(steps) == len(set(steps)), f"{row.id}: {phase} twice in {seen}"
    if row.state.value == "live" and row.kind.value != "adopt":
        assert ("verify", "done") in seen, f"{row.id} is live without a proof: {seen}"
        assert not [step for step, phase in seen if phase.startswith("und")], (
            f"{row.id} was finished and undone: {seen}"
        )
    if row.state.value == "undone":
        assert ("verify", "done") not in seen, f"{row.id} was verified and undone: {seen}"


def keys_of(account: CloudAccount) -> AccountKeys:
    """Return what the account's block would give."""
    return AccountKeys(account.account_id, account.token, account.cloud.url, account.cloud.edge_url)


def write_shop(folder: Path, shop: Shop, database_id: str) -> None:
    """Write a workspace whose one service is *shop*."""
    service = folder / WORKER
    migrations = service / "migrations"
    (service / "src").mkdir(parents=True, exist_ok=True)
    migrations.mkdir(exist_ok=True)
    (folder / "portfolio.toml").write_text(
        PORTFOLIO.format(expects=shop.expects or shop.says, on_failure=shop.on_failure)
    )
    (service / "wrangler.toml").write_text(shop.config(database_id))
    (service / "src" / "index.js").write_text(shop.code())
    for file in migrations.iterdir():
        file.unlink()
    for name, sql in shop.migrations.items():
        (migrations / name).write_text(sql)


@contextmanager
def open_site(
    folder: Path,
    keys: AccountKeys,
    signing_key: str,
    toolchain: Callable[[], Toolchain],
    *,
    log: Callable[[str], None] = lambda line: None,
    propagation: timedelta = PROPAGATION,
) -> Iterator[Site]:
    """Open the site of the workspace in *folder*."""
    with Site(
        Workspace.load(folder),
        Ledger.open(default_path(folder)),
        accounts=lambda block: keys,
        secrets=lambda target: {"SIGNING_KEY": signing_key},
        toolchain=toolchain,
        actor="tester",
        tool_environment={},
        log=log,
        propagation=propagation,
    ) as site:
        yield site


def survey_shop(site: Site) -> Surveyed:
    """Compare the shop with what is live."""
    return survey(site, [site.workspace.find(TARGET)])[0]


def release_shop(site: Site, *, take: Take = directly, **wish: Any) -> Outcome:
    """Release the shop, as `clodo deploy shop` does."""
    return release_target(site, survey_shop(site), Wish(**wish), take=take)


def roll_back_shop_directly(workspace: Workspace, keys: AccountKeys, *, to: str | None = None) -> Outcome:
    """Roll the shop back without a ledger."""
    target = workspace.find(TARGET)
    return roll_back_directly(
        target,
        workspace.effective(target),
        workspace.portfolio.settings_of(target.service),
        keys,
        folder=workspace.state_dir / DIRECT_FOLDER,
        actor="tester",
        wish=Wish(reason="3 a.m."),
        to=to,
    )
