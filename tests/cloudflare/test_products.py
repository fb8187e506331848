"""Each method: what it asks, and what it makes of the answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.cloudflare.d1 import Export
from clodo.cloudflare.kv import Pair
from clodo.cloudflare.settings import UnversionedSettings
from clodo.cloudflare.workers import preview_hostname, worker_hostname
from clodo.errors import (
    AmbiguousName,
    ApiRefused,
    BadUsage,
    CloudflareUnavailable,
    NamespaceNotFound,
    NotAuthorised,
    NotFound,
    OutcomeUnknown,
    PartlyDone,
    VersionNotFound,
    WorkerNotFound,
    ZoneNotFound,
)
from tests.cloudflare.wire import ACCOUNT, TOKEN, ZONE, bad, good, wired

A = f"/accounts/{ACCOUNT}"
V1, V2 = "0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3d-0000-4000-8000-000000000002"


# ── Tokens, accounts, zones ──


def test_a_user_token_is_verified():
    """An active token of a user costs one request."""
    wire = wired([good({"id": "t1", "status": "active"})])

    assert wire.cloudflare.user.verify_token().id == "t1"
    assert wire.asked == ["GET /user/tokens/verify"]


def test_an_account_token_is_verified_by_its_account():
    """Code 1000 sends us to the account's own verify."""
    wire = wired([bad(401, 1000, "Invalid API Token"), good({"id": "t2", "status": "active"})])

    assert wire.cloudflare.user.verify_token().id == "t2"
    assert wire.asked == ["GET /user/tokens/verify", f"GET {A}/tokens/verify"]


def test_a_token_that_nobody_knows_is_not_authorised():
    """Neither the user nor the account knows it."""
    wire = wired([bad(401, 1000, "Invalid API Token"), bad(401, 1000, "Invalid API Token")])

    with pytest.raises(NotAuthorised):
        wire.cloudflare.user.verify_token()


def test_an_expired_token_is_not_authorised():
    """A token that Cloudflare knows but calls expired is no good; the message says since when."""
    wire = wired([good({"id": "t1", "status": "expired", "expires_on": "2026-01-02T03:04:05Z"})])

    with pytest.raises(NotAuthorised, match="t1 is expired since 2026-01-02T03:04:05Z"):
        wire.cloudflare.user.verify_token()


def test_accounts_are_listed_and_one_is_read():
    """The client's own account is the default."""
    account = {"id": ACCOUNT, "name": "One", "type": "standard"}
    wire = wired([good([account], info={"total_pages": 1}), good(account), bad(404, 1003, "nope")])

    assert wire.cloudflare.accounts.list() == [wire.cloudflare.accounts.get()]
    with pytest.raises(NotFound, match="sees no account other"):
        wire.cloudflare.accounts.get("other")


def test_a_zone_is_found_by_its_exact_name():
    """A pending copy of the zone doesn't hide the active one."""
    pending, active = ({"id": i, "name": "example.com", "status": s} for i, s in (("p", "pending"), ("a", "active")))
    wire = wired([good([pending, active], info={"total_pages": 1})])

    assert wire.cloudflare.zones.get_by_name("EXAMPLE.com.").id == "a"
    assert wire.asked == [f"GET /zones?account.id={ACCOUNT}&name=example.com&page=1&per_page=50"]


def test_zones_that_can_not_be_told_apart_are_ambiguous():
    """Two active zones of one name are not chosen from."""
    zones = [{"id": each, "name": "example.com", "status": "active"} for each in "ab"]
    wire = wired([good(zones, info={"total_pages": 1})])

    with pytest.raises(AmbiguousName, match="a, b"):
        wire.cloudflare.zones.get_by_name("example.com")


def test_the_zone_of_a_host_name_is_the_longest_that_fits():
    """shop.eu.example.com belongs to eu.example.com, not to example.com nor to ample.com."""
    zones = [{"id": name, "name": name} for name in ("example.com", "eu.example.com", "u.example.com", "ample.com")]
    wire = wired(lambda _: good(zones, info={"total_pages": 1}))

    assert wire.cloudflare.zones.for_hostname("shop.eu.example.com").id == "eu.example.com"
    assert wire.cloudflare.zones.for_hostname("example.com").id == "example.com"
    with pytest.raises(ZoneNotFound, match="holds notexample"):
        wire.cloudflare.zones.for_hostname("notexample.com")


