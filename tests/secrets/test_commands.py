"""`clodo secrets`, from making a secret to retiring it, on the embedded cloud with the real wrangler."""

from __future__ import annotations

import io
import logging
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from clodo.ledger import Ledger, default_path, fingerprints
from clodo.secrets.probing import jwt_of
from tasks.secrets import kept_secrets
from tests.fixtures.embedded_cloud import CloudAccount
from tests.releases.test_secrets import Search, Watch
from tests.secrets.shop import Shop

TARGET = "auth@production"


@pytest.fixture
def shop(tmp_path, account: CloudAccount, prefect_server, capsys) -> Shop:
    """A workspace whose Worker accepts two keys; nothing is kept or released."""
    return Shop.open(tmp_path, account, capsys)


def kept(shop: Shop) -> dict[str, str]:
    """Return what the block holds."""
    workspace = shop.workspace
    return kept_secrets(workspace, workspace.find(TARGET))


def status_with(shop: Shop, secret: str) -> int:
    """Show a token signed with *secret* to the Worker, as a user would."""
    headers = {"authorization": f"Bearer {jwt_of(secret, now=time.time())}"}
    return shop.account.visit(shop.account.hostname("auth"), "/who", headers=headers).status_code


def search_ledger(search: Search, shop: Shop) -> int:
    """Search every row of every table; return how many there were."""
    with closing(sqlite3.connect(default_path(shop.folder))) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    for row in rows:
        search.through("a row of the ledger", "\n".join(str(value) for value in row))
    return len(rows)


@contextmanager
def seen_nowhere(shop: Shop, caplog: pytest.LogCaptureFixture) -> Iterator[set[str]]:
    """Fail if a value that is added to the set, or the token, is in logs, files, ledger or what is printed."""
    values = {shop.account.token}
    with caplog.at_level(logging.DEBUG):
        yield values
    search = Search(values)
    search.through("what was printed", "\n".join(shop.printed))
    for record in caplog.records:
        search.through("a log record", f"{record.getMessage()} {record.__dict__!r}")
    assert len(caplog.records) > 50
    assert search_ledger(search, shop) > 20
    assert search.through_files(shop.folder) > 5
    assert search.found == set()


def test_a_secret_is_rotated_through_the_running_worker_and_seen_nowhere(shop, caplog):
    """The Worker accepts both values, then only the new one; each is asked for with the real wrangler's uploads."""
    with seen_nowhere(shop, caplog) as values:
        made = shop.told("secrets", "generate", TARGET, "JWT_KEY")
        first = kept(shop)["JWT_KEY"]
        values.add(first)
        arguments = Search(values)
        watch = Watch(arguments, shop.folder / ".clodo")
        watch.start()
        try:
            rotated = shop.told("secrets", "rotate", TARGET, "JWT_KEY", "--at-once", "--yes")
        finally:
            watch.end()
        second = kept(shop)["JWT_KEY"]
        values.add(second)

    assert made == {"target": TARGET, "name": "JWT_KEY", "kind": "jwt"}
    assert rotated["state"] == "retired"
    assert second != first
    assert (status_with(shop, first), status_with(shop, second)) == (401, 200)
    assert set(kept(shop).values()) == {second}
    said = "".join(shop.printed)
    for line in ("the value before of JWT_KEY is accepted", "the value before of JWT_KEY is refused"):
        assert f"{line} by the running Worker" in said
    assert "cli.js" in watch.programs
    assert arguments.found == set()


@pytest.mark.exhaustive
def test_a_secret_is_made_released_compared_rotated_and_retired_later(shop, caplog):
    """Each command says what is so: missing, same, overlapping, retired."""
    with seen_nowhere(shop, caplog) as values:
        shop.told("secrets", "generate", TARGET, "JWT_KEY")
        first = kept(shop)["JWT_KEY"]
        before = shop.told("secrets", "diff", "--exit-code", status=5)
        pushed = shop.told("secrets", "push", TARGET, "--yes")
        after = shop.told("secrets", "diff", "--exit-code")
        accepted_at_first = status_with(shop, first)
        rotated = shop.told("secrets", "rotate", TARGET, "JWT_KEY", "--yes")
        second = kept(shop)["JWT_KEY"]
        both = status_with(shop, first), status_with(shop, second)
        listed = shop.told("secrets", "list")
        retired = shop.told("secrets", "rotate", "--finish")
        values |= {first, second}

    assert {item["name"]: item["comparison"] for item in before} == dict.fromkeys(
        ("JWT_KEY", "JWT_KEY_PREVIOUS"), "missing"
    )
    assert [target["ending"] for target in pushed["targets"]] == ["live"]
    assert {item["comparison"] for item in after} == {"same"}
    assert accepted_at_first == 200
    assert rotated["state"] == "overlapping"
    assert both == (200, 200)
    assert [(item["name"], item["kept"], item["rotation"]) for item in listed] == [
        ("JWT_KEY", True, "overlapping"),
        ("JWT_KEY_PREVIOUS", True, None),
    ]
    assert retired == [{"target": TARGET, "name": "JWT_KEY", "state": "retired"}]
    assert (status_with(shop, first), status_with(shop, second)) == (401, 200)


