"""One call of the API: its envelope, its refusals, its repeats."""

from __future__ import annotations

import threading
import traceback
from datetime import timedelta

import httpx
import pytest
import structlog

from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import BASE_URL, Cloudflare
from clodo.cloudflare.refusals import permission_for
from clodo.errors import (
    ApiRefused,
    BadUsage,
    CircuitIsOpen,
    CloudflareUnavailable,
    DatabaseNotFound,
    LockLost,
    NotAuthorised,
    OutcomeUnknown,
    PermissionMissing,
    RateLimited,
    WorkerNotFound,
)
from tests.cloudflare.wire import ACCOUNT, BASE, START, TOKEN, ZONE, FakeTime, bad, good, wired

DATABASE = {"uuid": "80b6480e-ea07-4303-9671-84b066ae7e98", "name": "shop"}
NOT_JSON = httpx.Response(200, html="<h1>Oops</h1>")


def reset() -> httpx.ReadError:
    return httpx.ReadError("Connection reset by peer")


# ── What an answer means ──


def test_a_call_carries_the_token_and_nothing_else_does():
    """The token is in the Authorization header of an API call and in no URL or body."""
    wire = wired([good([])])

    list(wire.cloudflare.d1.list())

    (request,) = wire.requests
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(request.url)
    assert TOKEN.encode() not in request.content


@pytest.mark.parametrize("errors", [None, [], [None], ["only text"], "text", [{"message": "no code"}], [{"code": "x"}]])
def test_a_refusal_with_odd_errors_is_still_a_refusal(errors):
    """Whatever stands in `errors`, a 400 becomes ApiRefused with its status."""
    wire = wired([httpx.Response(400, json={"success": False, "errors": errors})])

    with pytest.raises(ApiRefused) as caught:
        wire.cloudflare.scripts.list()

    assert (caught.value.status, caught.value.code) == (400, 0)


def test_errors_and_messages_may_be_null_in_a_good_answer():
    """`errors: null`, as the list of custom domains has it, is no error."""
    wire = wired([httpx.Response(200, json={"success": True, "result": [], "errors": None, "messages": None})])

    assert wire.cloudflare.domains.list() == []


def test_success_false_is_a_refusal_whatever_the_status():
    """Cloudflare's own word goes before the HTTP status."""
    wire = wired([httpx.Response(200, json={"success": False, "errors": [{"code": 7500, "message": "no such table"}]})])

    with pytest.raises(ApiRefused, match="no such table") as caught:
        wire.cloudflare.scripts.list()

    assert caught.value.code == 7500


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (bad(401, 1000, "Invalid API Token"), NotAuthorised, "doesn't accept the API token"),
        (bad(403, 10000, "Authentication error"), NotAuthorised, "doesn't accept the API token"),
        (bad(403, 9109, "Invalid access token"), NotAuthorised, "doesn't accept the API token"),
        (bad(403, 9109, "Unauthorized to access requested resource"), PermissionMissing, "Workers Scripts: Read"),
        (
            bad(
                403, 0, "Actor 'com.cloudflare.api.token.b2' requires permission 'com.cloudflare.api.account.zone.list'"
            ),
            PermissionMissing,
            "com.cloudflare.api.account.zone.list",
        ),
        (bad(400, 6003, "Invalid request headers"), NotAuthorised, "Invalid request headers"),
        (bad(404, 7003, "Could not route to /x"), ApiRefused, "Could not route"),
        (bad(409, 1234, "Conflict"), ApiRefused, "code 1234"),
    ],
)
def test_a_refusal_becomes_the_error_that_it_is(answer, error, says):
    """Status and code decide which error a refusal is, and the path is named."""
    wire = wired([answer])

    with pytest.raises(error, match=says) as caught:
        wire.cloudflare.scripts.list()

    assert type(caught.value) is error
    assert f"/accounts/{ACCOUNT}/workers/scripts" in caught.value.message
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("call", "permission"),
    [
        (lambda cf: cf.d1.delete("x"), "D1: Edit"),
        (lambda cf: cf.kv.get_value("ns", "k"), "Workers KV Storage: Read"),
        (lambda cf: cf.routes.create(ZONE, "a.com/*", "api"), "Workers Routes: Edit"),
        (lambda cf: cf.zones.get(ZONE), "Zone: Read"),
        (lambda cf: cf.user.get(), "User Details: Read"),
        (lambda cf: cf.schedules.put("api", []), "Workers Scripts: Edit"),
        (lambda cf: cf.accounts.get(), "Account Settings: Read"),
    ],
)
def test_a_missing_permission_is_named_by_the_path(call, permission):
    """A 403 without a named permission says which one the token form calls it."""
    wire = wired([bad(403, 9109, "Unauthorized to access requested resource")])

    with pytest.raises(PermissionMissing, match=permission):
        call(wire.cloudflare)


