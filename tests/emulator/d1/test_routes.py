"""D1's endpoints: shapes, codes and refusals, as clients that nobody here wrote expect them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw
import cloudflare
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clodo.emulator.d1.registry import Database
from clodo.emulator.d1.store import Databases
from clodo.emulator.d1.transfers import Transfers
from tests.emulator.d1.conftest import ACCOUNT, Clock, application, rows


def _faults(answer: httpx.Response) -> list[tuple[int, str]]:
    return [(fault["code"], fault["message"]) for fault in answer.json()["errors"]]


async def test_a_database_is_made_listed_got_changed_and_deleted(api: httpx.AsyncClient):
    """The whole life of a database, by id and by name."""
    made = (await api.post("/database", json={"name": "shop", "primary_location_hint": "apac"})).json()["result"]
    one = (await api.get(f"/database/{made['uuid']}")).json()["result"]
    by_name = (await api.get("/database/shop?fields=uuid,name")).json()["result"]
    patched = (await api.patch(f"/database/{made['uuid']}", json={"read_replication": {"mode": "auto"}})).json()[
        "result"
    ]
    put = (await api.put(f"/database/{made['uuid']}", json={"read_replication": {"mode": "disabled"}})).json()["result"]
    deleted = await api.delete(f"/database/{made['uuid']}")
    gone = await api.get(f"/database/{made['uuid']}")

    assert one == made
    assert (made["name"], made["version"], made["running_in_region"]) == ("shop", "production", "APAC")
    assert by_name == {"uuid": made["uuid"], "name": "shop"}
    assert patched["read_replication"] == {"mode": "auto"}
    assert put["read_replication"] == {"mode": "disabled"}
    assert (deleted.status_code, deleted.json()["result"]) == (200, None)
    assert (gone.status_code, _faults(gone)[0][0]) == (404, 7404)


async def test_a_list_has_the_recorded_keys_pages_and_filter(api: httpx.AsyncClient):
    """As recorded from the real API: these keys of each database, 100 a page, and no total_pages."""
    for number in range(5):
        await api.post("/database", json={"name": f"shop-{number}"})
    await api.post("/database", json={"name": "other"})

    everything = (await api.get("/database")).json()
    second = (await api.get("/database?name=shop&per_page=2&page=2")).json()
    past = (await api.get("/database?page=9&per_page=1000")).json()

    assert set(everything["result"][0]) == {"created_at", "file_size", "name", "num_tables", "uuid", "version"}
    assert everything["result_info"] == {"count": 6, "page": 1, "per_page": 100, "total_count": 6}
    assert [item["name"] for item in second["result"]] == ["shop-2", "shop-1"]
    assert second["result_info"] == {"count": 2, "page": 2, "per_page": 2, "total_count": 5}
    assert past["result"] == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "Invalid property: name => Required"),
        ({"name": 7}, "Invalid property: name => Expected string, received number"),
        ({"name": ""}, "Invalid property: name => Invalid"),
        ({"name": "a b"}, "Invalid property: name => Invalid"),
        ({"name": "../x"}, "Invalid property: name => Invalid"),
        ({"name": "x" * 256}, "Invalid property: name => Invalid"),
        ({"name": "x", "jurisdiction": "mars"}, "Invalid property: jurisdiction => Invalid enum value."),
        ({"name": "x", "primary_location_hint": "moon"}, "Invalid property: primary_location_hint => Invalid enum"),
        ({"name": "x", "read_replication": {}}, "Invalid property: read_replication.mode => Required"),
        ([], "The request is malformed"),
    ],
)
async def test_a_database_that_makes_no_sense_is_not_made(api: httpx.AsyncClient, body: Any, problem: str):
    """Wrong properties are a 400 with 7400, and the property is named."""
    answer = await api.post("/database", json=body)

    assert answer.status_code == 400
    ((code, message),) = _faults(answer)
    assert code == 7400
    assert message.startswith(problem)
    assert (await api.get("/database")).json()["result"] == []


async def test_a_name_taken_is_7502(api: httpx.AsyncClient, database: Database):
    """wrangler looks for this number."""
    answer = await api.post("/database", json={"name": "shop"})

    assert (answer.status_code, _faults(answer)) == (400, [(7502, "A database with that name already exists")])


async def test_a_query_answers_a_result_for_each_statement(api: httpx.AsyncClient, database: Database):
    """Rows are objects; blobs are arrays of numbers, and numbers as JavaScript writes them."""
    answer = await api.post(
        f"/database/{database.uuid}/query",
        json={"sql": "CREATE TABLE t(a, b); INSERT INTO t VALUES(x'01ff', 2.0), (1.5, NULL); SELECT * FROM t"},
    )

    results = answer.json()["result"]
    assert [result["success"] for result in results] == [True, True, True]
    assert results[2]["results"] == [{"a": [1, 255], "b": 2}, {"a": 1.5, "b": None}]
    assert '"b":2}' in answer.text.replace(" ", "")
    assert results[1]["meta"]["changes"] == 2
    assert isinstance(results[1]["meta"]["duration"], float)
    assert results[1]["meta"]["served_by_primary"] is True


async def test_raw_answers_columns_and_rows(api: httpx.AsyncClient, database: Database):
    """The raw endpoint keeps columns of the same name apart; parameters are positional."""
    answer = await api.post(
        f"/database/{database.uuid}/raw", json={"sql": "SELECT ? AS a, ?2 AS a", "params": ["x", True]}
    )

    assert answer.json()["result"][0]["results"] == {"columns": ["a", "a"], "rows": [["x", 1]]}


async def test_a_batch_is_one_transaction(api: httpx.AsyncClient, databases: Databases, database: Database):
    """Its statements run with their parameters; when one fails, none has happened."""
    path = f"/database/{database.uuid}/query"
    await api.post(path, json={"sql": "CREATE TABLE t(a UNIQUE)"})

    good = await api.post(path, json={"batch": [{"sql": "INSERT INTO t VALUES(?)", "params": [n]} for n in (1, 2)]})
    bad = await api.post(path, json={"batch": [{"sql": "DELETE FROM t"}, {"sql": "SELECT nope"}]})

    assert len(good.json()["result"]) == 2
    assert bad.status_code == 400
    assert await rows(databases, database, "SELECT a FROM t") == [(1,), (2,)]


async def test_a_migration_fails_whole(api: httpx.AsyncClient, databases: Databases, database: Database):
    """As wrangler sends it: the file and the note that it ran in one text; a failure leaves no debris."""
    sql = "CREATE TABLE a(x); CREATE TABLE b(x REFERENCES);\nINSERT INTO d1_migrations(name) VALUES('0001.sql');"
    await rows(databases, database, "CREATE TABLE d1_migrations(name)")

    answer = await api.post(f"/database/{database.uuid}/query", json={"sql": sql})

    assert (answer.status_code, answer.json()["result"]) == (400, [])
    assert _faults(answer) == [(7500, 'near ")": syntax error at offset 27: SQLITE_ERROR')]
    assert databases.find(ACCOUNT, "shop").num_tables == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"sql": 1}, {"sql": "SELECT 1", "params": "x"}, {"batch": []}, {"batch": {}}, {"batch": ["SELECT 1"]}, []],
)
async def test_a_query_that_makes_no_sense_is_7400(api: httpx.AsyncClient, database: Database, body: Any):
    """Malformed bodies are refused before any SQL runs."""
    answer = await api.post(f"/database/{database.uuid}/query", json=body)

    assert (answer.status_code, _faults(answer)[0][0]) == (400, 7400)


async def test_a_query_that_runs_too_long_is_7429(small: Databases):
    """The real one's number for a query over its CPU time."""
    database = small.create(ACCOUNT, "shop")
    transfers = Transfers(small)
    sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    transport = httpx.ASGITransport(application(small, transfers))
    async with httpx.AsyncClient(transport=transport, base_url="http://x/client/v4/accounts") as client:
        answer = await client.post(f"/{ACCOUNT}/d1/database/{database.uuid}/query", json={"sql": sql})

    assert answer.status_code == 429
    assert _faults(answer) == [(7429, "D1 DB exceeded its CPU time limit and was reset.")]


