"""The same SQL given to workerd, whose SQLite the real D1 runs on: the same answers, and errors in the same words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clodo.emulator.d1.engine import SCHEMA, Engine
from clodo.emulator.d1.history import History
from clodo.emulator.d1.limits import Limits
from clodo.emulator.runtime.ports import Statement, StatementFailed
from clodo.wrangler.toolchain import Toolchain

WORKER = """
import { DurableObject } from "cloudflare:workers";

export class Shop extends DurableObject {
  async fetch(request) {
    const answers = [];
    for (const sql of await request.json()) {
      try {
        const cursor = this.ctx.storage.sql.exec(sql);
        const rows = [...cursor.raw()].map((row) =>
          row.map((value) => (value instanceof ArrayBuffer ? [...new Uint8Array(value)] : value)));
        answers.push({ columns: cursor.columnNames, rows, written: cursor.rowsWritten });
      } catch (error) {
        answers.push({ error: error.message });
      }
    }
    return Response.json(answers);
  }
}

export default {
  fetch: (request, env) => env.SHOP.get(env.SHOP.idFromName("shop")).fetch(request),
};
"""

CONFIG = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "files", disk = (path = "%s", writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-01-01",
  durableObjectNamespaces = [(className = "Shop", uniqueKey = "shop", enableSql = true)],
  durableObjectStorage = (localDisk = "files"),
  bindings = [(name = "SHOP", durableObjectNamespace = "Shop")]
);
"""

STATEMENTS = [
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL UNIQUE, b)",
    "CREATE INDEX i ON t(b)",
    "INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 2.5), (3, 'c', x'0102')",
    "CREATE TABLE p(id INTEGER PRIMARY KEY)",
    "CREATE TABLE c(p REFERENCES p(id))",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
    "SELEC 1",
    "SELECT * FROM nope",
    "SELECT nope",
    'SELECT "text"',
    "CREATE TABLE t(a)",
    "INSERT INTO t VALUES(1, 'z', 1)",
    "INSERT INTO t VALUES(9, 'a', 1)",
    "INSERT INTO t VALUES(9, NULL, 1)",
    "INSERT INTO c VALUES(9)",
    "SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5",
    "SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6",
    f"SELECT 'a' LIKE '{'a' * 50}'",
    f"SELECT 'a' LIKE '{'a' * 51}'",
    f"SELECT '{'x' * 100_000}'",
    f"CREATE TABLE wide({', '.join(f'c{n}' for n in range(101))})",
    f"SELECT {'+'.join('1' * 101)}",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "CREATE TEMP TABLE x(a)",
    "CREATE TABLE _cf_x(a)",
    "CREATE VIRTUAL TABLE x USING fts4(a)",
    "SELECT * FROM dbstat",
    "SELECT sqlite_version()",
    "SELECT load_extension('x')",
    "SELECT json_pretty('[1]')",
    "SELECT log10(5)",
    "BEGIN",
    "COMMIT",
    "SAVEPOINT x",
    "VACUUM",
    "PRAGMA journal_mode",
    "PRAGMA user_version",
    "PRAGMA page_count",
    "PRAGMA schema_version",
    "PRAGMA compile_options",
    "PRAGMA function_list",
    "PRAGMA integrity_check",
    "PRAGMA writable_schema=ON",
    "PRAGMA foreign_keys=maybe",
    "PRAGMA foreign_keys",
    "PRAGMA table_info(t)",
    "PRAGMA table_xinfo(t)",
    "PRAGMA index_list(t)",
    "PRAGMA quick_check",
    "PRAGMA foreign_key_check",
    "SELECT * FROM t",
    "SELECT * FROM t WHERE b = 2.5",
    "SELECT count(*) FROM t",
    "UPDATE t SET b = 7",
    "UPDATE t SET a = a || 'x' WHERE id = 1",
    "DELETE FROM t WHERE id = 3",
    "INSERT INTO t VALUES(8, 'h', 7) RETURNING *",
    "ALTER TABLE t ADD COLUMN q DEFAULT 5",
    "ALTER TABLE t RENAME COLUMN q TO qq",
    "ALTER TABLE t DROP COLUMN qq",
    "CREATE VIEW v AS SELECT * FROM t",
    "SELECT * FROM v",
    "DROP VIEW v",
    "SELECT 1e999, 2.0, NULL, x'ff'",
    "SELECT * FROM json_each('[1,2]')",
    "SELECT * FROM pragma_table_info('t')",
    "INSERT INTO f VALUES('hello world')",
    "SELECT highlight(f, 0, '<', '>') FROM f('hello')",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET b = 0; END",
    "INSERT INTO t VALUES(20, 'tr', 1)",
    "SELECT * FROM t",
    "CREATE TABLE wr(a PRIMARY KEY, b) WITHOUT ROWID",
    "INSERT INTO wr VALUES(1, 2)",
    "CREATE UNIQUE INDEX u ON wr(b)",
    "INSERT INTO wr VALUES(2, 3)",
    "SELECT * FROM sqlite_sequence",
    "SELECT 1 AS a, 2 AS a",
    "SELECT x FROM generate_series(1, 3)",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10) SELECT count(*) FROM n",
    "DROP TABLE wr",
]

#: Statements whose rows written are only approximated here.
APPROXIMATED = ("CREATE", "ALTER", "INSERT INTO f", "INSERT INTO t VALUES(20")


def _port(process: subprocess.Popen[bytes], reading: int) -> int:
    with open(reading, "rb") as control:
        for line in control:
            event = json.loads(line)
            if event["event"] == "listen":
                return int(event["port"])
    raise AssertionError(f"workerd did not start: {process.wait()}")


@pytest.fixture
def answers(tmp_path: Path, toolchain: Toolchain) -> Iterator[list[dict[str, Any]]]:
    """What workerd answers to each of the statements."""
    (tmp_path / "files").mkdir()
    (tmp_path / "worker.js").write_text(WORKER)
    (tmp_path / "config.capnp").write_text(CONFIG % (tmp_path / "files"))
    reading, writing = os.pipe()
    command = [str(toolchain.workerd), "serve", f"--control-fd={writing}", "config.capnp"]
    process = subprocess.Popen(command, cwd=tmp_path, pass_fds=[writing])
    os.close(writing)
    try:
        url = f"http://127.0.0.1:{_port(process, reading)}/"
        yield httpx.post(url, json=STATEMENTS, timeout=60, trust_env=False).json()
    finally:
        process.kill()
        process.wait()


def test_workerd_agrees(answers: list[dict[str, Any]], tmp_path: Path):
    """Rows, columns, refusals and, where they are exact, the rows written are workerd's own."""
    folder = tmp_path / "ours"
    folder.mkdir()
    History.create(folder, 0, SCHEMA)
    engine = Engine(History(folder).database, Limits(), on_commit=lambda frames: None)

    differences = []
    for sql, theirs in zip(STATEMENTS, answers, strict=True):
        ours: dict[str, Any]
        try:
            ((result,),) = engine.run([Statement(sql)])
        except StatementFailed as error:
            ours = {"error": error.message}
        else:
            rows = [[list(value) if isinstance(value, bytes) else value for value in row] for row in result.rows]
            ours = {"columns": list(result.columns), "rows": rows, "written": result.meta["rows_written"]}
            if sql.startswith(APPROXIMATED):
                ours["written"] = theirs.get("written")
        if ours != theirs:
            differences.append((sql[:80], ours, theirs))
    engine.close()

    assert differences == []
