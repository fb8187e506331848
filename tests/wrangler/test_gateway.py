"""The gateway: who may pass, what it waits for, what it repeats, and what it never does twice."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from clodo.cloudflare.budget import Lane, UnlimitedBudget
from clodo.errors import BudgetExhausted, CloudflareUnavailable, LockLost, OutcomeUnknown, WranglerFailed
from clodo.wrangler.gateway import Gateway
from clodo.wrangler.uploads import Module, Stamp, Upload, render_upload

from .cloud import ACCOUNT, TOKEN, WORKER, Cloud, Fault
from .conftest import AsWrangler, FakeTime, RecordingBudget

SCRIPT = f"/accounts/{ACCOUNT}/workers/scripts/{WORKER}"
SERVICE = f"/accounts/{ACCOUNT}/workers/services/{WORKER}"
RELEASE = "01JABCDEFGHJKMNPQRSTVWXYZ0"
UPLOAD = Upload(
    metadata={"main_module": "index.js", "bindings": [], "keep_bindings": ["secret_text"]},
    modules=(Module("index.js", "application/javascript+module", b"export default {}"),),
)


def upload(client: httpx.Client, what: Upload = UPLOAD, *, first: bool = False) -> httpx.Response:
    """Send *what* as wrangler does: POST for a version, PUT for a first deploy."""
    content_type, body = render_upload(what)
    headers = {"content-type": content_type}
    if first:
        return client.put(SCRIPT, content=body, headers=headers, params={"excludeScript": "true"})
    return client.post(f"{SCRIPT}/versions", content=body, headers=headers, params={"bindings_inherit": "strict"})


# Who may pass


def test_the_real_token_is_put_in_and_nothing_else_of_the_request_changes(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler
) -> None:
    """Cloudflare sees the real token, wrangler's path byte for byte, its query and its headers."""
    path = f"/accounts/{ACCOUNT}/storage/kv/namespaces/n/values/a%2Fb%20c%C3%BC"
    with gateway.session() as session:
        answer = as_wrangler(session).get(f"{path}?x=1&y=%2F", headers={"user-agent": "wrangler/4.164.0"})

    [received] = fake.received
    assert answer.status_code == 404
    assert (received.path, received.query) == (path, "x=1&y=%2F")
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    assert received.headers["user-agent"] == "wrangler/4.164.0"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer wrong", "Bearer \xff", f"Bearer {TOKEN}", "Basic eDp5"]
)
def test_who_lacks_the_one_time_token_is_turned_away(fake: Cloud, gateway: Gateway, authorization: str) -> None:
    """Another process of this machine that finds the port gets nowhere, not even with the real token."""
    with gateway.session() as session:
        raw = authorization.encode("latin-1")
        answer = httpx.get(session.base_url + SERVICE, headers={b"authorization": raw})

        assert session.failure is None
    assert answer.status_code == 403
    assert fake.received == []


def test_a_token_is_good_for_its_own_call_only(fake: Cloud, gateway: Gateway) -> None:
    """The token of one call opens neither another call's prefix nor its own after the call has ended."""
    with gateway.session() as one, gateway.session() as other:
        headers = {"authorization": f"Bearer {one.token}"}
        elsewhere = httpx.get(other.base_url + SERVICE, headers=headers)
    afterwards = httpx.get(one.base_url + SERVICE, headers=headers)
    unknown = httpx.get(f"{gateway.url}/client/v4{SERVICE}", headers=headers)

    assert [elsewhere.status_code, afterwards.status_code, unknown.status_code] == [403, 404, 404]
    assert fake.received == []


