"""How workerd is run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """
    How workerd is run.

    Attributes:
        workerd: The binary.

        data: Folder for what Workers keep themselves (Durable Objects), for composed assets and for logs.

        start_timeout: How long a version may take to listen before it is refused.

        exchange_patience: How long a process with Durable Objects waits for requests in flight when it is exchanged.

        cpu_limit: A process that uses this much CPU time without answering anybody is killed; visitors see 1102.

        idle_timeout: A process without requests for this long is ended, and started by the next request; None never.

        retire_after: How long a retired version is kept warm for a rollback once its last request has ended, and a
            new one that nobody has asked anything yet for its first visitor.

        allow_loopback: Whether Workers may fetch addresses of this machine. Nothing else outside is ever reached.
    """

    workerd: Path
    data: Path
    start_timeout: timedelta = timedelta(seconds=10)
    exchange_patience: timedelta = timedelta(seconds=5)
    cpu_limit: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta | None = timedelta(minutes=1)
    retire_after: timedelta = timedelta(seconds=20)
    allow_loopback: bool = False
