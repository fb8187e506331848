"""Scripts, versions, deployments and triggers in the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clodo.emulator.clock import new_id, new_uuid, now
from clodo.emulator.database import Database, Row
from clodo.emulator.runtime.ports import Traffic
from clodo.emulator.workers.bindings import Binding
from clodo.emulator.workers.limits import MAX_DEPLOYABLE_VERSIONS
from clodo.emulator.workers.objects import ObjectClass

_SCHEMA = (
    """
    CREATE TABLE object_transfers(
        account_id TEXT NOT NULL, script TEXT NOT NULL, class TEXT NOT NULL, namespace_id TEXT NOT NULL,
        PRIMARY KEY(account_id, script, class)
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class Script:
    """
    A Worker.

    Attributes:
        id: 32 hex digits, never changes; the API calls it the tag.

        settings: What isn't versioned: ``logpush``, ``observability``, ``tags``, ``tail_consumers``.
    """

    id: str
    account_id: str
    name: str
    created_on: str
    modified_on: str
    last_deployed_from: str
    settings: dict[str, Any]
    migration_tag: str | None
    subdomain_enabled: bool
    previews_enabled: bool


@dataclass(frozen=True, slots=True)
class Content:
    """
    What makes a version run; stored as one JSON value.

    Attributes:
        modules: ``{name, type, blob, size}`` in upload order.

        assets: ``{"files": {path: {"blob", "hash", "size"}}, "config": {…}}``; None without.

        handlers: Of the default export.

        named_handlers: Entrypoint to handlers.

        extra: Metadata that only is stored and shown: limits, placement, usage_model, cache_options, ….
    """

    main_module: str | None
    body_part: str | None
    modules: list[dict[str, Any]]
    compatibility_date: str
    compatibility_flags: list[str]
    bindings: list[Binding] = field(repr=False)
    assets: dict[str, Any] | None = None
    handlers: list[str] = field(default_factory=list)
    named_handlers: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "main_module": self.main_module,
            "body_part": self.body_part,
            "modules": self.modules,
            "compatibility_date": self.compatibility_date,
            "compatibility_flags": self.compatibility_flags,
            "bindings": self.bindings,
            "assets": self.assets,
            "handlers": self.handlers,
            "named_handlers": self.named_handlers,
            "extra": self.extra,
        }


