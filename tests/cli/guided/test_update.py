"""The guided update, on a real terminal."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import keyring
import pytest

from blocks import CloudflareAccount
from clodo.ledger import Ledger, default_path
from clodo.ledger.live import Live
from clodo.workspace.env_files import read_env
from tests.cli.guided.terminal import CTRL_C, DOWN, ENTER, SPACE, Terminal
from tests.customers.fleet import Fleet
from tests.fixtures.embedded_cloud import CloudAccount
from tests.secrets.test_tokens import Memory

ACME = "config/customers/acme/production.env"


@pytest.fixture
def fleet(tmp_path, account: CloudAccount, prefect_server, capsys) -> Fleet:
    """Two customers; acme was deployed once."""
    fleet = Fleet.open(tmp_path, account, capsys)
    for name in ("acme", "globex"):
        words = ("--domain", f"{name}.{account.zone}", "--service", "api", "--set", "LEVEL=info", "--yes")
        fleet.said("customer", "create", name, *words)
    live = Live("api@production/acme", "r0abcdef", *["x"] * 8, datetime(2026, 11, 1, 9, 30, tzinfo=UTC))
    with Ledger.open(default_path(tmp_path)) as ledger:
        ledger.live.put(live)
    return fleet


def guided(fleet: Fleet, *more: str) -> list[str]:
    """Return the words of the command."""
    return ["--workspace", str(fleet.folder), "customer", "update", "--guided", *more]


def questions(fleet: Fleet, new_token: str) -> list[tuple[str, str]]:
    """Return each question with the keys that answer it."""
    return [
        ("Which deployment?", ENTER),
        ("What shall change?", "a" + ENTER),
        ("? API token (it is not shown):", new_token + ENTER),
        ("Domain, the zone's name", "\x15" + f"new.{fleet.account.zone}" + ENTER),
        ("D1 database?", DOWN + ENTER),
        ("Name of the new database", ENTER),
        ("\n? NAME=VALUE to set", "LEVEL=debug" + ENTER),
        ("\n? NAME=VALUE to set", ENTER),
        ("Change acme in production?", "y\r"),
    ]


def token_of(fleet: Fleet) -> str:
    """Return the block's token."""
    return str(CloudflareAccount.load(fleet.block).api_token.get_secret_value())  # type: ignore[union-attr]


@pytest.mark.exhaustive
def test_everything_about_a_deployment_changes_or_nothing(fleet, prefect_server):
    """Interrupted at each question nothing changed; then domain, database, setting and token did, all at once."""
    new_token = fleet.token()
    before = fleet.files()
    asked = questions(fleet, new_token)

    with Terminal([guided(fleet) for _ in range(len(asked) + 1)], prefect=prefect_server) as terminal:
        for number in range(len(asked)):
            for question, keys in asked[:number]:
                terminal.answer(question, keys)
            terminal.answer(asked[number][0], CTRL_C)
            assert terminal.expect_end() == 130, asked[number][0]
            assert fleet.files() == before, asked[number][0]
            assert token_of(fleet) == fleet.account.token
            assert fleet.account.result("GET", "/d1/database") == []
        for question, keys in asked:
            terminal.answer(question, keys)
        ended = terminal.expect_end()

    assert ended == 0
    assert "2026-11-01 09:30:00 UTC by r0abcdef" in terminal.screen
    assert "Traceback" not in terminal.screen
    assert new_token not in terminal.screen
    assert token_of(fleet) == new_token
    config = fleet.workspace.effective(fleet.workspace.find("api@production/acme"))
    (database,) = fleet.account.result("GET", "/d1/database")
    assert config.databases[0].database_id == database["uuid"]
    assert config.routes[0].pattern == f"new.{fleet.account.zone}/*"
    values = read_env(fleet.folder / ACME).values
    assert (values["CUSTOMER_DOMAIN"], values["LEVEL"]) == (f"new.{fleet.account.zone}", "debug")


@pytest.mark.exhaustive
def test_one_thing_is_chosen_and_changed_on_a_terminal(fleet, prefect_server):
    """What exists is shown, with when and by which release it was last deployed; the diff comes before the question."""
    with Terminal([guided(fleet, "--environment", "production")], prefect=prefect_server) as terminal:
        terminal.answer("Which deployment?", ENTER)
        terminal.answer("What shall change?", DOWN + DOWN + SPACE + ENTER)
        terminal.answer("\n? NAME=VALUE to set", "LEVEL=debug" + ENTER)
        terminal.answer("\n? NAME=VALUE to set", ENTER)
        shown = terminal.expect("Change acme in production?")
        terminal.type("y\r")
        ended = terminal.expect_end()

    assert ended == 0
    assert "+LEVEL=debug" in shown
    assert "2026-11-01 09:30:00 UTC by r0abcdef" in terminal.screen
    assert read_env(fleet.folder / ACME).values["LEVEL"] == "debug"


def test_a_token_is_replaced_by_option_or_not_at_all(fleet, monkeypatch):
    """One of another account, one with too few rights: refused, and the old one stays; a good one is kept."""
    good, poor = fleet.token(), fleet.token("Zone Read")
    other = fleet.account.cloud.new_account(name="other")

    def given(token: str, status: int) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(token))
        return fleet.said("customer", "update", "acme", "--token-stdin", "--yes", status=status)

    poor_said, other_said = given(poor, 12), given(other.token, 12)
    unchanged = token_of(fleet)
    given(good, 0)

    assert "Workers Scripts: Edit" in poor_said
    assert "token" in other_said
    assert unchanged == fleet.account.token
    assert token_of(fleet) == good


@pytest.mark.exhaustive
def test_a_token_in_the_keyring_stays_in_the_keyring(fleet, monkeypatch):
    """The block goes on saying where to look; when the files can't be written, the old one is there again."""
    before, memory = keyring.get_keyring(), Memory()
    keyring.set_keyring(memory)
    monkeypatch.setattr(sys, "stdin", io.StringIO(fleet.account.token))
    fleet.said("secrets", "token", fleet.block, "--keyring")
    new = fleet.token()
    try:
        (fleet.folder / ACME).chmod(0o444)
        monkeypatch.setattr(sys, "stdin", io.StringIO(new))
        fleet.said("customer", "update", "acme", "--token-stdin", "--set", "LEVEL=debug", "--yes", status=2)
        after_failing = keyring.get_password("clodo", fleet.block)
        (fleet.folder / ACME).chmod(0o644)
        monkeypatch.setattr(sys, "stdin", io.StringIO(new))
        fleet.said("customer", "update", "acme", "--token-stdin", "--set", "LEVEL=debug", "--yes")
        after = keyring.get_password("clodo", fleet.block)
    finally:
        keyring.set_keyring(before)

    assert after_failing == fleet.account.token
    assert after == new
    assert token_of(fleet) == f"keyring:{fleet.block}"
