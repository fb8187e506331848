"""What waits in queues: one SQLite file, in which a message is until its consumer has acknowledged it."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clodo.emulator.clock import new_id
from clodo.emulator.database import Database, Row
from clodo.emulator.runtime.ports import Backlog, QueueMessage

SCHEMA = """
CREATE TABLE messages(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, queue_id TEXT NOT NULL, content_type TEXT NOT NULL,
    body BLOB NOT NULL, sent_ms INTEGER NOT NULL, visible_ms INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    lease TEXT UNIQUE, leased_until_ms INTEGER
);
CREATE INDEX messages_to_deliver ON messages(queue_id, visible_ms, number) WHERE lease IS NULL;
CREATE INDEX messages_pulled ON messages(queue_id, leased_until_ms) WHERE leased_until_ms IS NOT NULL;
CREATE INDEX messages_by_age ON messages(queue_id, sent_ms);
CREATE TABLE purges(queue_id TEXT PRIMARY KEY, started_at TEXT NOT NULL) WITHOUT ROWID;
"""

_READY = "queue_id = ? AND lease IS NULL AND visible_ms <= ?"


@dataclass(frozen=True, slots=True)
class Taken:
    """
    A message that somebody was given.

    Attributes:
        lease: Proves that it is theirs to acknowledge.

        attempts: How often it has been given to anybody, this time included.
    """

    lease: str
    id: str
    content_type: str
    body: bytes
    sent_ms: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    What could be delivered now.

    Attributes:
        count: Messages, counted up to the limit that was asked for.

        first_ms: Since when the first has been visible.

        is_retried: Whether one among them was delivered before: it waits for its delay only, not for company.
    """

    count: int
    first_ms: int
    is_retried: bool