def test_an_asset_upload_passes_with_the_token_of_its_session(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler
) -> None:
    """Assets are authorised by a token that Cloudflare issued in this very call, and only they are."""
    assets = f"/accounts/{ACCOUNT}/workers/assets/upload?base64=true"
    manifest = {"manifest": {"/index.html": {"hash": "ab" * 16, "size": 3}}}
    file = b"x" * (25 * 1024 * 1024)
    with gateway.session() as session, gateway.session() as other:
        client = as_wrangler(session)
        issued = client.post(f"{SCRIPT}/assets-upload-session", json=manifest).json()["result"]["jwt"]
        bearer = {"authorization": f"Bearer {issued}"}
        uploaded = client.post(assets, content=file, headers=bearer)
        elsewhere = client.get(SERVICE, headers=bearer)
        in_another = as_wrangler(other).post(assets, content=file, headers=bearer)
        made_up = client.post(assets, content=file, headers={"authorization": "Bearer made-up"})

    assert uploaded.status_code == 201
    assert fake.received[-1].headers["authorization"] == f"Bearer {issued}"
    assert fake.received[-1].body == file
    assert [elsewhere.status_code, in_another.status_code, made_up.status_code] == [403, 403, 403]
    assert fake.uploaded_assets == 1


def test_another_worker_than_the_releases_is_not_uploaded(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler
) -> None:
    """A config that names another Worker can't overwrite it."""
    with gateway.session(stamp=Stamp(RELEASE), worker="other") as session:
        answer = upload(as_wrangler(session))

        assert isinstance(session.failure, WranglerFailed)
    assert answer.status_code == 409
    assert fake.received == []


# Recording, budget, waiting


def test_every_request_is_recorded_and_paid_for(
    fake: Cloud, gateway: Gateway, budget: RecordingBudget, as_wrangler: AsWrangler
) -> None:
    """Status, code and message of each request are kept: wrangler's own output lacks them."""
    fake.exists = False
    with gateway.session(lane=Lane.UNDO) as session:
        as_wrangler(session).get(f"{SERVICE}?x=1")

    [call] = session.calls
    assert (call.method, call.path, call.status, call.code) == ("GET", SERVICE, 404, 10007)
    assert call.message == "This Worker does not exist on your account."
    assert call.is_failure
    assert not call.is_write
    assert budget.taken == [Lane.UNDO]


def test_a_429_is_waited_out(
    fake: Cloud, gateway: Gateway, budget: RecordingBudget, fake_time: FakeTime, as_wrangler: AsWrangler
) -> None:
    """wrangler dies of one 429 on most calls; the gateway waits as long as Cloudflare asks, and tells the budget."""
    fake.faults.append(Fault("GET", SERVICE, status=429, retry_after="17"))
    fake.faults.append(Fault("GET", SERVICE, status=429))
    with gateway.session() as session:
        answer = as_wrangler(session).get(SERVICE)

    assert answer.status_code == 200
    assert fake_time.slept == [17.5, 2.5]
    assert budget.cooldowns == [17.0]
    assert [call.status for call in session.calls] == [429, 429, 200]
    assert len(budget.taken) == 3


def test_a_429_with_a_date_is_waited_out(
    fake: Cloud, gateway: Gateway, fake_time: FakeTime, as_wrangler: AsWrangler
) -> None:
    """``Retry-After`` may be a date."""
    fake.faults.append(Fault("GET", SERVICE, status=429, retry_after="Fri, 20 Nov 2026 12:00:40 GMT"))
    with gateway.session() as session:
        as_wrangler(session).get(SERVICE)

    assert fake_time.slept == [40.5]


def test_a_429_beyond_our_patience_is_passed_on(
    fake: Cloud, gateway: Gateway, fake_time: FakeTime, as_wrangler: AsWrangler
) -> None:
    """A wait longer than wrangler's own HTTP client would stand is not begun."""
    fake.faults.append(Fault("GET", SERVICE, status=429, retry_after="290"))
    with gateway.session() as session:
        answer = as_wrangler(session).get(SERVICE)

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "290"
    assert fake_time.slept == []
    assert session.calls[-1].retry_after == 290.0


