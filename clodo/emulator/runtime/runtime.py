"""What the control plane drives: versions checked, started, watched, disturbed and retired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from clodo.emulator.runtime.ports import (
    DatabaseBackend,
    Directory,
    Disturbance,
    EventBackend,
    NamespaceBackend,
    QueueBackend,
    TailSink,
    Validated,
    VersionSpec,
    VersionStats,
)


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """
    How workerd is run.

    Attributes:
        workerd: The binary.

        data: Folder for what Workers keep themselves (Durable Objects), for composed assets and for logs.

        start_timeout: How long a version may take to listen before it is refused.

        idle_timeout: A process without requests for this long is ended, and started by the next request; None never.

        retire_after: How long a retired version is kept warm for a rollback once its last request has ended.

        allow_loopback: Whether Workers may fetch addresses of this machine. Nothing else outside is ever reached.
    """

    workerd: Path
    data: Path
    start_timeout: timedelta = timedelta(seconds=10)
    idle_timeout: timedelta | None = timedelta(minutes=10)
    retire_after: timedelta = timedelta(seconds=20)
    allow_loopback: bool = False


class Runtime:
    """
    Runs Workers. All methods belong to the event loop that called `start`.

    Args:
        directory: What is deployed.

        databases, namespaces, queues, events: The stores behind bindings. Without one, its bindings are there and
            say clearly that nobody serves them.

        random: Gives numbers in [0, 1) for the traffic split and injected errors; seed it to repeat a rehearsal.
    """

    def __init__(
        self,
        config: RuntimeConfig,
        directory: Directory,
        *,
        databases: DatabaseBackend | None = None,
        namespaces: NamespaceBackend | None = None,
        queues: QueueBackend | None = None,
        events: EventBackend | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Open the back ends and end what an earlier runtime of the same data folder left running."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End every process, all at the same time: SIGTERM, a second later SIGKILL. Safe to repeat."""
        raise NotImplementedError

    async def validate(self, spec: VersionSpec) -> Validated:
        """
        Start *spec* once to learn its handlers, and keep the process: an `ensure` soon after costs nothing.

        Raises:
            ScriptInvalid: workerd refuses it; the message is workerd's, as the API shows it with code 10021.
        """
        raise NotImplementedError

    async def ensure(self, spec: VersionSpec) -> None:
        """Have *spec* running and listening. Call before its deployment is made current, so that nobody waits."""
        raise NotImplementedError

    async def deployed(self, account_id: str, script: str) -> None:
        """
        Follow a change of *script*'s deployment: call right after the directory has it.

        Versions out of traffic are retired after their last request (and `retire_after`); RPC connections of callers
        are moved to the new deployment. Returns at once; nothing in flight is dropped.
        """
        raise NotImplementedError

    async def retire(
        self, account_id: str, script: str, version_id: str, *, grace: timedelta = timedelta(seconds=30)
    ) -> None:
        """Let requests in flight end (for at most *grace*), then end the process. Returns when it has ended."""
        raise NotImplementedError

    async def remove(self, account_id: str, script: str) -> None:
        """End every process of a deleted script and delete what its Durable Objects kept."""
        raise NotImplementedError

    def open_tail(self, account_id: str, script: str, sink: TailSink) -> str:
        """Send each event of *script* to *sink* from now on; return what `close_tail` takes."""
        raise NotImplementedError

    def close_tail(self, tail_id: str) -> None:
        """Stop sending. Safe to repeat."""
        raise NotImplementedError

    async def trigger_scheduled(
        self, account_id: str, script: str, cron: str, scheduled_time: datetime
    ) -> Mapping[str, Any]:
        """Run the live version's ``scheduled`` handler; return ``{"outcome": …, "noRetry": bool}``."""
        raise NotImplementedError

    async def deliver_queue(
        self, account_id: str, script: str, queue_name: str, messages: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Run the live version's ``queue`` handler; return ``{outcome, ackAll, retryBatch, explicitAcks, …}``."""
        raise NotImplementedError

    def disturb(self, account_id: str, script: str, version_id: str | None, disturbance: Disturbance | None) -> None:
        """Make a version (all versions of *script* if None) misbehave; None ends it."""
        raise NotImplementedError

    def disturbances(self) -> Mapping[tuple[str, str, str | None], Disturbance]:
        """Return what misbehaves now, by account, script and version (None: all of them)."""
        raise NotImplementedError

    @property
    def ignore_overrides(self) -> bool:
        """Whether version overrides are ignored for every Worker, for rehearsing what a smoke test must not trust."""
        raise NotImplementedError

    @ignore_overrides.setter
    def ignore_overrides(self, value: bool) -> None:
        raise NotImplementedError

    def stats(self) -> Sequence[VersionStats]:
        """Return what each version seen since the start has done."""
        raise NotImplementedError

    def log(self, account_id: str, script: str, version_id: str) -> str:
        """Return the last 64 KiB that this version's workerd printed."""
        raise NotImplementedError
