"""Which processes are ended without being asked: those that nobody needs, and those that only compute."""

from __future__ import annotations

from datetime import timedelta

from clodo.emulator.runtime.config import RuntimeConfig
from clodo.emulator.runtime.instances import Instance
from clodo.emulator.runtime.ports import Directory
from clodo.emulator.runtime.processes import cpu_seconds_of


def is_superfluous(instance: Instance, directory: Directory, config: RuntimeConfig, now: float) -> bool:
    """Say whether a process has had nothing to do for so long that it may end; *now* is monotonic, in seconds."""
    if instance.in_flight or not instance.is_running:
        return False
    account_id, script, version_id = instance.key
    traffic = directory.live_traffic(account_id, script) or ()
    is_live = bool(traffic) and (not version_id or any(version_id == other for other, _ in traffic))
    is_expected = instance.has_served or config.idle_timeout is None
    allowed = config.idle_timeout if is_live and is_expected else config.retire_after
    return allowed is not None and now - instance.last_used > allowed.total_seconds()


def is_runaway(instance: Instance, cpu_limit: timedelta) -> bool:
    """Say whether a process has used *cpu_limit* of CPU time without finishing a single request."""
    if instance.workerd is None or not instance.in_flight:
        instance.cpu_before = None
        return False
    used = cpu_seconds_of(instance.workerd.pid)
    if used is None:
        return False
    if instance.cpu_before is None or instance.finished:
        instance.cpu_before, instance.finished = used, 0
        return False
    return used - instance.cpu_before > cpu_limit.total_seconds()