def test_a_firewall_page_is_called_one():
    """A challenge page is not taken for a bad token."""
    wire = wired([httpx.Response(403, html="<h1>Wait</h1>", headers={"cf-mitigated": "challenge", "cf-ray": "8a-FRA"})])

    with pytest.raises(ApiRefused, match="8a-FRA"):
        wire.cloudflare.scripts.list()


def test_query_of_a_missing_database_says_which():
    """Querying a database the account lacks raises DatabaseNotFound with its id."""
    wire = wired([bad(404, 7404, "The database gone could not be found")])

    with pytest.raises(DatabaseNotFound, match="gone"):
        wire.cloudflare.d1.query("gone", "SELECT 1")


# ── Repeating ──


@pytest.mark.parametrize(
    "trouble",
    [
        bad(500, 10013, "unknown"),
        httpx.Response(502, html="Bad gateway"),
        reset(),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("refused"),
        NOT_JSON,
        httpx.Response(200, json=["no envelope"]),
        httpx.Response(200, json={"success": True}),
        good({"unexpected": 1}),
    ],
    ids=lambda trouble: repr(trouble),
)
def test_a_read_is_repeated_after_passing_trouble(trouble):
    """A GET that failed for no lasting reason is sent again and succeeds."""
    wire = wired([trouble, good(DATABASE)])

    assert wire.cloudflare.d1.get(DATABASE["uuid"]).name == "shop"

    assert wire.asked == [f"GET /accounts/{ACCOUNT}/d1/database/{DATABASE['uuid']}"] * 2
    assert wire.time.slept == [0.125]


def test_a_read_gives_up_after_five_attempts_that_wait_longer_each_time():
    """Five failures in a row end in CloudflareUnavailable; the waits double."""
    wire = wired(lambda _: bad(503, 0, "overloaded"), jitter=1.0)

    with pytest.raises(CloudflareUnavailable, match="HTTP 503: overloaded"):
        wire.cloudflare.scripts.list()

    assert len(wire.requests) == 5
    assert wire.time.slept == [0.25, 0.5, 1.0, 2.0]


def test_a_malformed_answer_to_a_read_is_no_answer():
    """HTML instead of JSON, five times, is CloudflareUnavailable that says why."""
    wire = wired(lambda _: NOT_JSON)

    with pytest.raises(CloudflareUnavailable, match="not Cloudflare's JSON"):
        wire.cloudflare.scripts.list()


@pytest.mark.parametrize(
    "trouble", [bad(500), reset(), httpx.ReadTimeout("slow"), NOT_JSON, good({"no": "id"})], ids=repr
)
def test_a_write_without_an_answer_is_not_repeated(trouble):
    """A query that was sent and not answered raises OutcomeUnknown after one request."""
    wire = wired([trouble])

    with pytest.raises(OutcomeUnknown, match="unknown"):
        wire.cloudflare.d1.query("id", "INSERT INTO t VALUES (1)")

    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "trouble", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.PoolTimeout("full")]
)
def test_a_write_that_never_left_is_repeated(trouble):
    """A POST whose connection was refused is sent again: nothing can have happened."""
    wire = wired([trouble, good([{"results": [], "success": True}])])

    assert len(wire.cloudflare.d1.query("id", "DELETE FROM t")) == 1

    assert len(wire.requests) == 2


def test_a_write_that_can_not_be_sent_is_unavailable_not_unknown():
    """Five refused connections leave no doubt: nothing was changed."""
    wire = wired(lambda _: (_ for _ in ()).throw(httpx.ConnectError("refused")))

    with pytest.raises(CloudflareUnavailable, match="can't be reached"):
        wire.cloudflare.d1.query("id", "DELETE FROM t")


