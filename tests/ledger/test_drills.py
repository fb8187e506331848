"""What the ledger remembers of drills."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clodo.ledger import DrillRecord

BEGAN = datetime(2026, 11, 20, 4, 17, tzinfo=UTC)


def test_the_latest_drills_come_oldest_first(ledger):
    """Those of another portfolio are not among them, and no more than were asked for."""
    drills = [
        DrillRecord(f"d{day}", "fleet", "s1", "local", BEGAN + timedelta(days=day), day != 1, 2.5, 3600.0, 10)
        for day in range(3)
    ]
    for drill in (*reversed(drills), DrillRecord("x", "other", "s1", "local", BEGAN, True, 1.0, 1.0, 1, "no")):
        ledger.drills.add(drill)

    latest = ledger.drills.latest("fleet", limit=2)

    assert latest == drills[1:]
    assert (latest[0].rto, latest[0].rpo) == (timedelta(seconds=2.5), timedelta(hours=1))
