"""When Durable Objects that sleep want to be woken: workerd keeps their alarms, but rings them only while it runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)

#: A script that could not be woken is tried again after this long.
RETRY_SECONDS = 10.0

Owner = tuple[str, str]
"""Account and script."""


def next_alarm(folder: Path) -> float | None:
    """
    Return when the first stored alarm of a script is due, in Unix seconds; None if it has none.

    Args:
        folder: Where its objects keep their data; nobody else may have it open for writing.
    """
    found: list[float] = []
    for path in folder.glob("*/metadata.sqlite"):
        # Nanoseconds, in a table that workerd makes with the first alarm of a namespace.
        try:
            with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as database:
                ((first,),) = database.execute("SELECT min(scheduled_time) FROM _cf_ALARM").fetchall()
            database.close()
        except sqlite3.DatabaseError as error:
            logger.info("no alarms were found", path=str(path), reason=str(error))
            continue
        if first is not None:
            found.append(first / 1e9)
    return min(found, default=None)


class Alarms:
    """
    A timer for each script whose process sleeps.

    Args:
        root: Folder of all Durable Objects: ``account/script/…``.

        clock: Tells Unix seconds.
    """

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._asleep: dict[Owner, float | None] = {}

    def owners(self) -> list[Owner]:
        """Return the scripts that have kept anything."""
        return [(folder.parent.name, folder.name) for folder in self._root.glob("*/*") if folder.is_dir()]

    def due(self, owners: Iterable[Owner], is_running: Callable[[Owner], bool], *, within: float) -> list[Owner]:
        """
        Return whom to wake now.

        Args:
            owners: Scripts with Durable Objects.

            is_running: Whether a script's process is there, and rings its alarms itself.

            within: Seconds until the next call; who is due before then is woken now.
        """
        now, found = self._clock(), []
        for owner in owners:
            if is_running(owner):
                self._asleep.pop(owner, None)
                continue
            if owner not in self._asleep:
                self._asleep[owner] = next_alarm(self._root / owner[0] / owner[1])
            moment = self._asleep[owner]
            if moment is not None and moment <= now + within:
                self._asleep[owner] = now + RETRY_SECONDS
                found.append(owner)
        return found
