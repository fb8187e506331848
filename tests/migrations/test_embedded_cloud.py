"""Migrations through the real client, on the embedded cloud's D1."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from clodo.cloudflare.client import Cloudflare
from clodo.errors import DatabaseNotFound, MigrationFailed
from clodo.migrations import apply, revert, status

USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE);"


@pytest.fixture
def cloudflare(account) -> Iterator[Cloudflare]:
    """A client of a fresh account."""
    with Cloudflare(account.account_id, account.token, account.cloud.url) as client:
        yield client


def test_migrations_are_applied_through_the_real_client(cloudflare, folder, write):
    """Files with triggers and open ends are applied, recorded and reverted; the bookmark is that of now."""
    database_id = cloudflare.d1.create("shop").uuid
    write("0001_users.sql", USERS)
    write(
        "0002_log.sql",
        "CREATE TABLE log (name);\nCREATE TRIGGER t AFTER INSERT ON users BEGIN\n"
        "  INSERT INTO log SELECT CASE WHEN new.name THEN 1 ELSE new.name END;\nEND;\n"
        "INSERT INTO users (name) VALUES ('it''s; mia') -- the end",
    )
    write("0002_log.down.sql", "DROP TRIGGER t; DROP TABLE log; DELETE FROM users")

    applied = apply(cloudflare.d1, database_id, folder, release_id="r1")

    assert [one.statements for one in applied] == [1, 3]
    assert applied[-1].bookmark == cloudflare.d1.bookmark(database_id)
    assert cloudflare.d1.query(database_id, "SELECT name FROM log")[0].results == [{"name": "it's; mia"}]
    assert status(cloudflare.d1, database_id, folder).is_up_to_date
    assert revert(cloudflare.d1, database_id, folder, ["0002_log.sql"]) == ["0002_log.sql"]
    assert [one.name for one in status(cloudflare.d1, database_id, folder).pending] == ["0002_log.sql"]


def test_a_failure_in_the_second_statement_leaves_nothing(cloudflare, folder, write):
    """D1's own error is placed in the file, and the database has no table more than before."""
    database_id = cloudflare.d1.create("shop").uuid
    path = write("0001_bad.sql", f"{USERS}\n\nINSERT INTO user (name) VALUES ('mia');")

    with pytest.raises(MigrationFailed) as caught:
        apply(cloudflare.d1, database_id, folder)

    assert caught.value.message.startswith(f"{path}:3: statement 2 of 2 failed")
    assert "no such table: user" in caught.value.message
    assert "the database was not touched" in caught.value.message
    tables = cloudflare.d1.query(
        database_id, "SELECT name FROM sqlite_master WHERE name NOT LIKE '%\\_cf\\_%' ESCAPE '\\'"
    )
    assert tables[0].results == []


def test_a_missing_database_is_said(cloudflare, folder, write):
    """A database that the account lacks is the client's to name."""
    write("0001_users.sql", USERS)

    with pytest.raises(DatabaseNotFound):
        apply(cloudflare.d1, "00000000-0000-4000-8000-000000000000", folder)


@pytest.fixture
def run_wrangler(toolchain, account, tmp_path):
    """Run a migrations command of the real wrangler on the database `shop`, and give what it said."""

    def run(verb: str, database_id: str) -> str:
        database = {
            "binding": "DB",
            "database_name": "shop",
            "database_id": database_id,
            "migrations_dir": "migrations",
        }
        (tmp_path / "wrangler.json").write_text(json.dumps({"name": "api", "d1_databases": [database]}))
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CI": "1", "WRANGLER_SEND_METRICS": "false"}
        done = subprocess.run(
            [toolchain.node, toolchain.wrangler, "d1", "migrations", verb, "shop", "--remote"],
            cwd=tmp_path, env=environment | account.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


def test_clodo_and_wrangler_know_of_each_others_migrations(cloudflare, folder, write, run_wrangler):
    """What one applied the other doesn't apply again, in both directions."""
    database_id = cloudflare.d1.create("shop").uuid
    write("0001_it's.sql", USERS)
    apply(cloudflare.d1, database_id, folder)

    assert "No migrations to apply" in run_wrangler("list", database_id)
    write("0002_mia.sql", "INSERT INTO users (name) VALUES ('mia');")
    run_wrangler("apply", database_id)

    found = status(cloudflare.d1, database_id, folder)
    assert found.is_up_to_date
    assert [(row.name, row.sha256 is None) for row in found.applied] == [
        ("0001_it's.sql", False),
        ("0002_mia.sql", True),
    ]
    assert apply(cloudflare.d1, database_id, folder) == []


@pytest.mark.exhaustive
def test_wrangler_applies_again_what_clodo_took_back(cloudflare, folder, write, run_wrangler):
    """After a down file wrangler sees the migration pending, and a large one that went by import as applied."""
    database_id = cloudflare.d1.create("shop").uuid
    write("0001_users.sql", USERS)
    write("0002_rows.sql", "CREATE TABLE big (x);\n" + f"INSERT INTO big VALUES ('{'x' * 95_000}');\n" * 12)
    write("0003_log.sql", "CREATE TABLE log (x);")
    write("down/0003_log.sql", "DROP TABLE log;")
    apply(cloudflare.d1, database_id, folder)

    assert "No migrations to apply" in run_wrangler("list", database_id)
    revert(cloudflare.d1, database_id, folder, ["0003_log.sql"])
    pending = run_wrangler("list", database_id)
    run_wrangler("apply", database_id)

    assert "0003_log.sql" in pending
    assert "0002_rows.sql" not in pending
    assert status(cloudflare.d1, database_id, folder).is_up_to_date
    assert cloudflare.d1.query(database_id, "SELECT count(*) AS n FROM log")[0].results == [{"n": 0}]
