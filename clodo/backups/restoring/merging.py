"""Zones and Workers: what a snapshot has is put into what is there, verified, and taken back; a Worker may be made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clodo.backups.manifest import Kind
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.sources import Source
from clodo.backups.restoring.worker_code import Moved
from clodo.backups.restoring.workers import (
    compare_states,
    compare_states_back,
    is_somebody_elses,
    read_state,
    state_of,
    workers_needed,
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
        parse: Says what an archive has; given its id, and what else comes back in the same restore.

        read: Says what an account has of that.

        count: How many things that are.

        compare: Says what makes the third of its arguments the second.

        compare_back: Says what takes changes back in what is there now, and what has to stay.

        is_gone: Says whether what is there is nothing at all, so that it is made anew.

        is_somebody_elses: Says whether what was to be made was made by somebody else meanwhile.

        needs: Names the others of this kind that have to be there first.

        not_whole: Says why an archive can't bring back what is gone; empty when it can.
    """

    parse: Callable[[str, Source, Moved], Any]
    read: Callable[[Cloudflare, str, Any], Any]
    count: Callable[[Any], int]
    compare: Callable[[str, Any, Any, Way], Any]
    compare_back: Callable[[Any, Any], tuple[Any, list[str]]]
    write: Callable[[Cloudflare, str, Any], None]
    is_gone: Callable[[Any], bool] = lambda there: False
    is_somebody_elses: Callable[[Any, Any], bool] = lambda wanted, there: False
    needs: Callable[[str, Any], frozenset[str]] = lambda ident, wanted: frozenset()
    not_whole: Callable[[Any], str] = lambda wanted: ""


MERGEABLE: Mapping[Kind, Mergeable] = {
    Kind.DNS: Mergeable(
        parse=lambda zone_id, source, moved: records_of(source.chunks()),
        read=lambda cloudflare, zone_id, wanted: list(cloudflare.originals.dns_records(zone_id)),
        count=len,
        compare=lambda zone_id, wanted, there, way: compare_records(wanted, there, exact=way is Way.OVERWRITE),
        compare_back=compare_back,
        write=write_records,
    ),
    Kind.WORKER: Mergeable(
        parse=state_of,
        read=read_state,
        count=lambda wanted: len(wanted["values"]),
        compare=compare_states,
        compare_back=compare_states_back,
        write=write_state,
        is_gone=lambda there: there["values"]["code"] is None,
        is_somebody_elses=is_somebody_elses,
        needs=workers_needed,
        not_whole=lambda wanted: str(wanted.get("not_whole", "")),
    ),
}


@dataclass(frozen=True, slots=True)
class Preview:
    """
    What merging an archive would do.

    Attributes:
        items: How many things it has.

        needs: Names of those of the same kind that have to be there first.

        not_whole: Why it can't come back, now that it is gone; empty when it can.
    """

    way: Way
    items: int
    changes: Changes
    needs: frozenset[str] = frozenset()
    not_whole: str = ""


def moved_in(steps: Iterable[Step], noted: Callable[[Step], Mapping[str, Any]] = lambda step: {}) -> Moved:
    """
    Say what comes back under another id, so that a Worker's bindings have to follow.

    Args:
        noted: What was noted of a step that was carried out.
    """
    made = {
        (step.kind, step.source_id): step.name if step.kind is Kind.R2 else str(noted(step).get("id", ""))
        for step in steps
        if step.way is Way.CREATE and step.kind not in MERGEABLE
    }
    return {key: ident for key, ident in made.items() if ident != key[1]}


def preview(kind: Kind, cloudflare: Cloudflare, ident: str, source: Source, moved: Moved, *, in_place: bool) -> Preview:
    """
    Compare an archive with what is there.

    Raises:
        IdentityMissing: No key here opens the archive.
        SnapshotDamaged: It is not what was written.
        ZoneNotFound: The account has no such zone.
    """
    how = MERGEABLE[kind]
    wanted = how.parse(ident, source, moved)
    there = how.read(cloudflare, ident, wanted)
    way = Way.CREATE if how.is_gone(there) else Way.OVERWRITE if in_place else Way.MERGE
    changes = how.compare(ident, wanted, there, way)
    not_whole = how.not_whole(wanted) if way is Way.CREATE else ""
    return Preview(way, how.count(wanted), changes, how.needs(ident, wanted), not_whole)


def merge(step: Step, journal: Journal, cloudflare: Cloudflare, source: Source, say: Say) -> list[str]:
    """
    Put what an archive has into the resource, and read it again.

    Returns:
        What is not as in the archive then.

    Raises:
        PlanIsStale: Somebody changed it since the plan was drawn; nothing was done.
        ApiRefused: A change is impossible.
    """
    how, ident = MERGEABLE[step.kind], step.source_id
    wanted = how.parse(ident, source, moved_in(journal.plan.steps, journal.of))
    there = how.read(cloudflare, ident, wanted)
    changes = how.compare(ident, wanted, there, step.way)
    if step.way is Way.CREATE and how.is_somebody_elses(wanted, there):
        raise PlanIsStale(
            f"Somebody made {step.label} meanwhile; nothing was done to it",
            hint="Draw the plan again: what is there is merged into, or replaced by --in-place.",
        )
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
    found = how.compare(ident, wanted, how.read(cloudflare, ident, wanted), step.way)
    journal.note(step, state="written", items=how.count(wanted), notes=list(found.notes))
    return [f"not done: {line}" for line in found.lines]


def take_back(step: Step, journal: Journal, cloudflare: Cloudflare, source: Source, say: Say) -> str:
    """
    Take back what `merge` did, as far as nobody else changed it since.

    Returns:
        What is not as before; empty when all is.
    """
    how, ident = MERGEABLE[step.kind], step.source_id
    wanted = how.parse(ident, source, moved_in(journal.plan.steps, journal.of))
    planned = how.compare(ident, wanted, journal.of(step)["before"], step.way)
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
