"""Backups by export: in the window only, and by pages where an export can't be had or is not what is there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from clodo.backups.manifest import Kind
from clodo.backups.verification import Level
from clodo.cloudflare.clock import Clock
from clodo.errors import Refused
from clodo.workspace.backup_settings import ExportWindow

IN_TIME = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)


def allow(fleet, window="02:00-03:00", time_zone="Europe/Berlin"):
    file = fleet.root / "portfolio.toml"
    file.write_text(f'{file.read_text()}[backups.export]\nwindow = "{window}"\ntime_zone = "{time_zone}"\n')


def export(fleet, at=IN_TIME):
    backups = fleet.open(clock=Clock(now=lambda: at))
    manifest = backups.create(fleet.account_of, kinds=[Kind.D1], export=True)
    assert backups.verify(manifest.id, Level.RESTORE).is_good
    return manifest.archives[0]


def test_an_export_gives_the_same_archive_as_reading_by_pages(fleet):
    """Rows, checksums and schema are the same; that the database doesn't answer meanwhile is said."""
    fleet.sql("DROP TABLE found")
    allow(fleet)
    backups = fleet.open()
    by_pages = backups.create(fleet.account_of, kinds=[Kind.D1]).archives[0]
    fleet.sql("UPDATE members SET name = 'Eve' WHERE name = 'Bob'")
    fleet.sql("UPDATE members SET name = 'Bob' WHERE name = 'Eve'")

    by_export = export(fleet)

    assert (by_pages.facts["read_by"], by_export.facts["read_by"]) == ("pages", "export")
    assert by_export.facts["tables"] == by_pages.facts["tables"]
    assert by_export.facts["schema_sha256"] == by_pages.facts["schema_sha256"]
    assert by_export.plain_sha256 == by_pages.plain_sha256
    assert "d1/shop-db: exporting; it answers nobody until that is done" in fleet.told


def test_what_cloudflare_cannot_export_is_read_by_pages(fleet):
    """A full-text table makes it refuse; the snapshot is a good one all the same, and says why."""
    allow(fleet)

    archive = export(fleet)

    assert archive.facts["read_by"] == "pages"
    assert any("read by pages instead" in line and "fts5" in line for line in fleet.told)


def test_an_export_that_lost_rowids_is_not_used(fleet):
    """Exports don't write rowids; where they are not 1, 2, 3, the rows would get others."""
    fleet.sql("DROP TABLE found; DELETE FROM log WHERE rowid = 1")
    allow(fleet)

    archive = export(fleet)

    assert archive.facts["read_by"] == "pages"
    assert any("other rows than the database" in line for line in fleet.told)


def test_outside_of_a_window_it_is_refused(fleet):
    """Without a window, a minute before it, and in the minute at which it ends, in its time zone."""
    with pytest.raises(Refused, match=r"no \[backups\.export\]"):
        export(fleet)
    allow(fleet)
    for at in (datetime(2026, 11, 20, 0, 59, tzinfo=UTC), datetime(2026, 11, 20, 2, 0, tzinfo=UTC)):
        with pytest.raises(Refused, match=r"02:00-03:00 \(Europe/Berlin\) only"):
            export(fleet, at)

    assert fleet.open().all() == []


@pytest.mark.exhaustive
def test_a_window_that_closes_meanwhile_exports_nothing_more(fleet):
    """Databases whose turn comes later are read by pages."""
    allow(fleet)
    moments = iter([IN_TIME])
    late = IN_TIME.replace(hour=5)

    manifest = fleet.open(clock=Clock(now=lambda: next(moments, late))).create(
        fleet.account_of, kinds=[Kind.D1], export=True
    )

    assert manifest.archives[0].facts["read_by"] == "pages"
    assert any("the window for exports has closed" in line for line in fleet.told)


def test_a_window_may_pass_midnight():
    """From 23:30 to 00:30 is an hour."""
    window = ExportWindow(window="23:30-00:30")

    inside = [(hour, minute) for hour in range(24) for minute in (0, 30) if window.includes(_at(hour, minute))]

    assert inside == [(0, 0), (23, 30)]


@pytest.mark.parametrize(
    ("window", "time_zone"),
    [
        ("2-3", "UTC"),
        ("02:00-24:00", "UTC"),
        ("02:00-02:00", "UTC"),
        ("02:00-03:00", "Mars/Olympus"),
        ("01:00-02:00", "/x"),
    ],
)
def test_a_window_that_is_none_is_refused(window, time_zone):
    """Neither hours alone, nor no time at all, nor a place without a time."""
    with pytest.raises(ValidationError):
        ExportWindow(window=window, time_zone=time_zone)


def _at(hour, minute):
    return datetime(2026, 11, 20, hour, minute, tzinfo=UTC)
