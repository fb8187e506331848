"""A whole portfolio released by Clodo and by plain wrangler, in turn."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Comparison, Pair, Run
from benchmarks.generated import service_names
from benchmarks.measuring import cpu_seconds_of, wait_until_idle
from benchmarks.sides import Clodo, PlainWrangler, Side, raise_unless_live
from benchmarks.stage import Stage, is_upload, opened

PARALLEL = 2
MAX_RATIO_CHANGED = 0.6
MAX_RATIO_UNCHANGED = 0.15
MAX_REQUESTS_UNCHANGED = 10

Say = Callable[[str], None]


class NotAsExpected(Exception):
    """A run did something else than the situation asks for, so its seconds mean nothing."""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """
    What was measured.

    Attributes:
        services: How many.

        changed: Every service with new code, a new migration and a new secret.

        unchanged: The same portfolio again.

        journal_entries: What Clodo wrote down of one release, the steps in order.

        requests_of_one: Requests for one changed service by path, of each side, in the last round.
    """

    services: int
    changed: Comparison
    unchanged: Comparison
    journal_entries: tuple[str, ...]
    requests_of_one: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def is_reached(self) -> bool:
        """Whether every goal was reached."""
        return self.changed.is_reached and self.unchanged.is_reached

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "services": self.services,
            "is_reached": self.is_reached,
            "changed": self.changed.to_json(),
            "unchanged": self.unchanged.to_json(),
            "journal_entries": list(self.journal_entries),
            "requests_of_one": self.requests_of_one,
        }


def measure(services: int, runs: int, *, logs: Path, say: Say) -> Portfolio:
    """
    Release a portfolio of *services* services *runs* times on each side, changed and then unchanged.

    The two sides take turns in going first. Both begin with idle servers; whatever the servers still do after a command
    has ended is counted as its CPU, not as its time.

    Raises:
        NotAsExpected: A side did something else than it should have.
    """
    names = service_names(services)
    with opened() as stage:
        clodo = Clodo(stage, count=names, parallel=PARALLEL, log_folder=logs)
        plain = PlainWrangler(stage, count=names, parallel=PARALLEL, log_folder=logs)
        sides: tuple[Side, Side] = (clodo, plain)
        for side in sides:
            first = _measure_one(stage, side)
            raise_unless_live(stage, side, 0)
            say(f"first deploys, {side.name}: {first.seconds:.1f} s (not compared)")
        changed: list[Pair] = []
        unchanged: list[Pair] = []
        requests: dict[str, dict[str, int]] = {}
        entries: tuple[str, ...] = ()
        for number in range(1, runs + 1):
            order = sides if number % 2 else sides[::-1]
            for side in order:
                side.change(number)
            found = {}
            for side in order:
                before = stage.count_calls()
                found[side.name] = _measure_one(stage, side)
                raise_unless_live(stage, side, number)
                requests[side.name] = _requests_of(stage, names[0], before)
            _raise_unless(clodo, "live")
            entries = _journal_entries(stage, clodo.release_ids[0])
            changed.append(Pair(found[clodo.name], found[plain.name]))
            say(_told(f"all changed, run {number}", changed[-1]))
            found = {}
            for side in order:
                found[side.name] = _measure_one(stage, side)
                raise_unless_live(stage, side, number)
            _raise_unless(clodo, "unchanged")
            unchanged.append(Pair(found[clodo.name], found[plain.name]))
            say(_told(f"nothing changed, run {number}", unchanged[-1]))
    return Portfolio(
        services=services,
        changed=Comparison("all changed", tuple(changed), MAX_RATIO_CHANGED),
        unchanged=Comparison("nothing changed", tuple(unchanged), MAX_RATIO_UNCHANGED, MAX_REQUESTS_UNCHANGED),
        journal_entries=entries,
        requests_of_one=requests,
    )


def _measure_one(stage: Stage, side: Side) -> Run:
    servers = (stage.prefect.process, stage.cloud_process)
    wait_until_idle(*servers)
    calls = stage.count_calls()
    used = [cpu_seconds_of(server) for server in servers]
    load = os.getloadavg()[0]
    ended = side.release()
    made = stage.calls_since(calls)
    wait_until_idle(*servers)
    server_cpu, cloud_cpu = (cpu_seconds_of(server) - before for server, before in zip(servers, used, strict=True))
    return Run(
        seconds=ended.seconds,
        cpu_seconds=ended.cpu_seconds,
        server_cpu_seconds=server_cpu,
        cloud_cpu_seconds=cloud_cpu,
        requests=len(made),
        uploads=sum(is_upload(call) for call in made),
        load=load,
    )


def _requests_of(stage: Stage, service: str, before: int) -> dict[str, int]:
    """Return the calls that name *service* in their path, counted; ids are shortened to a word."""
    counted: Counter[str] = Counter()
    for call in stage.calls_since(before):
        path = call["path"].partition("/accounts/")[2].partition("/")[2] or call["path"]
        if service in path:
            counted[f"{call['method']} {path.replace(service, '<worker>')}"] += 1
    return dict(counted)


def _journal_entries(stage: Stage, release_id: str) -> tuple[str, ...]:
    from clodo.ledger import Ledger, default_path

    with Ledger.open(default_path(stage.workspace)) as ledger:
        return tuple(f"{entry.step} {entry.phase}" for entry in ledger.journal.entries(release_id))


def _raise_unless(clodo: Clodo, ending: str) -> None:
    others = {target: other for target, other in clodo.endings.items() if other != ending}
    if others:
        raise NotAsExpected(f"not every target is {ending}: {others}")


def _told(what: str, pair: Pair) -> str:
    return (
        f"{what}: clodo {pair.clodo.seconds:.2f} s ({pair.clodo.requests} requests),"
        f" plain {pair.plain.seconds:.2f} s ({pair.plain.requests} requests), ratio {pair.ratio:.2f}"
    )
