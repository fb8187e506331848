"""The ledger: one SQL database that remembers releases, locks, the request budget and the audit trail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from clodo.errors import ClodoError, ReleaseNotFound
from clodo.ledger.audit import Audit
from clodo.ledger.budget import LedgerBudget
from clodo.ledger.clocks import Clock
from clodo.ledger.configurations import Configurations
from clodo.ledger.database import DEFAULT_PATIENCE, Database
from clodo.ledger.drills import Drills
from clodo.ledger.journal import FileJournal, LedgerJournal, insert_entry
from clodo.ledger.live import LiveTargets
from clodo.ledger.locks import Locks
from clodo.ledger.releases import Releases, close_release, insert_release, known_releases
from clodo.ledger.secret_records import SecretRecords
from clodo.ledger.snapshots import Snapshots
from clodo.ledger.zone_lists import ZoneLists


def default_path(workspace: Path) -> Path:
    """Return where a workspace keeps its ledger."""
    return workspace / ".clodo" / "ledger.sqlite3"


class Ledger:
    """
    The memory of a workspace or a team; use it as a context manager. Safe to share between threads.

    Attributes:
        releases: What was attempted.

        journal: Its steps.

        locks: Who may do what now.

        audit: Who did what.

        live: What we last deployed where.

        snapshots: Which there are, and when each was last proven.

        drills: When a restore was last tried, and how long it took.

        configurations: What each release was told to be, without secrets.

        secrets: How old secrets are, and how rotations stand; never the secrets.

        zones: What tokens saw of domains, minutes ago.
    """

    def __init__(self, database: Database) -> None:
        self.releases = Releases(database)
        self.journal = LedgerJournal(database)
        self.locks = Locks(database)
        self.audit = Audit(database)
        self.live = LiveTargets(database)
        self.snapshots = Snapshots(database)
        self.drills = Drills(database)
        self.configurations = Configurations(database)
        self.secrets = SecretRecords(database)
        self.zones = ZoneLists(database)
        self._database = database
        self._budgets: dict[str, LedgerBudget] = {}
        self._mutex = threading.Lock()

    @classmethod
    def open(cls, place: str | Path, *, clock: Clock | None = None, patience: timedelta = DEFAULT_PATIENCE) -> Ledger:
        """
        Open the ledger at *place*, making or upgrading its tables when needed.

        Args:
            place: Path of a SQLite file (its folder is made), or a URL: ``sqlite:///…``, ``postgresql://user@host/db``.

            clock: What time it is. By default this machine's clock with SQLite, the server's with PostgreSQL, so that
                machines whose clocks differ agree on when a lock expires.

            patience: How long a writer waits for others who write to the same SQLite file.

        Raises:
            LedgerUnavailable: It can't be opened; the message says why, the hint what to do.
            NoSpaceLeft: The disk is full.
        """
        database = Database(place, clock=clock, patience=patience)
        try:
            database.open()
        except ClodoError:
            database.close()
            raise
        return cls(database)

    @property
    def is_shared(self) -> bool:
        """Can other machines see it? True for PostgreSQL."""
        return self._database.is_shared

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Make everything that this thread writes inside the block one transaction: all of it is there, or nothing."""
        with self._database.write():
            yield

    def budget(self, user_key: str) -> LedgerBudget:
        """
        Return the request budget of one Cloudflare user, shared with every process that uses this ledger.

        Args:
            user_key: Tells users apart; an id or a hash, never a token.
        """
        with self._mutex:
            return self._budgets.setdefault(user_key, LedgerBudget(self._database, user_key))

    def import_file_journal(self, journal: FileJournal) -> int:
        """
        Take in what was written to a file while the ledger was out of reach; doing it twice changes nothing.

        Returns:
            Number of entries that were new.

        Raises:
            ReleaseNotFound: The file has steps of a release that neither it nor the ledger knows; nothing was taken in.
            LedgerUnavailable: The file can't be read.
        """
        releases = {release.id: release for release in journal.releases()}
        entries = journal.all_entries()
        with self._database.write() as connection:
            for release in releases.values():
                insert_release(connection, release)
                close_release(connection, release)
            unknown = {entry.release_id for entry in entries} - known_releases(connection)
            if unknown:
                raise ReleaseNotFound(f"{journal.path}: tells steps of {min(unknown)}, a release nobody recorded")
            return sum(insert_entry(connection, entry) for entry in entries)

    def close(self) -> None:
        """Give unused budget back and close the connections."""
        try:
            for budget in self._budgets.values():
                budget.give_back()
        finally:
            self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
