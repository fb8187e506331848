"""Commands that release, on the embedded cloud: what they do, what they say, and how they end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocks import CloudflareAccount
from clodo.cli.main import main
from clodo.ledger import Ledger, default_path
from clodo.ledger.owners import Owner
from clodo.releases.recovery import lock_name
from clodo.settings import child_environment
from deployments.processes import wait_until
from tests.fixtures.embedded_cloud import CloudAccount

CONFIG = """\
name = "{name}"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true
preview_urls = true
version_metadata = {{ binding = "VERSION" }}
"""
CODE = """\
export default {
  fetch(request, env) {
    return Response.json({ says: "SAYS", version: env.VERSION.id }, { status: STATUS });
  },
};
"""
PORTFOLIO = """\
[portfolio]
name = "shop"

[environments.production]
account = "{account}"
{more}
"""
TESTS = """
[[services.{name}.smoke_tests]]
path = "/"
version_json = "version"
"""


@dataclass
class Shop:
    folder: Path
    account: CloudAccount
    block: str
    capsys: pytest.CaptureFixture[str]

    def write(self, *names: str, more: str = "") -> None:
        """Write the portfolio and its services."""
        text = PORTFOLIO.format(account=self.block, more=more)
        for name in names:
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name / "wrangler.toml").write_text(CONFIG.format(name=name))
            self.change(name, says="one")
            text += TESTS.format(name=name)
        (self.folder / "portfolio.toml").write_text(text)

    def change(self, name: str, *, says: str, status: int = 200) -> None:
        """Change a service's code."""
        code = CODE.replace("SAYS", says).replace("STATUS", str(status))
        (self.folder / name / "index.js").write_text(code)

    def says(self, name: str) -> str:
        """Ask the Worker as a visitor."""
        answer: dict[str, str] = self.account.visit(self.account.hostname(name)).json()
        return answer["says"]

    def clodo(self, *words: str) -> int:
        """Run a command in this process."""
        return main(["--workspace", str(self.folder), *words])

    def told(self, *words: str, status: int = 0) -> Any:
        """Run a command with --json and return what it printed."""
        self.capsys.readouterr()
        assert self.clodo(*words, "--json") == status, self.capsys.readouterr().err
        return json.loads(self.capsys.readouterr().out)

    def refused(self, *words: str, status: int) -> str:
        """Run a command that fails and return what it said."""
        self.capsys.readouterr()
        assert self.clodo(*words) == status
        said = self.capsys.readouterr().err
        assert "Traceback" not in said
        return said


@pytest.fixture
def shop(
    tmp_path: Path, account: CloudAccount, prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shop]:
    """A workspace whose production is an account of the embedded cloud."""
    block = f"test-{account.account_id[:12]}"
    CloudflareAccount(
        account_id=account.account_id,
        api_token=account.token,
        base_url=account.cloud.url,
        edge_url=account.cloud.edge_url,
    ).save(block, overwrite=True)
    return Shop(tmp_path, account, block, capsys)


def test_a_target_is_planned_released_and_then_left_alone(shop):
    """A dry run says what would change and writes nothing; a release is live; the same again is nothing to do."""
    shop.write("api")

    planned = shop.told("deploy", "api", "--dry-run", "--exit-code", status=5)
    workers_after_the_plan = shop.account.result("GET", "/workers/scripts")
    released = shop.told("deploy", "api", "--reason", "first")
    again = shop.told("deploy", "api", "--dry-run", "--exit-code")

    assert (planned["ok"], planned["dry_run"]) == (True, True)
    assert planned["targets"][0]["ending"] == "planned"
    assert workers_after_the_plan == []
    assert [(target["target"], target["ending"]) for target in released["targets"]] == [("api@production", "live")]
    assert shop.says("api") == "one"
    assert [target["ending"] for target in again["targets"]] == ["unchanged"]
    listed = shop.told("release", "list")
    assert [(item["target"], item["state"], item["reason"]) for item in listed] == [("api@production", "live", "first")]
    steps = shop.told("release", "show", listed[0]["id"])["steps"]
    assert ("verify", "done") in [(step["step"], step["phase"]) for step in steps]


