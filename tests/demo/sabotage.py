"""
Ways to break what the demo claims, for real: on the cloud, in the databases, in the ledger, in files, among visitors.

Each takes a rehearsal, breaks one thing, gives what is to be checked and a text that the check's sentence must hold,
and puts the thing back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from clodo.cli.demo.rehearsal import DATABASES, SERVICES, Rehearsal
from clodo.cli.demo.visitors import Visitors
from clodo.cloudflare.client import Cloudflare
from clodo.emulator.runtime.ports import Disturbance
from clodo.emulator.server import EmbeddedCloud
from clodo.ledger import Ledger, default_path
from clodo.ledger.identifiers import new_release_id
from clodo.ledger.owners import Owner
from clodo.ledger.releases import Release, ReleaseKind, ReleaseState
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import lock_name
from deployments.embedded_cloud import Cloud
from tests.fixtures.embedded_cloud import CloudAccount, account_of, script_parts


@dataclass(frozen=True)
class Broken:
    """
    What is to be checked while something is broken.

    Attributes:
        says: What the check's sentence must hold: what was found instead.

        can_be_put_back: Whether the claim holds again afterwards.
    """

    rehearsal: Rehearsal
    says: str
    can_be_put_back: bool = True


Sabotage = Callable[[Rehearsal, EmbeddedCloud], AbstractContextManager[Broken]]


# --- on the cloud ----------------------------------------------------------------------------------------------------


@contextmanager
def deployed_in_the_wrong_order(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """An account where web was deployed first, then api, then auth."""
    with account_of(cloud, cloud.new_account()) as account:
        for service in reversed(SERVICES):
            account.put_worker(service)
        with rehearsal_on(rehearsal, account) as other:
            yield Broken(other, "before auth, which it needs")


@contextmanager
def a_service_is_gone(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """An account where web was deleted after its release."""
    with account_of(cloud, cloud.new_account()) as account:
        for service in SERVICES:
            account.put_worker(service)
        account.result("DELETE", "/workers/scripts/web?force=true")
        with rehearsal_on(rehearsal, account) as other:
            yield Broken(other, "web")


@contextmanager
def another_version_is_live(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Somebody deployed auth's first version again."""
    first = version_of(rehearsal.first["auth"])
    with deployed(rehearsal, "auth", {first: 100}):
        yield Broken(rehearsal, f"auth: Cloudflare reports {first} as live")


