"""Steps that bring databases back: written or taken through time, verified, deleted or taken back again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.sources import Source
from clodo.backups.restoring.work import Work, raise_if_wrong
from clodo.cloudflare.client import Cloudflare
from clodo.errors import ApiRefused, OutcomeUnknown, PlanIsStale

_WRITTEN = ("written", "verified")


def restore_database(step: Step, journal: Journal, work: Work) -> None:
    """
    Bring a database back, or one table of it, and compare it with the manifest.

    Raises:
        VerificationFailed: It is not what the manifest says.
        PlanIsStale: Somebody else made one of that name meanwhile.
    """
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
    raise_if_wrong(f"d1/{step.name}", found.findings)
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


def travel(step: Step, journal: Journal, work: Work) -> None:
    """Take a database to the bookmark of the plan."""
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


def travel_back(step: Step, journal: Journal, cloudflare: Cloudflare, work: Work) -> str:
    """Go back by bookmark if nobody wrote since."""
    noted = journal.of(step)
    ident, before = str(step.there_id), str(noted["before"])
    now = cloudflare.d1.bookmark(ident)
    if now == before or (step.way is Way.OVERWRITE and not noted.get("was_sent")):
        return ""
    after = noted.get("after")
    way = f"`wrangler d1 time-travel restore --bookmark {before}`, or the safety snapshot {noted.get('safety')}"
    if after is None or now != after:
        return f"nobody can tell that only we wrote to it, so it stays as it is. The way back: {way}"
    journal.note(step, state="undoing")
    went = cloudflare.d1.restore(ident, before)
    if went.previous_bookmark != after:
        # Somebody wrote in between: that must not be lost.
        cloudflare.d1.restore(ident, went.previous_bookmark)
        journal.note(step, state=noted["state"])
        return f"somebody wrote to it meanwhile, so it stays as it is. The way back: {way}"
    work.say(f"d1/{step.name}: taken back by Time Travel; nobody had written meanwhile")
    return ""


def delete_made_database(step: Step, noted: Mapping[str, Any], cloudflare: Cloudflare) -> bool:
    """Delete the database that a step made; say whether there was one. An empty one of its name is ours too."""
    ident = noted.get("id")
    if ident is None:
        there = cloudflare.d1.find(step.name)
        ident = there.uuid if there is not None and not _tables(cloudflare, there.uuid) else None
    if ident is not None:
        cloudflare.d1.delete(str(ident))
    return ident is not None
