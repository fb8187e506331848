"""Queues and who consumes them, as the control plane keeps them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clodo.emulator.clock import new_id, now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError
from clodo.emulator.queues.messages import Messages
from clodo.emulator.queues.settings import PullSettings, QueueSettings, WorkerSettings
from clodo.emulator.workers.answers import live_version
from clodo.emulator.workers.consumers import raise_if_handler_missing
from clodo.emulator.workers.store import Scripts

QUEUE_NOT_FOUND = 11000
INVALID_QUEUE = 11001
CONSUMER_EXISTS = 11004
CONSUMER_NOT_FOUND = 11005
QUEUE_EXISTS = 11009

#: https://developers.cloudflare.com/queues/platform/limits/
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")

JURISDICTIONS = ("eu", "us", "fedramp")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of an account."""

    id: str
    account_id: str
    name: str
    created_on: str
    modified_on: str
    settings: QueueSettings
    jurisdiction: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerConsumer:
    """A Worker that a queue's messages are given to."""

    id: str
    queue: Queue
    script: str
    settings: WorkerSettings
    dead_letter_queue: str | None
    created_on: str


@dataclass(frozen=True, slots=True)
class PullConsumer:
    """Whoever pulls a queue's messages over HTTP."""

    id: str
    queue: Queue
    settings: PullSettings
    dead_letter_queue: str | None
    created_on: str


Consumer = WorkerConsumer | PullConsumer


