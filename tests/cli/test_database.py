"""`clodo database` on the embedded cloud: what it does, what it says, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocks import CloudflareAccount
from clodo.cli.main import main
from tests.fixtures.embedded_cloud import CloudAccount

PORTFOLIO = """\
[portfolio]
name = "shop"
default_environment = "{default}"
{environments}
"""
CONFIG = """\
name = "api"
main = "index.js"
compatibility_date = "2026-01-01"
"""
SECTION = """
[env.{environment}]
[[env.{environment}.d1_databases]]
binding = "DB"
database_name = "orders-{environment}"  # found by its name
migrations_dir = "migrations"
"""
ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT);"


@dataclass
class Fleet:
    """One service in several environments, each with a database of its own, as customers of a service have them."""

    folder: Path
    account: CloudAccount
    block: str
    capsys: pytest.CaptureFixture[str]
    environments: tuple[str, ...] = ()

    def write(self, *environments: str, **files: str) -> None:
        """Write the workspace; *files* are migrations, by name without number and end."""
        self.environments = environments
        tables = "\n".join(f'[environments.{name}]\naccount = "{self.block}"' for name in environments)
        portfolio = PORTFOLIO.format(default=environments[0], environments=tables)
        (self.folder / "portfolio.toml").write_text(portfolio)
        service = self.folder / "api"
        (service / "migrations").mkdir(parents=True, exist_ok=True)
        (service / "index.js").write_text("export default { fetch() { return new Response('hello'); } };")
        sections = "".join(SECTION.format(environment=name) for name in environments)
        (service / "wrangler.toml").write_text(CONFIG + sections)
        self.migrations(**files)

    def migrations(self, **files: str) -> None:
        """Write migrations: `x0001_orders="…"` becomes `0001_orders.sql`, and `…__down` its down file."""
        for name, sql in files.items():
            end = ".down.sql" if name.endswith("__down") else ".sql"
            path = self.folder / "api" / "migrations" / f"{name.removeprefix('x').removesuffix('__down')}{end}"
            path.write_text(sql)

    def make(self, environment: str) -> str:
        """Make the database of an environment; return its id."""
        made: dict[str, str] = self.account.result("POST", "/d1/database", json={"name": f"orders-{environment}"})
        return made["uuid"]

    def query(self, database_id: str, sql: str) -> list[dict[str, Any]]:
        """Ask a database."""
        answer: list[dict[str, Any]] = self.account.result(
            "POST", f"/d1/database/{database_id}/query", json={"sql": sql}
        )
        return list(answer[-1]["results"])

    def told(self, *words: str, status: int = 0) -> Any:
        """Run a command with --json and return what it printed."""
        self.capsys.readouterr()
        assert main(["--workspace", str(self.folder), *words, "--json"]) == status, self.capsys.readouterr().err
        return json.loads(self.capsys.readouterr().out)

    def says(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Run a command; return what it printed and what it said."""
        self.capsys.readouterr()
        assert main(["--workspace", str(self.folder), *words]) == status, self.capsys.readouterr().err
        printed = self.capsys.readouterr()
        assert "Traceback" not in printed.err
        return printed.out, printed.err