@pytest.mark.parametrize(
    ("url", "place", "remedy"),
    [("http://127.0.0.1:8787/client/v4", "127.0.0.1:8787", "clodo up"), (BASE_URL, "api.cloudflare.com", "network")],
)
def test_what_can_not_be_reached_is_named_with_what_to_do(url, place, remedy):
    """Of the embedded cloud it is said how it is started, of the real one where to look."""
    wire = wired(lambda _: (_ for _ in ()).throw(httpx.ConnectError("refused")), base_url=url)

    with pytest.raises(CloudflareUnavailable, match=place) as caught:
        wire.cloudflare.d1.query("id", "SELECT 1", only_reads=True)

    assert remedy in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", "/accounts/1/r2/buckets", "Workers R2 Storage: Read"),
        ("POST", "/accounts/1/queues", "Queues: Edit"),
        ("GET", "/accounts/1/d1/database", "D1: Read"),
    ],
)
def test_the_permission_that_a_call_needs_is_named_by_its_path(method, path, permission):
    """What a token lacks is called as the dashboard's form calls it, not by the account that is in every path."""
    assert permission_for(method, path, "") == permission


def test_a_query_that_only_reads_is_repeated():
    """SELECT over POST is repeated like any read."""
    wire = wired([reset(), good([{"results": [{"n": 1}], "success": True}])])

    assert wire.cloudflare.d1.query("id", "SELECT 1 AS n", only_reads=True)[0].results == [{"n": 1}]


def test_a_write_that_sets_a_whole_state_is_repeated():
    """PUT schedules is sent again after a reset."""
    wire = wired([reset(), good(None)])

    wire.cloudflare.schedules.put("api", ["*/5 * * * *"])

    assert wire.body(0) == wire.body(1) == [{"cron": "*/5 * * * *"}]


def test_a_repeatable_write_that_stays_unanswered_is_unknown():
    """Five lost answers to PUT leave the outcome open, which is what is said."""
    wire = wired(lambda _: bad(500))

    with pytest.raises(OutcomeUnknown):
        wire.cloudflare.schedules.put("api", [])

    assert len(wire.requests) == 5


def test_doubt_is_kept_when_the_repeats_fail_for_certain():
    """After one lost answer, refused connections don't turn doubt into 'nothing was changed'."""
    wire = wired([bad(500), *(httpx.ConnectError("refused") for _ in range(4))])

    with pytest.raises(OutcomeUnknown, match="may have been carried out"):
        wire.cloudflare.schedules.put("api", [])


def test_a_delete_whose_answer_was_lost_and_that_is_gone_is_done():
    """404 on the second DELETE means that the first one did it."""
    wire = wired([reset(), bad(404, 7404, "not found")])

    wire.cloudflare.d1.delete("x")

    assert len(wire.requests) == 2


def test_a_delete_of_what_was_never_there_is_not_found():
    """404 on the first DELETE is DatabaseNotFound."""
    wire = wired([bad(404, 7404, "not found")])

    with pytest.raises(DatabaseNotFound):
        wire.cloudflare.d1.delete("x")


# ── Looking before repeating ──


def test_a_database_made_without_an_answer_is_found_not_made_again():
    """A create that was applied but not answered returns what the list shows."""
    wire = wired([reset(), good([{"uuid": "other", "name": "my-shop"}, DATABASE])])

    assert wire.cloudflare.d1.create("shop").uuid == DATABASE["uuid"]

    assert [asked.split("?")[0] for asked in wire.asked] == [
        f"POST /accounts/{ACCOUNT}/d1/database",
        f"GET /accounts/{ACCOUNT}/d1/database",
    ]


def test_a_database_not_made_is_made_on_the_next_attempt():
    """A create that was neither answered nor applied is sent again after looking."""
    wire = wired([bad(502), good([]), good(DATABASE)])

    assert wire.cloudflare.d1.create("shop").uuid == DATABASE["uuid"]

    assert [asked.split(" ")[0] for asked in wire.asked] == ["POST", "GET", "POST"]