@pytest.mark.parametrize("answer", [bad(404, 1001, "Invalid zone"), bad(400, 7003, "Could not route to /zones/x")])
def test_a_zone_that_is_not_there_is_not_found(answer):
    """A malformed id is unroutable to Cloudflare and absent to us."""
    wire = wired([answer])

    with pytest.raises(ZoneNotFound, match="sees no zone"):
        wire.cloudflare.zones.get("x")


# ── Workers ──


def test_workers_are_listed_in_one_request():
    """The list of scripts has no pages."""
    wire = wired([good([{"id": "api", "tag": "t", "etag": "e", "modified_on": "2026-11-20T12:00:00.123456Z"}])])

    (script,) = wire.cloudflare.scripts.list()

    assert (script.id, script.tag, script.etag) == ("api", "t", "e")
    assert wire.asked == [f"GET {A}/workers/scripts"]


def test_a_worker_exists_or_not():
    """10007 is absence; anything else is not."""
    wire = wired([good({"bindings": []}), bad(404, 10007, "none"), bad(403, 10000, "Authentication error")])

    assert wire.cloudflare.scripts.exists("api") is True
    assert wire.cloudflare.scripts.exists("api") is False
    with pytest.raises(NotAuthorised):
        wire.cloudflare.scripts.exists("api")


def test_settings_of_the_newest_version_keep_bindings_whole():
    """A binding is kept as Cloudflare has it."""
    binding = {"name": "DB", "type": "d1", "id": "x", "new_field": [1]}
    wire = wired([good({"bindings": [binding], "compatibility_date": "2026-01-01"})])

    assert wire.cloudflare.scripts.get_settings("api").bindings == [binding]


def test_deleting_a_worker_may_be_forced():
    """`force` is a parameter of the query."""
    wire = wired([good(None), good(None)])

    wire.cloudflare.scripts.delete("api")
    wire.cloudflare.scripts.delete("api", force=True)

    assert wire.asked == [f"DELETE {A}/workers/scripts/api", f"DELETE {A}/workers/scripts/api?force=true"]


VERSION = {
    "id": V2,
    "number": 2,
    "metadata": {"created_on": "2026-11-20T12:00:00Z", "source": "wrangler", "has_preview": True},
    "annotations": {"workers/tag": "r1.abc", "workers/message": "by hand"},
    "resources": {
        "bindings": [
            {"name": "B", "type": "secret_text"},
            {"name": "V", "type": "plain_text"},
            {"name": "A", "type": "secret_key"},
        ],
        "script": {"etag": "e"},
        "script_runtime": {"compatibility_date": "2026-01-01"},
    },
}


def test_a_version_is_read_with_tag_secrets_and_preview():
    """What a release wants to know of a version."""
    wire = wired([good(VERSION)])

    version = wire.cloudflare.versions.get("api", V2)

    assert (version.tag, version.message, version.secret_names) == ("r1.abc", "by hand", ("A", "B"))
    assert version.metadata.has_preview is True
    assert version.created_on == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert wire.asked == [f"GET {A}/workers/scripts/api/versions/{V2}"]


def test_a_preview_is_read_in_either_spelling():
    """The SDK's hasPreview and wrangler's has_preview mean the same."""
    wire = wired([good({"id": V1, "metadata": {"hasPreview": True}})])

    assert wire.cloudflare.versions.get("api", V1).metadata.has_preview is True


def test_a_version_out_of_a_list_without_annotations():
    """What is absent is None or empty, not an error."""
    wire = wired([good({"items": [{"id": V1}]}, info={"total_pages": 1})])

    (version,) = wire.cloudflare.versions.list("api", limit=5)

    assert (version.tag, version.message, version.secret_names, version.created_on) == (None, None, (), None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(bad(404, 10007, "no script"), WorkerNotFound), (bad(404, 100146, "no version"), VersionNotFound)],
)
def test_a_missing_version_is_not_a_missing_worker(answer, error):
    """404 with 10007 is the Worker, any other 404 the version."""
    wire = wired([answer])

    with pytest.raises(error):
        wire.cloudflare.versions.get("api", V1)


