"""The GraphQL endpoint: what really happened, asked for as dashboards ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from graphql import build_client_schema, get_introspection_query, parse, validate

from tests.fixtures.embedded_cloud import CloudAccount

WORKER = """
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/throw") throw new Error("on purpose");
    if (pathname === "/own-500") return new Response("mine", { status: 500 });
    if (pathname === "/spin") {
      let n = 0;
      for (let i = 0; i < 2e7; i++) n += i % 7;
      return new Response(String(n));
    }
    if (pathname === "/store") {
      await env.DB.prepare("INSERT INTO notes (text) VALUES (?)").bind("x").run();
      await env.KV.put("k", "value");
      return new Response((await env.KV.get("k")) ?? "");
    }
    return new Response("hello");
  },
};
"""


def ask(account: CloudAccount, query: str, **variables: Any) -> Any:
    """Ask about the account; return its part of the answer."""
    body = ask_raw(account, query, **variables)
    assert body["errors"] is None, body
    return body["data"]["viewer"]["accounts"][0]


def ask_raw(account: CloudAccount, query: str, **variables: Any) -> Any:
    """Ask and return the whole answer."""
    variables = {"account": account.account_id, **window(), **variables}
    answer = account.api.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    return answer.json()


def window() -> dict[str, str]:
    """The last hour, and the next."""
    now = datetime.now(UTC)
    return {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}


HEAD = "query($account: string!, $start: Time, $end: Time) { viewer { accounts(filter: {accountTag: $account})"


@pytest.fixture
def shop(account: CloudAccount) -> CloudAccount:
    """An account with a Worker that has a database and a namespace."""
    database = account.result("POST", "/d1/database", json={"name": "notes"})["uuid"]
    account.result("POST", f"/d1/database/{database}/query", json={"sql": "CREATE TABLE notes (text TEXT)"})
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "cache"})["id"]
    account.put_worker(
        "shop",
        WORKER,
        bindings=[
            {"type": "d1", "name": "DB", "id": database},
            {"type": "kv_namespace", "name": "KV", "namespace_id": namespace},
        ],
    )
    return account


def test_requests_errors_and_times_of_a_worker(shop: CloudAccount) -> None:
    """Requests, errors, subrequests and quantiles are those of the requests that were made, by status and version."""
    host = shop.hostname("shop")
    for path in ("/", "/", "/own-500", "/throw", "/store"):
        shop.visit(host, path)
    spun = shop.visit(host, "/spin").text

    found = ask(
        shop,
        HEAD
        + """ {
          all: workersInvocationsAdaptive(
            limit: 100, filter: {scriptName: "shop", datetime_geq: $start, datetime_leq: $end}
          ) {
            sum { requests errors subrequests wallTime cpuTimeUs responseBodySize }
            quantiles { cpuTimeP50 cpuTimeP999 wallTimeP50 wallTimeP999 }
          }
          byStatus: workersInvocationsAdaptive(limit: 100, orderBy: [sum_requests_DESC], filter: {
            AND: [{datetime_geq: $start}, {OR: [{scriptName: "shop"}, {scriptName: "nobody"}]}]
          }) { sum { requests } dimensions { status scriptName scriptVersion } }
        } } }""",
    )

    version = shop.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    (total,) = found["all"]
    assert total["sum"]["requests"] == 6
    assert total["sum"]["errors"] == 1
    assert total["sum"]["responseBodySize"] == 2 * len("hello") + len(spun) + len("mine") + len("value")
    # One statement, two of KV.
    assert total["sum"]["subrequests"] == 3
    assert 5_000 < total["sum"]["cpuTimeUs"] <= total["sum"]["wallTime"] * 4
    # The loop is the dearest request of all, and only one of six.
    assert total["quantiles"]["cpuTimeP999"] > 4 * total["quantiles"]["cpuTimeP50"]
    assert total["quantiles"]["wallTimeP999"] >= total["quantiles"]["wallTimeP50"] > 0
    assert found["byStatus"] == [
        {"sum": {"requests": 5}, "dimensions": {"status": "success", "scriptName": "shop", "scriptVersion": version}},
        {
            "sum": {"requests": 1},
            "dimensions": {"status": "scriptThrewException", "scriptName": "shop", "scriptVersion": version},
        },
    ]


def test_statements_of_a_database(shop: CloudAccount) -> None:
    """Reads, writes, rows and the texts of statements are counted, those of Workers and of the API alike."""
    shop.visit(shop.hostname("shop"), "/store")
    database = shop.result("GET", "/d1/database")[0]["uuid"]
    shop.result("POST", f"/d1/database/{database}/query", json={"sql": "SELECT * FROM notes"})
    shop.refusal("POST", f"/d1/database/{database}/query", json={"sql": "SELECT * FROM nowhere"})

    found = ask(
        shop,
        HEAD
        + """ {
          d1AnalyticsAdaptiveGroups(limit: 10000, filter: {AND: [{datetimeHour_geq: $start, databaseId: $id}]}) {
            sum { readQueries writeQueries rowsRead rowsWritten queryBatchResponseBytes }
            quantiles { queryBatchTimeMsP90 }
            dimensions { databaseId }
          }
          d1QueriesAdaptiveGroups(
            limit: 5, filter: {query_like: "%notes%"}, orderBy: [sum_rowsWritten_DESC, query_ASC]
          ) {
            count avg { rowsReturned } dimensions { query }
          }
          d1StorageAdaptiveGroups(limit: 1, orderBy: [date_DESC]) { max { databaseSizeBytes } }
        } } }""".replace("$id", f'"{database}"'),
    )

    (group,) = found["d1AnalyticsAdaptiveGroups"]
    assert group["dimensions"] == {"databaseId": database}
    # Read: the select and the one that failed; written: the table and the row.
    assert (group["sum"]["readQueries"], group["sum"]["writeQueries"]) == (2, 2)
    assert group["sum"]["rowsWritten"] >= 1
    assert group["sum"]["queryBatchResponseBytes"] > 0
    assert group["quantiles"]["queryBatchTimeMsP90"] > 0
    assert [group["dimensions"]["query"] for group in found["d1QueriesAdaptiveGroups"]] == [
        "CREATE TABLE notes (text TEXT)",
        "INSERT INTO notes (text) VALUES (?)",
        "SELECT * FROM notes",
    ]
    assert found["d1QueriesAdaptiveGroups"][2]["avg"] == {"rowsReturned": 1}
    assert found["d1StorageAdaptiveGroups"][0]["max"]["databaseSizeBytes"] >= 8192


def test_operations_and_size_of_a_namespace(shop: CloudAccount) -> None:
    """Reads, writes, deletions and listings are counted by action, and the size is the present one."""
    shop.visit(shop.hostname("shop"), "/store")
    namespace = shop.result("GET", "/storage/kv/namespaces")[0]["id"]
    root = f"/storage/kv/namespaces/{namespace}"
    shop.result("PUT", f"{root}/values/other", content=b"12345")
    shop.result("GET", f"{root}/keys")
    shop.result("DELETE", f"{root}/values/k")

    found = ask(
        shop,
        HEAD
        + """ {
          kvOperationsAdaptiveGroups(limit: 100, filter: {namespaceId_in: [$id]}, orderBy: [actionType_ASC]) {
            sum { requests } dimensions { actionType }
          }
          kvStorageAdaptiveGroups(limit: 10, filter: {date_geq: "2026-01-01"}) {
            max { keyCount byteCount } dimensions { namespaceId }
          }
        } } }""".replace("$id", f'"{namespace}"').replace("2026-01-01", window()["start"][:10]),
    )

    counts = {
        group["dimensions"]["actionType"]: group["sum"]["requests"] for group in found["kvOperationsAdaptiveGroups"]
    }
    assert counts == {"delete": 1, "list": 1, "read": 1, "write": 2}
    assert found["kvStorageAdaptiveGroups"] == [
        {"max": {"keyCount": 1, "byteCount": 10}, "dimensions": {"namespaceId": namespace}}
    ]


def test_operations_and_size_of_a_bucket(account: CloudAccount) -> None:
    """Operations of R2 are counted under its own names for them, refused ones too; the size is the present one."""
    account.result("POST", "/r2/buckets", json={"name": "files"})
    objects = "/r2/buckets/files/objects"
    account.result("PUT", f"{objects}/a", content=b"12345")
    account.api.get(f"{account.root}{objects}/a")
    account.api.get(f"{account.root}{objects}/missing")
    account.api.delete(f"{account.root}{objects}/a")
    account.result("PUT", f"{objects}/b", content=b"123")

    found = ask(
        account,
        HEAD
        + """ {
          r2OperationsAdaptiveGroups(
            limit: 100, filter: {bucketName: "files", datetime_geq: $start}, orderBy: [actionType_ASC, actionStatus_ASC]
          ) { sum { requests responseObjectSize } dimensions { actionType actionStatus } }
          r2StorageAdaptiveGroups(limit: 1, filter: {bucketName: "files"}, orderBy: [datetime_DESC]) {
            max { objectCount payloadSize }
          }
        } } }""",
    )

    operations = {
        (group["dimensions"]["actionType"], group["dimensions"]["actionStatus"]): tuple(group["sum"].values())
        for group in found["r2OperationsAdaptiveGroups"]
    }
    assert operations[("PutObject", "success")] == (2, 0)
    assert operations[("GetObject", "success")] == (1, 5)
    assert operations[("GetObject", "userError")] == (1, 0)
    assert operations[("DeleteObjects", "success")][0] == 1
    assert found["r2StorageAdaptiveGroups"] == [{"max": {"objectCount": 1, "payloadSize": 3}}]


@pytest.mark.parametrize(
    ("query", "message", "path"),
    [
        (
            HEAD + " { workersInvocationsAdaptive(limit: 1) { sum { requets } } } } }",
            'unknown field "requets"',
            ["viewer", "accounts", "0", "workersInvocationsAdaptive"],
        ),
        (HEAD + " { videos(limit: 1) { count } } } }", 'unknown field "videos"', ["viewer", "accounts", "0"]),
        ("{ viewer { zones { zoneTag } } }", 'unknown field "zones"', ["viewer"]),
        (
            HEAD + " { workersInvocationsAdaptive(limit: 10001) { sum { requests } } } } }",
            "limit must be positive number and not greater than 10000",
            ["viewer", "accounts", "0", "workersInvocationsAdaptive"],
        ),
        (
            HEAD + ' { kvOperationsAdaptiveGroups(filter: {date_geq: "2020-01-01"}) { sum { requests } } } } }',
            "cannot request data older than 2678400s",
            ["viewer", "accounts", "0", "kvOperationsAdaptiveGroups"],
        ),
        (
            HEAD + ' { d1QueriesAdaptiveGroups(filter: {nothing: "x"}) { count } } } }',
            'unknown filter "nothing"',
            ["viewer", "accounts", "0", "d1QueriesAdaptiveGroups"],
        ),
        (
            '{ viewer { accounts(filter: {accountTag: "ffff"}) { accountTag } } }',
            "not authorized for that account",
            ["viewer", "accounts"],
        ),
        ("{ viewer { accounts(filter: {}) { accountTag } } }", None, ["viewer", "accounts"]),
        ("{ viewer {", None, None),
        ("mutation { viewer }", None, None),
    ],
)
def test_a_question_that_makes_no_sense_is_told_why(
    account: CloudAccount, query: str, message: str | None, path: list[str] | None
) -> None:
    """The answer is 200 without data; its error names the field and where it stands, as Cloudflare's does."""
    body = ask_raw(account, query)

    (error,) = body["errors"]
    assert body["data"] is None
    assert error["path"] == path
    assert message in (None, error["message"])
    assert error["extensions"]["timestamp"].endswith("Z")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"query": 1}', b"\xff"])
