"""A portfolio is released in waves; what fails stops what needs it, and the end says how each target ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks import CloudflareAccount
from clodo.cloudflare.breaker import Breakers
from clodo.errors import ClodoError, Interrupted, LockHeld, ReleaseFailed
from clodo.ledger import Ledger, default_path
from clodo.ledger.owners import Owner
from clodo.releases.interruption import Interruption
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import lock_name
from clodo.releases.releasing import Wish
from clodo.releases.rollout import Rollout, RolloutFailed
from clodo.releases.site import AccountKeys, Site
from clodo.releases.story import Take, directly
from clodo.workspace.workspace import Workspace
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount

from .numbered import HastyClock, quick

CONFIG = """\
name = "{name}"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true
preview_urls = true

[version_metadata]
binding = "VERSION"
"""
NEEDS = """
[[services]]
binding = "{binding}"
service = "{needed}"
"""
CODE = """\
export default {{
  async fetch(request, env) {{
    return Response.json({{ says: "{says}", version: env.VERSION.id }}, {{ status: {status} }});
  }},
}};
"""
TESTS = """
[[services.{name}.smoke_tests]]
path = "/"
version_json = "version"
"""


@dataclass
class Fleet:
    """A workspace of tiny services on an account of the embedded cloud."""

    account: CloudAccount
    toolchain: Toolchain
    folder: Path
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    interruption: Interruption = field(default_factory=Interruption)

    def write(self, needs: Mapping[str, Iterable[str]], *, more: str = "") -> None:
        """Write services, each with those that it needs."""
        self.needs = {name: tuple(needed) for name, needed in needs.items()}
        text = f'[portfolio]\nname = "fleet"\n{more}\n'
        for name, needed in self.needs.items():
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            config = CONFIG.format(name=name)
            config += "".join(NEEDS.format(binding=other.upper(), needed=other) for other in needed)
            (folder / "wrangler.toml").write_text(config)
            self.change(name, "one")
            text += TESTS.format(name=name)
        (self.folder / "portfolio.toml").write_text(text)

    def change(self, name: str, says: str, *, status: int = 200) -> None:
        """Change what a service says, and whether it is well."""
        (self.folder / name / "index.js").write_text(CODE.format(says=says, status=status))

    def says(self, name: str) -> str:
        """Ask the Worker as a visitor does."""
        answer: dict[str, str] = self.account.visit(self.account.hostname(name)).json()
        return answer["says"]

    @contextmanager
    def rollout(self, **options: Any) -> Iterator[Rollout]:
        """Open a rollout of all targets, surveyed."""
        keys = AccountKeys(
            self.account.account_id, self.account.token, self.account.cloud.url, self.account.cloud.edge_url
        )
        clock = HastyClock().as_clock()
        with Site(
            Workspace.load(self.folder),
            Ledger.open(default_path(self.folder)),
            accounts=lambda block: keys,
            secrets=lambda target: {},
            toolchain=lambda: self.toolchain,
            actor="a test",
            tool_environment={},
            interruption=self.interruption,
            clock=clock,
            breakers=Breakers(clock=clock),
        ) as site:
            rollout = Rollout(site, site.workspace.targets, options.pop("wish", Wish()), **options)
            rollout.survey()
            yield rollout

    def roll_out(self, take: Callable[[str], Take] = lambda target: directly, **options: Any) -> dict[str, Outcome]:
        """Release everything as the flow does, each wave at once; return how each service ended."""
        with self.rollout(**options) as rollout, ThreadPoolExecutor(16) as threads:
            for wave in rollout.waves_to_release():
                futures = [threads.submit(rollout.release, target, take(target)) for target in wave]
                for future in futures:
                    assert not isinstance(future.exception(), AssertionError), future.exception()
            return {outcome.target.partition("@")[0]: outcome for outcome in rollout.outcomes}


@pytest.fixture
def fleet(account: CloudAccount, toolchain: Toolchain, tmp_path: Path) -> Fleet:
    """An empty workspace; uploads go the fast way."""
    return Fleet(account, quick(toolchain, tmp_path), tmp_path / "fleet")


def endings(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """Return how each service ended."""
    return {name: outcome.ending.value for name, outcome in outcomes.items()}


# --- order ------------------------------------------------------------------------------------------------------------


def test_what_is_needed_is_live_before_what_needs_it(fleet):
    """Waves follow from bindings, and nothing begins before all that it needs is live and verified."""
    fleet.write({"web": ["api"], "api": ["auth", "mail"], "auth": [], "mail": [], "jobs": ["auth"]})
    order: list[tuple[str, str]] = []
    lock = threading.Lock()

    def take(target: str) -> Take:
        def noted(step: str, work: Callable[[], Any]) -> Any:
            done = work()
            with lock:
                order.append((target.partition("@")[0], step))
            return done

        return noted

    with fleet.rollout() as rollout:
        waves = [[name.partition("@")[0] for name in wave] for wave in rollout.waves_to_release()]
    ended = fleet.roll_out(take)

    assert waves == [["auth", "mail"], ["api", "jobs"], ["web"]]
    assert set(endings(ended).values()) == {"live"}
    for name, needed in fleet.needs.items():
        for other in needed:
            assert order.index((other, "verify")) < order.index((name, "note-way-back"))


def test_a_second_rollout_of_the_same_does_nothing(fleet):
    """Unchanged targets are in no wave, and the account is asked once, not once a target."""
    fleet.write({"web": ["api"], "api": [], "jobs": []})
    fleet.roll_out()
    since = fleet.account.cloud.calls()[-1].number

    with fleet.rollout() as rollout:
        left = rollout.waves_to_release()
        outcomes = rollout.outcomes
        rollout.raise_unless_done()

    calls = fleet.account.cloud.calls(account_id=fleet.account.account_id, since=since)
    assert left == ()
    assert {outcome.ending for outcome in outcomes} == {Ending.UNCHANGED}
    assert [(call.method, call.path.rpartition("/")[2]) for call in calls] == [("GET", "scripts")]


# --- failures ---------------------------------------------------------------------------------------------------------


def test_what_needs_a_failed_target_is_skipped_with_the_reason(fleet):
    """Dependents of a failure are not begun, however far away; the others are."""
    fleet.write({"web": ["api"], "api": ["auth"], "auth": [], "jobs": []})
    fleet.change("auth", "bad", status=500)

    ended = fleet.roll_out(stop_after_failures=9)

    assert endings(ended) == {"auth": "undone", "jobs": "live", "api": "skipped", "web": "skipped"}
    assert ended["api"].message == "api@production: skipped, since it needs auth@production"
    assert ended["web"].message == "web@production: skipped, since it needs api@production"
    listed = {script["id"] for script in fleet.account.result("GET", "/workers/scripts")}
    assert listed == {"jobs"}


@pytest.mark.parametrize(("stop_after", "begun"), [(1, 1), (2, 2), (9, 4)])
def test_after_so_many_failures_nothing_more_is_begun(fleet, stop_after, begun):
    """The rollout stops at the limit; what was not begun names those that failed."""
    names = ["a", "b", "c", "d"]
    fleet.write({name: [] for name in names})
    for name in names:
        fleet.change(name, "bad", status=500)

    ended = fleet.roll_out(max_parallel=1, stop_after_failures=stop_after)

    assert list(endings(ended).values()).count("undone") == begun
    skipped = [outcome for outcome in ended.values() if outcome.ending is Ending.SKIPPED]
    assert len(skipped) == 4 - begun
    for outcome in skipped:
        assert "skipped, since " in outcome.message
        assert outcome.message.count("@production") == 1 + stop_after


def test_an_interrupted_rollout_begins_nothing_more(fleet):
    """What was under way is undone, the rest is not begun, and the status is that of an interruption."""
    fleet.write({"b": ["a"], "a": [], "c": ["b"]})

    def take(target: str) -> Take:
        def interrupted(step: str, work: Callable[[], Any]) -> Any:
            if (target, step) == ("b@production", "smoke-test"):
                fleet.interruption.request()
            return work()

        return interrupted

    with fleet.rollout() as rollout:
        (a,), (b,), (c,) = rollout.waves_to_release()
        rollout.release(a, take(a))
        with pytest.raises(ReleaseFailed) as undone:
            rollout.release(b, take(b))
        rollout.release(c, take(c))
        with pytest.raises(RolloutFailed) as failed:
            rollout.raise_unless_done()

    assert undone.value.exit_code == Interrupted.exit_code
    ended = {outcome.target.partition("@")[0]: outcome for outcome in failed.value.outcomes}
    assert endings(ended) == {"a": "live", "b": "undone", "c": "skipped"}
    assert failed.value.exit_code == Interrupted.exit_code
    assert "not begun" in ended["c"].message


def test_a_rollout_that_is_stopped_between_two_releases_was_interrupted(fleet):
    """Nothing failed and nothing was undone, yet not all is as desired: somebody stopped it."""
    fleet.write({"b": ["a"], "a": []})

    with fleet.rollout() as rollout:
        (first,), (second,) = rollout.waves_to_release()
        rollout.release(first)
        fleet.interruption.request()
        skipped = rollout.release(second)
        with pytest.raises(RolloutFailed) as failed:
            rollout.raise_unless_done()

    assert skipped.ending is Ending.SKIPPED
    assert failed.value.exit_code == Interrupted.exit_code


# --- at the same time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_so_many_are_released_at_the_same_time_and_never_more(fleet, limit):
    """As many as the limit says meet in the middle of their releases; one more never comes in."""
    fleet.write({f"service-{number}": [] for number in range(2 * limit)})
    meeting = threading.Barrier(limit)
    inside: set[str] = set()
    most = 0
    lock = threading.Lock()

    def take(target: str) -> Take:
        def watched(step: str, work: Callable[[], Any]) -> Any:
            nonlocal most
            if step == "note-way-back":
                with lock:
                    inside.add(target)
                    most = max(most, len(inside))
                meeting.wait(timeout=60)
            done = work()
            if step == "verify":
                with lock:
                    inside.discard(target)
            return done

        return watched

    ended = fleet.roll_out(take, max_parallel=limit)

    assert set(endings(ended).values()) == {"live"}
    assert most == limit


# --- how it ends ------------------------------------------------------------------------------------------------------


def outcome(name: str, ending: Ending, exit_code: int = 0) -> Outcome:
    """Return how a target ended."""
    return Outcome(f"{name}@production", ending, message=f"{name} says why", hint=f"{name}'s hint", exit_code=exit_code)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ([outcome("a", Ending.UNDONE, 1)], 1),
        ([outcome("a", Ending.UNDONE, 4)], 4),
        ([outcome("a", Ending.FAILED, 11)], 11),
        ([outcome("a", Ending.FAILED, 12)], 12),
        ([outcome("a", Ending.UNDONE, 75)], 75),
        ([outcome("a", Ending.UNDONE, 130)], 130),
        ([outcome("a", Ending.UNDONE, 75), outcome("b", Ending.SKIPPED)], 75),
        ([outcome("a", Ending.UNDONE, 4), outcome("b", Ending.UNDONE, 4)], 4),
        ([outcome("a", Ending.UNDONE, 4), outcome("b", Ending.FAILED, 11)], 1),
        ([outcome("a", Ending.LIVE), outcome("b", Ending.FAILED, 11)], 3),
        ([outcome("a", Ending.UNCHANGED), outcome("b", Ending.UNDONE, 1)], 3),
        ([outcome("a", Ending.ADOPTED), outcome("b", Ending.SKIPPED)], 3),
        ([outcome("a", Ending.LIVE), outcome("b", Ending.UNDONE, 130)], 130),
    ],
)
def test_the_status_is_the_causes_or_that_of_a_part(ended, code):
    """One target keeps its cause's status, several the one they share; 3 says that a part is as desired."""
    error = RolloutFailed(ended)

    assert error.exit_code == code
    assert error.outcomes == tuple(ended)
    if len(ended) == 1:
        assert error.message == "a says why"
        assert error.hint == "a's hint"
    else:
        for item in ended:
            assert (item.target in error.message) == (not item.is_success)