def test_a_version_is_found_by_its_tag_among_the_newest():
    """The newest with that tag; older ones than asked for are not looked at."""
    items = [{"id": f"v{n}", "annotations": {"workers/tag": f"t{n % 3}"}} for n in range(100)]
    wire = wired(lambda _: good({"items": items}, info={"page": 1, "per_page": 100, "total_pages": 1}))

    found = wire.cloudflare.versions.find_by_tag("api", "t2")

    assert found is not None
    assert found.id == "v2"
    assert wire.cloudflare.versions.find_by_tag("api", "t2", among=2) is None
    assert wire.cloudflare.versions.find_by_tag("api", "other") is None


def deployment(
    shares: dict[str, float], *, created: str, message: str | None = None, name: str = "d"
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": name,
        "created_on": created,
        "source": "api",
        "strategy": "percentage",
        "versions": [{"version_id": version, "percentage": share} for version, share in shares.items()],
    }
    if message:
        body["annotations"] = {"workers/message": message}
    return body


def test_the_newest_deployment_is_the_current_one():
    """Whatever the order of the answer."""
    old = deployment({V1: 100}, created="2026-11-19T00:00:00.5Z", name="old")
    new = deployment({V1: 90, V2: 10}, created="2026-11-20T00:00:00Z", name="new")
    wire = wired([good({"deployments": [old, new]})])

    current = wire.cloudflare.deployments.current("api")

    assert current is not None
    assert (current.id, current.shares, current.only_version) == ("new", {V1: 90.0, V2: 10.0}, None)


@pytest.mark.parametrize("result", [{"deployments": []}, {}, [], None])
def test_a_worker_without_deployments_has_no_current_one(result):
    """A draft has none."""
    wire = wired([good(result)])

    assert wire.cloudflare.deployments.current("api") is None


def test_a_deployment_is_created_with_shares_and_words():
    """Strategy, versions and annotations go into the body, force into the query."""
    wire = wired([good({"id": "d1"})])

    made = wire.cloudflare.deployments.create("api", {V1: 90, V2: 10}, message="canary", force=True)

    assert (made.id, made.shares) == ("d1", {V1: 90.0, V2: 10.0})
    assert wire.asked == [f"POST {A}/workers/scripts/api/deployments?force=true"]
    assert wire.body() == {
        "strategy": "percentage",
        "versions": [{"version_id": V1, "percentage": 90}, {"version_id": V2, "percentage": 10}],
        "annotations": {"workers/message": "canary"},
    }


def test_a_deployment_that_was_made_without_an_answer_is_not_made_twice():
    """After a reset the current deployment is looked at; it is ours."""
    ours = deployment({V2: 100}, created="2026-11-20T12:00:00Z", message="release 7", name="ours")
    wire = wired([httpx.ReadError("reset"), good({"deployments": [ours]})])

    assert wire.cloudflare.deployments.create("api", {V2: 100}, message="release 7").id == "ours"
    assert [each.split(" ")[0] for each in wire.asked] == ["POST", "GET"]


def test_a_deployment_that_was_not_made_is_made_again():
    """Somebody's deployment of the same version, before ours, is not ours."""
    theirs = deployment({V2: 100}, created="2026-11-20T12:00:00Z", message="theirs")
    wire = wired([bad(500), good({"deployments": [theirs]}), good({"id": "d2"})])

    assert wire.cloudflare.deployments.create("api", {V2: 100}, message="release 7").id == "d2"


def test_a_message_that_cloudflare_cut_is_still_ours():
    """Cloudflare keeps the first thousand bytes of a message."""
    ours = deployment({V2: 100}, created="2026-11-20T12:00:00Z", message="x" * 1000, name="ours")
    wire = wired([bad(500), good({"deployments": [ours]})])

    assert wire.cloudflare.deployments.create("api", {V2: 100}, message="x" * 1500).id == "ours"


