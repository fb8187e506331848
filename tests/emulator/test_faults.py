"""Calls that go wrong on purpose, calls that are counted, and Cloudflare's request limit."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.envelope import ApiError
from clodo.emulator.faults import FaultRule, Faults, RequestLimit
from clodo.emulator.runtime.ports import Disturbance
from tests.fixtures.embedded_cloud import CloudAccount


@pytest.fixture
def faulty(account: CloudAccount) -> Any:
    """An account whose faults are gone after the test."""
    yield account
    account.cloud.clear_faults()


def queues_of(account: CloudAccount) -> list[str]:
    """The account's queues by name: something that writes change."""
    return [queue["queue_name"] for queue in account.result("GET", "/queues")]


def test_a_fault_answers_in_the_api_s_stead(faulty: CloudAccount) -> None:
    """The chosen call gets status, code and Retry-After, and changes nothing; the next one works."""
    faulty.cloud.add_fault(
        f"{faulty.account_id}/queues$", method="POST", status=429, code=971, message="slow down", retry_after=2
    )
    struck = faulty.api.post(f"{faulty.root}/queues", json={"queue_name": "one"})
    faulty.result("POST", "/queues", json={"queue_name": "two"})

    assert (struck.status_code, struck.headers["retry-after"]) == (429, "2")
    assert struck.json()["errors"] == [{"code": 971, "message": "slow down"}]
    assert queues_of(faulty) == ["two"]


@pytest.mark.parametrize("applied", [False, True])
def test_a_reset_cuts_the_connection(faulty: CloudAccount, applied: bool) -> None:
    """The client sees a reset, before the call was handled or after."""
    faulty.cloud.add_fault(f"{faulty.account_id}/queues$", method="POST", action="reset", applied=applied)

    with pytest.raises(httpx.TransportError):
        faulty.api.post(f"{faulty.root}/queues", json={"queue_name": "one"})

    assert queues_of(faulty) == (["one"] if applied else [])
    [call] = faulty.cloud.calls(account_id=faulty.account_id, method="POST")
    assert (call.status, call.fault is not None) == (0, True)


def test_apply_then_fail_is_applied(faulty: CloudAccount) -> None:
    """A 500 after the fact: the client is told it failed, and it has happened."""
    faulty.cloud.add_fault(f"{faulty.account_id}/queues$", method="POST", status=500, applied=True)

    answer = faulty.api.post(f"{faulty.root}/queues", json={"queue_name": "one"})

    assert answer.status_code == 500
    assert queues_of(faulty) == ["one"]


def test_silence_leaves_the_client_waiting(faulty: CloudAccount) -> None:
    """No answer comes; the client's own patience ends it."""
    faulty.cloud.add_fault(f"{faulty.account_id}/queues$", action="silence")

    with pytest.raises(httpx.ReadTimeout):
        faulty.api.get(f"{faulty.root}/queues", timeout=0.2)


def test_malformed_answers_stop_in_mid_json(faulty: CloudAccount) -> None:
    """A status of 200 with half a document."""
    faulty.cloud.add_fault(f"{faulty.account_id}/queues$", action="malformed", applied=True)

    answer = faulty.api.get(f"{faulty.root}/queues")

    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        answer.json()


def test_a_delay_is_only_a_delay(faulty: CloudAccount) -> None:
    """The call is slow and right."""
    faulty.cloud.add_fault(f"{faulty.account_id}/queues$", action="pass", delay_seconds=0.15)
    began = time.monotonic()

    assert queues_of(faulty) == []
    assert time.monotonic() - began >= 0.15


def test_a_fault_chooses_calls_by_what_is_sent(faulty: CloudAccount) -> None:
    """Calls of one path that send something else pass, with all they send."""
    fault = faulty.cloud.add_fault(f"{faulty.account_id}/queues$", method="post", body='"tw.*"', status=503, times=None)

    passed = faulty.api.post(f"{faulty.root}/queues", content=iter([b'{"queue_name"', b': "one"}']))
    struck = faulty.api.post(f"{faulty.root}/queues", json={"queue_name": "two"})

    assert (passed.status_code, struck.status_code) == (200, 503)
    assert queues_of(faulty) == ["one"]
    assert [rule["seen"] for rule in faulty.cloud.faults() if rule["id"] == fault] == [1]


