"""One step of a restore: done so that it may be done again, verified, and put back when it must not stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from clodo.backups.manifest import Kind
from clodo.backups.restoring.buckets import (
    ObjectComparison,
    delete_bucket,
    remove_others,
    verify_bucket,
    write_bucket,
)
from clodo.backups.restoring.databases import (
    Items,
    Part,
    drops_of,
    part_of,
    script_of,
    verify_database,
    write_database,
)
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.merging import MERGEABLE, merge, take_back
from clodo.backups.restoring.namespaces import Pairs, pairs_of, verify_namespace, write_namespace
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.sources import Source
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.cloudflare.clock import Clock
from clodo.errors import (
    ApiRefused,
    BucketNotFound,
    DatabaseNotFound,
    NamespaceNotFound,
    OutcomeUnknown,
    PlanIsStale,
    VerificationFailed,
)

PROPAGATION = timedelta(seconds=60)
"""KV may go on giving the values before for so long."""

_WRITTEN = ("written", "verified")
_LOOKS = 4
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Work:
    """
    What steps need.

    Attributes:
        client: Gives a view of the step's account that checks before each write.

        source: Gives the archive that a step restores.

        safety_source: Gives the archive of what a step overwrites.

        scratch: Folder for SQL text on its way.
    """

    client: Callable[[Step], Cloudflare]
    source: Callable[[Step], Source]
    safety_source: Callable[[Step, str], Source]
    scratch: Path
    table: str | None
    prefix: str | None
    say: Callable[[str], None]
    clock: Clock
    parts: dict[str, Part] = field(default_factory=dict)

    def undoing(self) -> Work:
        """Return it for putting things back: whoever asked to stop wants that too."""
        return replace(self, client=lambda step: self.client(step).with_guard(None).with_lane(Lane.UNDO))

    def seconds(self) -> float:
        """Seconds since 1970."""
        return self.clock.now().timestamp()


def carry_out(step: Step, journal: Journal, work: Work) -> None:
    """
    Do a step, or what is left of it, and verify it; a new resource again if a run before this one had: it may be gone.

    Raises:
        VerificationFailed: What came back is not what the manifest says.
        PlanIsStale: Somebody else made a resource of that name meanwhile.
    """
    if step.way is not Way.CREATE and journal.of(step).get("state") == "verified":
        # It is in use, and has moved on since.
        work.say(f"{step.kind.value}/{step.name}: was restored and verified before")
        return
    began = work.clock.monotonic()
    if step.way is Way.TRAVEL:
        _travel(step, journal, work)
    elif step.kind in MERGEABLE:
        _raise_if_wrong(step.label, merge(step, journal, work.client(step), work.source(step), work.say))
    elif step.kind is Kind.D1:
        _database(step, journal, work)
    elif step.kind is Kind.R2:
        _bucket(step, journal, work)
    else:
        _namespace(step, journal, work)
    journal.note(step, state="verified", seconds=round(work.clock.monotonic() - began, 3))
    work.say(f"{step.kind.value}/{step.name}: verified, {journal.of(step)['items']:,} items as in the snapshot")


def put_back(step: Step, journal: Journal, work: Work) -> str:
    """
    Put back what a step did, as far as nothing of anybody else's is lost by it.

    Returns:
        What is not as before; empty when all is.
    """
    noted = journal.of(step)
    if not noted.get("state"):
        return ""
    cloudflare = work.client(step)
    if step.kind in MERGEABLE:
        return take_back(step, journal, cloudflare, work.source(step), work.say)
    if step.way is Way.CREATE:
        _delete_made(step, noted, cloudflare, work)
        return ""
    if step.kind is Kind.D1:
        return _travel_back(step, noted, cloudflare, work)
    source = work.safety_source(step, str(noted["safety"]))
    if step.kind is Kind.R2:
        findings = _written_bucket(step, cloudflare, source, work).findings
        return f"after writing it back from {noted['safety']}: {findings[0]}" if findings else ""
    pairs = _pairs(source, work.prefix)
    ident = str(step.there_id)
    write_namespace(cloudflare, ident, pairs, work.seconds, prefix=work.prefix, replaces=True)
    findings = _verified_keys(cloudflare, ident, pairs, work).findings
    return f"after writing it back from {noted['safety']}: {findings[0]}" if findings else ""


# ── D1 ──


def _database(step: Step, journal: Journal, work: Work) -> None:
    source = work.source(step)
    cloudflare = work.client(step)
    part = None
    if work.table is not None:
        part = part_of(script_of(source.chunks()), work.table, alone=step.way is Way.OVERWRITE)

    def items() -> Items:
        running = script_of(source.chunks())
        return part.of(running) if part is not None else running

    if step.way is Way.CREATE:
        ident = _made_database(step, journal, cloudflare, work)
    else:
        ident = str(step.there_id)
        if journal.of(step).get("state") is None:
            journal.note(step, state="begun", id=ident, before=cloudflare.d1.bookmark(ident))
    is_there = journal.of(step)["state"] in _WRITTEN or (
        # A run before this one sent it and never heard how it ended.
        journal.of(step).get("was_sent") and _is_as_in(cloudflare, ident, source, part)
    )
    if not is_there:
        work.say(f"d1/{step.name}: writing {step.bytes:,} bytes")
        if step.way is Way.CREATE and journal.of(step).get("was_sent"):
            # What became of it nobody knows; a new database is cheap.
            cloudflare.d1.delete(ident)
            ident = cloudflare.d1.create(step.name).uuid
            journal.note(step, id=ident)
        drops = []
        if step.way is Way.OVERWRITE:
            drops = drops_of(cloudflare, ident, part.tables if part is not None else None)
        journal.note(step, was_sent=True)
        try:
            write_database(cloudflare, ident, items, work.scratch, drops=drops)
        except OutcomeUnknown:
            if not _is_as_in(cloudflare, ident, source, part):
                raise
        except ApiRefused:
            journal.note(step, was_sent=False)
            raise
    journal.note(step, state="written", after=cloudflare.d1.bookmark(ident))
    work.say(f"d1/{step.name}: comparing with the manifest")
    found = verify_database(cloudflare, ident, source.facts, part=part)
    _raise_if_wrong(f"d1/{step.name}", found.findings)
    journal.note(step, items=found.rows)


def _made_database(step: Step, journal: Journal, cloudflare: Cloudflare, work: Work) -> str:
    noted = journal.of(step)
    if noted.get("id"):
        return str(noted["id"])
    there = cloudflare.d1.find(step.name)
    if there is None:
        journal.note(step, state="begun")
        made = cloudflare.d1.create(step.name).uuid
    elif noted and not _tables(cloudflare, there.uuid):
        # A run before this one was killed between making it and noting its id.
        made = there.uuid
    else:
        raise PlanIsStale(
            f'somebody made a database called "{step.name}" meanwhile',
            hint="Draw the plan again: another name is free.",
        )
    journal.note(step, state="begun", id=made)
    return made


def _tables(cloudflare: Cloudflare, ident: str) -> bool:
    sql = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'"
    return bool(cloudflare.d1.raw(ident, sql, only_reads=True)[0].results.rows[0][0])


def _is_as_in(cloudflare: Cloudflare, ident: str, source: Source, part: Part | None) -> bool:
    return not verify_database(cloudflare, ident, source.facts, part=part).findings


def _travel(step: Step, journal: Journal, work: Work) -> None:
    cloudflare = work.client(step)
    ident = str(step.there_id)
    if journal.of(step).get("state") not in _WRITTEN:
        was_begun = "before" in journal.of(step)
        if not was_begun:
            journal.note(step, state="begun", id=ident, before=cloudflare.d1.bookmark(ident))
        work.say(f"d1/{step.name}: travelling back")
        done = cloudflare.d1.restore(ident, str(step.bookmark))
        # A second journey, after one that was killed, must not forget where the first one came from.
        before = journal.of(step)["before"] if was_begun else done.previous_bookmark
        journal.note(step, state="written", before=before, after=cloudflare.d1.bookmark(ident))
    found = query_tables(cloudflare, ident)
    journal.note(step, items=found)
    work.say(f"d1/{step.name}: the way forward again is bookmark {journal.of(step)['before']}")


def query_tables(cloudflare: Cloudflare, ident: str) -> int:
    """Return how many tables a database has; that it answers shows that it is open again."""
    sql = "SELECT count(*) FROM sqlite_schema WHERE type='table'"
    return int(cloudflare.d1.raw(ident, sql, only_reads=True)[0].results.rows[0][0])


def _travel_back(step: Step, noted: Mapping[str, Any], cloudflare: Cloudflare, work: Work) -> str:
    """Go back by bookmark if nobody wrote since."""
    ident, before = str(step.there_id), str(noted["before"])
    now = cloudflare.d1.bookmark(ident)
    if now == before or (step.way is Way.OVERWRITE and not noted.get("was_sent")):
        return ""
    after = noted.get("after")
    way = f"`wrangler d1 time-travel restore --bookmark {before}`, or the safety snapshot {noted.get('safety')}"
    if after is None or now != after:
        return f"nobody can tell that only we wrote to it, so it stays as it is. The way back: {way}"
    went = cloudflare.d1.restore(ident, before)
    if went.previous_bookmark != after:
        # Somebody wrote in between: that must not be lost.
        cloudflare.d1.restore(ident, went.previous_bookmark)
        return f"somebody wrote to it meanwhile, so it stays as it is. The way back: {way}"
    work.say(f"d1/{step.name}: taken back by Time Travel; nobody had written meanwhile")
    return ""


# ── KV ──


def _namespace(step: Step, journal: Journal, work: Work) -> None:
    source = work.source(step)
    cloudflare = work.client(step)
    pairs = _pairs(source, work.prefix)
    if step.way is Way.CREATE:
        ident = _made_namespace(step, journal, cloudflare)
    else:
        ident = str(step.there_id)
        journal.note(step, state=journal.of(step).get("state", "begun"), id=ident)
    work.say(f"kv/{step.name}: writing {step.items:,} keys")
    written = write_namespace(
        cloudflare,
        ident,
        pairs,
        work.seconds,
        prefix=work.prefix,
        replaces=step.way is Way.OVERWRITE,
        after=journal.of(step).get("last"),
        note=lambda key: journal.note(step, last=key),
    )
    # What runs before this one left out is counted anew: their time is over now too.
    journal.note(step, state="written", expired=written.expired)
    work.say(f"kv/{step.name}: comparing with the archive")
    found = _verified_keys(cloudflare, ident, pairs, work)
    _raise_if_wrong(f"kv/{step.name}", found.findings)
    journal.note(step, items=found.keys)


def _made_namespace(step: Step, journal: Journal, cloudflare: Cloudflare) -> str:
    noted = journal.of(step)
    if noted.get("id"):
        return str(noted["id"])
    there = cloudflare.kv.find(step.name)
    if there is None:
        journal.note(step, state="begun")
        made = cloudflare.kv.create(step.name).id
    elif noted and next(iter(cloudflare.kv.keys(there.id)), None) is None:
        made = there.id
    else:
        raise PlanIsStale(
            f'somebody made a namespace called "{step.name}" meanwhile',
            hint="Draw the plan again: another name is free.",
        )
    journal.note(step, state="begun", id=made)
    return made


def _pairs(source: Source, prefix: str | None) -> Callable[[], Pairs]:
    return lambda: pairs_of(source.chunks(), prefix)


def _verified_keys(cloudflare: Cloudflare, ident: str, pairs: Callable[[], Pairs], work: Work) -> Any:
    for look in range(_LOOKS):
        found = verify_namespace(cloudflare, ident, pairs(), work.seconds, prefix=work.prefix)
        if not found.findings or look == _LOOKS - 1:
            break
        work.say("not all of it can be read yet; looking again")
        work.clock.sleep(PROPAGATION.total_seconds() / (_LOOKS - 1))
    return found


# ── R2 ──


def _bucket(step: Step, journal: Journal, work: Work) -> None:
    source = work.source(step)
    cloudflare = work.client(step)
    if not journal.of(step).get("state"):
        # Whether a bucket is ours can't be told from its id: it has none but its name.
        if step.way is Way.CREATE and cloudflare.r2.exists(step.name):
            raise PlanIsStale(
                f'somebody made a bucket called "{step.name}" meanwhile',
                hint="Draw the plan again: another name is free.",
            )
        journal.note(step, state="begun", id=step.name)
    if step.way is Way.CREATE and not cloudflare.r2.exists(step.name):
        cloudflare.r2.create(step.name)
    found = _written_bucket(step, cloudflare, source, work)
    _raise_if_wrong(f"r2/{step.name}", found.findings)
    journal.note(step, items=found.objects)


def _written_bucket(step: Step, cloudflare: Cloudflare, source: Source, work: Work) -> ObjectComparison:
    work.say(f"r2/{step.name}: writing what differs of {int(source.facts['objects']):,} objects")
    write_bucket(cloudflare, step.name, source.chunks(), source.packs)
    if step.way is Way.OVERWRITE:
        remove_others(cloudflare, step.name, source.chunks())
    work.say(f"r2/{step.name}: comparing with the archive")
    return verify_bucket(cloudflare, step.name, source.chunks(), work.scratch)


# ── All ──


def _delete_made(step: Step, noted: Mapping[str, Any], cloudflare: Cloudflare, work: Work) -> None:
    ident = noted.get("id")
    try:
        if step.kind is Kind.R2:
            delete_bucket(cloudflare, step.name)
        elif step.kind is Kind.D1:
            if ident is None:
                there = cloudflare.d1.find(step.name)
                ident = there.uuid if there is not None and not _tables(cloudflare, there.uuid) else None
            if ident is not None:
                cloudflare.d1.delete(str(ident))
        else:
            if ident is None:
                found = cloudflare.kv.find(step.name)
                is_ours = found is not None and next(iter(cloudflare.kv.keys(found.id)), None) is None
                ident = found.id if found is not None and is_ours else None
            if ident is not None:
                cloudflare.kv.delete(str(ident))
    except (BucketNotFound, DatabaseNotFound, NamespaceNotFound):
        return
    if ident is not None:
        work.say(f"{step.kind.value}/{step.name}: removed again")


def _raise_if_wrong(label: str, findings: list[str]) -> None:
    if findings:
        more = f" (and {len(findings) - _SHOWN} more)" if len(findings) > _SHOWN else ""
        raise VerificationFailed(f"{label} is not what the snapshot says: {'; '.join(findings[:_SHOWN])}{more}")
