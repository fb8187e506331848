"""A tiny embedded cloud for the data plane's tests: a directory in memory, stores over SQLite, one listening port."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import uvicorn

from clodo.emulator.runtime.config import RuntimeConfig
from clodo.emulator.runtime.ports import (
    Answers,
    Assets,
    Backlog,
    DurableObjectClass,
    KeyPage,
    Module,
    QueueMessage,
    Resolved,
    Statement,
    StatementFailed,
    StoredKey,
    StoredValue,
    Traffic,
    VersionSpec,
)
from clodo.emulator.runtime.router import RouterApp
from clodo.emulator.runtime.runtime import Runtime

ACCOUNT = "0123456789abcdef0123456789abcdef"
JAVASCRIPT = "application/javascript+module"


class SqliteDatabases:
    """D1's back end over one in-memory SQLite a database."""

    def __init__(self) -> None:
        self.open: dict[str, sqlite3.Connection] = {}
        self.bookmarks: list[str | None] = []
        self._clock = 0

    def run_at_once(self, account_id: str, database_id: str, statements: Sequence[Statement]) -> Answers | None:
        return None

    async def run(
        self, account_id: str, database_id: str, statements: Sequence[Statement], *, bookmark: str | None = None
    ) -> Answers:
        database = self.open.setdefault(
            f"{account_id}/{database_id}", sqlite3.connect(":memory:", isolation_level=None)
        )
        self.bookmarks.append(bookmark)
        results = []
        database.execute("BEGIN")
        try:
            for sql, params in statements:
                cursor = database.execute(sql, tuple(params))
                columns = [column[0] for column in cursor.description or ()]
                rows = [list(row) for row in cursor.fetchall()]
                meta = {"duration": 0.1, "changes": max(0, cursor.rowcount), "last_row_id": cursor.lastrowid}
                results.append({"success": True, "results": {"columns": columns, "rows": rows}, "meta": meta})
        except sqlite3.Error as error:
            database.execute("ROLLBACK")
            raise StatementFailed(f"{error}: SQLITE_ERROR") from error
        database.execute("COMMIT")
        self._clock += 1
        return Answers(results, f"{self._clock:08x}")


class SqliteNamespaces:
    """KV's back end over one in-memory SQLite."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect(":memory:")
        self._rows.execute("CREATE TABLE kv (ns, key, value, metadata, expiration, PRIMARY KEY (ns, key))")

    async def get(self, account_id: str, namespace_id: str, key: str) -> StoredValue | None:
        sql = "SELECT value, metadata, expiration FROM kv WHERE ns = ? AND key = ?"
        row = self._rows.execute(sql, (f"{account_id}/{namespace_id}", key)).fetchone()
        return None if row is None else StoredValue(row[0], json.loads(row[1]), row[2])

    async def get_many(
        self, account_id: str, namespace_id: str, keys: Sequence[str]
    ) -> Mapping[str, StoredValue | None]:
        return {key: await self.get(account_id, namespace_id, key) for key in keys}

    async def put(
        self,
        account_id: str,
        namespace_id: str,
        key: str,
        value: bytes,
        *,
        metadata: Any = None,
        expiration: int | None = None,
        expiration_ttl: int | None = None,
    ) -> None:
        row = (f"{account_id}/{namespace_id}", key, value, json.dumps(metadata), expiration)
        self._rows.execute("INSERT OR REPLACE INTO kv VALUES (?, ?, ?, ?, ?)", row)

    async def delete(self, account_id: str, namespace_id: str, key: str) -> None:
        self._rows.execute("DELETE FROM kv WHERE ns = ? AND key = ?", (f"{account_id}/{namespace_id}", key))

    async def list(
        self, account_id: str, namespace_id: str, *, prefix: str = "", limit: int = 1000, cursor: str | None = None
    ) -> KeyPage:
        sql = "SELECT key, metadata FROM kv WHERE ns = ? AND key > ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?"
        ns = f"{account_id}/{namespace_id}"
        rows = self._rows.execute(sql, (ns, cursor or "", len(prefix), prefix, limit + 1)).fetchall()
        keys = [StoredKey(key, json.loads(metadata)) for key, metadata in rows[:limit]]
        return KeyPage(keys, keys[-1].name if len(rows) > limit else None)


class ListedQueues:
    """A queue back end that keeps what it gets."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, QueueMessage]] = []

    async def send(self, account_id: str, queue_name: str, messages: Sequence[QueueMessage]) -> Backlog:
        self.sent += [(queue_name, message) for message in messages]
        return Backlog(len(self.sent), 0, 0)


class ListedEvents:
    """An Analytics Engine back end that keeps what it gets."""

    def __init__(self) -> None:
        self.written: asyncio.Queue[tuple[str, Mapping[str, Any]]] = asyncio.Queue()

    async def write(self, account_id: str, dataset: str, point: Mapping[str, Any]) -> None:
        self.written.put_nowait((dataset, point))