def test_secrets_are_names_and_kinds():
    """The list of secrets has no values."""
    wire = wired([good([{"name": "KEY", "type": "secret_text"}])])

    assert [(secret.name, secret.type) for secret in wire.cloudflare.secrets.list("api")] == [("KEY", "secret_text")]


def test_an_account_without_a_subdomain_has_none():
    """10007 on the account's subdomain is None, not a missing Worker."""
    wire = wired([good({"subdomain": "acme"}), bad(404, 10007, "none")])

    assert wire.cloudflare.subdomains.account() == "acme"
    assert wire.cloudflare.subdomains.account() is None


def test_a_workers_subdomain_is_set_whole_and_repeated():
    """It is a POST, but one that sets a state: after a reset it is sent again."""
    wire = wired([httpx.ReadError("reset"), good({})])

    found = wire.cloudflare.subdomains.set("api", enabled=True, previews_enabled=False)

    assert (found.enabled, found.previews_enabled) == (True, False)
    assert wire.body(0) == wire.body(1) == {"enabled": True, "previews_enabled": False}
    assert wire.requests[0].headers["Cloudflare-Workers-Script-Api-Date"] == "2025-08-01"


def test_where_a_worker_and_its_versions_answer():
    """The newer API says it, and the documented parts make the same names."""
    suffix = "-api.acme.workers.dev"
    wire = wired([good({"subdomain": {"enabled": True, "preview_url_suffix": suffix}}), good({"subdomain": {}})])

    assert wire.cloudflare.workers.get("api").subdomain.preview_url_suffix == suffix
    assert wire.cloudflare.workers.get("api").subdomain.url is None
    assert worker_hostname("api", "acme") == "api.acme.workers.dev"
    assert preview_hostname(V1, "api", "acme") == f"0a1b2c3d{suffix}"


def test_routes_are_made_changed_and_removed():
    """Create, update and delete, each with its path."""
    wire = wired([good({"id": "r1"}), good(None), good({"id": "r1"})])
    routes = wire.cloudflare.routes

    assert routes.create(ZONE, "a.com/*", "api").script == "api"
    assert routes.update(ZONE, "r1", "a.com/x", None).script is None
    routes.delete(ZONE, "r1")

    root = f"/zones/{ZONE}/workers/routes"
    assert wire.asked == [f"POST {root}", f"PUT {root}/r1", f"DELETE {root}/r1"]
    assert wire.body(1) == {"pattern": "a.com/x"}


def test_a_route_that_was_made_without_an_answer_is_found():
    """The zone's routes are looked at; only the same pattern with the same Worker is ours."""
    others = [{"id": "x", "pattern": "a.com/*", "script": "web"}, {"id": "r", "pattern": "a.com/*", "script": "api"}]
    wire = wired([bad(502), good(others)])

    assert wire.cloudflare.routes.create(ZONE, "a.com/*", "api").id == "r"


def test_a_taken_pattern_is_refused():
    """10020 is Cloudflare's word for it."""
    wire = wired([bad(409, 10020, "A route with the same pattern already exists.")])

    with pytest.raises(ApiRefused) as caught:
        wire.cloudflare.routes.create(ZONE, "a.com/*", "api")

    assert (caught.value.status, caught.value.code) == (409, 10020)


def test_a_missing_route_is_not_a_missing_zone():
    """404 on one route is that route."""
    wire = wired([bad(404, 10009, "not found")])

    with pytest.raises(NotFound, match="no Worker route r9"):
        wire.cloudflare.routes.delete(ZONE, "r9")


def test_custom_domains_are_attached_and_detached():
    """PUT sets who answers at a host name; DELETE takes it away by id."""
    answer = {"id": "dom", "hostname": "a.com", "service": "api", "zone_id": ZONE}
    wire = wired([good(answer), good(None), bad(404, 10022, "gone")])
    domains = wire.cloudflare.domains

    assert domains.attach("a.com", "api", zone_id=ZONE).id == "dom"
    domains.detach("dom")
    with pytest.raises(NotFound, match="no custom domain dom"):
        domains.detach("dom")

    assert wire.asked[:2] == [f"PUT {A}/workers/domains", f"DELETE {A}/workers/domains/dom"]
    assert wire.body(0) == {"hostname": "a.com", "service": "api", "zone_id": ZONE}