def test_secrets_come_through_a_pipe_and_only_those_that_are_declared(shop, monkeypatch):
    """Env lines and JSON; another value only with --replace; names that no release would bring are refused."""
    value = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ffeeddccbbaa99887766554433221100"

    def pipe(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    pipe(f"JWT_KEY={value}\n")
    first = shop.told("secrets", "import", TARGET)
    pipe(f'{{"JWT_KEY": "{value}"}}')
    again = shop.told("secrets", "import", TARGET)
    pipe(f"JWT_KEY={value[::-1]}\n")
    other = shop.refused("secrets", "import", TARGET, status=2)
    pipe("ELSE=hush-hush-hush\n")
    undeclared = shop.refused("secrets", "import", TARGET, status=2)
    pipe(f"JWT_KEY={value[::-1]}\n")
    replaced = shop.told("secrets", "import", TARGET, "--replace")

    assert (first["changed"], again["changed"], replaced["changed"]) == (["JWT_KEY"], [], ["JWT_KEY"])
    assert "--replace" in other
    assert "ELSE is not among the secrets" in undeclared
    assert "hush" not in undeclared
    assert value not in f"{other}{undeclared}"
    assert kept(shop) == {"JWT_KEY": value[::-1]}
    with Ledger.open(default_path(shop.folder)) as ledger:
        rows = ledger.audit.list(subject=TARGET)
    assert [(row.action, row.detail["names"]) for row in rows] == [("secrets-kept", ["JWT_KEY"])] * 2


@pytest.mark.exhaustive
def test_what_is_kept_is_not_made_again_by_mistake(shop):
    """A second generate is refused, with a way that refuses nobody; so are names that nobody declared."""
    shop.told("secrets", "generate", TARGET, "JWT_KEY")
    first = kept(shop)

    kept_already = shop.refused("secrets", "generate", TARGET, "JWT_KEY", status=2)
    unknown = shop.refused("secrets", "generate", TARGET, "OTHER", status=2)
    unasked = shop.refused("secrets", "rotate", TARGET, "JWT_KEY", status=4)

    assert "clodo secrets rotate" in kept_already
    assert "[services.auth]" in unknown
    assert "--yes" in unasked
    assert kept(shop) == first
    shop.told("secrets", "generate", TARGET, "JWT_KEY", "--replace", "--yes")
    assert kept(shop)["JWT_KEY"] != first["JWT_KEY"]
    assert kept(shop)["JWT_KEY_PREVIOUS"] == first["JWT_KEY"]
    shop.told("secrets", "generate", TARGET, "JWT_KEY", "--kind", "webhook", "--replace", "--yes")
    portfolio = shop.folder / "portfolio.toml"
    portfolio.write_text(portfolio.read_text().replace('kind = "jwt"\n', ""))
    again = shop.told("secrets", "generate", TARGET, "JWT_KEY", "--replace", "--yes")
    assert again["kind"] == "webhook"


def test_a_probe_without_an_address_is_refused_before_anything_is_written(shop):
    """No new value is kept, nothing is released, no rotation is begun; the sentence names path and remedy."""
    config = shop.folder / "auth" / "wrangler.toml"
    config.write_text(config.read_text().replace("workers_dev = true", "workers_dev = false"))
    shop.told("secrets", "generate", TARGET, "JWT_KEY")
    before = kept(shop)

    said = shop.refused("secrets", "rotate", TARGET, "JWT_KEY", "--yes", status=2)

    assert "leads to /who of the Worker" in said
    assert "workers_dev = true" in said
    assert kept(shop) == before
    assert shop.account.result("GET", "/workers/scripts") == []
    with Ledger.open(default_path(shop.folder)) as ledger:
        assert ledger.secrets.rotations() == []
        assert ledger.releases.list(TARGET, limit=1) == []


def test_secrets_are_due_by_their_age(shop, monkeypatch):
    """A value that was kept ninety days ago is listed, and told by the scheduled flow; a younger one is not."""
    long_ago = datetime.now(UTC) - timedelta(days=91)
    value = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ffeeddccbbaa99887766554433221100"
    key = fingerprints.load_key(shop.folder)
    with Ledger.open(default_path(shop.folder), clock=lambda: long_ago) as ledger:
        ledger.secrets.note_kept(TARGET, {"JWT_KEY": fingerprints.fingerprint_of(key, value)})
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"JWT_KEY={value}\nJWT_KEY_PREVIOUS={value[::-1]}\n"))
    shop.told("secrets", "import", TARGET)

    due = shop.told("secrets", "list", "--due")
    finished = shop.told("secrets", "rotate", "--finish")

    assert [(item["name"], item["age_days"], item["is_due"]) for item in due] == [("JWT_KEY", 91, True)]
    assert finished == []
    assert "JWT_KEY is due to be rotated since" in "".join(shop.printed)


def test_readiness_looks_at_kept_secrets(shop, monkeypatch):
    """A weak secret and a missing one make a target not ready; the report holds no value."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("JWT_KEY=hunter2hunter2\n"))
    shop.clodo("secrets", "import", TARGET)
    shop.capsys.readouterr()

    status = shop.clodo("security", "readiness", "--json")

    printed = shop.capsys.readouterr()
    assert status == 4
    assert '"ready": false' in printed.out
    assert '"short-jwt-secret"' in printed.out
    assert '"weak-secret"' in printed.out
    assert "hunter2" not in printed.out + printed.err
