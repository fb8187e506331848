"""The control plane's file: all or nothing, its owner's only, and clear about a full disk."""

from __future__ import annotations

import errno
from pathlib import Path

import apsw
import pytest

from clodo.emulator.blobs import Blobs
from clodo.emulator.database import Database
from clodo.emulator.envelope import ApiError, internal_error


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """When the disk is full a transaction is undone as a whole, and the client reads 507."""
    database = Database(tmp_path / "cloud.db")
    database.run("PRAGMA max_page_count = 80")
    before = database.value("SELECT count(*) FROM settings")

    def fill() -> None:
        with database.transaction():
            for number in range(10_000):
                database.insert("settings", {"name": f"n{number}", "value": "x" * 1000})

    with pytest.raises(OSError, match="no space left") as full:
        fill()

    assert full.value.errno == errno.ENOSPC
    assert database.value("SELECT count(*) FROM settings") == before
    refusal: ApiError = internal_error(full.value, "/")
    assert refusal.status == 507
    database.close()


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """The file is made with mode 0600, and set to it when somebody opened it up."""
    path = tmp_path / "cloud.db"
    Database(path).close()
    path.chmod(0o644)
    Database(path).close()

    assert path.stat().st_mode & 0o777 == 0o600


def test_blobs_are_whole_and_kept_while_needed(tmp_path: Path) -> None:
    """A blob is found by its content; what nobody needs, and drafts of a crash, are swept away."""
    blobs = Blobs(tmp_path / "blobs")
    kept, other = blobs.put(b"kept"), blobs.put(b"other")
    draft = blobs.path(kept).with_name(f".{kept}.half")
    draft.write_bytes(b"ke")

    assert blobs.put(b"kept") == kept
    assert blobs.keep_only({kept}) == 2
    assert blobs.get(kept) == b"kept"
    assert not blobs.path(other).exists()
    assert not draft.exists()


def test_a_room_takes_each_step_once(tmp_path: Path) -> None:
    """Steps that were added since are taken at the next start, all or none; those taken before are not taken again."""
    path = tmp_path / "cloud.db"
    first = ("CREATE TABLE things(id INTEGER)", "INSERT INTO things VALUES(1)")
    database = Database(path)
    database.upgrade("things", first)
    database.upgrade("things", first)
    database.close()
    database = Database(path)
    with pytest.raises(apsw.SQLError):
        database.upgrade("things", (*first, "ALTER TABLE things ADD COLUMN name TEXT", "no SQL"))
    columns_after_failure = [row["name"] for row in database.rows("PRAGMA table_info(things)")]
    database.upgrade("things", (*first, "ALTER TABLE things ADD COLUMN name TEXT"))
    rows = database.rows("SELECT * FROM things")
    database.close()

    assert columns_after_failure == ["id"]
    assert rows == [{"id": 1, "name": None}]
