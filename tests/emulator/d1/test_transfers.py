"""Exports and imports: what they write and read, how they are polled, and what they keep others from doing."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clodo.emulator.d1.engine import SCHEMA, Engine
from clodo.emulator.d1.history import History
from clodo.emulator.d1.limits import DEFAULT_LIMITS, Limits
from clodo.emulator.d1.registry import Database
from clodo.emulator.d1.store import Databases
from clodo.emulator.d1.transfers import DumpOptions, Transfers, dump, load
from clodo.emulator.runtime.ports import Statement, StatementFailed
from tests.emulator.d1.conftest import ACCOUNT, Clock, application, rows

SHOP = """
CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, customer REFERENCES customers(id), note TEXT, g AS (id * 2));
CREATE TABLE customers(id INTEGER PRIMARY KEY, "na""me" TEXT) STRICT;
CREATE TABLE "odd; name"(a PRIMARY KEY, b) WITHOUT ROWID;
INSERT INTO customers VALUES(1, 'O''Hara'), (2, 'multi
line');
INSERT INTO orders(customer, note) VALUES(1, 'semi;colon'), (2, NULL), (1, '--');
INSERT INTO "odd; name" VALUES(x'00ff', 1.5), ('key', -9e99), (3, 1e999);
CREATE INDEX by_customer ON orders(customer) WHERE note IS NOT NULL;
CREATE VIEW names AS SELECT "na""me" FROM customers;
CREATE TRIGGER on_name INSTEAD OF INSERT ON names BEGIN INSERT INTO customers("na""me") VALUES(new."na""me"); END;
"""


def _nothing() -> None:
    return None


def _engine(folder: Path) -> Engine:
    folder.mkdir()
    History.create(folder, 0, SCHEMA)
    return Engine(History(folder).database, Limits(), on_commit=lambda frames: None)


def _dumped(engine: Engine, options: DumpOptions = DumpOptions()) -> str:
    file = io.BytesIO()
    dump(engine, file, options, _nothing)
    return file.getvalue().decode("utf-8", "surrogatepass")


def _content(engine: Engine) -> list[Any]:
    schema = list(
        engine.rows(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema"
            " WHERE name NOT LIKE 'sqlite%' AND name <> '_cf_KV' ORDER BY type, name"
        )
    )
    tables = [name for kind, name, _, _ in schema if kind == "table"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in tables]
    return [schema, *(sorted(map(repr, engine.rows(f"SELECT * FROM {name}"))) for name in quoted)]


def test_what_is_exported_can_be_imported(tmp_path: Path):
    """Tables that refer to later ones, odd names, quotes, blobs, generated columns, triggers on views, sequences."""
    one, two = _engine(tmp_path / "one"), _engine(tmp_path / "two")
    one.run([Statement(SHOP), Statement("DELETE FROM orders WHERE id = 3")])

    text = _dumped(one)
    count, meta = load(two, io.BytesIO(text.encode()), _nothing)

    assert _content(two) == _content(one)
    assert count == len(text.splitlines()) - 1  # one statement a line, but for the name with a line break
    assert meta["changes"] > 0
    two.run([Statement("INSERT INTO orders(note) VALUES('next')")])
    assert list(two.rows("SELECT max(id) FROM orders")) == [(4,)]
    one.close()
    two.close()


_VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(_VALUES, _VALUES), max_size=5))
def test_any_values_survive_export_and_import(tmp_path_factory: pytest.TempPathFactory, values: list[Any]):
    """Each value comes back with its type and every bit, texts with NUL and other control characters too."""
    folder = tmp_path_factory.mktemp("dump")
    one, two = _engine(folder / "one"), _engine(folder / "two")
    one.run([Statement("CREATE TABLE t(a, b)")])
    with one.transaction():
        for row in values:
            list(one.rows("INSERT INTO t VALUES(?, ?)", row))

    load(two, io.BytesIO(_dumped(one).encode()), _nothing)

    assert list(two.rows("SELECT a, typeof(a), b, typeof(b) FROM t")) == list(
        one.rows("SELECT a, typeof(a), b, typeof(b) FROM t")
    )
    one.close()
    two.close()


def test_texts_that_are_no_utf8_are_exported_as_bytes(tmp_path: Path):
    """SQLite keeps any bytes as text; the export keeps them too."""
    one, two = _engine(tmp_path / "one"), _engine(tmp_path / "two")
    one.run([Statement("CREATE TABLE t(a); INSERT INTO t VALUES('good'), (CAST(x'c3ff00' AS TEXT)), (7)")])

    load(two, io.BytesIO(_dumped(one).encode()), _nothing)

    expected = [("676F6F64", "text"), ("C3FF00", "text"), ("37", "integer")]
    assert list(two.rows("SELECT hex(a), typeof(a) FROM t")) == expected
    one.close()
    two.close()


def test_an_export_may_hold_the_schema_the_data_or_some_tables_only(tmp_path: Path):
    """The dump options leave out what they say."""
    engine = _engine(tmp_path / "one")
    engine.run([Statement(SHOP)])

    schema = _dumped(engine, DumpOptions(data=False))
    data = _dumped(engine, DumpOptions(schema=False))
    some = _dumped(engine, DumpOptions(tables=("orders",)))

    assert "CREATE TABLE" in schema
    assert "INSERT INTO" not in schema.replace("BEGIN INSERT INTO", "")
    assert "CREATE" not in data
    assert "INSERT INTO" in data
    assert "by_customer" in some
    assert "customers(" not in some.replace("REFERENCES customers(", "")
    assert "_cf_KV" not in schema + data
    engine.close()


def test_virtual_tables_are_refused_unless_other_tables_are_named(tmp_path: Path):
    """As the real D1: FTS5 tables can't be exported, but the ordinary ones beside them, by name."""
    engine = _engine(tmp_path / "one")
    engine.run([Statement("CREATE TABLE t(a); INSERT INTO t VALUES(1); CREATE VIRTUAL TABLE f USING fts5(x)")])

    with pytest.raises(StatementFailed, match=r"cannot export databases with Virtual Tables \(fts5\)"):
        _dumped(engine)

    assert "VALUES(1)" in _dumped(engine, DumpOptions(tables=("t",)))
    assert engine.run([Statement("SELECT a FROM t")])[0][0].rows == [(1,)]
    engine.close()


def test_an_import_is_all_or_nothing(tmp_path: Path):
    """When a statement in the middle fails, nothing of the file stays."""
    engine = _engine(tmp_path / "one")
    text = "CREATE TABLE t(a);" + "INSERT INTO t VALUES(1);" * 500 + "INSERT INTO nope VALUES(1);"

    with pytest.raises(StatementFailed, match="no such table: nope"):
        load(engine, io.BytesIO(text.encode()), _nothing)

    assert engine.tables() == 0
    engine.close()


@pytest.mark.parametrize("text", ["", "-- nothing", "BEGIN TRANSACTION; COMMIT;", "SELECT '" + "x" * 200_000])
def test_an_import_keeps_to_d1s_rules(tmp_path: Path, text: str):
    """Empty files, transactions of their own and statements over the limit are refused."""
    engine = _engine(tmp_path / "one")

    with pytest.raises(StatementFailed):
        load(engine, io.BytesIO(text.encode()), _nothing)

    engine.close()


async def _until_done(api: httpx.AsyncClient, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Poll like wrangler: at once again, with the bookmark that was given."""
    answers = []
    while True:
        answer = await api.post(path, json=body)
        result = answer.json()["result"]
        answers.append(result)
        assert answer.status_code == (202 if result["status"] == "active" else 200)
        if result["status"] != "active":
            return answers
        poll = {"action": "poll"} if "action" in body else {"output_format": "polling"}
        body = {**poll, "current_bookmark": result["at_bookmark"]}


async def _upload(api: httpx.AsyncClient, database: Database, text: bytes) -> tuple[dict[str, Any], httpx.Response]:
    etag = hashlib.md5(text, usedforsecurity=False).hexdigest()
    init = (await api.post(f"/database/{database.uuid}/import", json={"action": "init", "etag": etag})).json()["result"]
    answer = await api.put(init["upload_url"], content=text)
    return {"action": "ingest", "etag": etag, "filename": init["filename"]}, answer


async def test_an_export_is_polled_and_fetched_without_authorisation(
    api: httpx.AsyncClient, databases: Databases, database: Database, clock: Clock
):
    """The last answer has a link to the file; it works for an hour."""
    await rows(databases, database, "CREATE TABLE t(a); INSERT INTO t VALUES('x')")

    *_, last = await _until_done(
        api, f"/database/{database.uuid}/export", {"output_format": "polling", "dump_options": {}}
    )
    file = await api.get(last["result"]["signed_url"])

    assert last["success"] is True
    assert last["at_bookmark"] == await databases.bookmark(database)
    assert 'INSERT INTO "t" ("a") VALUES(\'x\');' in file.text
    clock.seconds += 3601
    assert (await api.get(last["result"]["signed_url"])).status_code == 403
    assert (await api.get("http://127.0.0.1:8787/__d1/nonsense/x.sql")).status_code == 403


async def test_an_import_goes_through_an_upload(api: httpx.AsyncClient, databases: Databases, database: Database):
    """Init, PUT, ingest, poll: the file runs once, and its figures and the final bookmark are told."""
    text = b"CREATE TABLE t(a); INSERT INTO t VALUES(1), (2);"

    ingest, uploaded = await _upload(api, database, text)
    *_, last = await _until_done(api, f"/database/{database.uuid}/import", ingest)

    assert uploaded.status_code == 200
    assert uploaded.headers["etag"] == f'"{ingest["etag"]}"'
    assert last["result"]["num_queries"] == 2
    assert last["result"]["final_bookmark"] == await databases.bookmark(database)
    assert last["result"]["meta"]["rows_written"] == 4
    assert last["result"]["meta"]["size_after"] == databases.size(database)
    assert await rows(databases, database, "SELECT * FROM t") == [(1,), (2,)]


async def test_a_file_that_is_there_needs_no_second_upload(
    api: httpx.AsyncClient, databases: Databases, database: Database
):
    """Init with a known etag answers without upload_url, and has begun the import."""
    await rows(databases, database, "CREATE TABLE t(a)")
    ingest, _ = await _upload(api, database, b"INSERT INTO t VALUES(1)")
    await _until_done(api, f"/database/{database.uuid}/import", ingest)

    *_, last = await _until_done(api, f"/database/{database.uuid}/import", {"action": "init", "etag": ingest["etag"]})

    assert "upload_url" not in last
    assert last["status"] == "complete"
    assert await rows(databases, database, "SELECT count(*) FROM t") == [(2,)]


async def test_an_upload_that_is_not_what_was_announced_is_refused(
    api: httpx.AsyncClient, databases: Databases, database: Database
):
    """Another MD5 than announced, or no upload at all, and there is nothing to ingest."""
    etag = "0" * 32
    init = (await api.post(f"/database/{database.uuid}/import", json={"action": "init", "etag": etag})).json()["result"]

    wrong = await api.put(init["upload_url"], content=b"CREATE TABLE t(a)")
    ingest = await api.post(
        f"/database/{database.uuid}/import", json={"action": "ingest", "etag": etag, "filename": init["filename"]}
    )

    assert wrong.status_code == ingest.status_code == 400
    assert await rows(databases, database, "SELECT name FROM sqlite_schema WHERE name = 't'") == []
    assert not list((databases.directory / "transfers").iterdir())


async def test_an_import_that_fails_says_why(api: httpx.AsyncClient, databases: Databases, database: Database):
    """The last answer has status error and D1's sentence, and the database serves on."""
    ingest, _ = await _upload(api, database, b"CREATE TABLE t(a); INSERT INTO nope VALUES(1)")

    *_, last = await _until_done(api, f"/database/{database.uuid}/import", ingest)

    assert last["status"] == "error"
    assert last["errors"] == [last["error"]] == ["no such table: nope: SQLITE_ERROR"]
    assert await rows(databases, database, "SELECT 1") == [(1,)]


async def test_polling_what_does_not_run_says_so(api: httpx.AsyncClient, database: Database):
    """A bookmark at which nothing runs is told apart for imports and exports."""
    importing = await api.post(f"/database/{database.uuid}/import", json={"action": "poll", "current_bookmark": "x"})
    exporting = await api.post(
        f"/database/{database.uuid}/export", json={"output_format": "polling", "current_bookmark": "x"}
    )

    assert importing.json()["result"]["error"] == "Not currently importing anything."
    assert exporting.status_code == 400


async def test_a_database_answers_nobody_while_it_exports(
    api: httpx.AsyncClient, databases: Databases, database: Database
):
    """With a slow export, queries, restores and a second export get D1's words; afterwards all is well."""
    databases.limits = replace(DEFAULT_LIMITS, poll_wait=timedelta(milliseconds=20))
    slow = Transfers(databases)
    databases.export_pause = timedelta(milliseconds=400)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(application(databases, slow)), base_url=api.base_url)
    path = f"/database/{database.uuid}/export"

    begun = (await client.post(path, json={"output_format": "polling"})).json()["result"]
    query = await client.post(f"/database/{database.uuid}/query", json={"sql": "SELECT 1"})
    second = await client.post(path, json={"output_format": "polling"})
    answers = await _until_done(client, path, {"output_format": "polling", "current_bookmark": begun["at_bookmark"]})
    after = await client.post(f"/database/{database.uuid}/query", json={"sql": "SELECT 1"})

    assert begun["status"] == "active"
    assert query.status_code == 400
    assert query.json()["errors"] == [{"code": 7500, "message": "Currently processing a long-running export."}]
    assert second.json()["errors"][0]["message"].startswith("Currently processing a long-running export. Cannot start")
    assert len(answers) > 2
    assert answers[-1]["status"] == "complete"
    assert after.status_code == 200
    await slow.close()
    await client.aclose()


async def test_an_export_that_nobody_polls_is_cancelled(
    api: httpx.AsyncClient, databases: Databases, database: Database
):
    """The database is given back, and a late poll hears why."""
    databases.limits = replace(
        DEFAULT_LIMITS, poll_wait=timedelta(milliseconds=10), poll_within=timedelta(milliseconds=50)
    )
    forgetful = Transfers(databases)
    databases.export_pause = timedelta(seconds=60)

    begun = await forgetful.export(database, DumpOptions(), bookmark=None, base_url="http://x")
    opened = databases.opened(database)
    while opened.busy is not None:
        await asyncio.wait_for(opened.call(lambda: None), 30)
        await asyncio.sleep(0)
    late = await forgetful.export(database, DumpOptions(), bookmark=begun["at_bookmark"], base_url="http://x")

    assert late["status"] == "error"
    assert late["error"] == "Cancelled due to no poll() received"
    assert await rows(databases, database, "SELECT 1") == [(1,)]
    await forgetful.close()


async def test_a_refused_export_leaves_the_database_usable(
    api: httpx.AsyncClient, databases: Databases, database: Database
):
    """FTS5 makes the export fail, not the database (the real one has been seen to hang here)."""
    await rows(databases, database, "CREATE VIRTUAL TABLE f USING fts5(x)")

    *_, last = await _until_done(api, f"/database/{database.uuid}/export", {"output_format": "polling"})

    assert (last["status"], last["error"]) == (
        "error",
        "D1 Export error: cannot export databases with Virtual Tables (fts5)",
    )
    assert await rows(databases, database, "SELECT count(*) FROM f") == [(0,)]


async def test_a_deleted_database_ends_its_export(api: httpx.AsyncClient, databases: Databases, database: Database):
    """Deleting while an export runs waits for nobody's poll."""
    databases.limits = replace(DEFAULT_LIMITS, poll_wait=timedelta(milliseconds=10))
    slow = Transfers(databases)
    databases.export_pause = timedelta(seconds=60)
    await slow.export(database, DumpOptions(), bookmark=None, base_url="http://x")

    await asyncio.wait_for(slow.drop(database.uuid), 30)
    await databases.delete(database)

    assert databases.all(ACCOUNT) == []
    await slow.close()


async def test_a_large_file_is_imported_and_exported_piece_by_piece(
    api: httpx.AsyncClient, databases: Databases, database: Database
):
    """20 MB through upload, import, export and download, never whole in one piece."""
    digest = hashlib.md5(usedforsecurity=False)

    async def lines() -> AsyncIterator[bytes]:
        yield b"CREATE TABLE t(a, b);"
        for number in range(2000):
            yield b"INSERT INTO t VALUES(%d, '%s');" % (number, b"x" * 10_000)

    async for piece in lines():
        digest.update(piece)
    etag = digest.hexdigest()
    path = f"/database/{database.uuid}/import"
    init = (await api.post(path, json={"action": "init", "etag": etag})).json()["result"]

    assert (await api.put(init["upload_url"], content=lines())).status_code == 200
    ingest = {"action": "ingest", "etag": etag, "filename": init["filename"]}
    *_, imported = await _until_done(api, path, ingest)
    *_, exported = await _until_done(api, f"/database/{database.uuid}/export", {"output_format": "polling"})
    size = 0
    async with api.stream("GET", exported["result"]["signed_url"]) as file:
        async for block in file.aiter_bytes():
            size += len(block)

    assert imported["result"]["num_queries"] == 2001
    assert await rows(databases, database, "SELECT count(*), sum(length(b)) FROM t") == [(2000, 20_000_000)]
    assert size > 20_000_000