def test_the_nth_call_is_struck_so_many_times(faulty: CloudAccount) -> None:
    """`nth` and `times` choose which calls; what was seen and struck can be asked."""
    faulty.cloud.add_fault(f"{faulty.account_id}/queues$", nth=2, times=2, status=503)

    statuses = [faulty.api.get(f"{faulty.root}/queues").status_code for _ in range(5)]

    assert statuses == [200, 503, 503, 200, 200]
    assert [(rule["seen"], rule["struck"]) for rule in faulty.cloud.faults()] == [(5, 2)]


@given(st.integers(1, 6), st.integers(1, 6) | st.none(), st.integers(0, 12))
def test_a_rule_strikes_a_window_of_calls(nth: int, times: int | None, calls: int) -> None:
    """Of the fitting calls, those from the nth on are struck, as many as asked."""
    faults = Faults()
    faults.add(FaultRule(path="^/a$", nth=nth, times=times))

    struck = [number for number in range(1, calls + 1) if faults.take("GET", "/a")]

    last = calls if times is None else nth + times - 1
    assert struck == [number for number in range(1, calls + 1) if nth <= number <= last]
    assert faults.take("GET", "/b") is None


@pytest.mark.parametrize(
    "body",
    [
        {"paths": "x"},
        {"path": "("},
        {"body": "("},
        {"action": "explode"},
        {"nth": 0},
        {"status": 42},
        {"delay_seconds": "long"},
    ],
)
def test_impossible_faults_are_refused(body: dict[str, Any]) -> None:
    """A rule that could never do what it says is not armed."""
    with pytest.raises(ApiError):
        FaultRule.from_json(body)


def test_a_disturbed_version_answers_with_errors(account: CloudAccount) -> None:
    """Errors of one version are ordered, seen and ended."""
    made = account.put_worker("shop")
    version_id = account.result("GET", "/workers/scripts/shop/versions")["items"][0]["id"]
    account.cloud.disturb(account.account_id, "shop", version_id, Disturbance(error_rate=1.0, error_status=503))
    disturbed = account.visit(account.hostname("shop")).status_code
    account.cloud.disturb(account.account_id, "shop", version_id)

    assert made["id"] == "shop"
    assert disturbed == 503
    assert account.visit(account.hostname("shop")).status_code == 200


# --- what was called --------------------------------------------------------------------------------------------------


def test_every_call_is_recorded(account: CloudAccount) -> None:
    """Method, path, status, code, token's name, trace id; no credential, in memory and in the file."""
    account.api.get(f"{account.root}/workers/scripts", headers={"Cf-Trace-Id": "run-7", "X-Clodo-Run": "8"})
    account.api.get(f"{account.root}/workers/services/gone?x=1")

    listed, missing = account.cloud.calls(account_id=account.account_id)
    assert (listed.method, listed.path, listed.status, listed.code) == (
        "GET",
        f"{account.root}/workers/scripts",
        200,
        None,
    )
    assert (listed.headers["cf-trace-id"], listed.headers["x-clodo-run"]) == ("run-7", "8")
    assert (missing.status, missing.code, missing.query) == (404, 10090, "x=1")
    assert listed.token == "made with the account"
    assert 0 < listed.seconds < 5
    log = (account.cloud.config.data / "access.jsonl").read_text()
    assert [entry for entry in map(json.loads, log.splitlines()) if entry["number"] == listed.number] == [
        listed.as_json()
    ]
    assert account.token not in log
    assert account.token not in repr(listed)


def test_calls_are_counted_over_http(account: CloudAccount) -> None:
    """Counters answer by account, method, path and since; they can be emptied."""
    headers = {"Authorization": f"Bearer {account.cloud.admin_token}"}
    for _ in range(3):
        account.result("GET", "/queues")
    account.result("POST", "/queues", json={"queue_name": "one"})
    url = f"{account.cloud.edge_url}/__clodo/requests?account_id={account.account_id}"
    counted = httpx.get(url, headers=headers, trust_env=False).json()["result"]
    posts = httpx.get(f"{url}&method=POST", headers=headers, trust_env=False).json()["result"]
    since = counted["calls"][1]["number"]
    later = httpx.get(f"{url}&since={since}", headers=headers, trust_env=False).json()["result"]

    assert counted["count"] == 4
    assert counted["by_status"] == {"200": 4}
    assert counted["by_path"] == {f"GET {account.root}/queues": 3, f"POST {account.root}/queues": 1}
    assert (posts["count"], later["count"]) == (1, 2)