class Queues:
    """The queues of every account."""

    def __init__(self, database: Database, scripts: Scripts, messages: Messages) -> None:
        self._database = database
        self._scripts = scripts
        self._messages = messages

    # --- queues

    def exists(self, account_id: str, name: str) -> bool:
        """Say whether the account has a queue of this name."""
        return self.id_of(account_id, name) is not None

    def id_of(self, account_id: str, name: str | None) -> str | None:
        """Return the id of a queue by name."""
        found: str | None = self._database.value(
            "SELECT id FROM queues WHERE account_id = ? AND name = ?", (account_id, name)
        )
        return found

    def named(self, account_id: str, name: str) -> Queue | None:
        """Return a queue by name."""
        row = self._database.row("SELECT * FROM queues WHERE account_id = ? AND name = ?", (account_id, name))
        return None if row is None else _queue(row)

    def find(self, account_id: str, queue_id: str) -> Queue:
        """
        Return a queue by id.

        Raises:
            ApiError: There is none.
        """
        row = self._database.row("SELECT * FROM queues WHERE account_id = ? AND id = ?", (account_id, queue_id))
        if row is None:
            raise ApiError(404, QUEUE_NOT_FOUND, "Queue not found.")
        return _queue(row)

    def all(self) -> list[Queue]:
        """Return every account's queues."""
        return [_queue(row) for row in self._database.rows("SELECT * FROM queues")]

    def with_ids(self, ids: Iterable[str]) -> list[Queue]:
        """Return those of these queues that are there."""
        rows = (self._database.row("SELECT * FROM queues WHERE id = ?", (queue_id,)) for queue_id in ids)
        return [_queue(row) for row in rows if row is not None]

    def of_account(self, account_id: str) -> list[Queue]:
        """Return the account's queues by name."""
        rows = self._database.rows("SELECT * FROM queues WHERE account_id = ? ORDER BY name", (account_id,))
        return [_queue(row) for row in rows]

    def create(self, account_id: str, body: Mapping[str, Any]) -> Queue:
        """
        Make the queue that *body* describes.

        Raises:
            ApiError: The name can't be one or is taken, or a setting is out of bounds.
        """
        name = self._free_name(account_id, body.get("queue_name"))
        settings = QueueSettings.from_json({} if body.get("settings") is None else body["settings"])
        jurisdiction = body.get("jurisdiction")
        if jurisdiction is not None and jurisdiction not in JURISDICTIONS:
            raise ApiError(400, INVALID_QUEUE, f"jurisdiction must be one of {', '.join(JURISDICTIONS)}.")
        moment = now()
        row: Row = {
            "id": new_id(),
            "account_id": account_id,
            "name": name,
            "created_on": moment,
            "modified_on": moment,
            "settings": {**asdict(settings), "jurisdiction": jurisdiction},
        }
        self._database.insert("queues", row)
        return self.find(account_id, row["id"])

    def change(self, queue: Queue, body: Mapping[str, Any], *, is_whole: bool) -> Queue:
        """
        Rename a queue or change its settings.

        Args:
            is_whole: Whether settings that *body* leaves out fall back to what a new queue has.

        Raises:
            ApiError: The name can't be one or is taken, or a setting is out of bounds.
        """
        name = queue.name
        if body.get("queue_name") not in (None, queue.name):
            name = self._free_name(queue.account_id, body["queue_name"])
        settings = {} if body.get("settings") is None else body["settings"]
        if not isinstance(settings, Mapping):
            raise ApiError(400, INVALID_QUEUE, "settings must be an object")
        kept = {} if is_whole else asdict(queue.settings)
        changed = QueueSettings.from_json({**kept, **settings})
        stored = {**asdict(changed), "jurisdiction": queue.jurisdiction}
        self._database.run(
            "UPDATE queues SET name = ?, modified_on = ?, settings = ? WHERE id = ?",
            (name, now(), json.dumps(stored), queue.id),
        )
        return self.find(queue.account_id, queue.id)

    def delete(self, queue: Queue) -> None:
        """Remove a queue, its consumers and its messages."""
        self._database.run("DELETE FROM queues WHERE id = ?", (queue.id,))
        self._messages.remove(queue.id)

    def _free_name(self, account_id: str, name: Any) -> str:
        if not isinstance(name, str) or not _NAME.match(name):
            raise ApiError(400, INVALID_QUEUE, f"Invalid queue name: {str(name)[:100]!r}.")
        if self.exists(account_id, name):
            raise ApiError(409, QUEUE_EXISTS, f"Queue name '{name}' is already taken. Please use a different name.")
        return name

    # --- consumers

    def consumer(self, queue: Queue) -> Consumer | None:
        """Return the one consumer that a queue may have."""
        row = self._database.row("SELECT * FROM queue_consumers WHERE queue_id = ?", (queue.id,))
        return None if row is None else self._consumer(queue, row)

    def pull_consumer(self, queue: Queue) -> PullConsumer | None:
        """Return how a queue may be pulled over HTTP, None if it may not."""
        found = self.consumer(queue)
        return found if isinstance(found, PullConsumer) else None

    def put_consumer(self, queue: Queue, consumer_id: str | None, body: Mapping[str, Any]) -> Consumer:
        """
        Add a consumer, or replace the one with this id.

        Raises:
            ApiError: The Worker isn't there or handles no messages, a setting is out of bounds, or the queue has a
                consumer already.
        """
        known = self.consumer(queue)
        if consumer_id is None and known is not None:
            raise ApiError(400, CONSUMER_EXISTS, "Queue already has a consumer.")
        if consumer_id is not None and (known is None or known.id != consumer_id):
            raise ApiError(404, CONSUMER_NOT_FOUND, "Consumer not found.")
        kind, script_id = body.get("type") or "worker", None
        settings = {} if body.get("settings") is None else body["settings"]
        if not isinstance(settings, Mapping):
            raise ApiError(400, INVALID_QUEUE, "settings must be an object")
        checked: WorkerSettings | PullSettings
        if kind == "worker":
            name = body.get("script_name") or body.get("service")
            script = self._scripts.get(queue.account_id, name) if isinstance(name, str) else None
            if script is None:
                raise ApiError(400, INVALID_QUEUE, f"Worker {name!r} not found.")
            version = live_version(self._scripts, script)
            raise_if_handler_missing(version.content if version else None)
            script_id, checked = script.id, WorkerSettings.from_json(settings)
        elif kind == "http_pull":
            checked = PullSettings.from_json(settings)
        else:
            raise ApiError(400, INVALID_QUEUE, f"Unknown consumer type {str(kind)[:100]!r}.")
        dead_letters = body.get("dead_letter_queue")
        if dead_letters is not None and not isinstance(dead_letters, str):
            raise ApiError(400, INVALID_QUEUE, "dead_letter_queue must be a queue's name.")
        row: Row = {
            "id": known.id if known else new_id(),
            "queue_id": queue.id,
            "script": script_id,
            "type": kind,
            "settings": asdict(checked),
            "dead_letter_queue": dead_letters or None,
            "created_on": known.created_on if known else now(),
        }
        with self._database.transaction():
            # Also one whose Worker is gone, which nobody sees any more.
            self._database.run("DELETE FROM queue_consumers WHERE queue_id = ?", (queue.id,))
            self._database.insert("queue_consumers", row)
        made = self.consumer(queue)
        assert made is not None
        return made

    def delete_consumer(self, queue: Queue, consumer_id: str) -> bool:
        """Remove a consumer; False if there was none."""
        sql = "DELETE FROM queue_consumers WHERE queue_id = ? AND id = ?"
        return self._database.run(sql, (queue.id, consumer_id)) > 0

    def _consumer(self, queue: Queue, row: Row) -> Consumer | None:
        settings = json.loads(row["settings"])
        if row["type"] == "http_pull":
            pull = PullSettings.from_json(settings)
            return PullConsumer(row["id"], queue, pull, row["dead_letter_queue"], row["created_on"])
        script = self._scripts.by_id(queue.account_id, row["script"]) if row["script"] else None
        if script is None:
            return None
        worker = WorkerSettings.from_json(settings)
        return WorkerConsumer(row["id"], queue, script.name, worker, row["dead_letter_queue"], row["created_on"])

    def producers(self, queue: Queue) -> list[str]:
        """Return the names of the Workers that are bound to a queue."""
        found = []
        for script in self._scripts.of_account(queue.account_id):
            version = self._scripts.newest_version(script)
            bindings = version.content.bindings if version else ()
            if any(item["type"] == "queue" and item.get("queue_name") == queue.name for item in bindings):
                found.append(script.name)
        return found


def _queue(row: Row) -> Queue:
    settings = json.loads(row["settings"])
    jurisdiction = settings.pop("jurisdiction", None)
    return Queue(
        row["id"],
        row["account_id"],
        row["name"],
        row["created_on"],
        row["modified_on"],
        QueueSettings.from_json(settings),
        jurisdiction,
    )
