"""What is refused before anything is written: one clear sentence with the place, what is wrong, and what to do."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clodo.errors import (
    AmbiguousName,
    BadConfiguration,
    BlockedByPolicy,
    ClodoError,
    DatabaseNotFound,
    LockHeld,
    NamespaceNotFound,
    NotAuthorised,
    PermissionMissing,
    ReleaseFailed,
    TargetNotFound,
)
from clodo.ledger import Ledger
from clodo.ledger.fingerprints import fingerprint_of
from clodo.ledger.owners import Owner
from clodo.releases.outcome import Ending
from clodo.releases.recovery import lock_name
from clodo.releases.releasing import Wish, release_target, survey
from clodo.releases.rollout import Rollout
from clodo.releases.site import Site
from tests.ledger.postgresql import run_postgresql

from .numbered import quick
from .stage import TARGET, WORKER, Stage


@pytest.fixture(autouse=True)
def _fast_uploads(stage: Stage, tmp_path: Path) -> None:
    """How a version came to the cloud makes no difference here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)


def add_to_portfolio(stage: Stage, text: str) -> None:
    """Append lines to the portfolio."""
    portfolio = stage.folder / "portfolio.toml"
    portfolio.write_text(f"{portfolio.read_text()}\n{text}\n")


def add_to_config(stage: Stage, text: str) -> None:
    """Append lines to the wrangler config."""
    config = stage.folder / WORKER / "wrangler.toml"
    config.write_text(f"{config.read_text()}\n{text}\n")


@contextmanager
def site(stage: Stage, **differences: Any) -> Iterator[Site]:
    """Open the site with other keys, secrets or another ledger."""
    given: dict[str, Any] = {
        "accounts": lambda block: stage.keys,
        "secrets": lambda target: {"SIGNING_KEY": stage.shop.signing_key},
        "toolchain": lambda: stage.toolchain,
        "actor": "tester",
        "tool_environment": {},
    }
    ledger = differences.pop("ledger", None) or Ledger.open(stage.folder / ".clodo" / "ledger.sqlite3")
    with Site(stage.workspace, ledger, **{**given, **differences}) as opened:
        yield opened


def release(stage: Stage, wish: Wish | None = None, **differences: Any) -> Any:
    """Release the shop."""
    with site(stage, **differences) as opened:
        return release_target(opened, survey(opened, [opened.workspace.find(TARGET)])[0], wish or Wish())


def refused(stage: Stage, kind: type[ClodoError], code: int, *parts: str, **differences: Any) -> ClodoError:
    """Release the shop and fail unless it is refused in one sentence with *parts*, and nothing was written."""
    since = max(call.number for call in stage.account.cloud.calls())
    rows = len(stage.releases())
    with pytest.raises(kind) as error:
        release(stage, **differences)
    raise_unless_clear(error.value, code, *parts)
    written = [call for call in stage.account.cloud.calls(since=since) if call.method != "GET"]
    assert written == [], "something was written"
    assert len(stage.releases()) == rows, "a release was begun"
    return error.value


def raise_unless_clear(error: ClodoError, code: int, *parts: str) -> None:
    """Fail unless an error is one sentence that says where and what, with a remedy."""
    said = f"{error.message} {error.hint or ''}"
    for part in parts:
        assert part in said, said
    assert error.exit_code == code
    assert "\n" not in error.message
    assert not error.message.endswith(".")
    assert error.hint, f"no remedy: {error.message}"


# --- rules ------------------------------------------------------------------------------------------------------------


def remove_from_portfolio(stage: Stage, first_line: str) -> None:
    """Take away what was added last, from *first_line* on."""
    file = stage.folder / "portfolio.toml"
    file.write_text(file.read_text().partition(first_line)[0])


def freeze(starts: timedelta, ends: timedelta, reason: str = "") -> str:
    """Return a freeze around now, as the portfolio says it."""
    now = datetime.now(UTC)
    said = f', reason = "{reason}"' if reason else ""
    return (
        "[environments.production]\n"
        f"freeze = [{{ starts = {(now + starts).isoformat()}, ends = {(now + ends).isoformat()}{said} }}]"
    )


