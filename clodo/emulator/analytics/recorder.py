"""What the data plane and the stores tell as it happens, made into facts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from clodo.emulator.analytics.store import DatabaseQuery, Facts, Invocation, KeyOperation, ObjectOperation, Size

if TYPE_CHECKING:
    from clodo.emulator.runtime.instances import Lease

#: Statements are shown as wrangler's ``d1 insights`` does: whole, but not without end.
MAX_QUERY_CHARACTERS = 4_000

#: How often what waits is written, so that a crash loses little.
FLUSH_SECONDS = 2.0
#: How often sizes are looked at by themselves; questions about them look as well.
SIZES_SECONDS = 300.0

Sizes = Callable[[], Awaitable[Iterable[Size]]]


class Recorder:
    """
    Makes facts of what happened. Belongs to the event loop of the server.

    Args:
        facts: Where they go.

        tag_of: Returns the id of an account's script.

        now: Unix seconds.
    """

    def __init__(
        self,
        facts: Facts,
        *,
        tag_of: Callable[[str, str], str],
        now: Callable[[], float] = time.time,
        cpu_seconds: Callable[[int], float | None] | None = None,
    ) -> None:
        self._facts = facts
        self._tag_of = tag_of
        self._now = now
        self._cpu_seconds = cpu_seconds or cpu_seconds_of_process
        self._measured: dict[int, float] = {}
        self._subrequests: Counter[str] = Counter()
        self._tags: dict[str, str] = {}
        self._sizes: list[Sizes] = []

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return int(self._now() * 1000)

    # --- Workers

    def began(self, lease: Lease) -> None:
        """Take note that a version starts to serve something: the CPU time its process used before isn't its own."""
        pid = lease.workerd.pid
        if lease.instance.in_flight <= 1 or pid not in self._measured:
            self._measure(pid)

    def ended(self, lease: Lease, *, event: str, status: str, seconds: float, size: int = 0) -> None:
        """
        Count one run of a version, whose response's body had *size* bytes.

        Its CPU time is what the process has used since the last run ended there: exact while one runs at a time,
        and right in sum when several do.
        """
        spec = lease.version.spec
        self._facts.add(
            Invocation(
                spec.account_id,
                self.now_ms(),
                spec.script,
                self._tag(spec.account_id, spec.script, spec.version_id),
                spec.version_id,
                event,
                status,
                self._subrequests.pop(spec.version_id, 0),
                round(seconds * 1e6),
                round(self._measure(lease.workerd.pid) * 1e6),
                size,
            )
        )

    def injected(self, account_id: str, script: str, version_id: str) -> None:
        """Count a request that a disturbance answered, or didn't, in a version's place."""
        tag, status = self._tag(account_id, script, version_id), "scriptThrewException"
        self._facts.add(Invocation(account_id, self.now_ms(), script, tag, version_id, "fetch", status, 0, 0, 0))

    def subrequest(self, version_id: str) -> None:
        """Count a request that a version sends out; it is told with the run that ends next."""
        self._subrequests[version_id] += 1

    def _tag(self, account_id: str, script: str, version_id: str) -> str:
        # Asked at each request, and a version never changes its Worker.
        known = self._tags.get(version_id)
        if known is None:
            if len(self._tags) > 5_000:
                self._tags.clear()
            known = self._tags[version_id] = self._tag_of(account_id, script)
        return known

    def _measure(self, pid: int) -> float:
        """Return the CPU seconds that a process has used since the last time."""
        used = self._cpu_seconds(pid)
        if used is None:
            self._measured.pop(pid, None)
            return 0.0
        if len(self._measured) > 5_000:
            self._measured.clear()
        before = self._measured.get(pid, used)
        self._measured[pid] = used
        # A smaller figure than before is another process with the same id.
        return max(0.0, used - before)

    # --- stores

    def database_call(
        self,
        account_id: str,
        database_id: str,
        region: str,
        statements: Sequence[tuple[str, float, int, int, int, bool]],
        *,
        seconds: float,
        response_bytes: int,
        error: str = "",
    ) -> None:
        """
        Count one call of a database.

        Args:
            statements: Text, milliseconds, rows read, written and returned, whether it writes.
        """
        at = self.now_ms()
        for number, (query, duration, read, written, returned, is_write) in enumerate(statements):
            self._facts.add(
                DatabaseQuery(
                    account_id,
                    at,
                    database_id,
                    region,
                    query[:MAX_QUERY_CHARACTERS],
                    error,
                    int(is_write),
                    duration,
                    read,
                    written,
                    returned,
                    None if number else round(seconds * 1000, 4),
                    None if number else response_bytes,
                )
            )

    def key_operation(
        self,
        account_id: str,
        namespace_id: str,
        action: str,
        *,
        status: int = 200,
        requests: int = 1,
        size: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Count one KV operation; *size* is in bytes."""
        result = "success" if status < 400 else "userError" if status < 500 else "internalError"
        self._facts.add(
            KeyOperation(
                account_id, self.now_ms(), namespace_id, action, result, status, requests, size, seconds * 1000
            )
        )

    def object_operation(
        self,
        account_id: str,
        bucket: str,
        action: str,
        *,
        key: str = "",
        status: int = 200,
        size: int = 0,
        storage_class: str = "Standard",
    ) -> None:
        """Count one R2 operation (``PutObject``, ``GetObject``, ``ListObjects``, …); *size* is in bytes."""
        result = "success" if status < 400 else "userError" if status < 500 else "internalError"
        self._facts.add(
            ObjectOperation(account_id, self.now_ms(), bucket, key, action, result, status, storage_class, size)
        )

    # --- sizes

    def watch(self, sizes: Sizes) -> None:
        """Ask *sizes* from now on how large everything is."""
        self._sizes.append(sizes)

    async def note_sizes(self) -> None:
        """Write down how large everything is now."""
        for sizes in self._sizes:
            for size in await sizes():
                self._facts.add(size)

    async def run(self) -> None:
        """Write what waits, every now and then, until cancelled."""
        noted = time.monotonic()
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if time.monotonic() - noted > SIZES_SECONDS:
                noted = time.monotonic()
                await self.note_sizes()
            self._facts.flush()


def cpu_seconds_of_process(pid: int) -> float | None:
    """Return the CPU time that a process has used, to the microsecond; None where the system doesn't tell."""
    try:
        # The kernel's name for "CPU time of that process" (CPUCLOCK_SCHED), one system call.
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, AttributeError, OverflowError):
        return None