def test_a_create_that_comes_through_after_the_look_is_found_on_the_refusal():
    """'It exists already' on the repeat sends us looking again instead of failing."""
    wire = wired([reset(), good([]), bad(400, 7502, "exists"), good([DATABASE])])

    assert wire.cloudflare.d1.create("shop").uuid == DATABASE["uuid"]


def test_a_refused_create_is_not_looked_up():
    """A name that is taken by somebody else's database is a refusal, not a success."""
    wire = wired([bad(400, 7502, "A database with that name already exists")])

    with pytest.raises(ApiRefused) as caught:
        wire.cloudflare.d1.create("shop")

    assert caught.value.code == 7502


def test_a_create_that_can_not_be_looked_up_is_unknown():
    """No answer, and none to the look either: OutcomeUnknown, and no second create."""
    wire = wired(lambda _: bad(500))

    with pytest.raises(OutcomeUnknown, match="can't be looked up"):
        wire.cloudflare.d1.create("shop")

    assert [asked.split(" ")[0] for asked in wire.asked] == ["POST"] + ["GET"] * 5


def test_a_create_that_never_works_is_looked_up_after_each_attempt_and_stays_in_doubt():
    """Five lost creates, each looked up and not there yet: the last one may still come through."""
    wire = wired(lambda request: bad(500) if request.method == "POST" else good([]))

    with pytest.raises(OutcomeUnknown):
        wire.cloudflare.d1.create("shop")

    assert [asked.split(" ")[0] for asked in wire.asked] == ["POST", "GET"] * 5


# ── Being asked to slow down ──


def test_retry_after_in_seconds_is_waited_out():
    """A 429 with Retry-After: 7 is repeated seven seconds later, also for a create."""
    wire = wired([bad(429, 10429, "slow down", retry_after="7"), good(DATABASE)])

    wire.cloudflare.d1.create("shop")

    assert wire.time.slept == [7.0]


def test_retry_after_as_a_date_is_waited_out():
    """A date is turned into seconds by the clock that the client was given."""
    wire = wired([bad(429, 0, "", retry_after="Fri, 20 Nov 2026 12:00:30 GMT"), good([])])
    assert START.hour == 12

    wire.cloudflare.scripts.list()

    assert wire.time.slept == [30.0]


def test_a_wait_beyond_the_patience_is_not_begun():
    """Retry-After: 300 is longer than a release waits: RateLimited says so at once."""
    wire = wired(lambda _: bad(429, 0, "", retry_after="300"))

    with pytest.raises(RateLimited) as caught:
        wire.cloudflare.scripts.list()

    assert caught.value.retry_after == timedelta(seconds=300)
    assert wire.time.slept == []


def test_an_undo_waits_out_what_a_release_does_not():
    """The lane UNDO outwaits Cloudflare's five-minute block."""
    wire = wired([bad(429, 0, "", retry_after="300"), good([])], lane=Lane.UNDO)

    wire.cloudflare.scripts.list()

    assert wire.time.slept == [300.0]


def test_429s_are_repeated_for_as_long_as_the_patience_lasts():
    """Not five attempts but two minutes are the bound of being asked to slow down."""
    wire = wired(lambda _: bad(429, 0, "", retry_after="10"))

    with pytest.raises(RateLimited):
        wire.cloudflare.scripts.list()

    assert sum(wire.time.slept) == 120.0
    assert len(wire.requests) == 13


def test_retry_after_of_an_unavailable_service_is_obeyed():
    """503 with Retry-After is repeated when it says."""
    wire = wired([bad(503, 0, "", retry_after="4"), good([])])

    wire.cloudflare.scripts.list()

    assert wire.time.slept == [4.0]