def test_a_frozen_environment_is_left_alone(stage):
    """Within a freeze nothing is begun; the message says until when, and why."""
    add_to_portfolio(stage, freeze(timedelta(hours=-1), timedelta(hours=1), "the big sale"))

    error = refused(stage, BlockedByPolicy, 4, TARGET, "production is frozen until", "the big sale", "portfolio.toml")

    assert datetime.now(UTC).strftime("%Y-%m") in error.message


def test_a_plan_says_what_would_be_refused(stage):
    """A dry run shows what would change and what forbids it, since who plans today wants to release tomorrow."""
    add_to_portfolio(stage, freeze(timedelta(hours=-1), timedelta(hours=1), "the big sale"))

    with site(stage) as opened:
        rollout = Rollout(opened, [opened.workspace.find(TARGET)], Wish())
        rollout.survey()
        (frozen,) = rollout.plan()
    remove_from_portfolio(stage, "[environments.production]")
    with site(stage, secrets=lambda target: {"SIGNING_KEY": "changeme"}) as opened:
        rollout = Rollout(opened, [opened.workspace.find(TARGET)], Wish())
        rollout.survey()
        (insecure,) = rollout.plan()

    assert (frozen.ending, insecure.ending) == (Ending.PLANNED, Ending.PLANNED)
    assert frozen.changes
    assert frozen.message.startswith(f"would be refused: {TARGET}: production is frozen until")
    assert "SIGNING_KEY" in insecure.message
    assert "changeme" not in insecure.message
    assert stage.releases() == []


@pytest.mark.parametrize(
    ("starts", "ends"),
    [(timedelta(hours=1), timedelta(hours=2)), (timedelta(hours=-2), timedelta(hours=-1))],
    ids=["later", "over"],
)
def test_outside_of_a_freeze_releases_go_on(stage, starts, ends):
    """A freeze that has not begun, or is over, forbids nothing."""
    add_to_portfolio(stage, freeze(starts, ends))

    assert release(stage).ending is Ending.LIVE


def test_a_frozen_environment_may_still_be_rolled_back(stage):
    """A freeze is for new versions; going back to one that worked is how an emergency ends."""
    first = stage.release()
    stage.write(says="two")
    stage.release()
    add_to_portfolio(stage, freeze(timedelta(hours=-1), timedelta(hours=1)))

    assert stage.roll_back().version_id == first.version_id


def test_a_frozen_environment_needs_no_release_to_be_unchanged(stage):
    """What is as it should be is said to be so, freeze or not."""
    stage.release()
    add_to_portfolio(stage, freeze(timedelta(hours=-1), timedelta(hours=1)))

    assert release(stage).ending is Ending.UNCHANGED


@pytest.fixture(scope="module")
def shared_ledger() -> Iterator[str]:
    """URL of a ledger that other machines could see."""
    with run_postgresql() as url:
        yield url


def test_a_protected_environment_wants_a_ledger_that_others_see(stage, shared_ledger):
    """A file is refused unless somebody says that it will do; PostgreSQL is not."""
    add_to_portfolio(stage, "[environments.production]\nprotected = true")

    refused(stage, BlockedByPolicy, 4, TARGET, "protected", "CLODO_LEDGER_URL", "--allow-local-ledger")
    on_postgresql = release(stage, ledger=Ledger.open(shared_ledger))
    stage.write(says="two")
    add_to_portfolio(stage, "[environments.production]\nprotected = true")
    allowed = release(stage, Wish(allow_local_ledger=True, overwrite=True))

    assert (on_postgresql.ending, allowed.ending) == (Ending.LIVE, Ending.LIVE)


def test_a_target_that_somebody_else_releases_is_left_to_them(stage):
    """The message says who holds it, why and since when, and how to take over."""
    with stage.ledger() as ledger:
        owner = Owner.current("release shop@production")
        with ledger.locks.acquire(lock_name(stage.account.account_id, WORKER), owner, "the night shift's fix"):
            refused(stage, LockHeld, 11, "the night shift's fix", "since", "until", owner.host, "--take-over")
            taken = release(stage, Wish(take_over=True))

    assert taken.ending is Ending.LIVE


