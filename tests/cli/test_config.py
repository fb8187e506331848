"""`clodo config`: what targets are configured to be, what differs, what is wrong, and older layouts moved."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks import CloudflareAccount
from clodo.cli.main import main
from clodo.ledger import Ledger, Release, ReleaseKind, ReleaseState, default_path, fingerprints
from clodo.ledger.clocks import utc_now
from clodo.ledger.identifiers import new_release_id
from clodo.releases.configuration import fingerprinter
from clodo.workspace.differences import content_of
from clodo.workspace.effective_values import effective_values
from clodo.workspace.workspace import Workspace
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write

MESSY = Path(__file__).parents[1] / "workspace" / "samples" / "messy"
API = """\
name = "api"
main = "index.js"
compatibility_date = "2026-01-01"

[vars]
LEVEL = "info"
API_TOKEN = "not-to-be-seen-anywhere"

[env.staging.vars]
LEVEL = "debug"
API_TOKEN = "nor-is-this-one"
"""
PORTFOLIO = '[portfolio]\ndefault_environment = "production"\n[environments.production]\n[environments.staging]\n'
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(folder: Path, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["--workspace", str(folder), "config", *words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out, said.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, {"wrangler.toml": API, "portfolio.toml": PORTFOLIO, "index.js": "export default {}"})


def test_show_lists_every_value_with_its_line_and_masks_secrets(run, folder):
    """A table for a person, whole JSON for a script; neither has the token."""
    status, table, _ = run(folder, "show", "api@staging")
    _, text, _ = run(folder, "show", "api@staging", "--json", "--only", "vars.")

    assert status == 0
    assert ["vars.LEVEL", "debug", "wrangler.toml:10"] in [line.split() for line in table.splitlines()]
    told = json.loads(text)
    assert (told["target"], told["worker"]) == ("api@staging", "api-staging")
    assert told["values"] == [
        {"path": "vars.API_TOKEN", "value": "***", "place": f"{folder}/wrangler.toml:11", "is_secret": True},
        {"path": "vars.LEVEL", "value": "debug", "place": f"{folder}/wrangler.toml:10", "is_secret": False},
    ]
    assert "nor-is-this" not in table + text


@pytest.mark.parametrize(
    ("only", "sentence", "hint"),
    [
        ("varz", 'called "varz" (did you mean "vars"?)', "There are compatibility_date, main, name, portfolio, vars."),
        ("vars.LEVLE", 'called "vars.LEVLE" (did you mean "vars.LEVEL"?)', "There are vars.API_TOKEN, vars.LEVEL."),
        ("vars.LEVEL.MORE", 'called "vars.LEVEL.MORE"', "There are vars.API_TOKEN, vars.LEVEL."),
        ("kv_namespace_", 'called "kv_namespace_" (did you mean "kv_namespaces"?)', "There are compatibility_date,"),
    ],
)
def test_show_only_of_a_mistyped_key_names_what_is_there(run, folder, only, sentence, hint):
    """A prefix that nothing could have is bad usage, at the depth at which it goes wrong."""
    status, shown, said = run(folder, "show", "api@staging", "--only", only)

    assert (status, shown) == (2, "")
    assert sentence in said
    assert hint in said


@pytest.mark.parametrize("only", ["d1_databases", "kv_namespaces.CACHE"])
def test_show_only_of_a_key_that_is_not_configured_is_empty(run, folder, only):
    """A script that asks for a good key gets an empty list, not an error."""
    status, told, _ = run(folder, "show", "api@staging", "--only", only, "--json")

    assert (status, json.loads(told)["values"]) == (0, [])


def test_show_of_nobodys_target_is_not_found(run, folder):
    """A target that isn't there ends with 10 and names the nearest."""
    status, _, said = run(folder, "show", "apu")

    assert status == 10
    assert "Did you mean api@" in said


def test_diff_compares_environments_and_ends_with_five_when_asked(run, folder):
    """Differences by key; 0 without --exit-code, 5 with it, 0 when there are none."""
    status, text, _ = run(folder, "diff", "api@staging", "api", "--json")
    asked, _, _ = run(folder, "diff", "api@staging", "api", "--exit-code")
    same, table, _ = run(folder, "diff", "api", "api@production", "--exit-code")

    paths = {item["path"]: (item["before"], item["after"]) for item in json.loads(text)["differences"]}
    assert paths["vars.LEVEL"] == ("debug", "info")
    assert paths["vars.API_TOKEN"] == ("***", "***")
    assert (status, asked, same) == (0, 5, 0)
    assert table == "api and api@production are configured alike.\n"