async def test_time_travel_by_bookmark_and_by_time(api: httpx.AsyncClient, database: Database, clock: Clock):
    """As wrangler asks: info now and at a time, restore, and undo by the previous bookmark."""
    path = f"/database/{database.uuid}"
    await api.post(f"{path}/query", json={"sql": "CREATE TABLE t(a); INSERT INTO t VALUES(1)"})
    bookmark = (await api.get(f"{path}/time_travel/bookmark")).json()["result"]["bookmark"]
    clock.seconds += 60
    await api.post(f"{path}/query", json={"sql": "DELETE FROM t"})

    at = (await api.get(f"{path}/time_travel/bookmark?timestamp=2026-11-20T12:00:30.000Z")).json()["result"]
    back = (await api.post(f"{path}/time_travel/restore?timestamp=2026-11-20T12:00:30Z")).json()["result"]
    count = await api.post(f"{path}/query", json={"sql": "SELECT count(*) AS n FROM t"})
    undo = await api.post(f"{path}/time_travel/restore?bookmark={back['previous_bookmark']}")
    undone = await api.post(f"{path}/query", json={"sql": "SELECT count(*) AS n FROM t"})

    assert at == {"bookmark": bookmark}
    assert set(back) == {"bookmark", "previous_bookmark", "message"}
    assert count.json()["result"][0]["results"] == [{"n": 1}]
    assert undo.json()["result"]["previous_bookmark"] == back["bookmark"]
    assert undone.json()["result"][0]["results"] == [{"n": 0}]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "time_travel/bookmark?timestamp=yesterday"),
        ("GET", "time_travel/bookmark?timestamp=1999-01-01T00:00:00Z"),
        ("GET", "time_travel/bookmark?timestamp=99999999999999999"),
        ("POST", "time_travel/restore"),
        ("POST", "time_travel/restore?bookmark=x&timestamp=2026-11-20T12:00:00Z"),
        ("POST", "time_travel/restore?bookmark=x"),
    ],
)
async def test_times_and_bookmarks_that_lead_nowhere_are_7400(
    api: httpx.AsyncClient, database: Database, method: str, path: str
):
    """Nothing is restored, and the client hears what was wrong."""
    answer = await api.request(method, f"/database/{database.uuid}/{path}")

    assert (answer.status_code, _faults(answer)[0][0]) == (400, 7400)