@dataclass(frozen=True, slots=True)
class Version:
    """
    An uploaded version; never changes.

    Attributes:
        number: Counts up from 1 within the script.

        author: ``{id, email}``.

        etag: SHA-256 of what was uploaded: modules, assets and compatibility, but no bindings.
    """

    id: str
    script_id: str
    number: int
    created_on: str
    author: dict[str, str]
    source: str
    annotations: dict[str, str]
    has_preview: bool
    startup_time_ms: int
    etag: str
    content: Content


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which versions get which share of the traffic, since when, by whom."""

    id: str
    script_id: str
    created_on: str
    author: dict[str, str]
    source: str
    annotations: dict[str, str]
    traffic: Traffic


class Scripts:
    """
    What the API knows of Workers.

    Versions never change, so those in use are kept in memory.
    """

    def __init__(self, database: Database) -> None:
        database.upgrade("scripts", _SCHEMA)
        self._database = database
        self._versions: dict[str, Version] = {}

    # --- scripts

    def get(self, account_id: str, name: str) -> Script | None:
        """Return a Worker by name."""
        row = self._database.row("SELECT * FROM scripts WHERE account_id = ? AND name = ?", (account_id, name))
        return None if row is None else _script(row)

    def by_id(self, account_id: str, script_id: str) -> Script | None:
        """Return a Worker by its id (tag)."""
        row = self._database.row("SELECT * FROM scripts WHERE account_id = ? AND id = ?", (account_id, script_id))
        return None if row is None else _script(row)

    def of_account(self, account_id: str) -> list[Script]:
        """Return the account's Workers by name."""
        rows = self._database.rows("SELECT * FROM scripts WHERE account_id = ? ORDER BY name", (account_id,))
        return [_script(row) for row in rows]

    def all(self) -> list[Script]:
        """Return every account's Workers."""
        return [_script(row) for row in self._database.rows("SELECT * FROM scripts")]

    def create(self, account_id: str, name: str, *, source: str) -> Script:
        """Add a Worker without versions."""
        moment = now()
        script = Script(new_id(), account_id, name, moment, moment, source, {}, None, False, False)
        self._database.insert(
            "scripts",
            {
                "id": script.id,
                "account_id": account_id,
                "name": name,
                "created_on": moment,
                "modified_on": moment,
                "last_deployed_from": source,
                "settings": {},
                "migration_tag": None,
                "subdomain_enabled": False,
                "previews_enabled": False,
            },
        )
        return script

    def delete(self, script: Script) -> None:
        """Remove a Worker with its versions, deployments, schedules, routes and domains."""
        with self._database.transaction():
            self._database.run(
                "DELETE FROM routes WHERE account_id = ? AND script = ?", (script.account_id, script.name)
            )
            self._database.run(
                "DELETE FROM domains WHERE account_id = ? AND service = ?", (script.account_id, script.name)
            )
            self._database.run("DELETE FROM queue_consumers WHERE script = ?", (script.id,))
            self._database.run("DELETE FROM scripts WHERE id = ?", (script.id,))
        self._versions = {
            version_id: version for version_id, version in self._versions.items() if version.script_id != script.id
        }

    def touch(self, script: Script, *, source: str | None = None) -> None:
        """Note that something about the Worker changed now, and by which client if it was a deployment."""
        self._database.run(
            "UPDATE scripts SET modified_on = ?, last_deployed_from = coalesce(?, last_deployed_from) WHERE id = ?",
            (now(), source, script.id),
        )

    def set_settings(self, script: Script, changes: dict[str, Any]) -> Script:
        """Change settings that aren't versioned; None takes one away."""
        settings = {**script.settings, **changes}
        settings = {name: value for name, value in settings.items() if value is not None}
        self._database.run(
            "UPDATE scripts SET settings = ?, modified_on = ? WHERE id = ?", (json.dumps(settings), now(), script.id)
        )
        return self._again(script)

    def set_subdomain(self, script: Script, *, enabled: bool, previews_enabled: bool) -> Script:
        """Switch the Worker's workers.dev hostname and its preview URLs."""
        self._database.run(
            "UPDATE scripts SET subdomain_enabled = ?, previews_enabled = ? WHERE id = ?",
            (enabled, previews_enabled, script.id),
        )
        return self._again(script)

    def _again(self, script: Script) -> Script:
        found = self.get(script.account_id, script.name)
        assert found is not None
        return found

    def is_consumer(self, script: Script) -> bool:
        """Say whether a queue's messages are given to a Worker."""
        sql = "SELECT id FROM queue_consumers WHERE script = ? LIMIT 1"
        return self._database.row(sql, (script.id,)) is not None

    # --- Durable Objects

    def object_classes(self, script: Script) -> list[ObjectClass]:
        """Return the Worker's Durable Object classes by name."""
        rows = self._database.rows("SELECT * FROM object_namespaces WHERE script_id = ? ORDER BY class", (script.id,))
        return [ObjectClass(row["id"], row["class"], bool(row["uses_sqlite"])) for row in rows]

    def set_object_classes(self, script: Script, classes: Sequence[ObjectClass], tag: str | None) -> None:
        """Replace the Worker's Durable Object classes after its migrations; *tag* names the last one."""
        with self._database.transaction():
            self._database.run("DELETE FROM object_namespaces WHERE script_id = ?", (script.id,))
            for known in classes:
                self._database.insert(
                    "object_namespaces",
                    {
                        "id": known.id,
                        "script_id": script.id,
                        "class": known.name,
                        "uses_sqlite": known.uses_sqlite,
                    },
                )
            self._database.run("UPDATE scripts SET migration_tag = ? WHERE id = ?", (tag, script.id))

    def give_away(self, script: Script, known: ObjectClass) -> None:
        """Take a class from a Worker, before another has it; who is bound to it here is led there from now on."""
        self._database.run("DELETE FROM object_namespaces WHERE id = ?", (known.id,))
        row: Row = {
            "account_id": script.account_id,
            "script": script.name,
            "class": known.name,
            "namespace_id": known.id,
        }
        self._database.insert("object_transfers", row, replace=True)

    def owners_of_classes(self) -> dict[str, tuple[str, str]]:
        """Return account and Worker of each Durable Object class's namespace."""
        rows = self._database.rows(
            "SELECT own.id, scripts.account_id, scripts.name FROM object_namespaces AS own"
            " JOIN scripts ON scripts.id = own.script_id"
        )
        return {row["id"]: (row["account_id"], row["name"]) for row in rows}

    def given_to(self, account_id: str, script: str, class_name: str) -> tuple[str, str] | None:
        """Return the Worker and class that a class was given to; None if it never was, or there is one again."""
        row = self._database.row(
            "SELECT scripts.name, now.class FROM object_transfers AS given"
            " JOIN object_namespaces AS now ON now.id = given.namespace_id"
            " JOIN scripts ON scripts.id = now.script_id"
            " WHERE given.account_id = ? AND given.script = ? AND given.class = ? AND NOT EXISTS ("
            "  SELECT 1 FROM object_namespaces AS own JOIN scripts AS owner ON owner.id = own.script_id"
            "  WHERE owner.account_id = given.account_id AND owner.name = given.script AND own.class = given.class)",
            (account_id, script, class_name),
        )
        return None if row is None else (row["name"], row["class"])

    # --- versions

    def add_version(
        self,
        script: Script,
        content: Content,
        *,
        version_id: str,
        created_on: str,
        etag: str,
        author: dict[str, str],
        source: str,
        annotations: dict[str, str],
        has_preview: bool,
        startup_time_ms: int,
    ) -> Version:
        """Keep a version."""
        number = 1 + (self._database.value("SELECT max(number) FROM versions WHERE script_id = ?", (script.id,)) or 0)
        row: Row = {
            "id": version_id,
            "script_id": script.id,
            "number": number,
            "created_on": created_on,
            "author": author,
            "source": source,
            "annotations": annotations,
            "has_preview": has_preview,
            "startup_time_ms": startup_time_ms,
            "etag": etag,
            "content": content.as_json(),
        }
        with self._database.transaction():
            self._database.insert("versions", row)
            self.touch(script)
        version = self.version(script, version_id)
        assert version is not None
        return version

    def version(self, script: Script, version_id: str) -> Version | None:
        """Return a version of this script."""
        kept = self._versions.get(version_id)
        if kept is None:
            row = self._database.row("SELECT * FROM versions WHERE id = ?", (version_id,))
            if row is None:
                return None
            kept = self._versions[version_id] = _version(row)
        return kept if kept.script_id == script.id else None

    def delete_version(self, version: Version) -> None:
        """Forget a version."""
        self._database.run("DELETE FROM versions WHERE id = ?", (version.id,))
        self._versions.pop(version.id, None)

    def newest_version(self, script: Script) -> Version | None:
        """Return the last version uploaded, deployed or not."""
        version_id = self._database.value(
            "SELECT id FROM versions WHERE script_id = ? ORDER BY number DESC LIMIT 1", (script.id,)
        )
        return None if version_id is None else self.version(script, version_id)

    def versions(self, script: Script, *, deployable: bool = False) -> list[Version]:
        """Return the versions, newest first; those that may be deployed are the last hundred."""
        rows = self._database.rows(
            "SELECT id FROM versions WHERE script_id = ? ORDER BY number DESC LIMIT ?",
            (script.id, MAX_DEPLOYABLE_VERSIONS if deployable else -1),
        )
        found = (self.version(script, row["id"]) for row in rows)
        return [version for version in found if version is not None]

    def is_deployable(self, script: Script, version: Version) -> bool:
        """Say whether the version is among the last hundred."""
        newer: int = self._database.value(
            "SELECT count(*) FROM versions WHERE script_id = ? AND number > ?", (script.id, version.number)
        )
        return newer < MAX_DEPLOYABLE_VERSIONS

    def version_ids_starting(self, script: Script, prefix: str) -> list[str]:
        """Return the ids that start with *prefix*, newest first: how preview hostnames name versions."""
        rows = self._database.rows(
            "SELECT id FROM versions WHERE script_id = ? AND substr(id, 1, ?) = ? ORDER BY number DESC",
            (script.id, len(prefix), prefix),
        )
        return [row["id"] for row in rows]

    def version_with_alias(self, script: Script, alias: str) -> str | None:
        """Return the newest version that has this preview alias."""
        value: str | None = self._database.value(
            "SELECT id FROM versions WHERE script_id = ? AND annotations ->> '$.\"workers/alias\"' = ?"
            " ORDER BY number DESC LIMIT 1",
            (script.id, alias),
        )
        return value

    def blobs_in_use(self) -> set[str]:
        """Return the SHA-256 of everything that a version or an uploaded asset needs."""
        used = {row["blob"] for row in self._database.rows("SELECT blob FROM assets")}
        for row in self._database.rows("SELECT content FROM versions"):
            content = json.loads(row["content"])
            used.update(module["blob"] for module in content["modules"])
            used.update(file["blob"] for file in ((content["assets"] or {}).get("files") or {}).values())
        return used

    # --- deployments

    def add_deployment(
        self,
        script: Script,
        traffic: Traffic,
        *,
        author: dict[str, str],
        source: str,
        annotations: dict[str, str],
    ) -> Deployment:
        """Make *traffic* the current deployment."""
        deployment = Deployment(new_uuid(), script.id, now(), author, source, annotations, traffic)
        with self._database.transaction():
            self._database.insert(
                "deployments",
                {
                    "id": deployment.id,
                    "script_id": script.id,
                    "created_on": deployment.created_on,
                    "author": author,
                    "source": source,
                    "annotations": annotations,
                    "versions": [list(pair) for pair in traffic],
                },
            )
            self.touch(script, source=source)
        return deployment

    def deployments(self, script: Script, *, limit: int = -1) -> list[Deployment]:
        """Return the deployments, newest first."""
        rows = self._database.rows(
            "SELECT * FROM deployments WHERE script_id = ? ORDER BY number DESC LIMIT ?", (script.id, limit)
        )
        return [_deployment(row) for row in rows]

    def current_deployment(self, script: Script) -> Deployment | None:
        """Return the newest deployment."""
        found = self.deployments(script, limit=1)
        return found[0] if found else None

    def deployment(self, script: Script, deployment_id: str) -> Deployment | None:
        """Return one deployment."""
        row = self._database.row("SELECT * FROM deployments WHERE script_id = ? AND id = ?", (script.id, deployment_id))
        return None if row is None else _deployment(row)

    def delete_deployment(self, deployment: Deployment) -> None:
        """Forget a deployment that is not the current one."""
        self._database.run("DELETE FROM deployments WHERE id = ?", (deployment.id,))

    # --- schedules

    def schedules(self, script: Script) -> list[Row]:
        """Return ``{cron, created_on, modified_on}``, oldest first."""
        return self._database.rows(
            "SELECT cron, created_on, modified_on FROM schedules WHERE script_id = ? ORDER BY created_on, cron",
            (script.id,),
        )

    def all_schedules(self) -> list[tuple[str, str, str]]:
        """Return account, Worker and cron of every schedule."""
        rows = self._database.rows(
            "SELECT account_id, name, cron FROM schedules JOIN scripts ON scripts.id = schedules.script_id"
        )
        return [(row["account_id"], row["name"], row["cron"]) for row in rows]

    def set_schedules(self, script: Script, crons: Iterable[str]) -> list[Row]:
        """Make these the Worker's schedules; those it had keep their dates."""
        wanted = list(dict.fromkeys(crons))
        kept = {row["cron"]: row["created_on"] for row in self.schedules(script)}
        moment = now()
        with self._database.transaction():
            self._database.run("DELETE FROM schedules WHERE script_id = ?", (script.id,))
            for cron in wanted:
                self._database.insert(
                    "schedules",
                    {
                        "script_id": script.id,
                        "cron": cron,
                        "created_on": kept.get(cron, moment),
                        "modified_on": moment,
                    },
                )
        return self.schedules(script)

    # --- routes

    def routes(self, zone_id: str) -> list[Row]:
        """Return a zone's routes by pattern."""
        return self._database.rows("SELECT * FROM routes WHERE zone_id = ? ORDER BY pattern", (zone_id,))

    def routes_of(self, script: Script) -> list[Row]:
        """Return the routes that lead to a Worker."""
        return self._database.rows(
            "SELECT * FROM routes WHERE account_id = ? AND script = ? ORDER BY pattern",
            (script.account_id, script.name),
        )

    def all_routes(self) -> list[Row]:
        """Return the routes of every zone."""
        return self._database.rows("SELECT * FROM routes")

    def route(self, zone_id: str, route_id: str) -> Row | None:
        """Return one route."""
        return self._database.row("SELECT * FROM routes WHERE zone_id = ? AND id = ?", (zone_id, route_id))

    def route_of_pattern(self, zone_id: str, pattern: str) -> Row | None:
        """Return the route of a zone with this pattern."""
        return self._database.row("SELECT * FROM routes WHERE zone_id = ? AND pattern = ?", (zone_id, pattern))

    def add_route(self, zone: Row, pattern: str, script: str | None) -> Row:
        """Add a route; *script* None means that no Worker runs there."""
        row = {
            "id": new_id(),
            "zone_id": zone["id"],
            "pattern": pattern,
            "script": script,
            "account_id": zone["account_id"],
        }
        self._database.insert("routes", row)
        return row

    def change_route(self, route_id: str, pattern: str, script: str | None) -> None:
        """Change where a route leads, or its pattern."""
        self._database.run("UPDATE routes SET pattern = ?, script = ? WHERE id = ?", (pattern, script, route_id))

    def delete_route(self, route_id: str) -> None:
        """Remove a route."""
        self._database.run("DELETE FROM routes WHERE id = ?", (route_id,))

    def replace_routes(self, script: Script, wanted: Sequence[tuple[Row, str]]) -> list[Row]:
        """Make these zones' patterns the only routes that lead to a Worker."""
        with self._database.transaction():
            self._database.run(
                "DELETE FROM routes WHERE account_id = ? AND script = ?", (script.account_id, script.name)
            )
            for zone, pattern in wanted:
                self._database.run("DELETE FROM routes WHERE zone_id = ? AND pattern = ?", (zone["id"], pattern))
                self.add_route(zone, pattern, script.name)
        return self.routes_of(script)

    # --- custom domains

    def domains(self, account_id: str) -> list[Row]:
        """Return the account's custom domains by hostname."""
        return self._database.rows("SELECT * FROM domains WHERE account_id = ? ORDER BY hostname", (account_id,))

    def all_domains(self) -> list[Row]:
        """Return every account's custom domains."""
        return self._database.rows("SELECT * FROM domains")

    def domain(self, hostname: str) -> Row | None:
        """Return the custom domain of a hostname."""
        return self._database.row("SELECT * FROM domains WHERE hostname = ?", (hostname,))

    def put_domain(
        self, zone: Row, hostname: str, service: str, *, enabled: bool = True, previews_enabled: bool = False
    ) -> Row:
        """Lead a hostname to a Worker; the domain's id stays if it was there."""
        known = self.domain(hostname)
        row = {
            "id": known["id"] if known else new_id(),
            "account_id": zone["account_id"],
            "hostname": hostname,
            "zone_id": zone["id"],
            "zone_name": zone["name"],
            "service": service,
            "environment": "production",
            "cert_id": known["cert_id"] if known else new_uuid(),
            "enabled": enabled,
            "previews_enabled": previews_enabled,
        }
        self._database.insert("domains", row, replace=True)
        return row

    def delete_domain(self, domain_id: str) -> None:
        """Take a hostname off its Worker."""
        self._database.run("DELETE FROM domains WHERE id = ?", (domain_id,))

    # --- assets

    def asset(self, account_id: str, content_hash: str) -> Row | None:
        """Return ``{hash, blob, size, content_type}`` of an uploaded asset."""
        return self._database.row(
            "SELECT hash, blob, size, content_type FROM assets WHERE account_id = ? AND hash = ?",
            (account_id, content_hash),
        )

    def put_asset(self, account_id: str, content_hash: str, blob: str, size: int, content_type: str | None) -> None:
        """Note where an asset's bytes are."""
        self._database.insert(
            "assets",
            {
                "account_id": account_id,
                "hash": content_hash,
                "blob": blob,
                "size": size,
                "content_type": content_type,
            },
            replace=True,
        )

    def add_asset_session(self, account_id: str, script: str, manifest: dict[str, Any]) -> str:
        """Begin an upload of assets and return the session's id."""
        session_id = new_uuid()
        self._database.insert(
            "asset_sessions",
            {
                "id": session_id,
                "account_id": account_id,
                "script": script,
                "manifest": manifest,
                "created_on": now(),
            },
        )
        return session_id

    def forget_asset_sessions(self, before: str) -> None:
        """Forget the uploads of assets that began before a moment; their tokens have long expired."""
        self._database.run("DELETE FROM asset_sessions WHERE created_on < ?", (before,))

    def asset_session(self, session_id: str) -> dict[str, Any] | None:
        """Return ``{account_id, script, manifest}`` of an upload of assets."""
        row = self._database.row("SELECT * FROM asset_sessions WHERE id = ?", (session_id,))
        return None if row is None else {**row, "manifest": json.loads(row["manifest"])}


def _script(row: Row) -> Script:
    return Script(
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        created_on=row["created_on"],
        modified_on=row["modified_on"],
        last_deployed_from=row["last_deployed_from"],
        settings=json.loads(row["settings"]),
        migration_tag=row["migration_tag"],
        subdomain_enabled=bool(row["subdomain_enabled"]),
        previews_enabled=bool(row["previews_enabled"]),
    )


def _version(row: Row) -> Version:
    return Version(
        id=row["id"],
        script_id=row["script_id"],
        number=row["number"],
        created_on=row["created_on"],
        author=json.loads(row["author"]),
        source=row["source"],
        annotations=json.loads(row["annotations"]),
        has_preview=bool(row["has_preview"]),
        startup_time_ms=row["startup_time_ms"],
        etag=row["etag"],
        content=Content(**json.loads(row["content"])),
    )


def _deployment(row: Row) -> Deployment:
    return Deployment(
        id=row["id"],
        script_id=row["script_id"],
        created_on=row["created_on"],
        author=json.loads(row["author"]),
        source=row["source"],
        annotations=json.loads(row["annotations"]),
        traffic=tuple((version_id, percentage) for version_id, percentage in json.loads(row["versions"])),
    )
