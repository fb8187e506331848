"""What the demo claims, each claim checked when it is asked: on the cloud, in the ledger, in what visitors saw."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clodo.cli.demo.rehearsal import DATABASES, SERVICES, Rehearsal
from clodo.errors import ClodoError
from clodo.ledger import Ledger, ReleaseState, default_path
from clodo.releases.outcome import Ending
from clodo.releases.smoke import Edge

# Where secrets are kept on purpose, readable by their owner only; nowhere else may they be found.
KEPT_ON_PURPOSE = ("emulator", "prefect/credentials.env")


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
    return tuple(check(name, claim, rehearsal) for name, claim in CLAIMS.items())


def check(name: str, claim: Callable[[Rehearsal], str], rehearsal: Rehearsal) -> Checked:
    """Check one claim; one that can't be checked is not true."""
    started = time.monotonic()
    try:
        detail, ok = claim(rehearsal), True
    except (Untrue, ClodoError) as error:
        detail, ok = str(error), False
    return Checked(name, ok, detail, time.monotonic() - started)


def released_in_waves(rehearsal: Rehearsal) -> str:
    """Every service was live before those that need it were deployed, as Cloudflare's own times say."""
    _demand_endings(rehearsal.first, Ending.LIVE)
    began = []
    for service in SERVICES:
        oldest = rehearsal.cloudflare.deployments.list(service)[-1]
        if oldest.created_on is None:
            raise Untrue(f"Cloudflare does not say when {service} was first deployed")
        began.append(oldest.created_on)
    if began != sorted(began):
        raise Untrue("the services were not deployed in the order auth, api, web")
    return "auth, then api, then web"


def second_version_is_live(rehearsal: Rehearsal) -> str:
    """Cloudflare reports, for each service, the version that the second rollout verified, with its release's tag."""
    _demand_endings(rehearsal.second, Ending.LIVE)
    for service, outcome in rehearsal.second.items():
        deployment = rehearsal.cloudflare.deployments.current(service)
        if deployment is None or deployment.only_version != outcome.version_id:
            raise Untrue(f"{service}: Cloudflare does not report {outcome.version_id} as the only live version")
        tag = rehearsal.cloudflare.versions.get(service, outcome.version_id or "").tag or ""
        if not tag.startswith(f"{outcome.release_id}."):
            raise Untrue(f"{service}: the live version's tag does not name release {outcome.release_id}")
    return f"{len(rehearsal.second)} services, as Cloudflare reports them"


def request_reaches_the_database(rehearsal: Rehearsal) -> str:
    """A request through web and api makes a row in auth's database, signed with auth's secret."""
    edge = Edge(rehearsal.running.cloud.edge_url)
    try:
        answer = edge.request(rehearsal.hostname, "/api/members", method="POST", body='{"name": "Ada"}')
    finally:
        edge.close()
    if answer.status_code != 201:
        raise Untrue(f"signing up was answered with {answer.status_code}")
    member = str(answer.json()["id"])
    rows = _rows(rehearsal, "auth", f"SELECT name, signature FROM members WHERE id = '{member}'")  # noqa: S608
    signed = hmac.new(rehearsal.signing_key.encode(), f"{member}:Ada".encode(), hashlib.sha256).hexdigest()
    if rows != [{"name": "Ada", "signature": signed}]:
        raise Untrue("the row is not in auth's database, or its signature is not made with auth's secret")
    return "web, api and auth answered; the row is there, signed with auth's secret"


def migrations_are_applied(rehearsal: Rehearsal) -> str:
    """The databases remember every migration file, once, in order."""
    counted = 0
    for service in DATABASES:
        files = sorted(file.name for file in (rehearsal.folder / service / "migrations").glob("*.sql"))
        rows = [row["name"] for row in _rows(rehearsal, service, "SELECT name FROM d1_migrations ORDER BY id")]
        if rows != files:
            raise Untrue(f"{service}: the database remembers {rows}, the folder has {files}")
        counted += len(files)
    return f"{counted} files in {len(DATABASES)} databases"


def bad_version_was_undone(rehearsal: Rehearsal) -> str:
    """The third version failed its smoke test, its release is recorded as undone, and the second one is live."""
    outcome = rehearsal.third.get("api")
    if outcome is None or outcome.ending is not Ending.UNDONE:
        raise Untrue(f"api's third release ended as {outcome.ending if outcome else 'nothing'}, not undone")
    if not _versions_of(rehearsal, "api", outcome.release_id):
        raise Untrue("the third version was never uploaded, so nothing was undone")
    with _ledger(rehearsal) as ledger:
        row = ledger.releases.get(outcome.release_id or "")
    if row.state is not ReleaseState.UNDONE:
        raise Untrue("the ledger does not say that the third release was undone")
    current = rehearsal.cloudflare.deployments.current("api")
    if current is None or current.only_version != rehearsal.second["api"].version_id:
        raise Untrue("api does not run its second version")
    return "the smoke test failed at its preview URL; api runs its second version"


def nobody_saw_the_bad_version(rehearsal: Rehearsal) -> str:
    """No answer to any visitor names a version of the third release."""
    outcome = rehearsal.third["api"]
    bad = _versions_of(rehearsal, "api", outcome.release_id)
    if not bad:
        raise Untrue("the bad version can't be found on the cloud")
    during = rehearsal.visitors.visits[rehearsal.third_began :]
    named = [visit for visit in during if visit.versions]
    if not named:
        raise Untrue("no visitor came by during the third release")
    saw = [visit for visit in rehearsal.visitors.visits if visit.versions & bad]
    if saw:
        raise Untrue(f"{len(saw)} answers came from the bad version {sorted(bad)[0]}")
    return f"{len(named)} answers during that release, none from it"