class RecordingBudget:
    """A budget that remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def take(self, lane, count=1, *, deadline=timedelta(0)):
        self.heard.append(("take", lane, count))

    def cooldown(self, seconds):
        self.heard.append(("cooldown", seconds))

    def observe(self, remaining, resets_in):
        self.heard.append(("observe", remaining, resets_in))


def test_the_budget_is_asked_before_each_attempt_and_told_what_cloudflare_says():
    """Each attempt takes one request; a 429 cools down; the Ratelimit header is passed on."""
    budget = RecordingBudget()
    answers = [bad(429, 0, "", retry_after="3"), good([], ratelimit='"default";r=50;t=30')]
    wire = wired(answers, budget=budget, lane=Lane.BACKUP)

    wire.cloudflare.scripts.list()

    assert budget.heard == [
        ("take", Lane.BACKUP, 1),
        ("cooldown", 3.0),
        ("take", Lane.BACKUP, 1),
        ("observe", 50, 30.0),
    ]


# ── Guard ──


def test_the_guard_is_asked_before_each_write_is_sent_and_before_no_read():
    """Reads don't need the lock; each attempt of a write does."""
    asked: list[int] = []
    wire = wired([good([]), reset(), good(None), good([])])
    guarded = wire.cloudflare.with_guard(lambda: asked.append(len(wire.requests)))

    guarded.scripts.list()
    guarded.schedules.put("api", [])
    guarded.d1.query("id", "SELECT 1", only_reads=True)

    assert asked == [1, 2]


def test_a_lost_lock_stops_the_write_before_it_is_sent():
    """LockLost from the guard reaches the caller, and Cloudflare hears nothing."""
    wire = wired([])

    def lost() -> None:
        raise LockLost("api@production: the lock was taken over")

    with pytest.raises(LockLost):
        wire.cloudflare.with_guard(lost).schedules.put("api", [])

    assert wire.requests == []


def test_a_lock_lost_while_waiting_stops_the_repeat():
    """The guard is asked again after a 429, and can still say no."""
    wire = wired([bad(429, 0, "", retry_after="60")])

    def guard() -> None:
        if wire.requests:
            raise LockLost("too late")

    with pytest.raises(LockLost):
        wire.cloudflare.with_guard(guard).d1.create("shop")

    assert len(wire.requests) == 1


# ── Circuit breaker ──


def test_undo_goes_through_an_open_circuit():
    """When repeated failures stop everything else, an undo is still sent."""
    healthy = False
    wire = wired(lambda _: good([]) if healthy else bad(500), failures=5)
    with pytest.raises(CloudflareUnavailable):
        wire.cloudflare.scripts.list()

    with pytest.raises(CircuitIsOpen, match=r"api\.test failed 5 times.*2026-11-20T12:00:3"):
        wire.cloudflare.scripts.list()
    assert len(wire.requests) == 5

    healthy = True
    assert wire.cloudflare.with_lane(Lane.UNDO).scripts.list() == []
    assert wire.cloudflare.scripts.list() == []


def test_refusals_never_open_the_circuit():
    """A hundred 404s and 429s are answers of a healthy host."""
    wire = wired(lambda _: bad(404, 10007, "no such script"), failures=2)

    for _ in range(10):
        assert not wire.cloudflare.scripts.exists("api")

    assert not wire.breakers.of("api.test").is_open


# ── Secrets ──


def test_the_token_is_in_no_repr_event_or_traceback():
    """Not the client, not an event, not an error with all its variables shows the token."""
    wire = wired([reset(), good({"no": "uuid"}), bad(403, 10000, "Authentication error")])
    seen: list[str] = [repr(wire.cloudflare), repr(wire.cloudflare.with_lane(Lane.UNDO)), repr(vars(wire.cloudflare))]

    with structlog.testing.capture_logs() as events:
        try:
            wire.cloudflare.d1.get("x")
        except NotAuthorised as error:
            trace = traceback.TracebackException.from_exception(error, capture_locals=True)
            seen.append("".join(trace.format()))
    seen.append(repr(events))

    assert len(events) == 5
    assert not [text for text in seen if TOKEN in text]


@pytest.mark.parametrize("token", ["", "has space", "has\nline", "nön-ascii", "quo\x00te"])
def test_a_token_that_can_not_be_sent_is_refused_without_being_shown(token):
    """httpx would quote it in its error; we don't let it get that far."""
    with pytest.raises(NotAuthorised) as caught:
        Cloudflare(ACCOUNT, token, BASE)

    assert not token or token not in caught.value.message


def test_a_base_url_that_is_none_is_bad_usage():
    """A file path is no API root."""
    with pytest.raises(BadUsage, match="base URL"):
        Cloudflare(ACCOUNT, TOKEN, "ftp://nowhere")