def test_unversioned_settings_are_put_back_as_they_were():
    """What was read, fields unknown to us included, is what is sent to restore it."""
    before = {
        "logpush": False,
        "observability": {"enabled": True, "logs": {"enabled": True, "future": 1}},
        "tags": ["cf:service=api"],
        "tail_consumers": None,
    }
    wire = wired([good(before), good(before)])

    found = wire.cloudflare.settings.get("api")
    assert wire.cloudflare.settings.patch("api", found) == found

    assert wire.body(1) == before


def test_only_settings_that_were_given_are_sent():
    """PATCH leaves alone what isn't named."""
    wire = wired([good(None)])

    wire.cloudflare.settings.patch("api", UnversionedSettings(tags=["a"]))

    assert wire.body() == {"tags": ["a"]}


# ── D1 ──


def test_a_query_is_one_request_and_a_result_per_statement():
    """Several statements in one text come back as several results."""
    results = [
        {"results": [], "success": True, "meta": {"changes": 1, "rows_written": 1}},
        {"results": [{"n": 1}], "success": True, "meta": {"duration": 0.25}},
    ]
    wire = wired([good(results)])

    first, second = wire.cloudflare.d1.query("id", "INSERT INTO t VALUES (1); SELECT 1 AS n")

    assert (first.meta.changes, second.results, second.meta.duration) == (1, [{"n": 1}], 0.25)
    assert wire.asked == [f"POST {A}/d1/database/id/query"]
    assert wire.body() == {"sql": "INSERT INTO t VALUES (1); SELECT 1 AS n"}


def test_values_go_as_parameters():
    """Placeholders are filled by D1, not by us."""
    wire = wired([good([{"results": {"columns": ["a"], "rows": [[1]]}, "success": True}])])

    (result,) = wire.cloudflare.d1.raw("id", "SELECT ? AS a", [1])

    assert (result.results.columns, result.results.rows) == (["a"], [[1]])
    assert wire.body() == {"sql": "SELECT ? AS a", "params": [1]}


def test_wrong_sql_is_refused_in_sqlites_words():
    """Code 7500 with the message as it came."""
    wire = wired([bad(400, 7500, 'near "SELEC": syntax error at offset 0')])

    with pytest.raises(ApiRefused, match='near "SELEC": syntax error') as caught:
        wire.cloudflare.d1.query("id", "SELEC")

    assert caught.value.code == 7500


def test_a_statement_that_failed_inside_a_good_answer_is_a_refusal():
    """`success: false` of one result is not overlooked."""
    wire = wired([good([{"success": True}, {"success": False}])])

    with pytest.raises(ApiRefused, match="Statement 2 of 2"):
        wire.cloudflare.d1.query("id", "SELECT 1; SELECT 2")


def test_a_query_in_doubt_is_looked_up_by_its_caller():
    """The caller knows how to see whether its statements were run."""
    wire = wired([httpx.ReadTimeout("slow"), good([{"results": [{"done": 1}]}])])
    d1 = wire.cloudflare.d1

    found = d1.query("id", "INSERT …", look=lambda: d1.query("id", "SELECT 1 AS done", only_reads=True))

    assert found[0].results == [{"done": 1}]
    assert [json.loads(request.content)["sql"] for request in wire.requests] == ["INSERT …", "SELECT 1 AS done"]


def test_a_database_is_made_where_it_is_wanted():
    """Location and jurisdiction go along only if given."""
    wire = wired([good({"uuid": "u", "name": "shop"})])

    wire.cloudflare.d1.create("shop", location="weur")

    assert wire.body() == {"name": "shop", "primary_location_hint": "weur"}


def test_an_export_is_polled_with_its_bookmark_until_it_is_complete():
    """Each poll waits a little longer; the bookmark of the first answer is given back."""
    running = {"success": True, "at_bookmark": "b1", "type": "export"}
    done = running | {"status": "complete", "result": {"filename": "f.sql", "signed_url": "https://r2.test/f?sig=1"}}
    wire = wired([good(running), good(running), good(done)])

    export = wire.cloudflare.d1.export("id", data=False, tables=["t"])

    assert export.result is not None
    assert export.result.filename == "f.sql"
    options = {"no_schema": False, "no_data": True, "tables": ["t"]}
    assert wire.body(0) == {"output_format": "polling", "dump_options": options}
    assert wire.body(2) == wire.body(0) | {"current_bookmark": "b1"}
    assert wire.time.slept == [0.25, 0.375]