def test_what_is_no_question_is_refused(account: CloudAccount, content: bytes) -> None:
    """A body that is no JSON object with a query gets 400, in GraphQL's shape."""
    answer = account.api.post("/graphql", content=content)

    assert answer.status_code == 400
    assert answer.json()["data"] is None


def test_what_wrangler_asks_is_answered(account: CloudAccount) -> None:
    """wrangler's query, with a filter type that doesn't exist and a variable for the whole filter, is understood."""
    query = """query getR2StorageMetrics($accountTag: String, $filter: R2StorageAdaptiveGroupsFilter_InputObject) {
      viewer { accounts(filter: { accountTag: $accountTag }) {
        r2StorageAdaptiveGroups(limit: 1 filter: $filter orderBy: [datetime_DESC]) {
          max { objectCount payloadSize metadataSize } dimensions { datetime }
        } } } }"""
    variables = {
        "accountTag": account.account_id,
        "filter": {"datetime_geq": window()["start"], "datetime_leq": window()["end"], "bucketName": "b"},
    }
    question = {"query": query, "operationName": "getR2StorageMetrics", "variables": variables}

    answer = account.api.post("/graphql", json=question).json()

    assert answer["data"]["viewer"]["accounts"] == [{"r2StorageAdaptiveGroups": []}]