# ── Events ──


def test_every_request_and_repeat_is_an_event():
    """Method, path, status, code, seconds, lane, attempt and ray; no query and no body."""
    wire = wired([bad(500, 10013, "hm", cf_ray="8f-AMS"), good([DATABASE], cf_ray="90-AMS")], lane=Lane.READ)
    path = f"/accounts/{ACCOUNT}/d1/database"

    with structlog.testing.capture_logs() as events:
        wire.cloudflare.d1.find("shop")

    assert events == [
        {
            "event": "cloudflare request",
            "log_level": "info",
            "method": "GET",
            "path": path,
            "status": 500,
            "code": 10013,
            "seconds": 0.0,
            "lane": "read",
            "attempt": 1,
            "cf_ray": "8f-AMS",
        },
        {
            "event": "cloudflare retry",
            "log_level": "warning",
            "method": "GET",
            "path": path,
            "lane": "read",
            "attempt": 1,
            "wait_seconds": 0.125,
            "reason": "CloudflareUnavailable",
        },
        {
            "event": "cloudflare request",
            "log_level": "info",
            "method": "GET",
            "path": path,
            "status": 200,
            "code": 0,
            "seconds": 0.0,
            "lane": "read",
            "attempt": 2,
            "cf_ray": "90-AMS",
        },
    ]


def test_a_lost_connection_is_an_event_too():
    """The event of a request without an answer names the failure."""
    wire = wired([reset(), good([])])

    with structlog.testing.capture_logs() as events:
        wire.cloudflare.scripts.list()

    assert events[0]["failure"] == "ReadError"
    assert events[0]["status"] is None


# ── Views and threads ──


def test_views_share_connections_and_only_the_owner_closes_them():
    """Closing a view leaves the client usable."""
    wire = wired(lambda _: good([]))

    with wire.cloudflare.with_lane(Lane.UNDO) as view:
        view.scripts.list()
    wire.cloudflare.scripts.list()
    wire.cloudflare.close()

    assert view.lane is Lane.UNDO
    with pytest.raises(RuntimeError):
        wire.cloudflare.scripts.list()


def test_a_view_keeps_the_guard_and_the_lane_of_the_other():
    """`with_lane` and `with_guard` each change one thing."""
    asked: list[str] = []
    wire = wired(lambda _: good(None))
    view = wire.cloudflare.with_guard(lambda: asked.append("guard")).with_lane(Lane.UNDO)

    view.schedules.put("api", [])

    assert (asked, view.lane, wire.cloudflare.lane) == (["guard"], Lane.UNDO, Lane.RELEASE)


def test_many_threads_share_one_client():
    """Requests of eight threads overlap, and each gets its own answer."""
    together = threading.Barrier(8, timeout=20)

    def answer(request: httpx.Request) -> httpx.Response:
        together.wait()
        return good({"uuid": request.url.path.rsplit("/", 1)[1], "name": "n"})

    wire = wired(answer)
    found: dict[str, str] = {}

    def ask(name: str) -> None:
        found[name] = wire.cloudflare.d1.get(name).uuid

    threads = [threading.Thread(target=ask, args=(f"db{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {f"db{number}": f"db{number}" for number in range(8)}


def test_a_missing_worker_is_named():
    """10007 is WorkerNotFound wherever a Worker is asked for."""
    wire = wired(lambda _: bad(404, 10007, "This Worker does not exist on your account."))

    for call in (
        wire.cloudflare.versions.list,
        wire.cloudflare.deployments.list,
        wire.cloudflare.secrets.list,
        wire.cloudflare.settings.get,
        wire.cloudflare.schedules.get,
        wire.cloudflare.subdomains.get,
        wire.cloudflare.workers.get,
        wire.cloudflare.tails.create,
        wire.cloudflare.scripts.delete,
    ):
        with pytest.raises(WorkerNotFound, match="no Worker called shop-api"):
            call("shop-api")


def test_time_does_not_pass_in_these_tests():
    """The fake clock moves only when somebody sleeps."""
    time = FakeTime()
    clock = time.clock()

    clock.sleep(5)

    assert (clock.monotonic(), clock.now()) == (1005.0, START + timedelta(seconds=5))