class Messages:
    """
    The messages of every queue. All times are Unix milliseconds.

    A message taken by a Worker is held until this process says what became of it; when the process ends first, the
    next one finds it free again. A message pulled over HTTP is held until a time.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA)
        self._database.run("UPDATE messages SET lease = NULL WHERE lease IS NOT NULL AND leased_until_ms IS NULL")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, queue_id: str, messages: Iterable[QueueMessage], *, now_ms: int, delay_seconds: int = 0) -> None:
        """Keep *messages*, all or none; *delay_seconds* holds for those that say nothing themselves."""
        with self._database.transaction():
            for message in messages:
                delay = delay_seconds if message.delay_seconds is None else message.delay_seconds
                self._database.insert(
                    "messages",
                    {
                        "id": new_id(),
                        "queue_id": queue_id,
                        "content_type": message.content_type,
                        "body": message.body,
                        "sent_ms": now_ms,
                        "visible_ms": now_ms + delay * 1000,
                    },
                )

    def backlog(self, queue_id: str) -> Backlog:
        """Return how much is unacknowledged."""
        row = self._database.rows(
            "SELECT count(*) AS count, coalesce(sum(length(body)), 0) AS bytes, coalesce(min(sent_ms), 0) AS oldest"
            " FROM messages WHERE queue_id = ?",
            (queue_id,),
        )[0]
        return Backlog(row["count"], row["bytes"], row["oldest"])

    def waiting(self, queue_id: str, limit: int, *, now_ms: int) -> Waiting | None:
        """Return what could be delivered now, None if nothing."""
        rows = self._database.rows(
            f"SELECT visible_ms, attempts FROM messages WHERE {_READY} ORDER BY visible_ms, number LIMIT ?",  # noqa: S608
            (queue_id, now_ms, limit),
        )
        if not rows:
            return None
        return Waiting(len(rows), rows[0]["visible_ms"], any(row["attempts"] for row in rows))

    def next_visible_ms(self, queue_id: str, *, after_ms: int) -> int | None:
        """Return when the next hidden message may be delivered or is given back; None if nothing is hidden."""
        found: int | None = self._database.value(
            "SELECT min(at) FROM (SELECT min(visible_ms) AS at FROM messages WHERE queue_id = ?1 AND lease IS NULL"
            " AND visible_ms > ?2 UNION ALL SELECT min(leased_until_ms) FROM messages WHERE queue_id = ?1"
            " AND leased_until_ms IS NOT NULL)",
            (queue_id, after_ms),
        )
        return found

    def take(self, queue_id: str, limit: int, *, now_ms: int, until_ms: int | None = None) -> list[Taken]:
        """Give away up to *limit* messages, oldest first; *until_ms* is for those who pull."""
        with self._database.transaction():
            rows = self._database.rows(
                f"SELECT * FROM messages WHERE {_READY} ORDER BY visible_ms, number LIMIT ?",  # noqa: S608
                (queue_id, now_ms, limit),
            )
            taken = []
            for row in rows:
                lease = secrets.token_urlsafe(24)
                self._database.run(
                    "UPDATE messages SET lease = ?, leased_until_ms = ?, attempts = attempts + 1 WHERE number = ?",
                    (lease, until_ms, row["number"]),
                )
                taken.append(_taken(row, lease))
        return taken

    def look(self, queue_id: str, limit: int) -> list[tuple[str, Taken]]:
        """Return the first messages without taking them, each with a reference that `discard` knows."""
        rows = self._database.rows(
            "SELECT * FROM messages WHERE queue_id = ? ORDER BY number LIMIT ?", (queue_id, limit)
        )
        return [(str(row["number"]), _taken(row, "")) for row in rows]

    def discard(self, queue_id: str, references: Collection[str]) -> list[str]:
        """Delete messages that `look` showed; return the references that lead to none."""
        return [
            reference
            for reference in references
            if not reference.isdecimal()
            or not self._database.run(
                "DELETE FROM messages WHERE queue_id = ? AND number = ?", (queue_id, int(reference[:18]))
            )
        ]

    def acknowledge(self, queue_id: str, leases: Sequence[str]) -> list[str]:
        """Delete what these leases hold; return those that hold nothing."""
        with self._database.transaction():
            return [
                lease
                for lease in leases
                if not self._database.run("DELETE FROM messages WHERE queue_id = ? AND lease = ?", (queue_id, lease))
            ]

    def give_back(
        self, queue_id: str, leases: Iterable[tuple[str, int]], *, max_retries: int, dead_letters: str | None
    ) -> list[str]:
        """
        Make messages visible again, or give up on those that were tried once more than *max_retries* often.

        Args:
            leases: Each with the time from which it is visible.

            dead_letters: Id of the queue that takes what is given up; None deletes it.

        Returns:
            The leases that hold nothing.
        """
        unknown = []
        with self._database.transaction():
            for lease, visible_ms in leases:
                row = self._database.row(
                    "SELECT number, attempts FROM messages WHERE queue_id = ? AND lease = ?", (queue_id, lease)
                )
                if row is None:
                    unknown.append(lease)
                elif row["attempts"] <= max_retries:
                    self._free(row["number"], visible_ms)
                else:
                    self._give_up(row["number"], dead_letters, visible_ms)
        return unknown

    def release(self, leases: Iterable[str], *, visible_ms: int) -> None:
        """Take messages back as if they had never been taken: nobody was there to have them."""
        with self._database.transaction():
            for lease in leases:
                self._database.run(
                    "UPDATE messages SET lease = NULL, leased_until_ms = NULL, attempts = attempts - 1, visible_ms = ?"
                    " WHERE lease = ?",
                    (visible_ms, lease),
                )

    def expire_leases(self, queue_id: str, *, now_ms: int, max_retries: int, dead_letters: str | None) -> None:
        """Give back what was pulled and not acknowledged in time."""
        rows = self._database.rows(
            "SELECT lease FROM messages WHERE queue_id = ? AND leased_until_ms <= ?", (queue_id, now_ms)
        )
        if rows:
            held = [(row["lease"], now_ms) for row in rows]
            self.give_back(queue_id, held, max_retries=max_retries, dead_letters=dead_letters)

    def forget_older(self, queue_id: str, than_ms: int) -> None:
        """Delete the messages that were sent before."""
        self._database.run("DELETE FROM messages WHERE queue_id = ? AND sent_ms < ?", (queue_id, than_ms))

    def purge(self, queue_id: str, *, started_at: str) -> None:
        """Delete all messages of a queue."""
        with self._database.transaction():
            self._database.run("DELETE FROM messages WHERE queue_id = ?", (queue_id,))
            self._database.insert("purges", {"queue_id": queue_id, "started_at": started_at}, replace=True)

    def last_purge(self, queue_id: str) -> str | None:
        """Return when the queue was last purged."""
        found: str | None = self._database.value("SELECT started_at FROM purges WHERE queue_id = ?", (queue_id,))
        return found

    def remove(self, queue_id: str) -> None:
        """Forget a deleted queue."""
        with self._database.transaction():
            self._database.run("DELETE FROM messages WHERE queue_id = ?", (queue_id,))
            self._database.run("DELETE FROM purges WHERE queue_id = ?", (queue_id,))

    def _free(self, number: int, visible_ms: int) -> None:
        self._database.run(
            "UPDATE messages SET lease = NULL, leased_until_ms = NULL, visible_ms = ? WHERE number = ?",
            (visible_ms, number),
        )

    def _give_up(self, number: int, dead_letters: str | None, now_ms: int) -> None:
        if dead_letters is None:
            self._database.run("DELETE FROM messages WHERE number = ?", (number,))
        else:
            self._database.run(
                "UPDATE messages SET queue_id = ?, lease = NULL, leased_until_ms = NULL, attempts = 0, visible_ms = ?"
                " WHERE number = ?",
                (dead_letters, now_ms, number),
            )


def _taken(row: Row, lease: str) -> Taken:
    attempts = row["attempts"] + (1 if lease else 0)
    return Taken(lease, row["id"], row["content_type"], row["body"], row["sent_ms"], attempts)
