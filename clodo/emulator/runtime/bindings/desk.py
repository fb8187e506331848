"""Which back end a binding's call is for; tail events come the same way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from clodo.emulator.runtime import callers
from clodo.emulator.runtime.bindings.calls import Answer, Call
from clodo.emulator.runtime.bindings.databases import serve_d1
from clodo.emulator.runtime.bindings.key_values import serve_kv
from clodo.emulator.runtime.bindings.queues import serve_events, serve_queue
from clodo.emulator.runtime.ports import (
    BindingRefused,
    DatabaseBackend,
    EventBackend,
    NamespaceBackend,
    QueueBackend,
)


@dataclass(frozen=True, slots=True)
class Desk:
    """
    Answers the calls of bindings.

    Attributes:
        secret: What a process of ours shows with each call.

        count: Told the id of each version that calls.

        deliver_tail: Given tail events: account, script, version, events.
    """

    databases: DatabaseBackend | None
    namespaces: NamespaceBackend | None
    queues: QueueBackend | None
    events: EventBackend | None
    secret: bytes
    count: Callable[[str], None]
    deliver_tail: Callable[[str, str, str, list[Any]], None]

    def __call__(self, call: Call) -> Answer | Awaitable[Answer]:
        """Answer *call*, at once if it can be."""
        if not callers.is_ours(self.secret, call.header(callers.SECRET)):
            return Answer(403, b"not for you\n")
        caller = callers.read_caller(call.header(callers.CALLER))
        if caller["kind"] == "tail":
            told = json.loads(call.body)
            self.deliver_tail(caller["account"], caller["script"], told["version"], told["events"])
            return Answer()
        self.count(caller["version"])
        match caller["kind"]:
            case "d1":
                return serve_d1(self.databases, caller["account"], caller["id"], call)
            case "kv":
                return _or_refused(serve_kv(self.namespaces, caller["account"], caller["id"], call))
            case "queue":
                return _or_refused(serve_queue(self.queues, caller["account"], caller["id"], call))
            case "events":
                return _or_refused(serve_events(self.events, caller["account"], caller["id"], call))
            case kind:
                return Answer(501, f"nobody serves {kind}".encode())


async def _or_refused(awaited: Awaitable[Answer]) -> Answer:
    try:
        return await awaited
    except BindingRefused as error:
        return Answer(error.status, error.message.encode())