def no_visit_failed(rehearsal: Rehearsal) -> str:
    """Every visitor got the expected answer, through all releases."""
    visits = rehearsal.visitors.visits
    bad = [visit for visit in visits if not visit.is_good]
    if not visits:
        raise Untrue("no visitor came by")
    if bad:
        raise Untrue(f"{len(bad)} of {len(visits)} visits failed, the first: {bad[0].what} answered {bad[0].status}")
    return f"{len(visits)} visits, all answered as expected"


def no_row_was_lost(rehearsal: Rehearsal) -> str:
    """Every member that a visitor got an acknowledgement for is in the database."""
    acknowledged = {visit.member for visit in rehearsal.visitors.visits if visit.member is not None}
    if not acknowledged:
        raise Untrue("no row was acknowledged")
    kept = {row["id"] for row in _rows(rehearsal, "auth", "SELECT id FROM members")}
    lost = acknowledged - kept
    if lost:
        raise Untrue(f"{len(lost)} of {len(acknowledged)} acknowledged rows are gone")
    return f"{len(acknowledged)} acknowledged rows, all there"


def unchanged_is_left_alone(rehearsal: Rehearsal) -> str:
    """The third rollout changed only api: auth and web got no new version."""
    for service in ("auth", "web"):
        outcome = rehearsal.third.get(service)
        if outcome is None or outcome.ending is not Ending.UNCHANGED:
            raise Untrue(f"{service} ended as {outcome.ending if outcome else 'nothing'} in the third rollout")
        versions = [version.id for version in rehearsal.cloudflare.versions.list(service, limit=10)]
        if not versions or versions[0] != rehearsal.second[service].version_id:
            raise Untrue(f"{service} has a newer version than the second rollout's")
    return "auth and web kept their version when only api changed"


def every_release_ended(rehearsal: Rehearsal) -> str:
    """No release is left half-way and no lock is held."""
    with _ledger(rehearsal) as ledger:
        left = ledger.releases.open_releases()
        ended = ledger.releases.list()
        broken = ledger.audit.verify()
    if left:
        raise Untrue(f"{len(left)} releases are left half-way")
    if not ended:
        raise Untrue("the ledger knows no release")
    if broken is not None:
        raise Untrue(f"row {broken.sequence} of the audit trail: {broken.problem}")
    return f"{len(ended)} releases, all ended; the audit trail's hashes hold"


def secrets_are_nowhere_in_clear(rehearsal: Rehearsal) -> str:
    """Neither the secret nor the API token stands in the ledger, in Prefect's database or in any log."""
    needles = (rehearsal.signing_key.encode(), rehearsal.running.cloud.token.encode())
    looked = 0
    for file in _files(rehearsal.folder):
        content = file.read_bytes()
        looked += 1
        if any(needle in content for needle in needles):
            raise Untrue(f"a secret stands in {file.relative_to(rehearsal.folder)}")
    if looked == 0:
        raise Untrue("there was no file to look into")
    return f"{looked} files of ledger, Prefect and workspace hold none"


CLAIMS: dict[str, Callable[[Rehearsal], str]] = {
    "three services were released in waves": released_in_waves,
    "the second version is live and verified": second_version_is_live,
    "a request through web reaches auth's database": request_reaches_the_database,
    "every migration is applied once": migrations_are_applied,
    "the bad third version was undone": bad_version_was_undone,
    "no visitor saw the bad version": nobody_saw_the_bad_version,
    "no visit failed during any release": no_visit_failed,
    "no acknowledged row was lost": no_row_was_lost,
    "what did not change was left alone": unchanged_is_left_alone,
    "every release ended, and the audit trail holds": every_release_ended,
    "secrets are nowhere in clear": secrets_are_nowhere_in_clear,
}


def _demand_endings(outcomes: Any, ending: Ending) -> None:
    missing = [service for service in SERVICES if service not in outcomes]
    if missing:
        raise Untrue(f"{', '.join(missing)} were not released")
    bad = [f"{service} ({outcome.ending})" for service, outcome in outcomes.items() if outcome.ending is not ending]
    if bad:
        raise Untrue(f"not {ending}: {', '.join(bad)}")


def _rows(rehearsal: Rehearsal, service: str, sql: str) -> list[dict[str, Any]]:
    database = rehearsal.cloudflare.d1.get_by_name(DATABASES[service])
    return [dict(row) for row in rehearsal.cloudflare.d1.query(database.uuid, sql)[0].results]


def _versions_of(rehearsal: Rehearsal, service: str, release_id: str | None) -> set[str]:
    """Return the versions that a release uploaded, by their tags."""
    return {
        version.id
        for version in rehearsal.cloudflare.versions.list(service, limit=10)
        if release_id is not None and (version.tag or "").startswith(f"{release_id}.")
    }


def _ledger(rehearsal: Rehearsal) -> Ledger:
    return Ledger.open(default_path(rehearsal.folder))


def _files(folder: Path) -> Iterator[Path]:
    kept = tuple(folder / ".clodo" / name for name in KEPT_ON_PURPOSE)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink() and not any(file == one or one in file.parents for one in kept):
            yield file
