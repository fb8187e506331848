"""A portfolio of generated services: each a small Worker of a few modules with a database and two secrets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMPATIBILITY_DATE = "2026-10-01"
SECRET_NAMES = ("API_KEY", "SIGNING_KEY")
FIRST_MIGRATIONS = 3

PORTFOLIO = """\
[portfolio]
name = "benchmark"

[environments.production]
account = "{account}"
"""

SERVICE = """
[services.{name}]
secrets = ["API_KEY", "SIGNING_KEY"]

[[services.{name}.smoke_tests]]
path = "/health"
expect_json = {{ status = "ok" }}
version_json = "version"
"""

WRANGLER = """\
name = "{name}"
main = "src/index.js"
compatibility_date = "{date}"
workers_dev = true
preview_urls = true

[vars]
SERVICE = "{name}"

[[d1_databases]]
binding = "DB"
database_name = "{name}"
database_id = "{database_id}"
migrations_dir = "migrations"

[version_metadata]
binding = "VERSION"
"""

MODULES = {
    "index.js": """\
import { health } from "./health.js";
import { json, notFound } from "./answers.js";
import { addItem, listItems } from "./items.js";
import { isAllowed } from "./access.js";

const routes = {
  "GET /health": health,
  "GET /items": async (request, env) => json(await listItems(env.DB)),
  "POST /items": async (request, env) => {
    if (!(await isAllowed(request, env))) return json({ error: "forbidden" }, 403);
    return json(await addItem(env.DB, await request.json()), 201);
  },
};

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const handler = routes[`${request.method} ${pathname}`];
    return handler ? handler(request, env) : notFound(pathname);
  },
};
""",
    "answers.js": """\
export function json(body, status = 200) {
  return Response.json(body, { status, headers: { "cache-control": "no-store" } });
}

export function notFound(pathname) {
  return json({ error: `no such page: ${pathname}` }, 404);
}
""",
    "items.js": """\
export async function listItems(database) {
  const { results } = await database.prepare("SELECT id, name, price FROM items ORDER BY id DESC LIMIT 50").all();
  return results;
}

export async function addItem(database, { name, price = 0 }) {
  const added = database.prepare("INSERT INTO items (name, price) VALUES (?, ?) RETURNING id").bind(name, price);
  const event = database.prepare("INSERT INTO events (kind, detail) VALUES ('added', ?)").bind(name);
  const [{ results }] = await database.batch([added, event]);
  return { id: results[0].id, name, price };
}
""",
    "access.js": """\
export async function fingerprint(secret) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, 16);
}

export async function isAllowed(request, env) {
  const shown = request.headers.get("authorization") ?? "";
  return (await fingerprint(shown.replace(/^Bearer /, ""))) === (await fingerprint(env.API_KEY));
}
""",
    "health.js": """\
import { json } from "./answers.js";
import { fingerprint } from "./access.js";
import { round } from "./round.js";

export async function health(request, env) {
  const counted = await env.DB.prepare("SELECT count(*) AS migrations FROM d1_migrations").first();
  return json({
    status: "ok",
    round,
    migrations: counted.migrations,
    secret: await fingerprint(env.API_KEY),
    version: env.VERSION.id,
  });
}
""",
}

MIGRATIONS = {
    "0001_items.sql": """\
CREATE TABLE items (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  added_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
""",
    "0002_events.sql": """\
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  detail TEXT,
  at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX events_by_kind ON events (kind, at);
""",
    "0003_prices.sql": """\
ALTER TABLE items ADD COLUMN price INTEGER NOT NULL DEFAULT 0;
CREATE INDEX items_by_price ON items (price);
""",
}


@dataclass(frozen=True, slots=True)
class Services:
    """
    The generated services of one side, in a folder.

    Attributes:
        folder: The workspace: a folder per service.

        databases: Service to the UUID of its database.
    """

    folder: Path
    databases: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The services, in order."""
        return tuple(self.databases)

    def write(self, *, account: str) -> None:
        """Write the portfolio (*account* is the name of a block) and round 0 of every service."""
        self.folder.mkdir(parents=True, exist_ok=True)
        portfolio = PORTFOLIO.format(account=account)
        for name, database_id in self.databases.items():
            portfolio += SERVICE.format(name=name)
            folder = self.folder / name
            (folder / "src").mkdir(parents=True)
            (folder / "migrations").mkdir()
            config = WRANGLER.format(name=name, date=COMPATIBILITY_DATE, database_id=database_id)
            (folder / "wrangler.toml").write_text(config)
            for module, text in MODULES.items():
                (folder / "src" / module).write_text(text)
            for migration, text in MIGRATIONS.items():
                (folder / "migrations" / migration).write_text(text)
        (self.folder / "portfolio.toml").write_text(portfolio)
        self.change(0)

    def change(self, number: int) -> None:
        """Write round *number*: new code everywhere and, after round 0, one more migration each."""
        for name in self.databases:
            folder = self.folder / name
            (folder / "src" / "round.js").write_text(f"export const round = {number};\n")
            if number > 0:
                migration = folder / "migrations" / f"{FIRST_MIGRATIONS + number:04}_round_{number}.sql"
                migration.write_text(
                    f"CREATE TABLE round_{number} (id INTEGER PRIMARY KEY, item INTEGER, note TEXT);\n"
                    f"CREATE INDEX round_{number}_by_item ON round_{number} (item);\n"
                )


def service_names(count: int) -> tuple[str, ...]:
    """Return the names of *count* services."""
    return tuple(f"service-{number:03}" for number in range(1, count + 1))


def secrets_of(service: str, number: int) -> dict[str, str]:
    """Return the service's secrets in round *number*: the API key is another one in each, the signing key stays."""
    return {
        "API_KEY": hashlib.sha256(f"{service} {number}".encode()).hexdigest(),
        "SIGNING_KEY": hashlib.sha256(service.encode()).hexdigest(),
    }


def expected_health(service: str, number: int) -> dict[str, object]:
    """Return what the Worker's health page must say once round *number* is live; its version id comes beside it."""
    secret = hashlib.sha256(secrets_of(service, number)["API_KEY"].encode()).hexdigest()[:16]
    return {"status": "ok", "round": number, "migrations": FIRST_MIGRATIONS + number, "secret": secret}


def write_secrets(folder: Path, service: str, number: int) -> Path:
    """Write the service's secrets to a file of its own, as `wrangler secret bulk` reads them."""
    file = folder / f"{service}.json"
    file.write_text(json.dumps(secrets_of(service, number)))
    file.chmod(0o600)
    return file