def test_files_are_their_owner_s_only(account: CloudAccount) -> None:
    """Secrets are at rest in files of mode 0600 and nowhere else in the data folder."""
    account.put_worker("shop", bindings=[{"name": "KEY", "type": "secret_text", "text": "swordfish-at-rest"}])
    data: Path = account.cloud.config.data

    assert data.stat().st_mode & 0o077 == 0
    holding = [path for path in data.rglob("*") if path.is_file() and b"swordfish-at-rest" in path.read_bytes()]
    assert {path.name.partition(".")[0] for path in holding} == {"cloud"}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in holding} == {path.name: "0o600" for path in holding}
    for name in ("cloud.db", "emulator.json", "access.jsonl", "assets.key"):
        assert (data / name).stat().st_mode & 0o077 == 0, name


# --- the request limit ------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_the_limit_refuses_until_the_window_ends() -> None:
    """A user's calls beyond the limit are 429 with Retry-After; another user's are not; a new window is empty."""
    clock = Clock()
    limit = RequestLimit(is_on=True, maximum=2, window_seconds=300, clock=clock)
    first = limit.take("me")
    limit.take("me")
    clock.seconds += 100.5
    with pytest.raises(ApiError) as refusal:
        limit.take("me")
    limit.take("you")
    clock.seconds += 199.5

    assert first["Ratelimit"] == '"default";r=1;t=300'
    assert (refusal.value.status, refusal.value.code) == (429, 971)
    assert refusal.value.headers["Retry-After"] == "200"
    assert limit.take("me")["Ratelimit"] == '"default";r=1;t=300'


def test_the_limit_is_off_until_it_is_wanted(account: CloudAccount) -> None:
    """Without it no header is sent; with it each answer says what is left, and the one too many is refused."""
    without = account.api.get("/user")
    account.cloud.limit_requests(True, maximum=2)
    try:
        answers = [account.api.get("/user") for _ in range(3)]
    finally:
        account.cloud.limit_requests(False)

    assert "ratelimit" not in without.headers
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[1].headers["ratelimit"].startswith('"default";r=0;t=')
    assert int(answers[2].headers["retry-after"]) > 0


def test_settings_are_changed_and_checked(account: CloudAccount) -> None:
    """Delays are set over HTTP and shown; unknown keys and what is no number of seconds are refused."""
    headers = {"Authorization": f"Bearer {account.cloud.admin_token}"}
    wrong: list[Any] = [{"propagation_seconds": "soon"}, {"analytics_delay_seconds": -1}, {"nothing": 1}, []]
    with httpx.Client(base_url=account.cloud.edge_url, headers=headers, trust_env=False) as admin:
        changed = admin.patch("/__clodo/settings", json={"propagation_seconds": 1.5, "analytics_delay_seconds": 60})
        refused = [admin.patch("/__clodo/settings", json=body).status_code for body in wrong]
        back = admin.patch("/__clodo/settings", json={"propagation_seconds": 0, "analytics_delay_seconds": 0})

    assert changed.json()["result"]["propagation_seconds"] == 1.5
    assert changed.json()["result"]["analytics_delay_seconds"] == 60
    assert refused == [400, 400, 400, 400]
    assert (back.json()["result"]["propagation_seconds"], back.json()["result"]["analytics_delay_seconds"]) == (0, 0)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/accounts", {"name": 5, "zone": 7}, 400),
        ("POST", "/scheduled", {"account_id": "x", "script": "y"}, 409),
        ("PATCH", "/settings", {"rate_limit": {"maximum": "x"}}, 400),
    ],
)
def test_the_clouds_own_endpoints_refuse_in_words(
    account: CloudAccount, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    """Wrong types and Workers that aren't there are told, not crashed on."""
    headers = {"Authorization": f"Bearer {account.cloud.admin_token}"}
    answer = httpx.request(
        method, f"{account.cloud.edge_url}/__clodo{path}", json=body, headers=headers, trust_env=False
    )

    assert (answer.status_code, answer.json()["success"]) == (status, False)