@pytest.fixture
def fleet(
    tmp_path: Path, account: CloudAccount, prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> Iterator[Fleet]:
    """A workspace whose environments are all served by an account of the embedded cloud."""
    block = f"test-{account.account_id[:12]}"
    CloudflareAccount(
        account_id=account.account_id,
        api_token=account.token,
        base_url=account.cloud.url,
        edge_url=account.cloud.edge_url,
    ).save(block, overwrite=True)
    return Fleet(tmp_path, account, block, capsys)


def test_a_database_is_created_bound_and_then_only_looked_at(fleet):
    """The id comes into the user's config beside its comment; the same again finds it, and another name is adopted."""
    fleet.write("staging", "production")
    there = fleet.make("production")

    [made] = fleet.told("database", "create", "api@staging", "--location", "weur")
    [again] = fleet.told("database", "create", "api@staging")
    [adopted] = fleet.told("database", "create", "api@production")

    text = (fleet.folder / "api" / "wrangler.toml").read_text()
    assert (made["was_adopted"], again["was_adopted"], adopted["was_adopted"]) == (False, True, True)
    assert (again["database_id"], again["diff"]) == (made["database_id"], "")
    assert adopted["database_id"] == there
    assert text.count("# found by its name") == 2
    assert f'database_id = "{made["database_id"]}"' in text
    assert f'database_id = "{there}"' in text
    assert fleet.account.result("GET", f"/d1/database/{made['database_id']}")["name"] == "orders-staging"


@pytest.mark.exhaustive
def test_a_binding_that_leads_elsewhere_is_not_taken_for_good(fleet):
    """An id of a database with another name, an unknown binding and an unknown place are told and change nothing."""
    fleet.write("staging")
    other = fleet.account.result("POST", "/d1/database", json={"name": "other"})["uuid"]
    file = fleet.folder / "api" / "wrangler.toml"
    file.write_text(file.read_text() + f'database_id = "{other}"\n')
    before = file.read_bytes()

    _, wrong_name = fleet.says("database", "create", "api@staging", status=1)
    _, no_binding = fleet.says("database", "create", "api@staging", "--database", "NOPE", status=10)
    _, no_place = fleet.says("database", "create", "api@staging", "--location", "moon", status=2)

    assert 'is called "other", not "orders-staging"' in wrong_name
    assert '"NOPE"' in no_binding
    assert "moon" in no_place
    assert file.read_bytes() == before


def test_the_status_tells_what_the_next_migration_begins_with(fleet):
    """A contract migration that waits doesn't hide the file after it, which the lint refuses."""
    fleet.write("staging", x0001_orders=ORDERS)
    fleet.make("staging")
    fleet.told("database", "migrate", "api")
    fleet.migrations(
        x0002_drop="ALTER TABLE orders DROP COLUMN item;", x0003_bad="ALTER TABLE orders ADD COLUMN n INT NOT NULL;"
    )

    table, _ = fleet.says("database", "status")

    assert table.splitlines()[1].split()[:8] == [
        *("api@staging", "orders-staging", "1", "2", "(1", "contract)", "0003_bad.sql", "refused"),
    ]


def test_a_rehearsal_writes_nothing_and_a_migration_says_what_waits(fleet):
    """--dry-run tells how the files go; a migration applies them, and contract ones wait and are refused too early."""
    fleet.write("staging", x0001_orders=ORDERS)
    database_id = fleet.make("staging")

    rehearsed = fleet.told("database", "migrate", "api", "--dry-run")
    before = fleet.query(database_id, "SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'")
    applied = fleet.told("database", "migrate", "api")
    fleet.migrations(x0002_drop="ALTER TABLE orders DROP COLUMN item;", x0003_more="CREATE TABLE more (x);")
    out, _ = fleet.says("database", "migrate", "api")
    _, refused = fleet.says("database", "migrate", "api", "--which", "contract", "--yes", status=4)
    done = fleet.told("database", "migrate", "api", "--which", "contract", "--yes", "--maintenance")

    [database] = rehearsed["databases"]
    assert ([item["name"] for item in database["rehearsal"]["files"]], database["applied"]) == (["0001_orders.sql"], [])
    assert before == []
    assert applied["applied"] == {"orders-staging": ["0001_orders.sql"]}
    assert "applied 0003_more.sql" in out
    assert "contract migrations wait: 0002_drop.sql" in out
    assert "no release of it is known to be live" in refused
    assert done["applied"] == {"orders-staging": ["0002_drop.sql"]}
    assert "drop-column" in done["databases"][0]["hazards"][0]


@pytest.mark.exhaustive
def test_hazards_are_refused_until_waived_or_accepted(fleet):
    """The rule, its place and the remedy are said; a person's --accept lets the file through."""
    fleet.write("staging", x0001_orders=ORDERS, x0002_tags="CREATE TABLE tags (order_id REFERENCES orders (id));")
    fleet.make("staging")

    _, refused = fleet.says("database", "migrate", "api", status=4)
    _, mistyped = fleet.says("database", "migrate", "api", "--accept", "0002_tag.sql", status=2)
    accepted = fleet.told("database", "migrate", "api", "--accept", "0002_tags.sql")

    assert "0002_tags.sql:1: foreign-key-without-index" in refused
    assert "--accept 0002_tags.sql" in refused
    assert 'no migration "0002_tag.sql" to accept (did you mean "0002_tags.sql"?)' in mistyped
    assert accepted["applied"] == {"orders-staging": ["0001_orders.sql", "0002_tags.sql"]}


def test_many_databases_come_to_one_schema_and_one_failure_stops_no_other(fleet):
    """Whoever fails is named with status 3, the others are migrated; a table that nobody's file made is drift."""
    fleet.write("one", "two", "three", "gone", x0001_orders=ORDERS, x0002_row="INSERT INTO orders VALUES (7, 'x');")
    ids = {name: fleet.make(name) for name in ("one", "two", "three")}
    fleet.query(ids["two"], f"{ORDERS} INSERT INTO orders VALUES (1, 'x')")
    fleet.query(ids["three"], "CREATE TABLE extra (x); CREATE INDEX extra_by_x ON extra (x)")

    rehearsed, said = fleet.says("database", "sync", "api@one", "--dry-run", "--with-data")
    _, nowhere = fleet.says("database", "sync", "-e", "moon", status=10)
    synced = fleet.told("database", "sync", "--service", "api", "--max-parallel", "2", status=3)
    table, _ = fleet.says("database", "status", status=3)
    [first, *_] = fleet.told("database", "status", "api@three")

    assert rehearsed.split() == [
        *("TARGET", "ENDING", "WOULD", "APPLY", "DIFFERS", "WHY", "api@one", "rehearsed", "2", "-", "-"),
        *("Nothing", "was", "written."),
    ]
    assert "orders-one: no snapshot has it" in said
    assert "no target in moon has a database" in nowhere
    ended = {item["target"]: item for item in synced["targets"]}
    assert {name: item["is_synced"] for name, item in ended.items()} == {
        "api@one": True,
        "api@two": False,
        "api@three": False,
        "api@gone": False,
    }
    assert "table orders already exists" in ended["api@two"]["error"]
    assert 'no D1 database called "orders-gone"' in ended["api@gone"]["error"]
    assert ended["api@three"]["drift"]["orders-three"] == {
        "sql": ['DROP TABLE "extra";', 'DROP INDEX "extra_by_x";'],
        "against": "the files",
    }
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["api@gone", "api@one", "api@three", "api@two"]
    assert first["drift"] == ['DROP TABLE "extra";', 'DROP INDEX "extra_by_x";']
    assert fleet.query(ids["one"], "SELECT item FROM orders") == [{"item": "x"}]


@pytest.mark.exhaustive
def test_a_sync_that_fails_fast_begins_nothing_more(fleet):
    """With --fail-fast and one at a time, those after the first failure are skipped and untouched."""
    fleet.write("a", "b", "c", x0001_orders=ORDERS)
    ids = [fleet.make(name) for name in ("a", "b", "c")]
    for database_id in ids:
        fleet.query(database_id, ORDERS)

    synced = fleet.told("database", "sync", "--fail-fast", "--max-parallel", "1", status=1)

    assert sorted(item["skipped"] for item in synced["targets"]) == [False, True, True]


@pytest.mark.exhaustive
def test_a_rollback_by_down_file_counts_what_is_lost_and_asks(fleet):
    """Without a terminal it is refused; --dry-run shows the plan; --yes runs the down file and keeps the rest."""
    fleet.write(
        "staging",
        x0001_orders=ORDERS,
        x0002_tags="CREATE TABLE tags (name TEXT); ALTER TABLE orders ADD COLUMN colour TEXT;",
        x0002_tags__down="DROP TABLE tags; ALTER TABLE orders DROP COLUMN colour;",
    )
    database_id = fleet.make("staging")
    fleet.told("database", "migrate", "api")
    fleet.query(database_id, "INSERT INTO tags VALUES ('a'), ('b'); INSERT INTO orders VALUES (1, 'x', 'red')")

    _, refused = fleet.says("database", "rollback", "api", status=4)
    plan = fleet.told("database", "rollback", "api", "--dry-run")
    done = fleet.told("database", "rollback", "api", "--yes", "--reason", "wrong idea")
    _, no_down = fleet.says("database", "rollback", "api", "--yes", status=10)

    assert "--yes" in refused
    assert (plan["way"], plan["migrations"]) == ("down-files", ["0002_tags.sql"])
    assert plan["losses"] == ["the table tags with 2 rows", "the column colour of orders, which has a value in 1 row"]
    assert done["rows"] == {"clodo_migrations": [2, 1], "d1_migrations": [2, 1], "tags": [2, None]}
    assert fleet.query(database_id, "SELECT * FROM orders") == [{"id": 1, "item": "x"}]
    assert "0001_orders.sql has no down file" in no_down


@pytest.mark.exhaustive
def test_a_rollback_in_time_says_what_it_loses_and_how_to_go_forward(fleet):
    """Time Travel goes to right before the migration; what came since is counted, and can be brought back."""
    fleet.write("staging", x0001_orders=ORDERS, x0002_tags="CREATE TABLE tags (name TEXT);")
    database_id = fleet.make("staging")
    fleet.told("database", "migrate", "api")
    fleet.query(database_id, "INSERT INTO tags VALUES ('a'), ('b'); INSERT INTO orders VALUES (1, 'x')")

    plan = fleet.told("database", "rollback", "api", "--to", "0001_orders.sql", "--time-travel", "--dry-run")
    done = fleet.told("database", "rollback", "api", "--to", "0001_orders.sql", "--time-travel", "--yes")
    gone = fleet.query(database_id, "SELECT count(*) AS count FROM orders")
    forward = fleet.told("database", "rollback", "api", "--bookmark", done["way_forward"], "--yes")

    assert plan["losses"] == ["the table tags with 2 rows"]
    assert any("how many can't be known" in sentence for sentence in plan["unknown"])
    assert done["rows"] == {"clodo_migrations": [2, 1], "d1_migrations": [2, 1], "orders": [1, 0], "tags": [2, None]}
    assert gone == [{"count": 0}]
    assert forward["rows"]["orders"] == [0, 1]
    assert fleet.query(database_id, "SELECT name FROM tags ORDER BY name") == [{"name": "a"}, {"name": "b"}]


@pytest.mark.exhaustive
def test_two_ways_back_at_once_are_refused(fleet):
    """A moment and a file can't both be meant; a moment must be one, and a bookmark too."""
    fleet.write("staging", x0001_orders=ORDERS)
    fleet.make("staging")
    fleet.told("database", "migrate", "api")

    _, two = fleet.says(
        "database", "rollback", "api", "--to", "0001_orders.sql", "--at", "2026-01-01", "--dry-run", status=2
    )
    _, none = fleet.says("database", "rollback", "api", "--at", "yesterday", "--dry-run", status=2)
    _, no_bookmark = fleet.says("database", "rollback", "api", "--bookmark", "zz", "--dry-run", status=2)
    _, nothing = fleet.says("database", "rollback", "api", "--to", "0001_orders.sql", "--dry-run", status=10)

    assert "one way back at a time" in two
    assert "is no moment" in none
    assert '--bookmark: "zz" is no bookmark' in no_bookmark
    assert "Try: One looks like" in no_bookmark
    assert "nothing to take back" in nothing