def test_an_export_that_fails_says_why():
    """Virtual tables can't be exported."""
    wire = wired([good({"success": False, "status": "error", "error": "cannot export databases with Virtual Tables"})])

    with pytest.raises(ApiRefused, match="Virtual Tables"):
        wire.cloudflare.d1.export("id")


def test_an_export_that_never_ends_is_given_up():
    """After half an hour it says so."""
    wire = wired(lambda _: good({"success": True, "at_bookmark": "b"}))

    with pytest.raises(CloudflareUnavailable, match="not finished after 1800 s"):
        wire.cloudflare.d1.export("id")


def test_a_download_is_whole_and_carries_no_token(tmp_path: Path):
    """The file is read from its own host without our token, repeated when it breaks off, and renamed when whole."""
    export = {"status": "complete", "result": {"filename": "f.sql", "signed_url": "https://r2.test/f?sig=hidden"}}
    wire = wired([good(export), httpx.ReadError("reset"), httpx.Response(200, content=b"SELECT 1;")])
    target = tmp_path / "dump.sql"

    size = wire.cloudflare.d1.download(wire.cloudflare.d1.export("id"), target)

    assert (size, target.read_bytes()) == (9, b"SELECT 1;")
    assert [path.name for path in tmp_path.iterdir()] == ["dump.sql"]
    assert "authorization" not in wire.requests[-1].headers
    assert wire.requests[-1].url.host == "r2.test"


def test_a_download_that_is_refused_leaves_nothing_and_hides_its_signature(tmp_path: Path):
    """An expired link is ApiRefused; the signature is not in the message."""
    export = {"status": "complete", "result": {"signed_url": "https://r2.test/f?sig=hidden"}}
    wire = wired([good(export), httpx.Response(403, text="expired")])

    with pytest.raises(ApiRefused, match="HTTP 403") as caught:
        wire.cloudflare.d1.download(wire.cloudflare.d1.export("id"), tmp_path / "dump.sql")

    assert "hidden" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_export_has_nothing_to_download(tmp_path: Path):
    """Asking for its file is a mistake of the caller."""
    with pytest.raises(BadUsage):
        wired([]).cloudflare.d1.download(Export(), tmp_path / "x")


SQL = b"CREATE TABLE t (a);"


def importing(tmp_path: Path, *, etag: str | None = None, last: dict[str, Any]) -> Any:
    source = tmp_path / "in.sql"
    source.write_bytes(SQL)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            assert request.content == SQL
            assert "authorization" not in request.headers
            return httpx.Response(200, headers={"etag": f'"{etag or answer.etag}"'})  # type: ignore[attr-defined]
        body = json.loads(request.content)
        if body["action"] == "init":
            answer.etag = body["etag"]  # type: ignore[attr-defined]
            return good({"success": True, "filename": "f", "upload_url": "https://r2.test/up?sig=1"})
        if body["action"] == "ingest":
            assert body == {"action": "ingest", "etag": answer.etag, "filename": "f"}  # type: ignore[attr-defined]
            return good({"success": True, "at_bookmark": "b1", "messages": []})
        assert body == {"action": "poll", "current_bookmark": "b1"}
        return good({"success": True, "at_bookmark": "b1"} | last)

    return wired(answer), source


def test_an_import_uploads_ingests_and_polls(tmp_path: Path):
    """init, PUT of the file, ingest, poll until complete."""
    last = {"status": "complete", "result": {"num_queries": 1, "final_bookmark": "b2"}}
    wire, source = importing(tmp_path, last=last)

    done = wire.cloudflare.d1.import_sql("id", source)

    assert done.result is not None
    assert (done.result.num_queries, done.result.final_bookmark) == (1, "b2")
    assert [request.method for request in wire.requests] == ["POST", "PUT", "POST", "POST"]


