"""Resources that always stay, zones and Workers: what a snapshot has is put into them, verified, and taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clodo.backups.manifest import Kind
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.sources import Source
from clodo.backups.restoring.workers import (
    compare_states,
    compare_states_back,
    read_state,
    state_of,
    write_state,
)
from clodo.backups.restoring.zones import compare_back, compare_records, records_of, write_records
from clodo.cloudflare.client import Cloudflare
from clodo.errors import OutcomeUnknown, PlanIsStale

Say = Callable[[str], None]


class Changes(Protocol):
    """What makes a resource that of a snapshot."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Each change for a person; empty when there is nothing to do."""
        ...

    @property
    def summary(self) -> str:
        """How many of each, for a person."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is otherwise than in the snapshot, and how it comes back."""
        ...


@dataclass(frozen=True, slots=True)
class Mergeable:
    """
    A kind of resource that is merged into: what there is of it, as JSON, and how it is changed.

    Attributes:
        parse: Says what an archive has.

        read: Says what an account has of that.

        count: How many things that are.

        compare: Says what makes the second of two the first; last: whether what else there is goes.

        compare_back: Says what takes changes back in what is there now, and what has to stay.
    """

    parse: Callable[[Iterator[bytes]], Any]
    read: Callable[[Cloudflare, str, Any], Any]
    count: Callable[[Any], int]
    compare: Callable[[str, Any, Any, bool], Any]
    compare_back: Callable[[Any, Any], tuple[Any, list[str]]]
    write: Callable[[Cloudflare, str, Any], None]


MERGEABLE: Mapping[Kind, Mergeable] = {
    Kind.DNS: Mergeable(
        parse=records_of,
        read=lambda cloudflare, zone_id, wanted: list(cloudflare.originals.dns_records(zone_id)),
        count=len,
        compare=lambda zone_id, wanted, there, exact: compare_records(wanted, there, exact=exact),
        compare_back=compare_back,
        write=write_records,
    ),
    Kind.WORKER: Mergeable(
        parse=state_of,
        read=read_state,
        count=lambda wanted: len(wanted["values"]),
        compare=lambda worker, wanted, there, exact: compare_states(worker, wanted, there, exact=exact),
        compare_back=compare_states_back,
        write=write_state,
    ),
}


@dataclass(frozen=True, slots=True)
class Preview:
    """What merging an archive would do: how many things it has, and the changes."""

    items: int
    changes: Changes


def preview(kind: Kind, cloudflare: Cloudflare, ident: str, source: Source, *, exact: bool) -> Preview:
    """
    Compare an archive with what is there.

    Raises:
        IdentityMissing: No key here opens the archive.
        SnapshotDamaged: It is not what was written.
        ZoneNotFound, WorkerNotFound: The account has no such zone or Worker.
    """
    how = MERGEABLE[kind]
    wanted = how.parse(source.chunks())
    return Preview(how.count(wanted), how.compare(ident, wanted, how.read(cloudflare, ident, wanted), exact))


def merge(step: Step, journal: Journal, cloudflare: Cloudflare, source: Source, say: Say) -> list[str]:
    """
    Put what an archive has into the resource, and read it again.

    Returns:
        What is not as in the archive then.

    Raises:
        PlanIsStale: Somebody changed it since the plan was drawn; nothing was done.
        ApiRefused: A change is impossible.
    """
    how, ident, is_exact = MERGEABLE[step.kind], str(step.there_id), step.way is Way.OVERWRITE
    wanted = how.parse(source.chunks())
    there = how.read(cloudflare, ident, wanted)
    changes = how.compare(ident, wanted, there, is_exact)
    if not journal.of(step).get("state"):
        if changes.lines != step.changes:
            raise PlanIsStale(
                f"Somebody changed {step.label} since the plan was drawn; nothing was done to it",
                hint="Draw the plan again.",
            )
        # Whoever takes it back needs to know what was there, also after a crash.
        journal.note(step, state="begun", id=ident, before=there)
    say(f"{step.label}: {changes.summary}")
    try:
        how.write(cloudflare, ident, changes)
    except OutcomeUnknown as error:
        say(f"{step.label}: {error.message}; reading tells")
    journal.note(step, state="written", items=how.count(wanted))
    found = how.compare(ident, wanted, how.read(cloudflare, ident, wanted), is_exact)
    return [f"not done: {line}" for line in found.lines]


def take_back(step: Step, journal: Journal, cloudflare: Cloudflare, source: Source, say: Say) -> str:
    """
    Take back what `merge` did, as far as nobody else changed it since.

    Returns:
        What is not as before; empty when all is.
    """
    how, ident, is_exact = MERGEABLE[step.kind], str(step.there_id), step.way is Way.OVERWRITE
    wanted = how.parse(source.chunks())
    planned = how.compare(ident, wanted, journal.of(step)["before"], is_exact)
    back, stays = how.compare_back(planned, how.read(cloudflare, ident, wanted))
    try:
        how.write(cloudflare, ident, back)
    except OutcomeUnknown as error:
        say(f"{step.label}: {error.message}; reading tells")
    left, _ = how.compare_back(planned, how.read(cloudflare, ident, wanted))
    problems = [*stays, *(f"not done: {line}" for line in left.lines)]
    if not problems:
        say(f"{step.label}: is as it was before")
    return "; ".join(problems[:5])
