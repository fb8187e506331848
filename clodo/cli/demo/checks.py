"""What the demo claims, each claim checked when it is asked: on the cloud, in the ledger, in what visitors saw."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from clodo.cli.demo.recovery import rows_of
from clodo.cli.demo.rehearsal import DATABASES, SERVICES, Rehearsal
from clodo.errors import ClodoError
from clodo.ledger import Ledger, ReleaseState, default_path
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.recovery import lock_name
from clodo.releases.smoke import Edge

# Where secrets are kept on purpose, readable by their owner only; nowhere else may they be found.
KEPT_ON_PURPOSE = ("emulator", "prefect/credentials.env")
SQLITE = b"SQLite format 3\0"


class Untrue(Exception):
    """A claim does not hold; the text says what was found instead."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One line of the table."""

    name: str
    ok: bool
    detail: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as ``clodo demo --json`` lists it."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "seconds": round(self.seconds, 3)}


def check_all(rehearsal: Rehearsal) -> tuple[Checked, ...]:
    """Check every claim, in order."""
    return tuple(check(name, rehearsal) for name in CLAIMS)


def check(name: str, rehearsal: Rehearsal) -> Checked:
    """Check the claim *name*; one that can't be checked is not true."""
    started = time.monotonic()
    try:
        detail, ok = CLAIMS[name](rehearsal), True
    except (Untrue, ClodoError) as error:
        detail, ok = str(error), False
    return Checked(name, ok, detail, time.monotonic() - started)


def released_in_waves(rehearsal: Rehearsal) -> str:
    """Every service was live before those that need it were deployed, as Cloudflare's own times say."""
    _demand_endings("first", rehearsal.first, Ending.LIVE)
    began = {}
    for service in SERVICES:
        oldest = rehearsal.cloudflare.deployments.list(service)[-1]
        if oldest.created_on is None:
            raise Untrue(f"Cloudflare does not say when {service} was first deployed")
        began[service] = oldest.created_on
    for needed, service in itertools.pairwise(SERVICES):
        if began[service] <= began[needed]:
            raise Untrue(
                f"{service} was first deployed at {began[service].isoformat()}, before {needed}, which it needs"
            )
    return "auth, then api, then web"


def second_version_is_live(rehearsal: Rehearsal) -> str:
    """Cloudflare reports, for each service, the version that the second rollout verified, with its release's tag."""
    _demand_endings("second", rehearsal.second, Ending.LIVE)
    for service, outcome in rehearsal.second.items():
        live, expected = _live_version(rehearsal, service), outcome.version_id
        if service == "auth" and rehearsal.recovery is not None:
            # The same code, released once more with the database that came back.
            expected = rehearsal.recovery.version
        if live != expected:
            raise Untrue(f"{service}: Cloudflare reports {live} as live, not {expected}")
        tag = rehearsal.cloudflare.versions.get(service, str(outcome.version_id)).tag or ""
        if not tag.startswith(f"{outcome.release_id}."):
            raise Untrue(f"{service}: the second version's tag does not name release {outcome.release_id}")
    return f"{len(rehearsal.second)} services, as Cloudflare reports them"


