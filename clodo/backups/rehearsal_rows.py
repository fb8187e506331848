"""The rows of a database's latest snapshot, for rehearsing migrations on them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from clodo.backups.backups import Backups
from clodo.backups.d1.sqlite import restore_to_file
from clodo.backups.manifest import Kind
from clodo.backups.verification import open_archive


class SnapshotRows:
    """A `clodo.migrations.RowSource` that reads snapshots, newest first."""

    def __init__(self, backups: Backups) -> None:
        self._backups = backups

    def fill(self, database_id: str, file: Path) -> datetime | None:
        """
        Restore the newest snapshot of *database_id* into *file*; return when it was taken, None when there is none.

        Raises:
            SnapshotDamaged, SnapshotNotTrusted: The newest that has it can't be used.
        """
        for listed in reversed(self._backups.all()):
            if listed.is_lost:
                continue
            manifest = self._backups.manifest(listed.record.id, vault=listed.record.vault)
            archive = next((item for item in manifest.archives if (item.kind, item.id) == (Kind.D1, database_id)), None)
            if archive is not None:
                vault = self._backups.vault(listed.record.vault)
                restore_to_file(open_archive(vault, archive, self._backups.identities), file)
                return archive.captured_at
        return None