def test_an_import_that_arrived_damaged_is_not_ingested(tmp_path: Path):
    """Another MD5 than ours stops it before anything was run."""
    wire, source = importing(tmp_path, etag="00", last={})

    with pytest.raises(CloudflareUnavailable, match="damaged"):
        wire.cloudflare.d1.import_sql("id", source)

    assert [request.method for request in wire.requests] == ["POST", "PUT"]


def test_an_import_that_fails_says_why(tmp_path: Path):
    """The status `error` is a refusal with D1's words."""
    wire, source = importing(tmp_path, last={"status": "error", "error": "table t already exists"})

    with pytest.raises(ApiRefused, match="table t already exists"):
        wire.cloudflare.d1.import_sql("id", source)


def test_an_import_that_never_ends_is_unknown(tmp_path: Path):
    """It was begun, so giving up leaves the outcome open."""
    wire, source = importing(tmp_path, last={})

    with pytest.raises(OutcomeUnknown, match="not finished"):
        wire.cloudflare.d1.import_sql("id", source)


def test_a_file_that_was_imported_before_is_not_uploaded_again(tmp_path: Path):
    """init without an upload URL is the state of that import."""
    source = tmp_path / "in.sql"
    source.write_bytes(SQL)
    wire = wired([good({"success": True, "status": "complete", "result": {"num_queries": 1}})])

    assert wire.cloudflare.d1.import_sql("id", source).status == "complete"


def test_time_travel_there_and_back():
    """A bookmark of now or then, and a restore that says where it came from."""
    restored = {"bookmark": "b1", "previous_bookmark": "b9", "message": "done"}
    wire = wired([good({"bookmark": "b9"}), good({"bookmark": "b1"}), good(restored)])
    d1 = wire.cloudflare.d1

    assert d1.bookmark("id") == "b9"
    assert d1.bookmark("id", datetime(2026, 11, 1, 13, tzinfo=UTC)) == "b1"
    assert d1.restore("id", "b1").previous_bookmark == "b9"

    root = f"{A}/d1/database/id/time_travel"
    assert wire.asked == [
        f"GET {root}/bookmark",
        f"GET {root}/bookmark?timestamp=2026-11-01T13%3A00%3A00Z",
        f"POST {root}/restore?bookmark=b1",
    ]


def test_a_restore_without_an_answer_is_not_repeated():
    """A second restore would forget where the first one came from."""
    wire = wired([httpx.ReadError("reset")])

    with pytest.raises(OutcomeUnknown):
        wire.cloudflare.d1.restore("id", "b1")


# ── KV ──


def test_values_are_put_got_and_deleted():
    """Raw bytes go and come; a key that isn't there is None."""
    wire = wired([good(None), httpx.Response(200, content=b"\x00\xff"), bad(404, 10009, "key not found"), good(None)])
    kv = wire.cloudflare.kv

    kv.put_value("ns", "k", b"\x00\xff", expiration_ttl=60)
    assert kv.get_value("ns", "k") == b"\x00\xff"
    assert kv.get_value("ns", "k") is None
    kv.delete_value("ns", "k")

    assert wire.requests[0].content == b"\x00\xff"
    assert wire.asked[0] == f"PUT {A}/storage/kv/namespaces/ns/values/k?expiration_ttl=60"


def test_a_missing_namespace_is_not_a_missing_key():
    """10013 is the namespace."""
    wire = wired([bad(404, 10013, "namespace not found")])

    with pytest.raises(NamespaceNotFound):
        wire.cloudflare.kv.get_value("ns", "k")


def test_a_value_that_looks_like_an_envelope_is_a_value():
    """Stored JSON with success: false is returned, not raised."""
    stored = b'{"success": false, "errors": [{"code": 1}]}'
    wire = wired([httpx.Response(200, content=stored)])

    assert wire.cloudflare.kv.get_value("ns", "k") == stored


def test_metadata_goes_in_a_form():
    """With metadata the body is multipart: value and metadata."""
    wire = wired([good(None)])

    wire.cloudflare.kv.put_value("ns", "k", b"v", metadata={"a": 1})

    request = wire.requests[0]
    assert request.headers["content-type"].startswith("multipart/form-data")
    assert b'name="value"' in request.content
    assert b'{"a": 1}' in request.content