def test_a_single_target_that_is_locked_keeps_its_status(fleet):
    """The error that a lock raises is the one that the rollout ends with."""
    fleet.write({"a": []})
    with fleet.rollout() as rollout:
        owner = Owner.current("release a@production")
        with rollout.site.ledger.locks.acquire(lock_name(fleet.account.account_id, "a"), owner, "night shift"):
            with pytest.raises(LockHeld):
                rollout.release("a@production")
            with pytest.raises(RolloutFailed, match="night shift") as failed:
                rollout.raise_unless_done()

    assert failed.value.exit_code == LockHeld.exit_code


def test_a_target_whose_task_crashed_has_failed(fleet):
    """A release that ends without saying how is not forgotten."""
    fleet.write({"a": [], "b": []})
    with fleet.rollout() as rollout:
        rollout.release("a@production")
        rollout.note_crash("a@production", "its task ended as Crashed")
        rollout.note_crash("b@production", "its task ended as Crashed")
        with pytest.raises(RolloutFailed, match=r"b@production \(failed\).*ended as Crashed") as failed:
            rollout.raise_unless_done()

    assert [item.ending for item in failed.value.outcomes] == [Ending.LIVE, Ending.FAILED]
    assert failed.value.exit_code == 3


# --- through the flow -------------------------------------------------------------------------------------------------


