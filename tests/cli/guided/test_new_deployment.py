"""The guided new deployment, on a real terminal."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from blocks import CloudflareAccount
from clodo.ledger import Ledger, default_path
from clodo.settings import child_environment
from clodo.workspace.env_files import read_env
from tests.cli.guided.terminal import CTRL_C, DOWN, ENTER, SPACE, Terminal
from tests.customers.fleet import Fleet
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write

WEB = 'name = "web"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n'
ACME = "config/customers/acme/production.env"


@pytest.fixture
def fleet(tmp_path, account: CloudAccount, prefect_server, capsys) -> Fleet:
    """Two services, two zones, and no block."""
    fleet = Fleet.open(tmp_path, account, capsys, saves=False)
    write(tmp_path, {"web/wrangler.toml": WEB, "web/index.js": "export default {};"})
    body = {"name": f"second-{account.zone}", "account": {"id": account.account_id}}
    account.api.post("/zones", json=body).raise_for_status()
    return fleet


def guided(fleet: Fleet, *more: str) -> list[str]:
    """Return the words of the command."""
    cloud = fleet.account.cloud
    roots = ["--api-root", cloud.url, "--edge-url", cloud.edge_url]
    return ["--workspace", str(fleet.folder), "customer", "create", "--guided", *roots, *more]


def questions(fleet: Fleet) -> list[tuple[str, str]]:
    """Return each question with the keys that answer it."""
    return [
        ("? API token (it is not shown):", fleet.account.token + ENTER),
        ("Which zone?", ENTER),
        ("Domain, the zone's name", "\x15" + f"acme.{fleet.account.zone}" + ENTER),
        ("Name of the customer", ENTER),
        ("Which services?", SPACE + ENTER),
        ("D1 database?", DOWN + ENTER),
        ("Name of the new database", ENTER),
        ("Make acme in production?", "y\r"),
    ]


def kept(fleet: Fleet) -> CloudflareAccount | None:
    """Return the block, None when nobody saved it."""
    try:
        return CloudflareAccount.load(fleet.block)  # type: ignore[return-value]
    except ValueError:
        return None


def databases(fleet: Fleet) -> list[str]:
    """Return the names of the account's databases."""
    return [database["name"] for database in fleet.account.result("GET", "/d1/database")]


def interrupt(terminal: Terminal, asked: Sequence[tuple[str, str]]) -> int:
    """Answer all questions but the last, and interrupt that."""
    for question, keys in asked[:-1]:
        terminal.answer(question, keys)
    terminal.answer(asked[-1][0], CTRL_C)
    return terminal.expect_end()


def test_a_deployment_is_made_from_the_first_question_to_the_next_steps(fleet, prefect_server):
    """First interrupted at the last question, which leaves nothing; then to its end: block, database, files."""
    before = fleet.files()
    asked = questions(fleet)

    with Terminal([guided(fleet), guided(fleet)], prefect=prefect_server) as terminal:
        interrupted = interrupt(terminal, asked)
        left = fleet.files(), kept(fleet), databases(fleet)
        for question, keys in asked:
            terminal.answer(question, keys)
        steps = terminal.expect("clodo domain validate acme")
        ended = terminal.expect_end()

    assert interrupted == 130
    assert left == (before, None, [])
    assert ended == 0
    assert "Workers Scripts: Edit" in terminal.screen
    assert f"({fleet.account.account_id}), zone {fleet.account.zone} ({fleet.account.zone_id})" in terminal.screen
    assert "clodo deploy api@production/acme" in steps
    assert fleet.account.token not in terminal.screen
    assert fleet.account.token not in str(fleet.files())
    block = kept(fleet)
    assert block is not None
    assert block.account_id == fleet.account.account_id
    assert block.api_token.get_secret_value() == fleet.account.token
    config = fleet.workspace.effective(fleet.workspace.find("api@production/acme"))
    (database,) = fleet.account.result("GET", "/d1/database")
    assert (database["name"], database["uuid"]) == ("acme-production", config.databases[0].database_id)
    assert config.account_id == fleet.account.account_id
    assert config.routes[0].zone_id == fleet.account.zone_id
    assert read_env(fleet.folder / ACME).values["CUSTOMER_DOMAIN"] == f"acme.{fleet.account.zone}"
    with Ledger.open(default_path(fleet.folder)) as ledger:
        actions = {row.action for row in ledger.audit.list()}
        assert fleet.account.token not in str(ledger.audit.list())
    assert {"token-kept", "customer-created"} <= actions


@pytest.mark.exhaustive
def test_an_interruption_at_any_question_leaves_nothing(fleet, prefect_server):
    """Each of the eight: status 130, no block, no database, no file, no word of a traceback."""
    before = fleet.files()
    asked = questions(fleet)

    with Terminal([guided(fleet) for _ in asked], prefect=prefect_server) as terminal:
        for number in range(len(asked)):
            assert interrupt(terminal, asked[: number + 1]) == 130, asked[number][0]
            assert (fleet.files(), kept(fleet), databases(fleet)) == (before, None, []), asked[number][0]

    assert "Traceback" not in terminal.screen
    assert fleet.account.token not in terminal.screen