@pytest.mark.parametrize("time", ["2026-11-20T12:00:00+00:00", "2026-11-20T13:00:00%2B01:00", "1795176000"])
async def test_times_may_be_written_as_wrangler_and_people_do(api: httpx.AsyncClient, database: Database, time: str):
    """ISO 8601 with an offset, escaped or not, and Unix seconds."""
    assert (await api.get(f"/database/{database.uuid}/time_travel/bookmark?timestamp={time}")).status_code == 200


async def test_the_official_sdk_finds_every_shape_right(databases: Databases, transfers: Transfers):
    """The Python SDK, generated from Cloudflare's OpenAPI and told to be strict, takes each answer."""
    transport = httpx.ASGITransport(application(databases, transfers))
    sdk = cloudflare.AsyncCloudflare(
        api_token="t" * 40,
        base_url="http://127.0.0.1:8787/client/v4",
        http_client=httpx.AsyncClient(transport=transport),
        _strict_response_validation=True,
        max_retries=0,
    )
    d1 = sdk.d1.database

    made = await d1.create(account_id=ACCOUNT, name="shop", jurisdiction="eu")
    assert made.uuid is not None
    one = {"account_id": ACCOUNT, "database_id": made.uuid}
    assert (await d1.get(**one)).name == "shop"
    assert [item.name async for item in d1.list(account_id=ACCOUNT)] == ["shop"]
    edited = await d1.edit(**one, read_replication={"mode": "auto"})
    assert edited.read_replication is not None
    assert edited.read_replication.mode == "auto"
    await d1.update(**one, read_replication={"mode": "disabled"})
    results = [result async for result in d1.query(**one, sql="CREATE TABLE t(a); SELECT 1 AS a")]
    assert results[1].results == [{"a": 1}]
    raw = [result async for result in d1.raw(**one, sql="SELECT ? AS a", params=["1"])]
    assert raw[0].results is not None
    assert raw[0].results.rows == [["1"]]
    bookmark = (await d1.time_travel.get_bookmark(**one)).bookmark
    assert bookmark is not None
    restored = await d1.time_travel.restore(**one, bookmark=bookmark)
    assert restored.previous_bookmark == bookmark
    exported = await d1.export(**one, output_format="polling")
    assert exported.result is not None
    assert exported.result.signed_url is not None
    started = await d1.import_(**one, action="init", etag="0" * 32)
    assert started.upload_url is not None
    await d1.delete(**one)
    with pytest.raises(cloudflare.NotFoundError):
        await d1.get(**one)
    await sdk.close()


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [
        "sql",
        "params",
        "batch",
        "name",
        "action",
        "etag",
        "filename",
        "current_bookmark",
        "output_format",
        "dump_options",
        "read_replication",
        "jurisdiction",
        "primary_location_hint",
    ]
)
_SQL = st.sampled_from(["SELECT 1", "SELECT ?", "SELEC", ";", "CREATE TABLE x(a)", "PRAGMA table_list", "\0", "init"])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH"]),
    path=st.sampled_from(
        [
            "",
            "/{}",
            "/{}/query",
            "/{}/raw",
            "/{}/export",
            "/{}/import",
            "/{}/time_travel/bookmark",
            "/{}/time_travel/restore",
            "/%2e%2e",
            "/%00",
        ]
    ),
    body=st.one_of(_JSON, st.dictionaries(_NAMES, st.one_of(_SQL, _JSON), max_size=4)),
    query=st.dictionaries(
        st.sampled_from(["page", "per_page", "name", "fields", "timestamp", "bookmark"]),
        st.text(max_size=12),
        max_size=2,
    ),
)
async def test_no_request_is_too_odd(
    api: httpx.AsyncClient, databases: Databases, method: str, path: str, body: Any, query: dict[str, str]
):
    """Whatever comes in, the answer is an envelope, and never a 500."""
    database = databases.get(ACCOUNT, "odd") or databases.create(ACCOUNT, "odd")

    content = json.dumps(body).encode()
    answer = await api.request(method, f"/database{path.format(database.uuid)}", content=content, params=query)

    assert answer.status_code < 500, answer.text
    assert set(answer.json()) >= {"success", "errors", "messages", "result"}
    assert answer.json()["success"] is (answer.status_code < 300)


async def test_two_processes_can_not_write_one_database(databases: Databases, database: Database, tmp_path: Path):
    """A second store on the same files is kept out instead of folding the first one's log away."""
    await rows(databases, database, "CREATE TABLE t(a)")
    second = Databases(databases.directory)

    with pytest.raises(apsw.BusyError):
        await rows(second, database, "SELECT 1")

    assert await rows(databases, database, "SELECT * FROM t") == []
    await second.close()
