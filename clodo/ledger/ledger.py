"""The ledger: one SQL database that remembers releases, locks, the request budget and the audit trail."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from clodo.ledger.audit import Audit
from clodo.ledger.clocks import Clock
from clodo.ledger.journal import FileJournal, LedgerJournal
from clodo.ledger.live import LiveTargets
from clodo.ledger.locks import Locks
from clodo.ledger.releases import Releases

if TYPE_CHECKING:
    from clodo.cloudflare.budget import Budget


def default_path(workspace: Path) -> Path:
    """Return where a workspace keeps its ledger."""
    return workspace / ".clodo" / "ledger.sqlite3"


class Ledger:
    """The memory of a workspace or a team; use it as a context manager. Safe to share between threads."""

    releases: Releases
    journal: LedgerJournal
    locks: Locks
    audit: Audit
    live: LiveTargets

    @classmethod
    def open(cls, place: str | Path, *, clock: Clock | None = None) -> Ledger:
        """
        Open the ledger at *place*, making or upgrading its tables when needed.

        Args:
            place: Path of a SQLite file (its folder is made), or a URL: ``sqlite:///…``, ``postgresql://user@host/db``.

            clock: What time it is. By default this machine's clock with SQLite, the server's with PostgreSQL, so that
                machines whose clocks differ agree on when a lock expires.

        Raises:
            LedgerUnavailable: It can't be opened; the message says why, the hint what to do.
            NoSpaceLeft: The disk is full.
        """
        raise NotImplementedError

    @property
    def is_shared(self) -> bool:
        """Can other machines see it? True for PostgreSQL."""
        raise NotImplementedError

    def budget(self, user_key: str) -> Budget:
        """
        Return the request budget of one Cloudflare user, shared with every process that uses this ledger.

        Args:
            user_key: Tells users apart; an id or a hash, never a token.
        """
        raise NotImplementedError

    def import_file_journal(self, journal: FileJournal) -> int:
        """
        Take in what was written to a file while the ledger was out of reach; doing it twice changes nothing.

        Returns:
            Number of entries that were new.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give unused budget back and close the connections."""
        raise NotImplementedError

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