def test_a_write_that_was_limited_is_sent_again(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """A 429 says that nothing was done, so even an upload is repeated after it."""
    fake.faults.append(Fault("POST", "/versions", status=429, retry_after="1"))
    with gateway.session(stamp=Stamp(RELEASE)) as session:
        answer = upload(as_wrangler(session))

    assert answer.status_code == 200
    assert len(fake.versions) == 1
    assert fake.count("GET", "/versions") == 0


def test_an_exhausted_budget_ends_the_call(fake: Cloud, as_wrangler: AsWrangler) -> None:
    """When the shared budget has no room, nothing is sent and the command raises why."""

    class Empty(UnlimitedBudget):
        def take(self, lane: Lane, count: int = 1, *, deadline: timedelta = timedelta(0)) -> None:
            raise BudgetExhausted(f"no room in {deadline.total_seconds():.0f} s")

    patience = timedelta(seconds=9)
    with Gateway(fake.url, TOKEN, budget=Empty(), patience=patience) as gateway, gateway.session() as session:
        answer = as_wrangler(session).get(SERVICE)
        again = as_wrangler(session).get(SERVICE)

        assert isinstance(session.failure, BudgetExhausted)
        assert session.failure.message == "no room in 9 s"
    assert [answer.status_code, again.status_code] == [409, 409]
    assert fake.received == []


# Repeating what is safe to repeat


@pytest.mark.parametrize("fault", ["500", "502", "reset", "hang", "cut"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", SERVICE), ("PATCH", f"{SCRIPT}/script-settings"), ("POST", f"{SCRIPT}/subdomain")]
)
def test_reads_and_settings_are_repeated(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler, fault: str, method: str, path: str
) -> None:
    """What leaves the same state however often it is sent survives passing trouble."""
    fake.faults += [make_fault(fault, method, path), make_fault("500", method, path)]
    with gateway.session() as session:
        answer = as_wrangler(session).request(method, path, json={} if method != "GET" else None)

    assert answer.status_code == 200
    assert len(session.calls) == 3


@pytest.mark.parametrize("fault", ["500", "reset", "hang", "cut"])
def test_other_writes_are_sent_once(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler, fault: str) -> None:
    """A write that may have been done is not sent again, and the command says that nobody knows."""
    path = f"/accounts/{ACCOUNT}/d1/database"
    fake.faults.append(make_fault(fault, "POST", path))
    with gateway.session() as session:
        answer = as_wrangler(session).post(path, json={"name": "x"})

        assert isinstance(session.failure, OutcomeUnknown) == (fault != "500")
    assert answer.status_code == (500 if fault == "500" else 409)
    assert fake.count("POST", path) == 1


def test_a_cloud_that_is_not_there_is_unavailable(fake_time: FakeTime, as_wrangler: AsWrangler) -> None:
    """A connection that is refused was never a request; after a few attempts the command says so."""
    nobody = "http://127.0.0.1:9/client/v4"
    with (
        Gateway(nobody, TOKEN, budget=UnlimitedBudget(), clock=fake_time.clock) as gateway,
        gateway.session(stamp=Stamp(RELEASE)) as session,
    ):
        answer = upload(as_wrangler(session))

        assert isinstance(session.failure, CloudflareUnavailable)
        assert answer.status_code == 409
        assert {call.status for call in session.calls} == {0}


# One version, whatever happens


def make_fault(kind: str, method: str, path: str) -> Fault:
    """Return a fault by a short name; those with "stored" do what was asked before they fail."""
    name, _, when = kind.partition(" ")
    applied = when == "stored"
    if name == "reset":
        return Fault(method, path, reset=True, apply=applied)
    if name == "hang":
        return Fault(method, path, hold=threading.Event(), apply=applied)
    if name == "cut":
        return Fault(method, path, status=200, body=b'{"success": tr', apply=applied)
    return Fault(method, path, status=int(name), apply=applied, retry_after="1" if name == "429" else None)


@pytest.mark.parametrize("first", [False, True], ids=["version", "first deploy"])
@pytest.mark.parametrize("kind", ["500 stored", "503 stored", "reset stored", "hang stored", "cut stored"])
def test_a_stored_upload_whose_answer_was_lost_is_found(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler, kind: str, first: bool
) -> None:
    """Apply-then-fail never makes a second version: the one that was stored is found by its tag."""
    fake.exists = not first
    fake.faults.append(make_fault(kind, "PUT" if first else "POST", SCRIPT if first else "/versions"))
    with gateway.session(stamp=Stamp(RELEASE), worker=WORKER) as session:
        answer = upload(as_wrangler(session), first=first)

    [version] = fake.versions
    assert answer.status_code == 200
    result = answer.json()["result"]
    assert (result["deployment_id"] if first else result["id"]) == (
        version["id"].replace("-", "") if first else version["id"]
    )
    assert session.stored is not None
    assert session.stored.version_id == version["id"]
    assert session.stored.was_found
    assert session.stored.tag == version["annotations"]["workers/tag"] == f"{RELEASE}.{UPLOAD.content_sha256}"
    assert fake.count("PUT" if first else "POST", SCRIPT if first else "/versions") == 1


@pytest.mark.parametrize("first", [False, True], ids=["version", "first deploy"])
@pytest.mark.parametrize("kind", ["500", "reset", "cut"])
def test_an_upload_that_was_not_stored_is_sent_again(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler, kind: str, first: bool
) -> None:
    """After looking, an upload that left no trace is repeated."""
    fake.exists = not first
    fake.faults.append(make_fault(kind, "PUT" if first else "POST", SCRIPT if first else "/versions"))
    with gateway.session(stamp=Stamp(RELEASE)) as session:
        answer = upload(as_wrangler(session), first=first)

    assert answer.status_code == 200
    assert session.stored is not None
    assert not session.stored.was_found
    assert len(fake.versions) == 1


def test_an_upload_nobody_answers_is_not_sent_again(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """It may be stored after we looked; sending it again could make a second version."""
    fake.faults.append(make_fault("hang", "POST", "/versions"))
    with gateway.session(stamp=Stamp(RELEASE)) as session:
        answer = upload(as_wrangler(session))

        assert isinstance(session.failure, OutcomeUnknown)
    assert answer.status_code == 409
    assert fake.count("POST", "/versions") == 1


def test_an_upload_that_fails_again_and_again_stored_nothing(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler
) -> None:
    """When every attempt failed and looking found nothing, the command says that nothing was stored."""
    fake.faults += [make_fault("500", "POST", "/versions") for _ in range(3)]
    with gateway.session(stamp=Stamp(RELEASE)) as session:
        answer = upload(as_wrangler(session))
        again = upload(as_wrangler(session))

        assert isinstance(session.failure, CloudflareUnavailable)
        assert "no version was stored" in session.failure.message
    assert [answer.status_code, again.status_code] == [409, 409]
    assert fake.count("POST", "/versions") == 3


def test_when_looking_fails_the_outcome_is_unknown(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """A version that may be there and can't be looked for is neither repeated nor called a failure."""
    fake.faults.append(make_fault("500 stored", "POST", "/versions"))
    fake.faults += [make_fault("500", "GET", "/versions") for _ in range(4)]
    with gateway.session(stamp=Stamp(RELEASE)) as session:
        upload(as_wrangler(session))

        assert isinstance(session.failure, OutcomeUnknown)
    assert len(fake.versions) == 1


def test_a_repeated_upload_gets_the_first_answer(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """wrangler's own retries, one after the other or at once, don't make a second version."""
    with gateway.session(stamp=Stamp(RELEASE)) as session, ThreadPoolExecutor(3) as pool:
        client = as_wrangler(session)
        answers = [
            *pool.map(lambda _: upload(client).json()["result"]["id"], range(3)),
            upload(client).json()["result"]["id"],
        ]

    assert set(answers) == {fake.versions[0]["id"]}
    assert len(fake.versions) == 1


def test_a_resumed_release_looks_before_its_first_attempt(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler
) -> None:
    """A release that doesn't know how far it came finds what it uploaded before it was killed."""
    with gateway.session(stamp=Stamp(RELEASE)) as before:
        upload(as_wrangler(before))
    with gateway.session(stamp=Stamp(RELEASE, look_first=True)) as resumed:
        upload(as_wrangler(resumed))

    assert len(fake.versions) == 1
    assert resumed.stored is not None
    assert resumed.stored.was_found
    assert resumed.stored.version_id == fake.versions[0]["id"]


def test_another_release_of_the_same_content_makes_its_own_version(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler
) -> None:
    """Only a version of this very release counts as found."""
    for release in ("release-1", "release-2"):
        with gateway.session(stamp=Stamp(release, look_first=True)) as session:
            upload(as_wrangler(session))

    assert [version["annotations"]["workers/tag"].split(".")[0] for version in fake.versions] == [
        "release-1",
        "release-2",
    ]


def test_an_unstamped_upload_is_never_repeated(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """Without a tag to look for, an upload with an unknown outcome ends the call; wrangler's own retry is refused."""
    fake.faults.append(make_fault("500 stored", "POST", "/versions"))
    with gateway.session() as session:
        answers = [upload(as_wrangler(session)).status_code for _ in range(2)]

        assert isinstance(session.failure, OutcomeUnknown)
    assert answers == [409, 409]
    assert len(fake.versions) == 1


def test_a_refused_upload_is_passed_on(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """What Cloudflare says about broken code reaches wrangler and the record."""
    fake.faults.append(Fault("POST", "/versions", status=400, code=10021, message="Uncaught SyntaxError"))
    with gateway.session(stamp=Stamp(RELEASE)) as session:
        answer = upload(as_wrangler(session))

    assert answer.json()["errors"] == [{"code": 10021, "message": "Uncaught SyntaxError"}]
    assert session.stored is None
    assert session.failure is None
    assert session.calls[-1].code == 10021


FAULTS = ["500", "500 stored", "reset", "reset stored", "cut", "cut stored", "429", "hang stored"]
LOOKS = ["", "500", "reset", "429"]


def check_one_version(faults: tuple[str, ...], looks: tuple[str, ...]) -> None:
    """Upload under *faults*, looking under *looks*: at most one version, and a success only with exactly one."""
    with (
        Cloud() as fake,
        Gateway(
            fake.url, TOKEN, budget=UnlimitedBudget(), clock=FakeTime().clock, upstream_timeout=timedelta(seconds=0.3)
        ) as gateway,
        gateway.session(stamp=Stamp(RELEASE)) as session,
        httpx.Client(base_url=session.base_url, headers={"authorization": f"Bearer {session.token}"}) as client,
    ):
        fake.faults += [make_fault(fault, "POST", "/versions") for fault in faults]
        fake.faults += [make_fault(look, "GET", "/versions") for look in looks if look]

        answers = [upload(client) for _ in range(2)]

        told = {answer.json()["result"]["id"] for answer in answers if answer.is_success}
        stored = {version["id"] for version in fake.versions}
        assert len(stored) <= 1, (faults, looks)
        assert told == (stored if session.stored else set()), (faults, looks)
        assert (session.failure is None) == bool(told), (faults, looks)


def matrix() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Every sequence of two faults, with every way of looking to fail."""
    return list(itertools.product(itertools.product(FAULTS, FAULTS), itertools.product(LOOKS, LOOKS)))


def test_faults_in_any_order_make_one_version_at_most() -> None:
    """Whatever fails in whatever order, there is never a second version, and never a success without one."""
    seed = random.randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    for faults, looks in random.Random(seed).sample(matrix(), 10):
        check_one_version(faults, looks)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(8))
def test_all_faults_in_any_order_make_one_version_at_most(part: int) -> None:
    """The whole matrix of the test above, in parts that run beside one another."""
    for faults, looks in list(matrix())[part::8]:
        check_one_version(faults, looks)


# The lock, and comparing


def test_the_guard_is_asked_before_each_write_and_no_read(
    fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler
) -> None:
    """The lock is looked at before each write that leaves, repeated ones included."""
    asked: list[int] = []
    fake.faults.append(make_fault("500", "PATCH", "/script-settings"))
    with gateway.session(guard=lambda: asked.append(len(fake.received))) as session:
        client = as_wrangler(session)
        client.get(SERVICE)
        client.patch(f"{SCRIPT}/script-settings", json={})

    assert asked == [1, 2]


def test_a_lost_lock_stops_the_write(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """What the guard raises is what the command raises; the write and all that follow are kept from Cloudflare."""
    lost = LockLost("shop@production: taken over by somebody else")

    def guard() -> None:
        raise lost

    with gateway.session(stamp=Stamp(RELEASE), guard=guard) as session:
        client = as_wrangler(session)
        answers = [upload(client).status_code, upload(client).status_code, client.get(SERVICE).status_code]

        assert session.failure is lost
        assert not session.has_sent_write
    assert answers == [409, 409, 409]
    assert fake.received == []


def test_a_bug_in_the_guard_is_not_swallowed(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """An unexpected exception stops the write too, and reaches the caller as it is."""

    def guard() -> None:
        raise ZeroDivisionError

    with gateway.session(stamp=Stamp(RELEASE), guard=guard) as session:
        upload(as_wrangler(session))

        assert isinstance(session.failure, ZeroDivisionError)
    assert fake.received == []


def test_comparing_writes_nothing(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """In compare mode reads pass, asset sessions are answered here, and what would be uploaded is kept as a value."""
    manifest = {"manifest": {"/index.html": {"hash": "ab" * 16, "size": 3}}}
    with gateway.session(compare=True) as session:
        client = as_wrangler(session)
        read = client.get(SERVICE)
        assets = client.post(f"{SCRIPT}/assets-upload-session", json=manifest)
        refused = [upload(client).status_code, client.post(f"{SCRIPT}/subdomain", json={}).status_code]

    assert read.status_code == 200
    assert assets.json()["result"]["buckets"] == []
    assert refused == [409, 409]
    assert session.compared is not None
    assert session.compared.modules == UPLOAD.modules
    assert session.compared.assets["/index.html"].size == 3
    assert [received.method for received in fake.received] == ["GET"]


def test_the_record_holds_no_secret(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """A message of Cloudflare's that quotes a secret is masked before anybody can read it."""
    fake.faults.append(Fault("GET", SERVICE, status=400, message="bad value hunter2"))
    with gateway.session(mask=lambda text: text.replace("hunter2", "***")) as session:
        as_wrangler(session).get(SERVICE)

    assert session.calls[0].message == "bad value ***"


def test_an_upload_is_told_without_its_preview(fake: Cloud, gateway: Gateway, as_wrangler: AsWrangler) -> None:
    """wrangler would spend a request on the preview's address; we know that there is one."""
    with gateway.session(stamp=Stamp(RELEASE)) as session:
        answer = upload(as_wrangler(session)).json()

    assert answer["result"]["metadata"]["has_preview"] is False
    assert session.stored is not None
    assert session.stored.has_preview
    assert session.stored.startup_time_ms == 7
    assert json.dumps(answer).count(TOKEN) == 0


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_call_that_is_never_answered_does_not_outlive_the_gateway(
    budget: RecordingBudget, as_wrangler: AsWrangler, caplog: pytest.LogCaptureFixture
) -> None:
    """Closed over a call that hangs, the gateway ends it, without a complaint in the log."""
    came, may_go = threading.Event(), threading.Event()
    # What tests before this one left is theirs.
    gc.collect()
    caplog.clear()

    def hang(request: httpx.Request) -> httpx.Response:
        came.set()
        may_go.wait(60)
        return httpx.Response(200)

    def call() -> None:
        with pytest.raises(httpx.TransportError):
            client.get(SERVICE)

    with ThreadPoolExecutor(1) as pool:
        with Gateway("http://127.0.0.1", TOKEN, budget=budget, transport=httpx.MockTransport(hang)) as gateway:
            client = as_wrangler(gateway.session())
            called = pool.submit(call)
            assert came.wait(60)
        called.result(60)
        may_go.set()
    gc.collect()

    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