@dataclass
class Prefect:
    """What the Prefect server remembers, asked over its API."""

    url: str

    def ask(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.url}{path}", json=body, trust_env=False, timeout=60)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def events(self, since: str, count: int) -> list[dict[str, Any]]:
        """Return our events since a moment, when there are so many of them."""
        wanted = {"event": {"prefix": ["clodo."]}, "occurred": {"since": since}, "order": "ASC"}
        waiting = threading.Event()
        for _ in range(300):
            found: list[dict[str, Any]] = self.ask("/events/filter", filter=wanted)["events"]
            if len(found) >= count:
                return found
            waiting.wait(0.2)
        raise AssertionError(f"only {[event['event'] for event in found]}")


@pytest.mark.timeout(400)
def test_the_flow_tells_what_it_does_in_names_artifacts_and_events(account, toolchain, tmp_path, prefect_server):
    """An operator finds a task run per step, a page per release, a table of all, and events, of failures too."""
    from prefect.states import State

    from flows.roll_out_portfolio import roll_out_portfolio

    block = f"test-{account.account_id[:12]}"
    CloudflareAccount(
        account_id=account.account_id,
        api_token=SecretStr(account.token),
        base_url=account.cloud.url,
        edge_url=account.cloud.edge_url,
    ).save(block, overwrite=True)
    fleet = Fleet(account, toolchain, tmp_path / "fleet")
    environment = f'\n[environments.production]\naccount = "{block}"\n'
    fleet.write({"web": ["api"], "api": [], "jobs": []}, more=environment)
    fleet.change("api", "bad", status=500)

    state: State[Any] = roll_out_portfolio(
        workspace=str(fleet.folder), reason="for the record", stop_after_failures=2, return_state=True
    )
    flow_run = str(state.state_details.flow_run_id)
    prefect = Prefect(prefect_server)
    run = httpx.get(f"{prefect_server}/flow_runs/{flow_run}", trust_env=False).json()
    tasks = prefect.ask("/task_runs/filter", task_runs={"flow_run_id": {"any_": [flow_run]}})
    artifacts = prefect.ask("/artifacts/filter", artifacts={"flow_run_id": {"any_": [flow_run]}})
    events = prefect.events(run["created"], 3)

    assert state.is_failed()
    assert run["state_type"] == "FAILED"
    assert run["parameters"]["reason"] == "for the record"
    failed = state.result(raise_on_failure=False)
    assert isinstance(failed, RolloutFailed)
    assert failed.exit_code == 3
    ended = {item.target.partition("@")[0]: item for item in failed.outcomes}
    assert endings(ended) == {"api": "undone", "jobs": "live", "web": "skipped"}
    by_name = {task["name"]: task["state_type"] for task in tasks}
    assert by_name["compare 3 targets with what is live"] == "COMPLETED"
    assert by_name["release jobs@production"] == "COMPLETED"
    assert by_name["release api@production"] == "FAILED"
    for step in ("note the way back of", "upload", "smoke-test new", "roll out", "verify"):
        assert by_name[f"{step} jobs@production"] == "COMPLETED"
    assert by_name["smoke-test new api@production"] == "FAILED"
    assert by_name["undo api@production"] == "COMPLETED"
    assert not any(name.endswith("web@production") and name != "release web@production" for name in by_name)
    kinds = {(artifact["type"], artifact["key"]): artifact for artifact in artifacts}
    page = kinds["markdown", "release-jobs-production"]["data"]
    assert ended["jobs"].version_id in page
    assert ended["jobs"].release_id in page
    assert "passed: GET /" in page
    assert "answered 500, not 200" in kinds["markdown", "release-api-production"]["data"]
    assert "needs api@production" in kinds["markdown", "release-web-production"]["data"]
    table = kinds["table", "portfolio-fleet"]["data"]
    assert ended["jobs"].version_id in str(table)
    assert "skipped" in str(table)
    told = {event["resource"]["prefect.resource.id"]: event["event"] for event in events}
    assert told == {
        "clodo.target.api@production": "clodo.release.undone",
        "clodo.target.jobs@production": "clodo.release.live",
        "clodo.target.web@production": "clodo.release.skipped",
    }
    assert isinstance(failed, ClodoError)