def test_fragments_directives_and_typenames(account: CloudAccount) -> None:
    """Fragments, @include and @skip, defaults of variables and __typename are GraphQL's own."""
    query = """
      query Q($account: String!, $no: Boolean = false) {
        viewer { ...Accounts __typename }
      }
      fragment Accounts on viewer {
        accounts(filter: {accountTag: $account}) {
          tag: accountTag @skip(if: $no)
          gone: accountTag @include(if: $no)
          ... on account { workersInvocationsAdaptive(limit: 1) { count } }
        }
      }
    """

    body = ask_raw(account, query)

    assert body["data"] == {
        "viewer": {
            "accounts": [{"tag": account.account_id, "workersInvocationsAdaptive": []}],
            "__typename": "viewer",
        }
    }


def test_the_schema_can_be_asked_for(account: CloudAccount) -> None:
    """Introspection names the datasets and their fields."""
    body = ask_raw(account, '{ __type(name: "AccountWorkersInvocationsAdaptiveSum") { fields { name } } }')

    names = {field["name"] for field in body["data"]["__type"]["fields"]}
    assert {"requests", "errors", "subrequests", "cpuTimeUs"} <= names


def test_documented_queries_fit_the_schema(account: CloudAccount) -> None:
    """A client that checks queries against the introspected schema finds nothing wrong in documented ones."""
    schema = build_client_schema(ask_raw(account, get_introspection_query())["data"])
    documented = """
      query GetWorkersAnalytics($accountTag: string!, $datetimeStart: string, $scriptName: string) {
        viewer {
          accounts(filter: {accountTag: $accountTag}) {
            workersInvocationsAdaptive(limit: 100, filter: {scriptName: $scriptName, datetime_geq: $datetimeStart}) {
              sum { subrequests requests errors }
              quantiles { cpuTimeP50 cpuTimeP99 }
              dimensions { datetime scriptName status }
            }
          }
        }
      }
      query D1($accountTag: string!, $start: Date, $filter: AccountD1AnalyticsAdaptiveGroupsFilter_InputObject) {
        viewer {
          accounts(filter: {accountTag: $accountTag}) {
            d1AnalyticsAdaptiveGroups(limit: 10000, filter: $filter, orderBy: [date_DESC]) { sum { rowsRead } }
            kvOperationsAdaptiveGroups(limit: 10000, filter: {date_geq: $start}) { dimensions { actionType } }
          }
        }
      }
    """

    assert validate(schema, parse(documented)) == []


def test_numbers_beyond_all_bounds_are_compared(account: CloudAccount) -> None:
    """A number that no column can hold finds nothing, and no error."""
    query = HEAD + " { workersInvocationsAdaptive(filter: {scriptName: 99999999999999999999999}) { count } } } }"

    assert ask(account, query) == {"workersInvocationsAdaptive": []}


def test_facts_can_be_late(account: CloudAccount) -> None:
    """With a delay, as the real one has, what happened a moment ago isn't seen yet."""
    account.put_worker("shop")
    account.visit(account.hostname("shop"))
    query = HEAD + " { workersInvocationsAdaptive(limit: 1) { sum { requests } } } } }"
    try:
        account.cloud.delay_analytics(timedelta(minutes=5))
        late = ask(account, query)
    finally:
        account.cloud.delay_analytics(timedelta(0))

    assert late == {"workersInvocationsAdaptive": []}
    assert ask(account, query) == {"workersInvocationsAdaptive": [{"sum": {"requests": 1}}]}
