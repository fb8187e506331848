"""Steps that bring buckets back: written, compared, deleted or put back again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clodo.backups.restoring.buckets import (
    delete_bucket,
    entries_of,
    remove_objects,
    rule_on_bucket,
    verify_bucket,
    write_bucket,
)
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.sources import Source
from clodo.backups.restoring.work import Work, raise_if_wrong
from clodo.cloudflare.client import Cloudflare
from clodo.errors import ApiRefused, PlanIsStale


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
    before = work.safety_source(step, str(journal.of(step)["safety"])) if step.way is Way.OVERWRITE else None
    if before is not None:
        _raise_if_written_to(step, cloudflare, source, before)
    work.say(f"r2/{step.name}: writing what differs of {int(source.facts['objects']):,} objects")
    write_bucket(cloudflare, step.name, source.chunks(), source.packs)
    if before is not None:
        _remove_what_the_archive_lacks(step, cloudflare, source, before)
    work.say(f"r2/{step.name}: comparing with the archive")
    raise_if_wrong(f"r2/{step.name}", verify_bucket(cloudflare, step.name, source.chunks(), work.scratch).findings)
    journal.note(step, items=int(source.facts["objects"]))


def put_back_bucket(step: Step, cloudflare: Cloudflare, before: Source, work: Work) -> list[str]:
    """
    Make a bucket what it was before, but for objects that somebody else wrote since.

    Returns:
        What of the restore is still there.
    """
    brought = work.undo_source(step)
    found = rule_on_bucket(cloudflare, step.name, brought.chunks(), before.chunks())
    if found.others:
        work.say(f"r2/{step.name}: left {len(found.others):,} objects alone that somebody else wrote meanwhile")
    write_bucket(cloudflare, step.name, before.chunks(), before.packs, only=found.write)
    remove_objects(cloudflare, step.name, found.remove)
    left = rule_on_bucket(cloudflare, step.name, brought.chunks(), before.chunks())
    return [f"the object {key!r} is not as it was before" for key in sorted(left.write | left.remove)]


def _raise_if_written_to(step: Step, cloudflare: Cloudflare, source: Source, before: Source) -> None:
    """
    See that nobody wrote into the bucket since the safety snapshot, which wouldn't have it.

    Raises:
        PlanIsStale: Somebody did.
    """
    # From where the restore began to where it leads: what stands at neither end is somebody else's.
    others = rule_on_bucket(cloudflare, step.name, source.chunks(), before.chunks()).others
    if others:
        more = f" and {len(others) - 1:,} others" if len(others) > 1 else ""
        raise PlanIsStale(
            f"r2/{step.name}: somebody wrote the object {min(others)!r}{more} since the safety snapshot",
            hint="Stop what writes into the bucket, and run the same command again.",
        )


def _remove_what_the_archive_lacks(step: Step, cloudflare: Cloudflare, source: Source, before: Source) -> None:
    """Remove objects of the safety snapshot that the archive lacks; what came since isn't ours."""
    wanted = {str(entry["key"]) for entry in entries_of(source.chunks())}
    there = {item.key for item in cloudflare.r2.objects(step.name)} - wanted
    keys = (str(entry["key"]) for entry in entries_of(before.chunks()))
    remove_objects(cloudflare, step.name, [key for key in keys if key in there])


def delete_made_bucket(step: Step, noted: Mapping[str, Any], cloudflare: Cloudflare) -> bool:
    """Delete the bucket that a step made; say whether there was one. An empty one is ours, unless we were refused."""
    is_made = noted.get("is_made")
    if is_made is False or (is_made is None and not _is_empty(step, cloudflare)):
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
        try:
            cloudflare.r2.create(step.name)
        except ApiRefused:
            # Then it is somebody else's, though it may be empty still.
            journal.note(step, is_made=False)
            raise
    journal.note(step, is_made=True)


def _is_empty(step: Step, cloudflare: Cloudflare) -> bool:
    return next(iter(cloudflare.r2.objects(step.name)), None) is None