def test_a_critical_security_finding_stops_a_release(stage):
    """It names rule, key and place, not the value; a waiver lets it pass, and an expired one does not."""
    add_to_config(stage, '[vars]\nAPI_URL = "http://localhost:8787"')

    error = refused(stage, BlockedByPolicy, 4, TARGET, "localhost-url", "API_URL", "wrangler.toml:", "waiver")
    waiver = '[[security.waivers]]\nrule = "localhost-url"\nreason = "a tunnel"\nexpires = {day}'
    before = (stage.folder / "portfolio.toml").read_text()
    add_to_portfolio(stage, waiver.format(day="2020-01-31"))
    refused(stage, BlockedByPolicy, 4, "its waiver expired on 2020-01-31")
    (stage.folder / "portfolio.toml").write_text(before)
    add_to_portfolio(stage, waiver.format(day="2999-01-31"))

    assert "8787" not in error.message
    assert release(stage).ending is Ending.LIVE


def test_a_secret_of_another_environment_stops_a_release(stage):
    """What a release brought to staging is known by fingerprint, and refused in production."""
    add_to_portfolio(stage, "[environments.production]\n[environments.staging]")
    add_to_config(stage, '[env.staging]\n[env.staging.version_metadata]\nbinding = "VERSION"')
    with site(stage) as opened:
        key = opened.fingerprint_key
        brought = {"OTHER_NAME": fingerprint_of(key, stage.shop.signing_key)}
        opened.ledger.secrets.note_live("shop@staging", brought)

    error = refused(stage, BlockedByPolicy, 4, "shared-secret", "SIGNING_KEY", "shop@staging", "portfolio.toml:")

    assert stage.shop.signing_key not in error.message


# --- what is missing --------------------------------------------------------------------------------------------------


def test_missing_secrets_are_named_and_those_that_are_there_are_not(stage):
    """All that are missing, in order, with the block they belong in; no value of any other."""
    portfolio = stage.folder / "portfolio.toml"
    text = portfolio.read_text().replace('["SIGNING_KEY"]', '["SIGNING_KEY", "STRIPE_KEY", "MAIL_KEY"]')
    portfolio.write_text(text)

    error = refused(
        stage, BadConfiguration, 2, TARGET, "MAIL_KEY, STRIPE_KEY", "shop-production", "Blocks", "portfolio.toml"
    )

    assert "SIGNING_KEY" not in error.message
    assert stage.shop.signing_key not in error.message


def bind(name: str) -> str:
    """Return a binding to a database by its name."""
    return f'[[d1_databases]]\nbinding = "OTHER"\ndatabase_name = "{name}"'


def test_a_database_that_is_not_there_is_named(stage):
    """A database of another name, however close, is not taken for it."""
    stage.api("POST", "/d1/database", json={"name": "orders-production"})
    add_to_config(stage, bind("orders"))

    refused(stage, DatabaseNotFound, 10, '"orders"', "clodo database create")


def test_a_namespace_that_is_not_there_is_named(stage):
    """A KV namespace of another title, however close, is not taken for it."""
    stage.api("POST", "/storage/kv/namespaces", json={"title": "shop-cache-2"})
    add_to_config(stage, '[[kv_namespaces]]\nbinding = "CACHE"')

    refused(stage, NamespaceNotFound, 10, '"shop-cache"', "wrangler kv namespace create")


class TwoOfAName(BaseHTTPRequestHandler):
    """An account from the time when D1 took a name twice; the embedded cloud, like Cloudflare today, does not."""

    def do_GET(self) -> None:
        databases = [{"uuid": str(uuid.uuid4()), "name": "orders"} for _ in range(2)]
        found = databases if self.path.partition("?")[0].endswith("/d1/database") else []
        info = {"page": 1, "per_page": 100, "total_pages": 1}
        body = {"success": True, "errors": [], "messages": [], "result": found, "result_info": info}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 -- the name it has there
        """Say nothing."""


