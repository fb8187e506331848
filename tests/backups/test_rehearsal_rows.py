"""Migrations rehearsed on what a snapshot holds."""

from __future__ import annotations

import pytest

from clodo.backups.rehearsal_rows import SnapshotRows
from clodo.errors import MigrationFailed
from clodo.migrations import apply, find_migrations, rehearse


def test_a_migration_is_rehearsed_on_the_rows_of_the_newest_snapshot(fleet, tmp_path):
    """What only the rows can tell is found before the database is touched; what came after the snapshot is unknown."""
    fleet.sql("CREATE TABLE people (name TEXT); INSERT INTO people VALUES ('mia'), ('mia')")
    rows = SnapshotRows(fleet.open())
    nothing = rows.fill(fleet.database_id, tmp_path / "none.sqlite3")
    manifest = fleet.back_up()
    fleet.sql("DELETE FROM people")
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_one.sql").write_text(
        "-- clodo: allow unique-index: names are unique\nCREATE UNIQUE INDEX one ON people (name);"
    )

    with pytest.raises(MigrationFailed, match=r"UNIQUE constraint failed: people\.name.*rows of a snapshot"):
        apply(fleet.cloudflare.d1, fleet.database_id, folder, source=rows)
    (folder / "0001_one.sql").write_text("CREATE INDEX one ON people (name);")
    found = rehearse(find_migrations(folder), [], source=rows, database_id=fleet.database_id)

    assert nothing is None
    assert found.data_of == next(item for item in manifest.archives if item.id == fleet.database_id).captured_at
    assert (found.rows["people"], found.failures) == ((2, 2), ())
    assert fleet.sql("SELECT count(*) FROM sqlite_master WHERE name = 'one'") == [[0]]