def test_diff_compares_customers_with_the_file_that_says_each_value(run):
    """Two customers of one service differ in their section of the wrangler config and in their env files."""
    status, text, _ = run(MESSY, "diff", "orders@production/acme", "orders@production/globex", "--json")

    found = {item["path"]: item for item in json.loads(text)["differences"]}
    assert status == 0
    assert (found["name"]["before"], found["name"]["after"]) == ("orders-acme-production", "orders-globex-production")
    assert found["vars.CUSTOMER_DOMAIN"]["before"] == "acme.example"
    assert found["vars.CUSTOMER_DOMAIN"]["before_place"] == f"{MESSY}/config/customers/acme/production.env:3"


def released(folder: Path, *, state: ReleaseState = ReleaseState.LIVE) -> str:
    """Write down a release of the API with what the workspace says now."""
    workspace = Workspace.load(folder)
    target = workspace.find("api")
    with Ledger.open(default_path(folder)) as ledger:
        row = Release(
            new_release_id(), str(target), "api", "a" * 32, "all-at-once", "", "me", ReleaseKind.REDEPLOY, "", utc_now()
        )
        ledger.releases.create(row)
        fingerprint = fingerprinter(fingerprints.load_key(folder))
        ledger.configurations.record(row.id, content_of(effective_values(workspace, target), fingerprint))
        ledger.releases.set_state(row.id, state)
    return row.id


def test_history_says_what_each_release_used_and_what_changed(run, folder):
    """Same configuration, same digest; a changed key, a changed secret too, is named at the release that changed it."""
    first = released(folder)
    second = released(folder)
    (folder / "wrangler.toml").write_text(API.replace('"info"', '"warn"').replace("anywhere", "somewhere"))
    third = released(folder)

    _, text, _ = run(folder, "history", "api", "--json")
    _, table, _ = run(folder, "history", "api")
    status, difference, _ = run(folder, "diff", first, "api", "--json")

    rows = json.loads(text)
    assert [row["release"] for row in rows] == [third, second, first]
    assert [row["changed"] for row in rows] == [["vars.API_TOKEN", "vars.LEVEL"], [], []]
    assert rows[0]["digest"] != rows[1]["digest"] == rows[2]["digest"]
    assert "vars.API_TOKEN, vars.LEVEL" in table
    assert status == 0
    assert [item["path"] for item in json.loads(difference)["differences"]] == ["vars.API_TOKEN", "vars.LEVEL"]
    assert "somewhere" not in text + table + difference


def test_diff_with_a_release_nobody_knows_is_not_found(run, folder):
    """An id that no release has ends with 10."""
    status, _, said = run(folder, "diff", "r" + "0" * 26, "api")

    assert status == 10
    assert "no such release" in said


def test_validate_ends_with_two_on_errors_and_lists_them_first(run, tmp_path):
    """The messy sample: findings as lines with file:line, rule and remedy, the worst first; its time is said."""
    status, text, said = run(MESSY, "validate")
    _, told, _ = run(MESSY, "validate", "--json")

    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    assert status == 2
    assert lines[0].startswith("services/cart/wrangler.jsonc:4: error: the entry point dist/cart.js is not there")
    assert [": error: " in line for line in lines[:3]] == [True] * 3
    assert " files in " in said
    document = json.loads(told)
    assert document["seconds"] > 0
    assert document["look_up_seconds"] is None
    keys = {"rule", "severity", "target", "key", "file", "line", "message", "remedy", "expired_waiver"}
    assert set(document["findings"][0]) == keys


def test_validate_of_a_sound_workspace_ends_with_zero_and_warnings_with_five_when_asked(run, folder):
    """0 without errors; with --exit-code warnings end with 5."""
    sound, text, _ = run(folder, "validate")
    write(folder, {"wrangler.toml": API.replace('LEVEL = "info"', 'LEVEL = "info"\nMORE = "1"')})
    warned, _, _ = run(folder, "validate")
    asked, _, _ = run(folder, "validate", "--exit-code")

    assert (sound, warned, asked) == (0, 0, 5)
    assert "error" not in text


def older(root: Path) -> Path:
    files: dict[str, str | dict[str, Any]] = {
        "config/base/wrangler.base.toml": 'compatibility_flags = ["nodejs_compat"] # all\n',
        "config/base/variables.base.env": "REGION=weur\n",
    }
    return write(root, files)


