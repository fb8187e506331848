"""``clodo backup restore`` and ``drill`` as a person runs them, through the flows."""

from __future__ import annotations

import json

import pytest

from clodo.backups.identity_files import write_identity
from tests.backups.test_identity_files import PASSPHRASE
from tests.cli.conftest import logs_as_before
from tests.cli.guided.terminal import Terminal
from tests.cli.test_backup import shop

__all__ = ["logs_as_before", "shop"]


@pytest.fixture
def gone(shop):
    """A shop whose database was backed up and then deleted; gives the identity's file."""
    identity = shop.make_key()
    shop.told("create")
    (database,) = shop.account.result("GET", "/d1/database")
    shop.account.result("DELETE", f"/d1/database/{database['uuid']}")
    return identity


def test_a_plan_is_shown_and_only_that_is_done(shop, gone):
    """Dry run, stale fingerprint, right fingerprint; then every row is there, and the service is named."""
    planned, _ = shop.clodo("restore", "--dry-run")
    fingerprint = planned.rpartition("--plan ")[2].strip()
    assert "create" in planned
    assert "Add --yes" in shop.clodo("restore", "--identity", gone, status=4)[1]
    assert "approve what it shows" in shop.clodo("restore", "--identity", gone, "--plan", "0" * 16, status=4)[1]
    assert "--identity" in shop.clodo("restore", "--plan", fingerprint, status=12)[1]
    assert shop.account.result("GET", "/d1/database") == []

    done, said = shop.clodo("restore", "--identity", gone, "--plan", fingerprint)

    (database,) = shop.account.result("GET", "/d1/database")
    assert database["uuid"] in done
    assert "Restored 1 resource, 2 rows and keys compared with the manifest" in done
    assert "clodo deploy shop@production" in said
    assert "AGE-SECRET-KEY" not in done + said


@pytest.mark.exhaustive
def test_a_script_reads_what_came_back(shop, gone):
    """With --json one document has the plan, what came back, and the bindings that still lead elsewhere."""
    out, _ = shop.clodo("restore", "--identity", gone, "--yes", "--as", "d1/shop-db=shop-again", "--json")

    done = json.loads(out)
    (resource,) = done["restored"]["resources"]
    assert (resource["name"], resource["items"], done["plan"]["steps"][0]["way"]) == ("shop-again", 2, "create")
    assert [(item["target"], "shop-again" in item["diff"]) for item in done["rebound"]] == [("shop@production", True)]


@pytest.mark.exhaustive
def test_words_that_make_no_sense_are_refused(shop, gone):
    """A moment that is none, a name for nobody, a table that isn't there, Time Travel into a new database."""
    assert "is no moment" in shop.clodo("restore", "--at", "yesterday", "--dry-run", status=2)[1]
    assert "--as OLD=NEW" in shop.clodo("restore", "--as", "new", "--dry-run", status=2)[1]
    assert "--in-place" in shop.clodo("restore", "--at", "2026-11-20T03:00:00Z", "--dry-run", status=2)[1]
    assert "d1/shop-db" in shop.clodo("restore", "--only", "d1/other", "--dry-run", status=10)[1]
    assert "members" in shop.clodo("restore", "--table", "x", "--yes", "--identity", gone, status=2)[1]
    assert shop.account.result("GET", "/d1/database") == []


@pytest.mark.exhaustive
def test_a_worker_that_is_named_gets_its_schedules_back(shop):
    """The plan shows each change, and for that it needs the key; without its name the Worker is left alone."""
    shop.portfolio = shop.portfolio.replace('["d1"]', '["d1", "worker"]')
    identity = shop.make_key()
    schedules = "/workers/scripts/shop/schedules"
    shop.account.put_worker("shop")
    shop.account.result("PUT", schedules, json=[{"cron": "0 3 * * *"}])
    shop.told("create")
    shop.account.result("PUT", schedules, json=[])

    planned, _ = shop.clodo("restore", "--only", "worker/shop", "--identity", identity, "--dry-run")
    fingerprint = planned.rpartition("--plan ")[2].strip()
    done, _ = shop.clodo("restore", "--only", "worker/shop", "--identity", identity, "--plan", fingerprint)

    assert 'worker/shop: schedules: [] → ["0 3 * * *"]' in planned
    assert "is in the safety snapshot" in done
    assert [item["cron"] for item in shop.account.result("GET", schedules)["schedules"]] == ["0 3 * * *"]
    assert "--only worker/shop" in shop.clodo("restore", "--dry-run")[0]
    assert "--identity" in shop.clodo("restore", "--only", "worker/shop", "--dry-run", status=12)[1]