def request_reaches_the_database(rehearsal: Rehearsal) -> str:
    """A request through web and api makes a row in auth's database, signed with auth's secret."""
    edge = Edge(rehearsal.cloud.edge_url)
    try:
        answer = edge.request(rehearsal.hostname, "/api/members", method="POST", body='{"name": "Ada"}')
    except httpx.TransportError as error:
        raise Untrue(f"signing up got no answer ({type(error).__name__})") from error
    finally:
        edge.close()
    if answer.status_code != 201:
        raise Untrue(f"signing up was answered with {answer.status_code}")
    try:
        member = str(answer.json()["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise Untrue("signing up was answered without the new member's id") from error
    rows = _rows(rehearsal, "auth", "SELECT name, signature FROM members WHERE id = ?", member)
    if [row["name"] for row in rows] != ["Ada"]:
        raise Untrue(f"member {member} was acknowledged, and is not in auth's database")
    signed = hmac.new(rehearsal.signing_key.encode(), f"{member}:Ada".encode(), hashlib.sha256).hexdigest()
    if rows[0]["signature"] != signed:
        raise Untrue(f"member {member} is in auth's database, but not signed with auth's secret")
    return "web, api and auth answered; the row is there, signed with auth's secret"


def migrations_are_applied(rehearsal: Rehearsal) -> str:
    """The databases remember every migration file, once, in order."""
    counted = 0
    for service, database in DATABASES.items():
        files = sorted(file.name for file in (rehearsal.folder / service / "migrations").glob("*.sql"))
        rows = [str(row["name"]) for row in _rows(rehearsal, service, "SELECT name FROM d1_migrations ORDER BY id")]
        if rows != files:
            raise Untrue(f"{database} remembers {_listed(rows)}; the folder has {_listed(files)}")
        counted += len(files)
    if counted == 0:
        raise Untrue("there is no migration")
    return f"{counted} files in {len(DATABASES)} databases"


def bad_version_was_undone(rehearsal: Rehearsal) -> str:
    """The third version failed its smoke test, its release is recorded as undone, and the second one is live."""
    outcome = _outcome("third", rehearsal.third, "api")
    if outcome.ending is not Ending.UNDONE:
        raise Untrue(f"api's third release ended {outcome.ending}, not undone")
    if not _versions_of(rehearsal, "api", outcome):
        raise Untrue("the third version was never uploaded, so nothing was undone")
    with _ledger(rehearsal) as ledger:
        row = ledger.releases.get(outcome.release_id or "")
    if row.state is not ReleaseState.UNDONE:
        raise Untrue(f"the ledger says that the third release is {row.state}, not undone")
    live, second = _live_version(rehearsal, "api"), _outcome("second", rehearsal.second, "api").version_id
    if live != second:
        raise Untrue(f"api runs version {live}, not its second version {second}")
    return "the smoke test failed at its preview URL; api runs its second version"


def nobody_saw_the_bad_version(rehearsal: Rehearsal) -> str:
    """No answer to any visitor names a version of the third release."""
    bad = _versions_of(rehearsal, "api", _outcome("third", rehearsal.third, "api"))
    if not bad:
        raise Untrue("the bad version can't be found on the cloud")
    named = [visit for visit in rehearsal.visits[rehearsal.third_began :] if visit.versions]
    if not named:
        raise Untrue("no visitor came by during the third release")
    saw = [visit for visit in rehearsal.visits if visit.versions & bad]
    if saw:
        raise Untrue(f"{len(saw)} answers came from the bad version {min(bad)}, the first to {saw[0].what}")
    return f"{len(named)} answers during that release, none from it"


def no_visit_failed(rehearsal: Rehearsal) -> str:
    """Every visitor got the expected answer, through all releases."""
    visits = rehearsal.visits
    bad = [visit for visit in visits if not visit.is_good]
    if not visits:
        raise Untrue("no visitor came by")
    if bad:
        raise Untrue(f"{len(bad)} of {len(visits)} visits failed; the first, {bad[0].what}, {bad[0].found}")
    return f"{len(visits)} visits, all answered as expected"


def no_row_was_lost(rehearsal: Rehearsal) -> str:
    """Every member that a visitor got an acknowledgement for is in the database."""
    acknowledged = {visit.member for visit in rehearsal.visits if visit.member is not None}
    if not acknowledged:
        raise Untrue("no row was acknowledged")
    kept = {row["id"] for row in _rows(rehearsal, "auth", "SELECT id FROM members")}
    lost = acknowledged - kept
    if lost:
        raise Untrue(f"{len(lost)} of {len(acknowledged)} acknowledged rows are gone, one of them {min(lost)}")
    return f"{len(acknowledged)} acknowledged rows, all there"


def unchanged_is_left_alone(rehearsal: Rehearsal) -> str:
    """The third rollout changed only api: auth and web got no new version."""
    for service in ("auth", "web"):
        outcome = _outcome("third", rehearsal.third, service)
        if outcome.ending is not Ending.UNCHANGED:
            raise Untrue(f"{service} ended {outcome.ending} in the third rollout, not unchanged")
        second = _outcome("second", rehearsal.second, service).version_id
        newest = next(
            version.id
            for version in rehearsal.cloudflare.versions.list(service, limit=2)
            if rehearsal.recovery is None or version.id != rehearsal.recovery.version
        )
        if newest != second:
            raise Untrue(f"{service} has version {newest}, newer than the second rollout's {second}")
    return "auth and web kept their version when only api changed"


def every_row_came_back(rehearsal: Rehearsal) -> str:
    """The database was dropped; another one has each of its rows, and the service answers out of that one."""
    recovery = rehearsal.recovery
    if recovery is None:
        raise Untrue("no database was dropped and restored")
    if recovery.count == 0:
        raise Untrue("the database that was dropped had no rows")
    d1 = rehearsal.cloudflare.d1
    if any(database.uuid == recovery.dropped for database in d1.list()):
        raise Untrue(f"the database {recovery.dropped} was never dropped")
    if d1.get_by_name(DATABASES["auth"]).uuid != recovery.restored:
        raise Untrue(f"{DATABASES['auth']} is not the database that was restored")
    now = rows_of(rehearsal.cloudflare, recovery.restored)
    missing = [row for table, rows in recovery.rows.items() for row in rows - now.get(table, frozenset())]
    if missing:
        raise Untrue(f"{len(missing)} of {recovery.count} rows are not back")
    edge = Edge(rehearsal.cloud.edge_url)
    try:
        answer = edge.request(rehearsal.hostname, "/api/members/count")
        counted = int(answer.json()["count"]) if answer.status_code == 200 else -1
    except (httpx.TransportError, ValueError, KeyError, TypeError) as error:
        raise Untrue(f"counting the members got no answer that makes sense ({type(error).__name__})") from error
    finally:
        edge.close()
    if counted < 0:
        raise Untrue(f"counting the members was answered with {answer.status_code}")
    if counted < len(recovery.rows["members"]):
        raise Untrue(f"web counts {counted} members; {len(recovery.rows['members'])} were in the database")
    return f"{recovery.count} rows, restored into a new database, from which web answers"


def every_release_ended(rehearsal: Rehearsal) -> str:
    """No release is left half-way, no lock is held, and the audit trail tells of every release and was not altered."""
    with _ledger(rehearsal) as ledger:
        left = ledger.releases.open_releases()
        ended = ledger.releases.list()
        held = [service for service in SERVICES if ledger.locks.holding(lock_name(rehearsal.cloud.account_id, service))]
        broken = ledger.audit.verify()
        told = {row.detail.get("release") for row in ledger.audit.list(limit=1000)}
    if left:
        raise Untrue(f"{len(left)} releases are left half-way, one of them {left[0].id} of {left[0].target}")
    if not ended:
        raise Untrue("the ledger knows no release")
    if held:
        raise Untrue(f"the lock on {held[0]} is still held")
    if broken is not None:
        raise Untrue(f"the audit trail was altered: {broken.problem}")
    untold = [release for release in ended if release.id not in told]
    if untold:
        raise Untrue(f"the audit trail does not tell of release {untold[0].id} of {untold[0].target}")
    return f"{len(ended)} releases, all ended; the audit trail's hashes hold"


def secrets_are_nowhere_in_clear(rehearsal: Rehearsal) -> str:
    """The secret and the token stand in no file but those that keep them, which only their owner can read."""
    needles = {"auth's secret": rehearsal.signing_key.encode(), "the API token": rehearsal.cloud.token.encode()}
    state = rehearsal.folder / ".clodo"
    kept_on_purpose = tuple(state / name for name in KEPT_ON_PURPOSE)
    looked = 0
    for file in sorted(rehearsal.folder.rglob("*")):
        if not file.is_file() or file.is_symlink():
            continue
        name = file.relative_to(rehearsal.folder)
        if any(file == one or one in file.parents for one in kept_on_purpose):
            found = _first_found(needles, [file.read_bytes()])
            if found and file.stat().st_mode & 0o077:
                raise Untrue(f"{found} is kept in {name}, which others than its owner can read")
            continue
        looked += 1
        if found := _first_found(needles, _contents_of(file)):
            raise Untrue(f"{found} stands in {name}")
    if looked == 0:
        raise Untrue("there was no file to look into")
    return f"{looked} files of workspace, ledger and Prefect hold none"


CLAIMS: Mapping[str, Callable[[Rehearsal], str]] = {
    "three services were released in waves": released_in_waves,
    "the second version is live and verified": second_version_is_live,
    "a request through web reaches auth's database": request_reaches_the_database,
    "every migration is applied once": migrations_are_applied,
    "the bad third version was undone": bad_version_was_undone,
    "no visitor saw the bad version": nobody_saw_the_bad_version,
    "no visit failed during any release": no_visit_failed,
    "no acknowledged row was lost": no_row_was_lost,
    "a dropped database came back with every row": every_row_came_back,
    "what did not change was left alone": unchanged_is_left_alone,
    "every release ended, and the audit trail holds": every_release_ended,
    "secrets are nowhere in clear": secrets_are_nowhere_in_clear,
}


def _outcome(rollout: str, outcomes: Mapping[str, Outcome], service: str) -> Outcome:
    if service not in outcomes:
        raise Untrue(f"the {rollout} rollout never came to {service}")
    return outcomes[service]


def _demand_endings(rollout: str, outcomes: Mapping[str, Outcome], ending: Ending) -> None:
    for service in SERVICES:
        outcome = _outcome(rollout, outcomes, service)
        if outcome.ending is not ending:
            raise Untrue(f"{service} ended {outcome.ending} in the {rollout} rollout, not {ending}")


def _live_version(rehearsal: Rehearsal, service: str) -> str:
    current = rehearsal.cloudflare.deployments.current(service)
    live = current.only_version if current is not None else None
    if live is None:
        raise Untrue(f"{service}: Cloudflare reports no version that has all traffic")
    return live


def _rows(rehearsal: Rehearsal, service: str, sql: str, *values: str) -> list[dict[str, Any]]:
    database = rehearsal.cloudflare.d1.get_by_name(DATABASES[service])
    return [dict(row) for row in rehearsal.cloudflare.d1.query(database.uuid, sql, values)[0].results]


def _versions_of(rehearsal: Rehearsal, service: str, outcome: Outcome) -> set[str]:
    """Return the versions that a release uploaded, by their tags."""
    return {
        version.id
        for version in rehearsal.cloudflare.versions.list(service, limit=10)
        if outcome.release_id is not None and (version.tag or "").startswith(f"{outcome.release_id}.")
    }


def _ledger(rehearsal: Rehearsal) -> Ledger:
    return Ledger.open(default_path(rehearsal.folder))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _first_found(needles: Mapping[str, bytes], contents: Iterable[bytes]) -> str | None:
    """Return which of *needles* stands in any of *contents*."""
    for content in contents:
        for name, needle in needles.items():
            if needle in content:
                return name
    return None


def _contents_of(file: Path) -> Iterator[bytes]:
    """Give a file's bytes; of a database also each of its values, which may lie scattered over its pages."""
    content = file.read_bytes()
    yield content
    if content.startswith(SQLITE):
        try:
            yield from _values_of(file)
        except sqlite3.Error as error:
            raise Untrue(f"{file.name} can't be looked into: {error}") from error


def _values_of(database: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 -- the name is the database's own
                for value in row:
                    if isinstance(value, str | bytes):
                        yield value.encode() if isinstance(value, str) else value