def test_migrate_shows_a_diff_first_and_writes_nothing_in_a_dry_run(run, folder):
    """A dry run has the diff, ends with 5 when asked, and leaves every byte."""
    older(folder)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    status, text, _ = run(folder, "migrate", "--dry-run", "--exit-code")

    assert status == 5
    assert '+REGION = "weur"\n' in text
    assert "--- a/config/base/variables.base.env\n+++ /dev/null\n" in text
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_migrate_asks_and_then_writes_everything(run, folder):
    """Without a terminal and --yes it is refused; with --yes it is done, and then there is nothing to do."""
    older(folder)

    refused, _, _ = run(folder, "migrate")
    kept = (folder / "wrangler.toml").read_text()
    done, text, _ = run(folder, "migrate", "--yes", "--json")
    again, said, _ = run(folder, "migrate", "--yes")

    assert (refused, done, again) == (4, 0, 0)
    assert kept == API
    told = json.loads(text)
    assert told["written"] is True
    assert told["files"] == ["wrangler.toml", "config/base/variables.base.env", "config/base/wrangler.base.toml"]
    assert said == "Nothing in this workspace is laid out in an older way.\n"
    assert not (folder / "config" / "base" / "variables.base.env").exists()


@pytest.mark.exhaustive
def test_migrated_sample_shows_as_a_readable_git_diff(run, tmp_path):
    """On thirty services, `git` sees only added lines in configs, and older files gone."""
    root = tmp_path / "messy"
    shutil.copytree(MESSY, root)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)

    status, _, _ = run(root, "migrate", "--yes")

    changed = subprocess.run(
        ["git", "-C", str(root), "diff", "--numstat", "--", "services", "workers"], check=True, capture_output=True
    )
    removed = [int(line.split()[1]) for line in changed.stdout.decode().splitlines()]
    assert status == 0
    assert len(removed) == 30
    # A last JSON member gets a comma; an array on one line is written anew.
    assert max(removed) <= 12


def test_a_look_up_that_fails_hides_nothing_and_is_no_success(run, folder, account: CloudAccount, prefect_server: str):
    """What is wrong offline is shown with a note; without errors, the status says why the account wasn't asked."""
    block = f"test-{account.account_id[:12]}"
    CloudflareAccount(account_id=account.account_id, api_token="wrong-token-123", base_url=account.cloud.url).save(
        block, overwrite=True
    )
    bound = API + '[[env.production.kv_namespaces]]\nbinding = "KV"\nid = "0123456789abcdef0123456789abcdef"\n'
    write(folder, {"portfolio.toml": f'[environments.production]\naccount = "{block}"\n', "wrangler.toml": bound})

    refused, text, said = run(folder, "validate", "--look-up")
    write(folder, {"portfolio.toml": '[environments.production]\naccount = "nobody-saved-me"\n'})
    unsaved, _, unsaved_said = run(folder, "validate", "--look-up")
    (folder / "index.js").unlink()
    wrong, told, _ = run(folder, "validate", "--look-up", "--json")

    assert (refused, unsaved, wrong) == (12, 2, 2)
    assert f'portfolio.toml:1: note: not everything was compared with the account of the block "{block}": ' in text
    assert "Error: " in said
    assert 'there is no cloudflare-account block called "nobody-saved-me"' in unsaved_said
    rules = [(item["rule"], item["severity"]) for item in json.loads(told)["findings"]]
    assert ("missing-file", "error") in rules
    assert ("left-out", "note") in rules
    assert "wrong-token" not in text + said + told


@pytest.mark.exhaustive
def test_live_and_look_ups_ask_the_account_by_its_block(run, folder, account: CloudAccount, prefect_server: str):
    """`diff live` after a release shows nothing, and what was edited since; `validate --look-up` finds a wrong id."""
    block = f"test-{account.account_id[:12]}"
    CloudflareAccount(account_id=account.account_id, api_token=account.token, base_url=account.cloud.url).save(
        block, overwrite=True
    )
    code = "export default { fetch: () => new Response('hi') };"
    write(folder, {"portfolio.toml": f'[environments.production]\naccount = "{block}"\n', "index.js": code})
    account.put_worker(
        "api",
        code,
        compatibility_date="2026-01-01",
        bindings=[
            {"type": "plain_text", "name": "LEVEL", "text": "info"},
            {"type": "plain_text", "name": "API_TOKEN", "text": "not-to-be-seen-anywhere"},
        ],
    )

    same, _, _ = run(folder, "diff", "live", "api", "--exit-code")
    write(
        folder,
        {
            "wrangler.toml": API.replace('"info"', '"warn"')
            + '\n[[d1_databases]]\nbinding = "DB"\ndatabase_id = "11111111-2222-3333-4444-555555555555"\n'
        },
    )
    other, text, _ = run(folder, "diff", "live", "api", "--exit-code", "--json")
    wrong, told, _ = run(folder, "validate", "--look-up", "--json")

    assert (same, other, wrong) == (0, 5, 2)
    assert [item["path"] for item in json.loads(text)["differences"]] == ["d1_databases.DB.database_id", "vars.LEVEL"]
    assert [item["rule"] for item in json.loads(told)["findings"] if item["severity"] == "error"] == [
        "missing-on-account"
    ]
    assert json.loads(told)["look_up_seconds"] > 0