@pytest.mark.exhaustive
def test_a_worker_that_is_gone_comes_back_and_what_is_still_missing_is_said(shop):
    """Plan and end name the secret, with the command that puts it; a script finds that too."""
    shop.portfolio = shop.portfolio.replace('["d1"]', '["d1", "worker"]')
    identity = shop.make_key()
    shop.account.put_worker("shop", bindings=[{"type": "secret_text", "name": "API_KEY", "text": "hush-4711"}])
    shop.told("create")
    words = ("restore", "--only", "worker/shop", "--identity", identity)
    put = "wrangler secret put API_KEY --name shop"

    for as_json in (False, True):
        shop.account.result("DELETE", "/workers/scripts/shop?force=true")
        planned, _ = shop.clodo(*words, "--dry-run")
        done, said = shop.clodo(*words, "--yes", *(["--json"] if as_json else []))

        assert put in planned
        assert put in (json.loads(done)["restored"]["resources"][0]["notes"][0] if as_json else done)
        assert "4711" not in planned + done + said
        assert "at bookmark" not in done
        assert shop.account.visit(shop.account.hostname("shop")).text == "hello"


@pytest.mark.exhaustive
def test_an_identity_under_a_passphrase_opens_it_on_a_terminal_only(shop, prefect_server):
    """The passphrase is asked for once, before the plan; with a wrong one, or nobody to ask, nothing is done."""
    file = shop.folder / "identity.age"
    shop.configure(f'recipients = ["{write_identity(file, PASSPHRASE)}"]\n')
    shop.told("create")
    (database,) = shop.account.result("GET", "/d1/database")
    shop.account.result("DELETE", f"/d1/database/{database['uuid']}")
    words = ["--workspace", str(shop.folder), "backup", "restore", "--identity", str(file)]

    nobody = shop.clodo("restore", "--identity", str(file), "--yes", status=2)[1]
    with Terminal([words, words], prefect=prefect_server) as terminal:
        terminal.answer("Passphrase of", "another-4711\r")
        wrong = terminal.expect("<ended 12>")
        none_yet = shop.account.result("GET", "/d1/database")
        terminal.answer("Passphrase of", f"{PASSPHRASE}\r")
        terminal.answer("Restore as planned?", "y\r")
        terminal.expect("Restored 1 resource, 2 rows")
        terminal.expect("<ended 0>")
        shown = terminal.screen

    assert "nobody can be asked" in nobody
    assert ("does not open" in wrong, none_yet) == (True, [])
    assert shown.count("Passphrase of") == 2
    assert len(shop.account.result("GET", "/d1/database")) == 1
    assert PASSPHRASE not in shown
    assert "AGE-SECRET-KEY" not in shown


def test_a_vault_that_can_not_be_read_ends_with_try_later_and_nothing_done(shop, gone):
    """The folder with the parts is no folder: which vault it is is said, and nothing is left on the account."""
    objects = shop.folder / ".clodo" / "vault" / "objects"
    objects.rename(objects.with_name("away"))
    objects.write_text("no folder")

    said = shop.clodo("restore", "--identity", gone, "--yes", status=75)[1]

    assert "The vault local can't be" in said
    assert shop.account.result("GET", "/d1/database") == []
    objects.unlink()
    objects.with_name("away").rename(objects)
    assert "Restored 1 resource" in shop.clodo("restore", "--identity", gone, "--yes")[0]
