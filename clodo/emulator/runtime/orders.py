"""Events that come without a request: schedules, messages of queues, what other Workers did."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from clodo.emulator.runtime.control import ask
from clodo.emulator.runtime.ports import Backlog, EventBrokeOff, WorkerdUnavailable
from clodo.emulator.runtime.traffic import choose_version

if TYPE_CHECKING:
    from clodo.emulator.runtime.runtime import Runtime


class Orders:
    """Runs the handlers of live versions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def scheduled(self, account_id: str, script: str, cron: str, scheduled_time: datetime) -> Mapping[str, Any]:
        """
        Run the live version's ``scheduled`` handler; return ``{"outcome": …, "noRetry": bool}``.

        Raises:
            WorkerdUnavailable: Nothing is deployed, or it doesn't run.
        """
        milliseconds = round(scheduled_time.timestamp() * 1000)
        return await self._order(account_id, script, "/scheduled", {"cron": cron, "scheduledTime": milliseconds})

    async def queue(
        self,
        account_id: str,
        script: str,
        queue_name: str,
        messages: Sequence[Mapping[str, Any]],
        backlog: Backlog | None = None,
    ) -> Mapping[str, Any]:
        """
        Run the live version's ``queue`` handler; return ``{outcome, ackAll, retryBatch, explicitAcks, retryMessages}``.

        Args:
            messages: Mappings of ``id``, ``timestamp`` (milliseconds), ``attempts``, ``body`` (base64) and
                ``contentType``.

            backlog: What the queue holds, which the handler sees in ``batch.metadata``.

        Raises:
            WorkerdUnavailable: Nothing is deployed, or it doesn't run.
        """
        held = backlog or Backlog(len(messages), 0, 0)
        metrics = {
            "backlogCount": held.count,
            "backlogBytes": held.bytes,
            "oldestMessageTimestamp": held.oldest_ms,
        }
        order = {"queue": queue_name, "messages": list(messages), "metadata": {"metrics": metrics}}
        return await self._order(account_id, script, "/queue", order)

    async def tail(self, account_id: str, script: str, events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """
        Give a tail Worker *events*; return ``{"outcome": …, "reason"?: …}``.

        Raises:
            WorkerdUnavailable: Nothing is deployed, or it doesn't run.
        """
        return await self._order(account_id, script, "/tail", {"events": list(events)})

    async def _order(self, account_id: str, script: str, path: str, order: Mapping[str, Any]) -> Mapping[str, Any]:
        traffic = self._runtime.directory.live_traffic(account_id, script)
        if not traffic:
            raise WorkerdUnavailable(f"{script} is not deployed")
        version_id = choose_version(traffic, script, (), self._runtime.random)
        lease = await self._runtime.lease(account_id, script, version_id)
        try:
            workerd = lease.instance.workerd
            if workerd is None or not lease.version.spec.has_script:
                raise WorkerdUnavailable(f"{script} has no handlers")
            lease.version.requests += 1
            index = lease.instance.index_of(version_id)
            if self._runtime.recorder is not None:
                self._runtime.recorder.began(lease)
            began = time.monotonic()
            answer: Mapping[str, Any] = await ask(workerd.folder / "control.sock", path, {**order, "version": index})
            is_fine = answer.get("outcome") == "ok"
            if not is_fine:
                lease.version.errors += 1
            if self._runtime.recorder is not None:
                status = "success" if is_fine else "scriptThrewException"
                event, seconds = path.removeprefix("/"), time.monotonic() - began
                self._runtime.recorder.ended(lease, event=event, status=status, seconds=seconds)
            return answer
        except (OSError, aiohttp.ClientError) as error:
            lease.version.errors += 1
            raise EventBrokeOff(f"{script} ended while it handled the event") from error
        finally:
            lease.release()