@contextmanager
def two_versions_are_live(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Somebody gave auth's first version half of the traffic."""
    shares = {version_of(rehearsal.first["auth"]): 50, version_of(rehearsal.second["auth"]): 50}
    with deployed(rehearsal, "auth", shares):
        yield Broken(rehearsal, "auth: Cloudflare reports no version that has all traffic")


@contextmanager
def the_bad_version_is_live(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Somebody deployed api's third version after all."""
    bad = bad_version(rehearsal)
    with deployed(rehearsal, "api", {bad: 100}):
        yield Broken(rehearsal, f"api runs version {bad}, not its second version")


@contextmanager
def a_version_too_many(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Somebody uploaded a version of web, which can't be taken back; the fixture's other claims don't look at it."""
    path = f"{cloud.url}/accounts/{rehearsal.cloud.account_id}/workers/scripts/web/versions"
    answer = httpx.post(
        path,
        files=script_parts("export default { fetch() { return new Response('extra'); } };"),
        headers={"Authorization": f"Bearer {rehearsal.cloud.token}"},
        trust_env=False,
    )
    assert answer.is_success, answer.text
    extra = answer.json()["result"]["id"]
    yield Broken(rehearsal, f"web has version {extra}, newer than the second rollout's", can_be_put_back=False)


@contextmanager
def api_answers_with_errors(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Every request to api is answered with 503."""
    with disturbed(rehearsal, cloud, "api", Disturbance(error_rate=1.0, error_status=503)):
        yield Broken(rehearsal, "signing up was answered with 503")


@contextmanager
def web_drops_connections(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """No request to web is answered."""
    with disturbed(rehearsal, cloud, "web", Disturbance(drop=True)):
        yield Broken(rehearsal, "signing up got no answer")


# --- in the databases ------------------------------------------------------------------------------------------------


@contextmanager
def signatures_are_forged(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Each new member's signature is replaced."""
    with trigger(rehearsal, "UPDATE members SET signature = 'forged' WHERE id = NEW.id"):
        yield Broken(rehearsal, "not signed with auth's secret")


@contextmanager
def new_members_vanish(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Each new member's row is deleted."""
    with trigger(rehearsal, "DELETE FROM members WHERE id = NEW.id"):
        yield Broken(rehearsal, "was acknowledged, and is not in auth's database")


@contextmanager
def a_migration_is_forgotten(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """The row of auth's second migration is deleted."""
    with without_rows(rehearsal, "auth", "d1_migrations", "name", "0002_plans.sql"):
        yield Broken(rehearsal, "demo-auth remembers 0001_members.sql; the folder has 0001_members.sql, 0002_plans.sql")


@contextmanager
def a_migration_is_remembered_twice(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """api's first migration is recorded a second time."""
    query(rehearsal, "api", "INSERT INTO d1_migrations (name) VALUES ('0003_again.sql')")
    try:
        yield Broken(rehearsal, "demo-api remembers 0001_visits.sql, 0002_referrers.sql, 0003_again.sql")
    finally:
        query(rehearsal, "api", "DELETE FROM d1_migrations WHERE name = '0003_again.sql'")


@contextmanager
def an_acknowledged_row_is_gone(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """A row that a visitor got an acknowledgement for is deleted."""
    member = next(visit.member for visit in rehearsal.visits if visit.member)
    with without_rows(rehearsal, "auth", "members", "id", member):
        yield Broken(rehearsal, f"acknowledged rows are gone, one of them {member}")


@contextmanager
def a_restored_row_is_gone(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """One row of what was restored is missing."""
    assert rehearsal.recovery is not None
    member = str(min(row[0] for row in rehearsal.recovery.rows["members"]))
    with without_rows(rehearsal, "auth", "members", "id", member):
        yield Broken(rehearsal, f"1 of {rehearsal.recovery.count} rows are not back")


@contextmanager
def the_service_was_not_rebound(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """auth runs the version that still leads to the dropped database."""
    with deployed(rehearsal, "auth", {version_of(rehearsal.second["auth"]): 100}):
        yield Broken(rehearsal, "counting the members was answered with 5")


@contextmanager
def another_database_has_the_name(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """The rows are those of a database that nobody dropped."""
    assert rehearsal.recovery is not None
    there = rehearsal.cloudflare.d1.get_by_name(DATABASES["api"]).uuid
    yield Broken(replace(rehearsal, recovery=replace(rehearsal.recovery, dropped=there)), "was never dropped")


# --- among the visitors ----------------------------------------------------------------------------------------------


@contextmanager
def visitors_meet_the_bad_version(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """The bad version is live while visitors come by."""
    bad = bad_version(rehearsal)
    with deployed(rehearsal, "api", {bad: 100}):
        seen = visits_now(rehearsal)
    yield Broken(seen, f"answers came from the bad version {bad}")


@contextmanager
def visits_are_answered_with_errors(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """web answers visitors with 500."""
    with disturbed(rehearsal, cloud, "web", Disturbance(error_rate=1.0)):
        seen = visits_now(rehearsal)
    yield Broken(seen, "visits failed; the first, GET /, answered 500")


@contextmanager
def visits_are_not_answered(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """web closes visitors' connections."""
    with disturbed(rehearsal, cloud, "web", Disturbance(drop=True)):
        seen = visits_now(rehearsal)
    yield Broken(seen, "visits failed; the first, GET /, got no answer")


@contextmanager
def a_member_is_not_counted(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """A member that was signed up while visitors came by is gone at the next count."""
    with trigger(rehearsal, "DELETE FROM members WHERE id = NEW.id"):
        seen = visits_now(rehearsal)
    yield Broken(seen, "GET /api/members/count, answered 200 with something else than expected")


# --- in the ledger ---------------------------------------------------------------------------------------------------


@contextmanager
def the_ledger_says_live(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """The ledger says that the bad release went live."""
    release = rehearsal.third["api"].release_id
    with edited(rehearsal, "UPDATE clodo_releases SET state = ? WHERE id = ?", ("live", release), ("undone", release)):
        yield Broken(rehearsal, "the ledger says that the third release is live, not undone")


@contextmanager
def a_release_is_left_open(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """A release was begun and never ended."""
    row = Release(
        id=new_release_id(),
        target="api@production",
        worker="api",
        account_id=rehearsal.cloud.account_id,
        strategy="all-at-once",
        reason="sabotage",
        actor="somebody",
        kind=ReleaseKind.REDEPLOY,
        plan_fingerprint="",
        created_at=datetime.now(UTC),
    )
    with ledger_of(rehearsal) as ledger:
        ledger.releases.create(row)
        ledger.audit.append("somebody", "release-begun", row.target, {"release": row.id})
        try:
            yield Broken(rehearsal, f"1 releases are left half-way, one of them {row.id} of api@production")
        finally:
            ledger.releases.set_state(row.id, ReleaseState.FAILED)


@contextmanager
def a_lock_is_held(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Somebody holds the lock on web."""
    name = lock_name(rehearsal.cloud.account_id, "web")
    with ledger_of(rehearsal) as ledger, ledger.locks.acquire(name, Owner.current("sabotage"), "sabotage"):
        yield Broken(rehearsal, "the lock on web is still held")


@contextmanager
def an_audit_row_is_altered(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Another name stands in the audit trail's second row."""
    actor = read(rehearsal, "SELECT actor FROM clodo_audit WHERE sequence = 2")[0][0]
    with edited(rehearsal, "UPDATE clodo_audit SET actor = ? WHERE sequence = 2", ("somebody else",), (actor,)):
        yield Broken(rehearsal, "the audit trail was altered: row 2 was changed after it was written")


@contextmanager
def the_audit_trail_is_empty(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """All rows of the audit trail are gone, and its head says that there were never any."""
    rows = read(rehearsal, "SELECT * FROM clodo_audit")
    heads = read(rehearsal, "SELECT * FROM clodo_audit_head")
    write(rehearsal, "DELETE FROM clodo_audit")
    write(rehearsal, "UPDATE clodo_audit_head SET sequence = 0, hash = ?", ("0" * 64,))
    try:
        yield Broken(rehearsal, "audit trail")
    finally:
        for row in rows:
            write(rehearsal, f"INSERT INTO clodo_audit VALUES ({','.join('?' * len(row))})", row)
        write(rehearsal, "UPDATE clodo_audit_head SET id = ?, sequence = ?, hash = ?", heads[0])


# --- in files --------------------------------------------------------------------------------------------------------


@contextmanager
def the_secret_is_logged(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """auth's secret stands in a log file."""
    with file(rehearsal, ".clodo/prefect/worker.log", f"uploading with {rehearsal.signing_key}\n".encode()):
        yield Broken(rehearsal, "auth's secret stands in .clodo/prefect/worker.log")


@contextmanager
def the_token_is_in_a_rendered_file(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """The API token stands in a file beside the sources."""
    with file(rehearsal, "web/public/debug.txt", f"token={rehearsal.cloud.token}".encode()):
        yield Broken(rehearsal, "the API token stands in web/public/debug.txt")


@contextmanager
def the_secret_lies_across_pages(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """A database holds the secret in a value so long that SQLite scatters it, the secret too, over its pages."""
    database = rehearsal.folder / ".clodo" / "prefect" / "prefect.db"
    database.parent.mkdir(exist_ok=True)
    needle = rehearsal.signing_key
    for padding in range(0, 8000, 40):
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("CREATE TABLE log (message TEXT)")
            connection.execute("INSERT INTO log VALUES (?)", (("x" * padding + needle).ljust(16000, "y"),))
            connection.commit()
        if needle.encode() not in database.read_bytes():
            break
        database.unlink()
    else:
        raise AssertionError("SQLite kept the secret on one page, whatever its place")
    try:
        yield Broken(rehearsal, "auth's secret stands in .clodo/prefect/prefect.db")
    finally:
        database.unlink()


@contextmanager
def kept_secrets_are_readable(rehearsal: Rehearsal, cloud: EmbeddedCloud) -> Iterator[Broken]:
    """Everybody may read a file in which the embedded cloud keeps a Worker's secret."""
    with file(rehearsal, ".clodo/emulator/secrets.json", rehearsal.signing_key.encode()) as kept:
        kept.chmod(0o644)
        yield Broken(rehearsal, "kept in .clodo/emulator/secrets.json, which others than its owner can read")


SABOTAGES: Mapping[str, tuple[Sabotage, ...]] = {
    "three services were released in waves": (deployed_in_the_wrong_order, a_service_is_gone),
    "the second version is live and verified": (another_version_is_live, two_versions_are_live),
    "a request through web reaches auth's database": (
        api_answers_with_errors,
        web_drops_connections,
        signatures_are_forged,
        new_members_vanish,
    ),
    "every migration is applied once": (a_migration_is_forgotten, a_migration_is_remembered_twice),
    "the bad third version was undone": (the_bad_version_is_live, the_ledger_says_live),
    "no visitor saw the bad version": (visitors_meet_the_bad_version,),
    "no visit failed during any release": (
        visits_are_answered_with_errors,
        visits_are_not_answered,
        a_member_is_not_counted,
    ),
    "no acknowledged row was lost": (an_acknowledged_row_is_gone,),
    "a dropped database came back with every row": (
        a_restored_row_is_gone,
        the_service_was_not_rebound,
        another_database_has_the_name,
    ),
    "what did not change was left alone": (a_version_too_many,),
    "every release ended, and the audit trail holds": (
        a_release_is_left_open,
        a_lock_is_held,
        an_audit_row_is_altered,
        the_audit_trail_is_empty,
    ),
    "secrets are nowhere in clear": (
        the_secret_is_logged,
        the_token_is_in_a_rendered_file,
        the_secret_lies_across_pages,
        kept_secrets_are_readable,
    ),
}


# --- tools -----------------------------------------------------------------------------------------------------------


def version_of(outcome: Outcome) -> str:
    assert outcome.version_id is not None
    return outcome.version_id


def bad_version(rehearsal: Rehearsal) -> str:
    """Return the version that api's third release uploaded."""
    tag = f"{rehearsal.third['api'].release_id}."
    (found,) = [
        version.id
        for version in rehearsal.cloudflare.versions.list("api", limit=10)
        if (version.tag or "").startswith(tag)
    ]
    return found


def visits_now(rehearsal: Rehearsal, count: int = 9) -> Rehearsal:
    """Let visitors come by now, and return the rehearsal as if these were all."""
    with Visitors(rehearsal.cloud.edge_url, rehearsal.hostname) as visitors:
        visitors.wait_for(count)
        return replace(rehearsal, visits=visitors.visits, third_began=0)


@contextmanager
def rehearsal_on(rehearsal: Rehearsal, account: CloudAccount) -> Iterator[Rehearsal]:
    """Give the rehearsal as if it had been on *account*, and every first release had gone live."""
    cloud = Cloud(
        pid=0,
        url=account.cloud.url,
        edge_url=account.cloud.edge_url,
        account_id=account.account_id,
        token=account.token,
        subdomain=account.subdomain,
        zone=account.zone,
    )
    with Cloudflare(account.account_id, account.token, account.cloud.url) as cloudflare:
        first = {service: Outcome(f"{service}@production", Ending.LIVE) for service in SERVICES}
        yield replace(rehearsal, cloud=cloud, cloudflare=cloudflare, first=first)


@contextmanager
def deployed(rehearsal: Rehearsal, service: str, shares: Mapping[str, float]) -> Iterator[None]:
    """Deploy *shares* and, at the end, what was deployed before."""
    before = rehearsal.cloudflare.deployments.current(service)
    assert before is not None
    rehearsal.cloudflare.deployments.create(service, shares, force=True)
    try:
        yield
    finally:
        rehearsal.cloudflare.deployments.create(service, before.shares, force=True)


@contextmanager
def disturbed(rehearsal: Rehearsal, cloud: EmbeddedCloud, service: str, disturbance: Disturbance) -> Iterator[None]:
    cloud.disturb(rehearsal.cloud.account_id, service, disturbance=disturbance)
    try:
        yield
    finally:
        cloud.disturb(rehearsal.cloud.account_id, service)


def query(rehearsal: Rehearsal, service: str, sql: str, *values: Any) -> list[dict[str, Any]]:
    """Run SQL in a service's database, as its owner may through Cloudflare's API."""
    database = rehearsal.cloudflare.d1.get_by_name(DATABASES[service])
    return [dict(row) for row in rehearsal.cloudflare.d1.query(database.uuid, sql, values)[0].results]


@contextmanager
def trigger(rehearsal: Rehearsal, statement: str) -> Iterator[None]:
    """Run *statement* after each member that signs up."""
    query(rehearsal, "auth", f"CREATE TRIGGER sabotage AFTER INSERT ON members BEGIN {statement}; END")
    try:
        yield
    finally:
        query(rehearsal, "auth", "DROP TRIGGER sabotage")


@contextmanager
def without_rows(rehearsal: Rehearsal, service: str, table: str, column: str, value: str) -> Iterator[None]:
    """Delete rows and, at the end, put them back as they were."""
    rows = query(rehearsal, service, f"SELECT * FROM {table} WHERE {column} = ?", value)
    assert rows
    query(rehearsal, service, f"DELETE FROM {table} WHERE {column} = ?", value)
    try:
        yield
    finally:
        for row in rows:
            places = ",".join("?" * len(row))
            query(rehearsal, service, f"INSERT INTO {table} ({','.join(row)}) VALUES ({places})", *row.values())


@contextmanager
def ledger_of(rehearsal: Rehearsal) -> Iterator[Ledger]:
    with Ledger.open(default_path(rehearsal.folder)) as ledger:
        yield ledger


def read(rehearsal: Rehearsal, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(default_path(rehearsal.folder))) as connection:
        return connection.execute(sql).fetchall()


def write(rehearsal: Rehearsal, sql: str, values: tuple[Any, ...] = ()) -> None:
    with closing(sqlite3.connect(default_path(rehearsal.folder))) as connection, connection:
        assert connection.execute(sql, values).rowcount > 0


@contextmanager
def edited(rehearsal: Rehearsal, sql: str, values: tuple[Any, ...], before: tuple[Any, ...]) -> Iterator[None]:
    """Change the ledger behind its back and, at the end, change it back."""
    write(rehearsal, sql, values)
    try:
        yield
    finally:
        write(rehearsal, sql, before)


@contextmanager
def file(rehearsal: Rehearsal, name: str, content: bytes) -> Iterator[Path]:
    path = rehearsal.folder / name
    assert not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        yield path
    finally:
        path.unlink()
