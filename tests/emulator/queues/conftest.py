"""A queue with a consumer, a clock that stands still, and a Worker that is a function."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clodo.emulator.clock import new_uuid, now
from clodo.emulator.database import Database
from clodo.emulator.queues.deliveries import Deliveries
from clodo.emulator.queues.messages import Messages
from clodo.emulator.queues.producing import Producing
from clodo.emulator.queues.store import Queue, Queues
from clodo.emulator.runtime.ports import Backlog, QueueMessage
from clodo.emulator.workers.store import Content, Scripts

ACCOUNT = "0123456789abcdef0123456789abcdef"
Handler = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]


class Post:
    """
    Queues whose time and Worker belong to the test.

    Attributes:
        now_ms: The time; moved by the test.

        handler: Stands for the Worker: takes a batch and answers as workerd does.

        batches: The bodies of every batch so far.

        held: While set to an event, batches stay out until it is set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = 1_800_000_000_000
        self.handler: Handler = lambda batch: {"outcome": "ok"}
        self.batches: list[list[Any]] = []
        self.attempts: list[list[int]] = []
        self.held: asyncio.Event | None = None
        self.open()

    def open(self) -> None:
        """Open the files, as a start does."""
        self.database = Database(self.folder / "cloud.db")
        self.messages = Messages(self.folder / "queues.db")
        self.scripts = Scripts(self.database)
        self.queues = Queues(self.database, self.scripts, self.messages)
        self.deliveries = Deliveries(self.queues, self.messages, self._consume, lambda: self.now_ms)
        self.producing = Producing(self.queues, self.messages, lambda: self.now_ms, self.deliveries.wake)

    async def close(self) -> None:
        """Close the files, as an end does."""
        await self.deliveries.stop()
        self.messages.close()
        self.database.close()

    def queue(self, name: str = "orders", **settings: Any) -> Queue:
        """Make a queue."""
        return self.queues.create(ACCOUNT, {"queue_name": name, "settings": settings})

    def consumed(self, queue: Queue, *, dead_letter_queue: str | None = None, **settings: Any) -> None:
        """Let the Worker consume a queue."""
        if self.scripts.get(ACCOUNT, "consumer") is None:
            self._upload_consumer()
        body = {"type": "worker", "script_name": "consumer", "settings": settings}
        self.queues.put_consumer(queue, None, {**body, "dead_letter_queue": dead_letter_queue})

    def _upload_consumer(self) -> None:
        handled = Content("index.js", None, [], "2026-01-01", [], [], handlers=["queue"])
        about: dict[str, Any] = {"etag": "", "author": {}, "source": "api", "annotations": {}, "has_preview": False}
        script = self.scripts.create(ACCOUNT, "consumer", source="api")
        self.scripts.add_version(script, handled, version_id=new_uuid(), created_on=now(), startup_time_ms=0, **about)

    async def send(self, *bodies: Any, queue: str = "orders", delay_seconds: int | None = None) -> Backlog:
        """Send JSON messages."""
        messages = [QueueMessage(json.dumps(body).encode(), "json", delay_seconds) for body in bodies]
        return await self.producing.send(ACCOUNT, queue, messages)

    async def pass_time(self, seconds: float = 0) -> None:
        """Move the clock, and let happen what is due then."""
        self.now_ms += round(seconds * 1000)
        self.deliveries.deliver_due()
        if self.held is None:
            await self.deliveries.settled()
        else:
            await asyncio.sleep(0)

    async def _consume(
        self, account_id: str, script: str, queue: str, messages: Sequence[Mapping[str, Any]], backlog: Backlog
    ) -> Mapping[str, Any]:
        assert (account_id, script) == (ACCOUNT, "consumer")
        self.batches.append([json.loads(base64.b64decode(message["body"])) for message in messages])
        self.attempts.append([message["attempts"] for message in messages])
        if self.held is not None:
            await self.held.wait()
        return self.handler(messages)


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    """Queues on a clock of the test's own."""
    made = Post(tmp_path)
    yield made
    await made.close()