def piped(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, token: str, *more: str, status: int = 0) -> str:
    """Run the flow without a terminal: every answer is an option, and the token comes by pipe."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(token + "\n"))
    words = guided(fleet, "acme", "--domain", f"acme.{fleet.account.zone}", "--service", "api", "--token-stdin", *more)
    return fleet.said(*words[2:], status=status)


def test_every_answer_is_an_option_too(fleet, monkeypatch):
    """A script never sees a question; without an answer it is told which option is missing."""
    said = piped(fleet, monkeypatch, fleet.account.token, "--new-database", "acme-db", "--yes")
    lacking = fleet.said("customer", "create", "globex", "--guided", "--environment", "production", status=4)

    assert "clodo deploy api@production/acme" in said
    assert databases(fleet) == ["acme-db"]
    assert "Answer it with --domain" in lacking


@pytest.mark.parametrize(
    ("permissions", "status", "what"),
    [
        (["Workers Scripts Write", "Workers Routes Write"], 12, "Zone: Read"),
        (["Zone Read", "Workers Routes Write"], 12, "Workers Scripts: Edit"),
        pytest.param(["Zone Read", "Workers Scripts Write"], 12, "Workers Routes: Edit", marks=pytest.mark.exhaustive),
        pytest.param(
            ["Zone Read", "Workers Scripts Write", "Workers Routes Write"], 12, "D1", marks=pytest.mark.exhaustive
        ),
        (["Zone Read", "Workers Scripts Write", "Workers Routes Write", "D1 Read"], 12, "D1"),
    ],
)
def test_a_token_with_too_few_rights_is_refused_at_its_step(fleet, monkeypatch, permissions, status, what):
    """The permission is named, and nothing is left: no block, no database, no file."""
    before = fleet.files()

    said = piped(fleet, monkeypatch, fleet.token(*permissions), "--new-database", "acme-db", "--yes", status=status)

    assert what in said
    assert (fleet.files(), kept(fleet), databases(fleet)) == (before, None, [])


def test_without_the_right_to_databases_everything_else_goes_on(fleet, monkeypatch):
    """No database is wanted: D1 is a note."""
    token = fleet.token("Zone Read", "Workers Scripts Write", "Workers Routes Write")

    said = piped(fleet, monkeypatch, token, "--no-database", "--yes")

    assert "lacks D1: Edit" in said
    assert "lacks Workers KV Storage: Edit" in said
    assert fleet.workspace.find("api@production/acme")
    assert kept(fleet) is not None


def test_a_token_that_is_none_is_refused(fleet, monkeypatch):
    """Status 12; the token is not repeated."""
    said = piped(fleet, monkeypatch, "x" * 40, "--no-database", "--yes", status=12)

    assert "x" * 40 not in said
    assert kept(fleet) is None


def test_what_fails_after_the_database_was_made_takes_it_back(fleet, monkeypatch):
    """The files can't be written: no database, no block, and the sentence says why."""
    config = fleet.folder / "api/wrangler.toml"
    config.chmod(0o444)
    before = fleet.files()

    said = piped(fleet, monkeypatch, fleet.account.token, "--new-database", "acme-db", "--yes", status=2)

    assert "read-only" in said
    assert (fleet.files(), kept(fleet), databases(fleet)) == (before, None, [])


@pytest.mark.exhaustive
@pytest.mark.timeout(120)
def test_what_is_killed_before_the_files_are_written_is_finished_by_typing_it_again(fleet, monkeypatch, prefect_server):
    """The token is kept and the database is made: both are used, nothing is made twice, and how is said."""
    before = fleet.files()
    answers = ["acme", "--domain", f"acme.{fleet.account.zone}", "--service", "api", "--token-stdin", "--yes"]
    words = [*guided(fleet, *answers), "--new-database", "acme-db"]
    cloud = fleet.account.cloud
    fault = cloud.add_fault(
        f"{fleet.account.account_id}/d1/database$", method="POST", body="acme-db", action="silence", applied=True
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "clodo.cli", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**child_environment(without=("PREFECT_",)), "PREFECT_API_URL": prefect_server},
    )
    assert process.stdin is not None
    process.stdin.write(fleet.account.token.encode() + b"\n")
    process.stdin.close()
    deadline = time.monotonic() + 60
    while databases(fleet) != ["acme-db"]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    cloud.clear_faults(fault)

    left = kept(fleet)
    assert left is not None
    assert left.api_token.get_secret_value() == fleet.account.token
    assert fleet.files() == before
    refused = piped(fleet, monkeypatch, fleet.account.token, "--new-database", "acme-db", "--yes", status=2)
    said = piped(fleet, monkeypatch, fleet.account.token, "--database", "acme-db", "--yes")

    assert "Use it: --database acme-db." in refused
    assert "clodo deploy api@production/acme" in said
    assert databases(fleet) == ["acme-db"]
    assert read_env(fleet.folder / ACME).values["CUSTOMER_DOMAIN"] == f"acme.{fleet.account.zone}"


def test_a_service_that_needs_a_token_gets_it_and_no_other_does(fleet, monkeypatch):
    """It declares CLOUDFLARE_API_TOKEN: the token goes into its own block of secrets, for the customer's target."""
    from blocks import ServiceSecrets

    text = (fleet.folder / "portfolio.toml").read_text()
    secrets = f'secrets = "{fleet.block}-secrets"\n[services.api]\nsecrets = ["CLOUDFLARE_API_TOKEN"]\n'
    write(fleet.folder, {"portfolio.toml": text + secrets})

    said = piped(fleet, monkeypatch, fleet.account.token, "--service", "web", "--no-database", "--yes")

    kept_secrets = ServiceSecrets.load(f"{fleet.block}-secrets").targets.get_secret_value()  # type: ignore[union-attr]
    assert kept_secrets == {"api@production/acme": {"CLOUDFLARE_API_TOKEN": fleet.account.token}}
    assert "api declares that it needs a token" in said
    row = fleet.told("customer", "list")[0]
    assert (row["token"], row["token_in_worker"]) == ("set", "CLOUDFLARE_API_TOKEN")