@pytest.mark.exhaustive
def test_a_person_sees_steps_on_standard_error_and_a_table_on_standard_output(shop):
    """Progress is narrated beside the result, which ends with a line that counts."""
    shop.write("api")
    shop.capsys.readouterr()

    assert shop.clodo("deploy", "api") == 0

    said = shop.capsys.readouterr()
    assert re.search(r"^TARGET +ENDING", said.out)
    assert said.out.splitlines()[-1] == "Finished 1 target: 1 live."
    assert "api@production: verified version" in said.err
    assert "Beginning flow run" not in said.err
    assert shop.account.token not in said.out + said.err


def test_a_bad_version_is_undone_and_the_status_is_one(shop):
    """A version that fails its smoke test never gets traffic; the command says why, once, and ends with 1."""
    shop.write("api")
    assert shop.clodo("deploy", "api") == 0
    shop.change("api", says="two", status=500)
    shop.capsys.readouterr()

    assert shop.clodo("deploy", "api") == 1

    said = shop.capsys.readouterr()
    assert (said.out + said.err).count("answered 500") == 1
    assert "api@production: the step smoke-test failed; putting back what this release changed" in said.err
    assert "Error: api@production: version" in said.err
    assert said.out.splitlines()[-1] == "Finished 1 target: 1 undone."
    assert shop.says("api") == "one"


@pytest.mark.exhaustive
def test_ctrl_c_in_the_middle_is_undone_first(shop, prefect_server):
    """An interrupted release puts back what it had begun, and then ends with 130."""
    shop.write("api")
    assert shop.clodo("deploy", "api") == 0
    shop.change("api", says="two")
    # The call that gives the new version all traffic takes long enough to press Ctrl-C.
    fault = shop.account.cloud.add_fault(
        f"{shop.account.account_id}.*/deployments$", method="POST", action="pass", delay_seconds=4
    )
    environment = {**child_environment(without=("PREFECT_",)), "PREFECT_API_URL": prefect_server}
    words = [sys.executable, "-m", "clodo.cli", "-w", str(shop.folder), "deploy", "api"]

    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as command:
        assert wait_until(
            lambda: any(rule["id"] == fault and rule["struck"] for rule in shop.account.cloud.faults()),
            seconds=120,
            alive=lambda: command.poll() is None,
        )
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=120)
    shop.account.cloud.clear_faults(fault)

    assert command.returncode == 130, said
    assert "Stopping" in said
    assert "Traceback" not in said
    assert shop.says("api") == "one"
    assert shop.told("release", "list")[0]["state"] == "undone"


@pytest.mark.exhaustive
def test_a_portfolio_of_which_one_fails_is_partly_done(shop):
    """When some targets are as desired and some are not, the status is 3 and all are listed."""
    shop.write("api", "web", more="")
    shop.change("web", says="one", status=500)

    told = shop.told("portfolio", "deploy", "--stop-after-failures", "5", status=3)

    assert {target["target"]: target["ending"] for target in told["targets"]} == {
        "api@production": "live",
        "web@production": "undone",
    }


@pytest.mark.exhaustive
def test_rolling_back_returns_to_the_version_before(shop):
    """`clodo rollback` asks, and then gives all traffic to the last good version."""
    shop.write("api")
    assert shop.clodo("deploy", "api") == 0
    shop.change("api", says="two")
    assert shop.clodo("deploy", "api") == 0
    assert shop.says("api") == "two"

    said = shop.refused("rollback", "api", status=4)
    still = shop.says("api")
    told = shop.told("rollback", "api", "--yes")

    assert "terminal" in said
    assert still == "two"
    assert told["targets"][0]["ending"] == "live"
    assert shop.says("api") == "one"


