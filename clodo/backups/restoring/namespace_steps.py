"""Steps that bring namespaces back: written, compared, deleted or put back again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.namespaces import (
    KeyComparison,
    Pairs,
    pairs_of,
    verify_namespace,
    verify_namespace_back,
    write_namespace,
    write_namespace_back,
)
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.sources import Source
from clodo.backups.restoring.work import Work, raise_if_wrong
from clodo.cloudflare.client import Cloudflare
from clodo.errors import ApiRefused, PlanIsStale

PROPAGATION = timedelta(seconds=60)
"""KV may go on giving the values before for so long."""

_LOOKS = 4


def restore_namespace(step: Step, journal: Journal, work: Work) -> None:
    """
    Bring a namespace back, or keys with a prefix, and compare it with the archive.

    Raises:
        VerificationFailed: It is not what the archive has.
        PlanIsStale: Somebody else made one of that name meanwhile.
    """
    source = work.source(step)
    cloudflare = work.client(step)
    pairs = _pairs(source, work.prefix)
    if step.way is Way.CREATE:
        ident = _made_namespace(step, journal, cloudflare)
    else:
        ident = str(step.there_id)
        journal.note(step, state=journal.of(step).get("state", "begun"), id=ident)
    before = None
    if step.way is Way.OVERWRITE:
        before = _pairs(work.safety_source(step, str(journal.of(step)["safety"])), work.prefix)
    work.say(f"kv/{step.name}: writing {step.items:,} keys")
    written = write_namespace(
        cloudflare,
        ident,
        pairs,
        work.seconds,
        prefix=work.prefix,
        before=before,
        after=journal.of(step).get("last"),
        note=lambda key: journal.note(step, last=key),
    )
    # What runs before this one left out is counted anew: their time is over now too.
    journal.note(step, state="written", expired=written.expired)
    work.say(f"kv/{step.name}: comparing with the archive")
    found = _looked_at(work, lambda: verify_namespace(cloudflare, ident, pairs(), work.seconds, prefix=work.prefix))
    raise_if_wrong(f"kv/{step.name}", found.findings)
    journal.note(step, items=found.keys)


def _made_namespace(step: Step, journal: Journal, cloudflare: Cloudflare) -> str:
    noted = journal.of(step)
    if noted.get("id"):
        return str(noted["id"])
    there = cloudflare.kv.find(step.name)
    if there is None:
        journal.note(step, state="begun")
        try:
            made = cloudflare.kv.create(step.name).id
        except ApiRefused:
            # Then one of that name is somebody else's, though it may be empty still.
            journal.note(step, is_made=False)
            raise
    elif noted and noted.get("is_made") is not False and next(iter(cloudflare.kv.keys(there.id)), None) is None:
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


def _looked_at(work: Work, look: Callable[[], KeyComparison]) -> KeyComparison:
    """Return what was found, at last: KV may go on giving the values before for a while."""
    for number in range(_LOOKS):
        found = look()
        if not found.findings or number == _LOOKS - 1:
            break
        work.say("not all of it can be read yet; looking again")
        work.clock.sleep(PROPAGATION.total_seconds() / (_LOOKS - 1))
    return found


def put_back_namespace(step: Step, cloudflare: Cloudflare, before: Source, work: Work) -> list[str]:
    """
    Make keys what they were before, but for those that somebody else wrote since.

    Returns:
        What of the restore is still there.
    """
    ident, held = str(step.there_id), _pairs(before, work.prefix)
    brought = _pairs(work.undo_source(step), work.prefix)
    others = write_namespace_back(cloudflare, ident, brought(), held(), work.seconds, prefix=work.prefix)
    if others:
        work.say(f"kv/{step.name}: left {others:,} keys alone that somebody else wrote meanwhile")
    return _looked_at(
        work, lambda: verify_namespace_back(cloudflare, ident, brought(), held(), work.seconds, prefix=work.prefix)
    ).findings


def delete_made_namespace(step: Step, noted: Mapping[str, Any], cloudflare: Cloudflare) -> bool:
    """Delete the namespace that a step made; say whether there was one. An empty one is, unless we were refused."""
    ident = noted.get("id")
    if ident is None and noted.get("is_made") is not False:
        found = cloudflare.kv.find(step.name)
        is_ours = found is not None and next(iter(cloudflare.kv.keys(found.id)), None) is None
        ident = found.id if found is not None and is_ours else None
    if ident is not None:
        cloudflare.kv.delete(str(ident))
    return ident is not None
