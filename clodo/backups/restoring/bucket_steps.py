"""Steps that bring buckets back: written, compared, deleted or put back again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clodo.backups.restoring.buckets import delete_bucket, remove_others, verify_bucket, write_bucket
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.sources import Source
from clodo.backups.restoring.work import Work, raise_if_wrong
from clodo.cloudflare.client import Cloudflare
from clodo.errors import PlanIsStale


def restore_bucket(step: Step, journal: Journal, work: Work) -> None:
    """
    Bring a bucket back, and compare it with the archive.

    Raises:
        VerificationFailed: It is not what the archive has.
        PlanIsStale: Somebody else made one of that name meanwhile.
    """
    cloudflare = work.client(step)
    if step.way is Way.CREATE:
        _make(step, journal, cloudflare)
    else:
        journal.note(step, state="begun", id=step.name)
    source = work.source(step)
    raise_if_wrong(f"r2/{step.name}", write_back_bucket(step, cloudflare, source, work))
    journal.note(step, items=int(source.facts["objects"]))


def write_back_bucket(step: Step, cloudflare: Cloudflare, source: Source, work: Work) -> list[str]:
    """Make a bucket as an archive has it; return what is otherwise all the same."""
    work.say(f"r2/{step.name}: writing what differs of {int(source.facts['objects']):,} objects")
    write_bucket(cloudflare, step.name, source.chunks(), source.packs)
    if step.way is Way.OVERWRITE:
        remove_others(cloudflare, step.name, source.chunks())
    work.say(f"r2/{step.name}: comparing with the archive")
    return verify_bucket(cloudflare, step.name, source.chunks(), work.scratch).findings


def delete_made_bucket(step: Step, noted: Mapping[str, Any], cloudflare: Cloudflare) -> bool:
    """Delete the bucket that a step made; say whether there was one. An empty one of its name is ours too."""
    if not noted.get("is_made") and not _is_empty(step, cloudflare):
        return False
    delete_bucket(cloudflare, step.name)
    return True


def _make(step: Step, journal: Journal, cloudflare: Cloudflare) -> None:
    """Make the bucket, or find it made: it has no id but its name, so that whose it is has to be noted."""
    noted = journal.of(step)
    is_there = cloudflare.r2.exists(step.name)
    if is_there and not noted.get("is_made") and not (noted and _is_empty(step, cloudflare)):
        raise PlanIsStale(
            f'somebody made a bucket called "{step.name}" meanwhile',
            hint="Draw the plan again: another name is free.",
        )
    journal.note(step, state="begun", id=step.name)
    if not is_there:
        cloudflare.r2.create(step.name)
    journal.note(step, is_made=True)


def _is_empty(step: Step, cloudflare: Cloudflare) -> bool:
    return next(iter(cloudflare.r2.objects(step.name)), None) is None