def test_a_direct_rollback_needs_neither_prefect_nor_the_ledger(shop, monkeypatch):
    """It goes back with a token from the environment, also while another service's config is half edited."""
    shop.write("api")
    assert shop.clodo("deploy", "api") == 0
    shop.change("api", says="two")
    assert shop.clodo("deploy", "api") == 0
    ledger = default_path(shop.folder)
    ledger.rename(shop.folder / "away")
    ledger.mkdir()
    half_edited = shop.folder / "services" / "mails" / "wrangler.toml"
    half_edited.parent.mkdir(parents=True)
    half_edited.write_text('name = "mails')
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", shop.account.token)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", shop.account.account_id)
    monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", shop.account.cloud.url)

    told = shop.told("rollback", "api", "--direct", "--yes")
    says = shop.says("api")
    half_edited.unlink()
    ledger.rmdir()
    (shop.folder / "away").rename(ledger)
    shop.told("reconcile")

    assert told["targets"][0]["ending"] == "live"
    assert says == "one"
    newest = shop.told("release", "list")[0]
    assert (newest["kind"], newest["state"]) == ("rollback", "live")


def test_a_direct_rollback_says_which_variable_is_missing(shop, monkeypatch):
    """Without a token in the environment there is nothing to go by, and that is said before anything else."""
    shop.write("api")
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)

    assert "CLOUDFLARE_API_TOKEN" in shop.refused("rollback", "api", "--direct", "--yes", status=2)


def test_a_target_nobody_has_heard_of_gets_the_nearest_names(shop):
    """A misspelt target ends with 10 and the names that are close."""
    shop.write("api")

    assert "api@production" in shop.refused("deploy", "api@prodution", status=10)


def test_no_target_lists_what_there_is(shop):
    """`clodo deploy` alone is a usage error that names the targets."""
    shop.write("api", "web")

    said = shop.refused("deploy", status=2)

    assert "api@production, web@production" in said


def test_a_protected_environment_is_asked_for_before_anything_starts(shop):
    """Without a terminal and without --yes, production that is protected is refused, and nothing was begun."""
    shop.write("api", more="protected = true")

    said = shop.refused("deploy", "api", status=4)

    assert "--yes" in said
    assert shop.account.result("GET", "/workers/scripts") == []
    assert shop.told("release", "list") == []


@pytest.mark.exhaustive
def test_a_protected_environment_wants_a_shared_ledger(shop):
    """A yes is not enough where other machines can't see the ledger; that has to be said too."""
    shop.write("api", more="protected = true")

    said = shop.refused("deploy", "api", "--yes", status=4)

    assert "--allow-local-ledger" in said
    assert shop.clodo("deploy", "api", "--yes", "--allow-local-ledger") == 0


def test_a_target_that_somebody_releases_is_locked(shop):
    """While another process releases it, the status is 11 and says who holds it and how to take over."""
    shop.write("api")
    with (
        Ledger.open(default_path(shop.folder)) as ledger,
        ledger.locks.acquire(
            lock_name(shop.account.account_id, "api"), Owner.current("release api@production"), "night shift"
        ),
    ):
        said = shop.refused("deploy", "api", status=11)

    assert "night shift" in said
    assert "--take-over" in said


def test_a_wrong_token_is_not_authorised(shop):
    """A token that Cloudflare doesn't know ends with 12."""
    shop.write("api")
    CloudflareAccount(
        account_id=shop.account.account_id, api_token="wrong-token-1234567890", base_url=shop.account.cloud.url
    ).save(shop.block, overwrite=True)

    assert "wrong-token" not in shop.refused("deploy", "api", status=12)


def test_an_account_nobody_saved_is_bad_configuration(shop):
    """A portfolio that names a block that isn't there says which, and how to make it."""
    shop.write("api")
    portfolio = shop.folder / "portfolio.toml"
    portfolio.write_text(portfolio.read_text().replace(shop.block, "nobody-saved-me"))

    assert "nobody-saved-me" in shop.refused("deploy", "api", status=2)