def test_a_name_that_two_databases_have_is_ambiguous(stage):
    """Nobody guesses which of two databases is meant."""
    add_to_config(stage, bind("orders"))
    with ThreadingHTTPServer(("127.0.0.1", 0), TwoOfAName) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        keys = replace(stage.keys, base_url=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(AmbiguousName) as ambiguous:
            release(stage, accounts=lambda block: keys)
        server.shutdown()

    raise_unless_clear(ambiguous.value, 2, '"orders"', "2 D1 databases", "id")
    assert stage.releases() == []


def test_a_route_of_a_zone_that_nobody_has_says_where(stage):
    """The place in the config, the hostname, and what to do about it."""
    stage.write(routes=("shop.elsewhere.example/*",))

    refused(stage, BadConfiguration, 2, "wrangler.toml:", "shop.elsewhere.example", "zone")


def test_another_account_in_the_config_is_not_overridden(stage):
    """A config for one account and a block for another contradict each other; nobody guesses which is right."""
    stage.write(more=f'account_id = "{"f" * 32}"')

    refused(stage, BadConfiguration, 2, "wrangler.toml:", "f" * 32, stage.account.account_id)


def test_a_config_that_is_broken_says_where(stage):
    """File and line of what can't be read."""
    config = stage.folder / WORKER / "wrangler.toml"
    config.write_text(config.read_text() + "\nmain = = 1\n")

    with pytest.raises(BadConfiguration, match=r"wrangler\.toml:\d+"):
        release(stage)


def test_a_target_nobody_knows_gets_the_nearest_names(stage):
    """A typing mistake is answered with what was probably meant."""
    with pytest.raises(TargetNotFound) as error:
        stage.workspace.find("shopp@production")

    raise_unless_clear(error.value, 10, "shopp@production", TARGET)


# --- rights -----------------------------------------------------------------------------------------------------------


def test_a_wrong_token_is_not_authorised(stage):
    """It is said at the first request, without the token."""
    keys = replace(stage.keys, token="a-token-that-nobody-issued-0123456789")

    error = refused(stage, NotAuthorised, 12, "doesn't accept the API token", "expired", accounts=lambda block: keys)

    assert keys.token not in f"{error.message} {error.hint}"


NO_RIGHT = {"status": 403, "code": 10000, "message": "Authentication error", "times": None}

RIGHTS: dict[str, tuple[str, str, str]] = {
    "list Workers": ("GET", r"/workers/scripts$", "Workers Scripts"),
    "read deployments": ("GET", r"/deployments$", "Workers Scripts"),
    "query databases": ("POST", r"/d1/database/[^/]+/query$", "D1"),
    "upload": ("POST", r"/versions$", "Workers Scripts"),
    "deploy": ("POST", r"/deployments$", "Workers Scripts"),
    "set schedules": ("PUT", r"/schedules$", "Workers Scripts"),
    "set routes": ("POST", r"/workers/routes$", "Workers Routes"),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_right_that_the_token_lacks_is_named(stage, right):
    """Whatever a token may not do, the message names the right; what was begun is put back, and the status is 12."""
    stage.release()
    method, path, named = RIGHTS[right]
    stage.write(
        says="two",
        crons=("5 * * * *",),
        routes=(f"shop.{stage.account.zone}/*",),
        migrations={**stage.shop.migrations, "0002_more.sql": "CREATE TABLE more (id INTEGER);"},
    )
    place = stage.account.zone_id if "routes" in path else stage.account.account_id
    live = stage.live_version
    fault = stage.account.cloud.add_fault(f"{place}.*{path}", method=method, **NO_RIGHT)
    try:
        with pytest.raises(ClodoError) as error:
            release(stage)
    finally:
        stage.account.cloud.clear_faults(fault)

    assert isinstance(error.value, NotAuthorised | ReleaseFailed)
    raise_unless_clear(error.value, 12, named)
    assert stage.live_version == live
    assert (stage.crons, stage.routes) == ([], [])
    stage.raise_if_unsettled()


def test_a_right_that_cloudflare_names_is_passed_on(stage):
    """Where Cloudflare itself says which right is missing, that is what is said."""
    message = 'requires permission "com.cloudflare.api.account.workers.script.edit"'
    fault = stage.account.cloud.add_fault(
        f"{stage.account.account_id}/workers/scripts$", status=403, code=10023, message=message, times=None
    )
    try:
        error = refused(stage, PermissionMissing, 12, "com.cloudflare.api.account.workers.script.edit")
    finally:
        stage.account.cloud.clear_faults(fault)

    assert "dashboard" in (error.hint or "")