class MemoryDirectory:
    """What is deployed: `<script>.test` is the live Worker, `<8 digits>-<script>.test` a preview."""

    def __init__(self) -> None:
        self.specs: dict[tuple[str, str, str], VersionSpec] = {}
        self.traffic: dict[tuple[str, str], Traffic] = {}
        self.consumers: dict[str, Sequence[str]] = {}

    def resolve(self, host: str, path: str) -> Resolved | None:
        if host == "zone.test":
            return Resolved(ACCOUNT, "", "none", (), "no_route")
        if not host.endswith(".test"):
            return None
        name = host.removesuffix(".test")
        if (ACCOUNT, name) in self.traffic:
            return Resolved(ACCOUNT, name, "live", self.traffic[ACCOUNT, name])
        prefix, _, script = name.partition("-")
        for account, other, version_id in self.specs:
            if other == script and version_id.startswith(prefix):
                return Resolved(account, script, "preview", ((version_id, 100),))
        return Resolved(ACCOUNT, name, "none", (), "no_worker")

    def spec(self, account_id: str, script: str, version_id: str) -> VersionSpec | None:
        return self.specs.get((account_id, script, version_id))

    def live_traffic(self, account_id: str, script: str) -> Traffic | None:
        return self.traffic.get((account_id, script))

    def tail_consumers(self, account_id: str, script: str) -> Sequence[str]:
        return self.consumers.get(script, ())


class Visitor:
    """A client on one kept connection that costs little, for keeping a cloud busy."""

    def __init__(self, port: int, host: str) -> None:
        self._port = port
        self._host = host
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str = "/", *, body: bytes = b"") -> str:
        """Return the answer's text, or ``FAILED`` and its status."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}.test\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        try:
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            if "transfer-encoding: chunked" in answer:
                text = ""
                while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                    text += (await reader.readexactly(size + 2))[:-2].decode()
                await reader.readexactly(2)
            else:
                length = int(answer.partition("content-length: ")[2].partition("\r")[0])
                text = (await reader.readexactly(length)).decode()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            return f"FAILED {error!r}"
        status = answer.split()[1]
        return text if status == "200" else f"FAILED {status} {text}"

    def leave(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


class Cloud:
    """A runtime, its router on a port of its own, and a client for it."""

    def __init__(self, workerd: Path, folder: Path, **config: Any) -> None:
        self.folder = folder
        self.directory = MemoryDirectory()
        self.databases = SqliteDatabases()
        self.namespaces = SqliteNamespaces()
        self.queues = ListedQueues()
        self.events = ListedEvents()
        self.runtime = Runtime(
            RuntimeConfig(workerd, folder / "runtime", **config),
            self.directory,
            databases=self.databases,
            namespaces=self.namespaces,
            queues=self.queues,
            events=self.events,
            random=Random(7).random,
        )
        self.port = 0
        self.client = httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=None))
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Cloud:
        await self.runtime.start()
        # With the protocol named, asyncio knows it for TCP and switches Nagle's delay off.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        app = RouterApp(self.runtime, self.directory)
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=600)
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server._serve([listening]))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = self._server.force_exit = True
        await self._serving
        await self.runtime.stop()

    def blob(self, content: bytes | str) -> Path:
        data = content.encode() if isinstance(content, str) else content
        path = self.folder / "blobs" / hashlib.sha256(data).hexdigest()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def version(
        self,
        script: str,
        source: str | None,
        *bindings: Mapping[str, Any],
        assets: Mapping[str, str] | None = None,
        assets_config: Mapping[str, Any] | None = None,
        assets_binding: str | None = None,
        modules: Mapping[str, tuple[str, bytes]] | None = None,
        flags: Sequence[str] = (),
        date: str = "2026-07-01",
        objects: Sequence[str] = (),
        **fields: Any,
    ) -> VersionSpec:
        """Make a version, known to the directory but not deployed."""
        parts = [] if source is None else [Module("index.js", JAVASCRIPT, self.blob(source))]
        parts += [Module(name, kind, self.blob(data)) for name, (kind, data) in (modules or {}).items()]
        files = None
        if assets is not None:
            blobs = {name: self.blob(text) for name, text in assets.items()}
            files = Assets(blobs, assets_config or {}, assets_binding)
        spec = VersionSpec(
            account_id=ACCOUNT,
            script=script,
            version_id=str(uuid.uuid4()),
            main_module=None if source is None else "index.js",
            modules=tuple(parts),
            compatibility_date=date,
            compatibility_flags=tuple(flags),
            bindings=tuple(bindings),
            assets=files,
            durable_objects=tuple(DurableObjectClass(name, f"{script}-{name}") for name in objects),
            created_on="2026-11-20T00:00:00Z",
        )
        spec = replace(spec, **fields)
        self.directory.specs[spec.account_id, spec.script, spec.version_id] = spec
        return spec

    async def deploy(self, *versions: VersionSpec | tuple[VersionSpec, float]) -> None:
        """Make versions of one script live, in the order that the control plane does."""
        shares = [version if isinstance(version, tuple) else (version, 100.0) for version in versions]
        for spec, _ in shares:
            await self.runtime.ensure(spec)
        account_id, script = shares[0][0].account_id, shares[0][0].script
        self.directory.traffic[account_id, script] = tuple((spec.version_id, share) for spec, share in shares)
        await self.runtime.deployed(account_id, script)

    async def worker(self, script: str, source: str | None, *bindings: Mapping[str, Any], **fields: Any) -> VersionSpec:
        """Make a version and deploy it."""
        spec = self.version(script, source, *bindings, **fields)
        await self.runtime.validate(spec)
        await self.deploy(spec)
        return spec

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def request(self, host: str, path: str = "/", method: str = "GET", **options: Any) -> httpx.Response:
        headers = {"host": f"{host}.test", **options.pop("headers", {})}
        return await self.client.request(method, self.url(path), headers=headers, **options)

    def visitor(self, host: str) -> Visitor:
        return Visitor(self.port, host)

    async def text(self, host: str, path: str = "/", **options: Any) -> str:
        response = await self.request(host, path, **options)
        assert response.status_code == 200, (response.status_code, response.text)
        return response.text