@pytest.mark.exhaustive
def test_the_status_tells_what_is_live_and_whose_it_is(shop):
    """Each target is as recorded, changed or deleted elsewhere, not ours, or not deployed."""
    shop.write("api", "web", "foreign", "gone", "edited")
    assert shop.clodo("deploy", "api", "gone", "edited") == 0
    shop.account.put_worker("foreign")
    shop.account.put_worker("edited")
    shop.account.result("DELETE", "/workers/scripts/gone")

    told = shop.told("portfolio", "status")
    offline = shop.told("portfolio", "status", "--offline")

    assert {item["worker"]: item["state"] for item in told} == {
        "api": "as-recorded",
        "edited": "changed-elsewhere",
        "foreign": "not-ours",
        "gone": "deleted-elsewhere",
        "web": "not-deployed",
    }
    assert {item["worker"]: item["state"] for item in offline}["web"] == "not-recorded"
    assert next(item for item in told if item["worker"] == "api")["version_id"] is not None


def test_an_environment_nobody_has_is_not_found(shop):
    """A misspelt environment names those there are."""
    shop.write("api")

    assert "production" in shop.refused("portfolio", "status", "-e", "prod", status=10)
    assert "production" in shop.refused("portfolio", "plan", "-e", "prod", status=10)


def test_the_graph_shows_who_needs_whom(shop):
    """Service bindings become edges, and waves follow from them."""
    shop.write("api", "web")
    config = shop.folder / "web" / "wrangler.toml"
    config.write_text(config.read_text() + '\n[[services]]\nbinding = "API"\nservice = "api"\n')

    told = shop.told("portfolio", "graph")

    assert told["waves"] == [["api@production"], ["web@production"]]
    assert [(link["target"], link["needed"]) for link in told["needs"]] == [("web@production", "api@production")]
    assert "wrangler.toml:" in told["needs"][0]["place"]
    shop.capsys.readouterr()
    assert shop.clodo("portfolio", "graph", "--mermaid") == 0
    assert "-->" in shop.capsys.readouterr().out
    assert shop.clodo("portfolio", "graph", "--mermaid", "--json") == 2


def test_migrations_are_shown_and_applied(shop):
    """`clodo database status` counts what is pending, `migrate` applies it once."""
    shop.write("api")
    database = shop.account.result("POST", "/d1/database", json={"name": "people"})
    config = shop.folder / "api" / "wrangler.toml"
    config.write_text(
        config.read_text()
        + f'\n[[d1_databases]]\nbinding = "DB"\ndatabase_name = "people"\ndatabase_id = "{database["uuid"]}"\n'
    )
    (shop.folder / "api" / "migrations").mkdir()
    (shop.folder / "api" / "migrations" / "0001_people.sql").write_text("CREATE TABLE people (name TEXT);")

    before = shop.told("database", "status")
    applied = shop.told("database", "migrate", "api")
    again = shop.told("database", "migrate", "api")
    after = shop.told("database", "status", "api")

    assert [(item["database"], item["pending"]) for item in before] == [
        ("people", [{"name": "0001_people.sql", "is_contract": False, "verdict": "safe"}])
    ]
    assert (applied["target"], applied["applied"]) == ("api@production", {"people": ["0001_people.sql"]})
    assert again["applied"] == {"people": []}
    assert (after[0]["applied"], after[0]["pending"], after[0]["findings"]) == (["0001_people.sql"], [], [])


def test_contract_migrations_are_asked_for(shop):
    """What can't be taken back needs a yes."""
    shop.write("api")

    assert "--yes" in shop.refused("database", "migrate", "api", "--which", "contract", status=4)


def test_nothing_half_way_is_said(shop):
    """`clodo reconcile`, and `clodo release resume`, which is the same, say when there was nothing to do."""
    shop.write("api")

    for words in (("reconcile",), ("release", "resume")):
        shop.capsys.readouterr()
        assert shop.clodo(*words) == 0
        assert shop.capsys.readouterr().out == "Nothing was left half-way.\n"
    assert shop.told("reconcile") == {"ok": True, "dry_run": False, "targets": []}