@given(st.text(min_size=1, max_size=40))
def test_a_key_stays_in_its_place_whatever_it_is(key):
    """Slashes, dots, percent signs, spaces and other scripts are one encoded segment that decodes to the key."""
    wire = wired([httpx.Response(200, content=b"x")])
    try:
        key.encode()
    except UnicodeEncodeError:
        return

    wire.cloudflare.kv.get_value("ns", key)

    root = f"/client/v4{A}/storage/kv/namespaces/ns/values/"
    raw = wire.requests[0].url.raw_path.decode()
    assert raw.startswith(root)
    assert "/" not in raw.removeprefix(root)
    assert unquote(raw.removeprefix(root)) == key


@pytest.mark.parametrize("name", ["..", ".", "../secrets", "a/../../b", "%2e%2e", "a?b#c"])
def test_a_name_can_not_leave_its_place(name):
    """A Worker called `..` doesn't reach another path."""
    wire = wired([bad(404, 10007, "none")])

    with pytest.raises(WorkerNotFound):
        wire.cloudflare.settings.get(name)

    raw = wire.requests[0].url.raw_path.decode()
    assert raw.startswith(f"/client/v4{A}/workers/scripts/")
    assert raw.endswith("/script-settings")
    assert raw.count("/") == 8


def test_namespaces_are_found_made_and_deleted():
    """By exact title; made once even if the answer is lost."""
    shop = {"id": "n1", "title": "shop"}
    page = good([{"id": "n0", "title": "my-shop"}, shop], info={"total_pages": 1})
    wire = wired([page, httpx.ReadError("reset"), page, good(None), good([], info={"total_pages": 0})])
    kv = wire.cloudflare.kv

    assert kv.get_by_title("shop").id == "n1"
    assert kv.create("shop").id == "n1"
    kv.delete("n1")
    with pytest.raises(NamespaceNotFound, match="called shop"):
        kv.get_by_title("shop")


def test_many_values_go_in_chunks():
    """10,000 pairs a request; bytes that are no text go in Base64."""
    wire = wired(lambda _: good({"successful_key_count": 1, "unsuccessful_keys": []}))
    pairs = [Pair(f"k{n}", b"v") for n in range(10_000)] + [Pair("last", b"\xff", expiration=5, metadata=[1])]

    assert wire.cloudflare.kv.bulk_put("ns", pairs) == 10_001

    assert [len(json.loads(request.content)) for request in wire.requests] == [10_000, 1]
    assert wire.body() == [{"key": "last", "value": "/w==", "base64": True, "expiration": 5, "metadata": [1]}]


def test_keys_that_were_not_stored_are_named():
    """A bulk that half failed is PartlyDone."""
    wire = wired([good({"successful_key_count": 1, "unsuccessful_keys": ["b"]})])

    with pytest.raises(PartlyDone, match=r"1 keys .* not stored: 'b'"):
        wire.cloudflare.kv.bulk_put("ns", [Pair("a", b"1"), Pair("b", b"2")])


def test_many_keys_are_deleted_and_read():
    """bulk/delete takes a list, bulk/get an object, at most 100 keys."""
    wire = wired([good(None), good({"values": {"k0": "v", "k1": None}}), good({"values": {}})])

    assert wire.cloudflare.kv.bulk_delete("ns", ["a", "b"]) == 2
    assert wire.cloudflare.kv.bulk_get("ns", [f"k{n}" for n in range(101)]) == {"k0": "v", "k1": None}

    assert wire.asked[0] == f"POST {A}/storage/kv/namespaces/ns/bulk/delete"
    assert [len(json.loads(request.content)["keys"]) for request in wire.requests[1:]] == [100, 1]


def test_no_request_of_this_module_ever_puts_the_token_into_a_body():
    """The token is a header, and only of the API."""
    wire = wired(lambda _: good([], info={"total_pages": 0}))

    wire.cloudflare.zones.list()

    assert all(TOKEN not in str(request.url) and TOKEN.encode() not in request.content for request in wire.requests)
