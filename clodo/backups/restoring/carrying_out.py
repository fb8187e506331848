"""One step of a restore: done so that it may be done again, verified, and put back when it must not stay."""

from __future__ import annotations

from clodo.backups.manifest import Kind
from clodo.backups.restoring.bucket_steps import delete_made_bucket, put_back_bucket, restore_bucket
from clodo.backups.restoring.database_steps import delete_made_database, restore_database, travel, travel_back
from clodo.backups.restoring.journal import Journal
from clodo.backups.restoring.merging import MERGEABLE, merge, take_back
from clodo.backups.restoring.namespace_steps import delete_made_namespace, put_back_namespace, restore_namespace
from clodo.backups.restoring.plan import Step, Way
from clodo.backups.restoring.work import Work, raise_if_wrong
from clodo.errors import BucketNotFound, DatabaseNotFound, NamespaceNotFound


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
        travel(step, journal, work)
    elif step.kind in MERGEABLE:
        raise_if_wrong(step.label, merge(step, journal, work.client(step), work.source(step), work.say))
    elif step.kind is Kind.D1:
        restore_database(step, journal, work)
    elif step.kind is Kind.R2:
        restore_bucket(step, journal, work)
    else:
        restore_namespace(step, journal, work)
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
    if step.kind is Kind.D1 and step.way is not Way.CREATE:
        return travel_back(step, journal, cloudflare, work)
    # What is put back by half, also by a crash, is to be done again; it no longer counts as verified.
    journal.note(step, state="undoing", last=None)
    if step.kind in MERGEABLE:
        return take_back(step, journal, cloudflare, work.source(step), work.say)
    if step.way is Way.CREATE:
        delete_made = {
            Kind.D1: delete_made_database,
            Kind.KV: delete_made_namespace,
            Kind.R2: delete_made_bucket,
        }[step.kind]
        try:
            if delete_made(step, noted, cloudflare):
                work.say(f"{step.kind.value}/{step.name}: removed again")
        except (BucketNotFound, DatabaseNotFound, NamespaceNotFound):
            # Somebody else removed it, or it never came to be.
            pass
        return ""
    write_back = put_back_bucket if step.kind is Kind.R2 else put_back_namespace
    findings = write_back(step, cloudflare, work.safety_source(step, str(noted["safety"])), work)
    return f"after writing it back from {noted['safety']}: {findings[0]}" if findings else ""
