"""The SQL memory: releases, journal, locks, request budget, audit trail, what is live. SQLite or PostgreSQL."""

from clodo.ledger.audit import Audit, AuditRow, BrokenRow
from clodo.ledger.clocks import Clock, utc_now
from clodo.ledger.drills import DrillRecord, Drills
from clodo.ledger.identifiers import new_identifier, new_release_id
from clodo.ledger.journal import Entry, FileJournal, Journal, LedgerJournal, Phase
from clodo.ledger.ledger import Ledger, default_path
from clodo.ledger.live import Live, LiveTargets
from clodo.ledger.locks import Holding, Lock, Locks
from clodo.ledger.owners import Owner
from clodo.ledger.releases import Release, ReleaseKind, Releases, ReleaseState
from clodo.ledger.snapshots import SnapshotRecord, Snapshots

__all__ = [
    "Audit",
    "AuditRow",
    "BrokenRow",
    "Clock",
    "DrillRecord",
    "Drills",
    "Entry",
    "FileJournal",
    "Holding",
    "Journal",
    "Ledger",
    "LedgerJournal",
    "Live",
    "LiveTargets",
    "Lock",
    "Locks",
    "Owner",
    "Phase",
    "Release",
    "ReleaseKind",
    "ReleaseState",
    "Releases",
    "SnapshotRecord",
    "Snapshots",
    "default_path",
    "new_identifier",
    "new_release_id",
    "utc_now",
]
