"""
One release of one target, step by step; each step journaled before and after.

Next door: `story` says in which order the steps come, `undo` puts back what they changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clodo.errors import (
    ClodoError,
    MigrationFailed,
    SmokeTestInconclusive,
    VerificationFailed,
)
from clodo.ledger.journal import Journal, Phase
from clodo.migrations import databases as migrations
from clodo.migrations.contents import Contents, read_contents
from clodo.migrations.plan import MigrationStatus
from clodo.releases.asking import NOWHERE, Asking, hint_to_be_asked
from clodo.releases.desired import Database, Desired
from clodo.releases.interruption import Interruption
from clodo.releases.observed import Observed, observe, observe_triggers, set_triggers
from clodo.releases.smoke import Result, SmokeTester
from clodo.releases.steps import Step
from clodo.releases.triggers import Triggers
from clodo.workspace.effective_config import DatabaseBinding
from clodo.workspace.rendering import render_config, write_rendered
from clodo.wrangler.uploads import Stamp

if TYPE_CHECKING:
    from clodo.cloudflare.client import Cloudflare
    from clodo.wrangler.commands import Uploaded, Wrangler


CONTENTS_BYTES = 10_000
"""Room in the journal for what the databases of a release held before it."""


class Fence(Protocol):
    """What is asked before each write; a `clodo.ledger.locks.Lock` is one."""

    def check(self) -> None:
        """Raise LockLost when nothing more may be written."""


@dataclass(frozen=True, slots=True)
class Verified:
    """
    A version that is live, and how we know.

    Attributes:
        script_etag, script_modified_on: As the account's list of scripts gave them, read before the deployment was
            read for the last time: a change by somebody else in between shows as another *modified_on* later.
    """

    version_id: str
    deployment_id: str
    content_sha256: str
    script_etag: str
    script_modified_on: str
    triggers: Triggers
    results: tuple[Result, ...]


@dataclass(slots=True)
class Progress:
    """What a release knows so far; everything in it can be read from the journal again."""

    observed: Observed | None = None
    pending: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: frozenset[str] = frozenset()
    uploaded: Uploaded | None = None
    tested: tuple[Result, ...] = ()
    verified: Verified | None = None
    applied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Release:
    """
    One attempt to take a target to a new version.

    Args:
        release_id: From the ledger; at most 35 bytes, since it opens the version's tag.

        desired: What the target should become.

        cloudflare: Client of the target's account.

        wrangler: Whose uploads go through our gateway.

        journal: Where each step is written down.

        lock: On the target; looked at before each write.

        tester: Runs smoke tests.

        account_subdomain: ``<this>.workers.dev``; None when the account has none.

        scratch: Where the rendered config goes; always the same for a target, since its place shows in the bundle.

        known_zones: Zones in which the target had routes before.

        checks_triggers: Whether `verify` insists on the desired triggers; a rollback leaves them as they are.

        verb: What is done, for the deployment's message.

        is_ours: Whether what is live is known to be as our last release left it.

        expects: Gets what is there before anything is written; raises when that is not what was looked at.

        interruption: When somebody wants it to stop.
    """

    def __init__(
        self,
        release_id: str,
        desired: Desired,
        *,
        cloudflare: Cloudflare,
        wrangler: Wrangler | None,
        journal: Journal,
        lock: Fence,
        tester: SmokeTester,
        account_subdomain: str | None,
        scratch: Path,
        known_zones: frozenset[str] = frozenset(),
        checks_triggers: bool = True,
        verb: str = "released",
        is_ours: bool = False,
        expects: Callable[[Observed], None] = lambda observed: None,
        interruption: Interruption | None = None,
        tells: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.id = release_id
        self.desired = desired
        self.journal = journal
        self.lock = lock
        self.progress = Progress()
        self.interruption = interruption or Interruption()
        self._cloudflare = cloudflare.with_guard(self._guard)
        self._wrangler = wrangler
        self._asking = Asking(desired, tester, account_subdomain)
        self._scratch = scratch
        self._known_zones = known_zones
        self._checks_triggers = checks_triggers
        self._verb = verb
        self._is_ours = is_ours
        self._expects = expects
        self._tells = tells
        self._migrations: dict[str, MigrationStatus] = {}

    def __repr__(self) -> str:
        return f"<Release {self.id} of {self.desired.target}>"

    def tell(self, line: str) -> None:
        """Show *line* to whoever watches this release."""
        self._tells(line)

    @property
    def target(self) -> str:
        """The target's name."""
        return str(self.desired.target)

    @property
    def worker(self) -> str:
        """The Worker's name on the account."""
        return self.desired.worker

    @property
    def observed(self) -> Observed:
        """What the target was before; noted by the first step."""
        if self.progress.observed is None:
            raise RuntimeError("the way back has not been noted yet")
        return self.progress.observed

    @property
    def is_first(self) -> bool:
        """Whether there was no such Worker before."""
        return not self.observed.exists

    @property
    def version_id(self) -> str:
        """The new version; known after the upload."""
        if self.progress.uploaded is None:
            raise RuntimeError("nothing has been uploaded yet")
        return self.progress.uploaded.version_id

    # --- the steps ----------------------------------------------------------------------------------------------------

    def note_way_back(self) -> Observed:
        """Read and write down everything that an undo needs; nothing is changed."""

        def work() -> dict[str, Any]:
            observed = observe(self._cloudflare, self.worker, self.desired.triggers, self._zones())
            self._expects(observed)
            # All databases before the first is touched: what is refused, or fails in its rehearsal, changes nothing.
            self._migrations = {database.name: self._status(database) for database in self.desired.databases}
            pending = {
                name: tuple(migration.name for migration in found.pending_expand)
                for name, found in self._migrations.items()
            }
            baseline = self._asking.baseline(observed) if any(pending.values()) else frozenset()
            self.progress.observed = observed
            self.progress.pending = pending
            self.progress.baseline = baseline
            return {
                "observed": observed.to_json(),
                "pending": {name: list(names) for name, names in pending.items()},
                "baseline": sorted(baseline),
                "zones": sorted(self._zones()),
            }

        intent = {"inputs": self.desired.inputs, "is_ours": self._is_ours}
        self._perform(Step.NOTE_WAY_BACK, intent, work)
        return self.observed

    def migrate(self) -> Mapping[str, tuple[str, ...]]:
        """Apply the pending expand migrations, database by database; each file is all or nothing."""
        todo = [database for database in self.desired.databases if self.progress.pending.get(database.name)]
        if not todo:
            return {}
        intent = {
            "databases": [self._database_intent(database, among=len(todo)) for database in todo],
            "on_failure": self.desired.settings.on_failure.database,
        }

        applied: dict[str, Any] = {}

        def work() -> dict[str, Any]:
            for database in todo:
                binding = self._binding(database)
                try:
                    done = migrations.apply(
                        self._cloudflare.d1,
                        database.database_id,
                        binding.migrations_folder,
                        pattern=binding.migrations_pattern or "*.sql",
                        table=binding.migrations_table,
                        release_id=self.id,
                        # Once: a database that is bound twice is asked again.
                        known=self._migrations.pop(database.name, None),
                        tells=self._tells,
                        on_applied=partial(self._tell_applied, database.name),
                        pause=self._cloudflare.clock.sleep,
                    )
                except MigrationFailed as error:
                    # The undo must know up to where going back in time would lose nothing.
                    applied[database.name] = {"names": list(error.applied), "bookmark": error.bookmark}
                    raise
                applied[database.name] = {
                    "names": [item.name for item in done],
                    "bookmark": done[-1].bookmark if done else None,
                }
            return {"applied": applied}

        detail = self._perform(Step.MIGRATE, intent, work, so_far={"applied": applied})
        self.progress.applied = {name: tuple(item["names"]) for name, item in detail["applied"].items()}
        return self.progress.applied

    def check_live(self) -> tuple[Result, ...]:
        """
        Show that the live version still works on the new schema, since it goes on serving.

        Only tests that it passed before the migration count: what a new version is asked may be new to it.

        Raises:
            SmokeTestFailed: It passed before and fails now.

            SmokeTestInconclusive: Nothing proves which version answered.
        """
        live = self.observed.live_version
        if not self.progress.applied or live is None or not self.progress.baseline:
            return ()

        def work() -> dict[str, Any]:
            results = self._asking.ask_version_before(self.observed, only=self.progress.baseline)
            self._asking.raise_unless_passed(results, f"the live version {live} on the new schema")
            return {"results": [result.to_json() for result in results]}

        detail = self._perform(Step.CHECK_LIVE, {"version_id": live}, work)
        self._tells(f"the live version still works on the new schema ({len(detail['results'])} smoke tests)")
        return ()

    def upload(self) -> Uploaded:
        """Upload a new version, code and secrets in one request; on a redeploy it gets no traffic."""
        stamp = Stamp(
            release_id=self.id,
            message=f"{self.target} by Clodo, release {self.id}",
            keep_secrets_of=self.observed.live_version,
            live_secret_names=frozenset(self.observed.secret_names),
        )

        def work() -> dict[str, Any]:
            config = self._write_config()
            if self._wrangler is None:
                raise RuntimeError("this release was made without wrangler: it can't upload")
            send = self._wrangler.deploy_first if self.is_first else self._wrangler.upload_version
            uploaded = send(
                config,
                worker=self.worker,
                account_id=self._cloudflare.account_id,
                stamp=stamp,
                secrets=self.desired.secrets,
                guard=self._guard,
            )
            self.progress.uploaded = uploaded
            return {
                "version_id": uploaded.version_id,
                "content_sha256": uploaded.content_sha256,
                "has_preview": uploaded.has_preview,
                "startup_ms": uploaded.startup_time_ms,
            }

        self._perform(Step.UPLOAD, {"is_first": self.is_first}, work)
        self._tells(f"uploaded version {self.version_id}")
        if self.progress.uploaded is None:  # pragma: no cover - work() sets it or raises
            raise RuntimeError("the upload left nothing")
        return self.progress.uploaded

    def smoke_test(self) -> tuple[Result, ...]:
        """
        Test the new version where no user comes by: at its preview URL, else at 0 % with a version override.

        A first deploy without preview URLs has no such place; then the test is left to `verify`.

        Raises:
            SmokeTestFailed: It answered, and wrongly.

            SmokeTestInconclusive: Nothing proves that it answered.
        """
        uploaded = self.progress.uploaded
        # Only `versions upload` is told whether the version has a preview; after a first deploy the settings say it.
        has_preview = uploaded is not None and (uploaded.has_preview or self.is_first)
        place = self._asking.private_place(self.version_id, self.observed, has_preview=has_preview)
        if place is None and self.is_first:
            self._tells("no preview URL to test at; tested after the triggers are set")
            return ()
        at_zero = place is not None and place.override_for is not None
        intent = {"version_id": self.version_id, "at_zero": at_zero}

        def work() -> dict[str, Any]:
            if place is None:
                raise SmokeTestInconclusive(
                    f"{self.target}: the new version can't be asked before it gets traffic: {NOWHERE}",
                    hint=hint_to_be_asked(self.desired, is_first=False),
                )
            if at_zero:
                live = self.observed.live_version or ""
                self._cloudflare.deployments.create(
                    self.worker, {live: 100, self.version_id: 0}, message=f"Clodo tests release {self.id} at 0 %"
                )
            results = self._asking.ask_at(place)
            self._asking.raise_unless_passed(results, f"version {self.version_id}")
            self.progress.tested = results
            return {"results": [result.to_json() for result in results]}

        self._perform(Step.SMOKE_TEST, intent, work)
        self._tells(f"smoke-tested version {self.version_id} ({len(self.progress.tested)} passed)")
        return self.progress.tested

    def roll_out(self) -> None:
        """Give the new version all traffic, in one deployment."""
        if self.is_first:
            return

        def work() -> dict[str, Any]:
            deployment = self._cloudflare.deployments.create(
                self.worker,
                {self.version_id: 100},
                message=f"{self.target} {self._verb} by Clodo, release {self.id}",
                force=True,
            )
            return {"deployment_id": deployment.id}

        self._perform(Step.ROLL_OUT, {"version_id": self.version_id}, work)
        self._tells(f"rolled out version {self.version_id} to all requests")

    def set_triggers(self) -> Triggers:
        """Make routes, domains, schedules, workers.dev and settings what the config says; write only what differs."""
        wanted = self.desired.triggers
        if self.is_first and wanted.previews is None:
            # Preview URLs were on for the smoke test; by default they follow workers.dev, as wrangler does it.
            wanted = replace(wanted, previews=wanted.workers_dev)
        before = self._triggers_before_setting()
        change = wanted.wanted_over(before)
        if change.is_empty:
            return change

        def work() -> dict[str, Any]:
            set_triggers(self._cloudflare, self.worker, before, change)
            return {}

        self._perform(Step.SET_TRIGGERS, {"change": change.to_json()}, work)
        self._tells("set " + "; ".join(change.describe()))
        return change

    def verify(self) -> Verified:
        """
        Show that what is live is what was meant.

        Raises:
            VerificationFailed: Cloudflare reports another version or other triggers.

            SmokeTestFailed: The Worker answers wrongly where users reach it.

            SmokeTestInconclusive: Nothing proves that the new version answers there.
        """

        def work() -> dict[str, Any]:
            script = next((item for item in self._cloudflare.scripts.list() if item.id == self.worker), None)
            if script is None:
                raise VerificationFailed(f"{self.target}: the account no longer lists the Worker {self.worker}")
            triggers = observe_triggers(self._cloudflare, self.worker, self.desired.triggers, self._zones())
            missing = self.desired.triggers.wanted_over(triggers)
            if self._checks_triggers and not missing.is_empty:
                raise VerificationFailed(
                    f"{self.target}: Cloudflare does not report what was set: " + "; ".join(missing.describe())
                )
            is_untested = self.is_first and not self.progress.tested
            results = self._asking.ask_live(self.version_id, triggers, must_answer=is_untested)
            deployment = self._cloudflare.deployments.current(self.worker)
            if deployment is None or deployment.only_version != self.version_id:
                live = "nothing" if deployment is None else ", ".join(deployment.shares)
                raise VerificationFailed(f"{self.target}: {live} is live, not {self.version_id}")
            # Until it is on record as verified, whoever wants it to stop gets the old version back.
            self._guard()
            uploaded = self.progress.uploaded
            self.progress.verified = Verified(
                version_id=self.version_id,
                deployment_id=deployment.id,
                content_sha256=uploaded.content_sha256 if uploaded else "",
                script_etag=script.etag or "",
                script_modified_on=script.modified_on.isoformat() if script.modified_on else "",
                triggers=triggers,
                results=results,
            )
            return verified_to_json(self.progress.verified)

        self._perform(Step.VERIFY, {"version_id": self.version_id}, work)
        self._tells(f"verified version {self.version_id}")
        if self.progress.verified is None:  # pragma: no cover - work() sets it or raises
            raise RuntimeError("the verification left nothing")
        return self.progress.verified

    # --- how ----------------------------------------------------------------------------------------------------------

    def _guard(self) -> None:
        self.interruption.raise_if_requested()
        self.lock.check()

    def _perform(
        self,
        step: Step,
        intent: Mapping[str, Any],
        work: Callable[[], dict[str, Any]],
        *,
        so_far: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Do *work* between two lines of the journal; *so_far* is what it fills in, and is written when it fails."""
        self._guard()
        self.journal.append(self.id, step, Phase.INTENT, intent)
        try:
            detail = work()
        except ClodoError as error:
            why = {"error": type(error).__name__, "message": error.message}
            self.journal.append(self.id, step, Phase.FAILED, {**why, **(so_far or {})})
            raise
        self.journal.append(self.id, step, Phase.DONE, detail)
        return detail

    def _tell_applied(self, database: str, migration: migrations.Applied) -> None:
        self._tells(f"applied {migration.name} to {database}")

    def _zones(self) -> frozenset[str]:
        return self._known_zones | self.desired.triggers.zone_ids

    def _binding(self, database: Database) -> DatabaseBinding:
        return next(item for item in self.desired.config.databases if item.binding == database.binding)

    def _status(self, database: Database) -> MigrationStatus:
        binding = self._binding(database)
        status = migrations.status(
            self._cloudflare.d1,
            database.database_id,
            binding.migrations_folder,
            pattern=binding.migrations_pattern or "*.sql",
            table=binding.migrations_table,
        )
        migrations.examine(status)
        return status

    def _database_intent(self, database: Database, *, among: int) -> dict[str, Any]:
        binding = self._binding(database)
        return {
            "name": database.name,
            "id": database.database_id,
            "folder": str(binding.migrations_folder),
            "pattern": binding.migrations_pattern or "*.sql",
            "table": binding.migrations_table,
            "pending": list(self.progress.pending[database.name]),
            **self._contents(database, binding, CONTENTS_BYTES // among),
        }

    def _contents(self, database: Database, binding: DatabaseBinding, limit: int) -> dict[str, Any]:
        """Return where to go back to and, if that may come to it, what must still be there before anybody does."""
        d1 = self._cloudflare.d1
        may_go_back = self.desired.settings.on_failure.database == "time-travel" or bool(self.progress.baseline)
        if may_go_back:
            found = self._migrations[database.name]
            noted = read_contents(
                d1,
                database.database_id,
                schema=found.schema,
                size=found.database_bytes,
                leaving_out=[binding.migrations_table],
            ).to_json()
            if len(json.dumps(noted)) <= limit:
                return noted
        return Contents(d1.bookmark(database.database_id)).to_json()

    def _write_config(self) -> Path:
        """Preview URLs are on during a first deploy unless the config forbids them; other triggers come later."""
        config = render_config(
            self.desired.config,
            destination=self._scratch,
            account_id=self._cloudflare.account_id,
            database_ids={database.name: database.database_id for database in self.desired.databases},
            namespace_ids=self.desired.namespace_ids,
            workers_dev=False,
            preview_urls=self.desired.config.preview_urls is not False,
        )
        return write_rendered(config, self._scratch, service_folder=self.desired.config.folder)

    def _triggers_before_setting(self) -> Triggers:
        if self.is_first:
            return observe_triggers(self._cloudflare, self.worker, self.desired.triggers, self._zones())
        return self.observed.triggers


def verified_to_json(verified: Verified) -> dict[str, Any]:
    """Return a JSON object for the journal; `verified_from_json` reads it back."""
    return {
        "version_id": verified.version_id,
        "deployment_id": verified.deployment_id,
        "content_sha256": verified.content_sha256,
        "script_etag": verified.script_etag,
        "script_modified_on": verified.script_modified_on,
        "triggers": verified.triggers.to_json(),
        "results": [result.to_json() for result in verified.results],
    }


def verified_from_json(data: Mapping[str, Any]) -> Verified:
    """Read what `verified_to_json` wrote; the results of the smoke tests stay in the journal."""
    return Verified(
        version_id=data["version_id"],
        deployment_id=data["deployment_id"],
        content_sha256=data["content_sha256"],
        script_etag=data["script_etag"],
        script_modified_on=data["script_modified_on"],
        triggers=Triggers.from_json(data["triggers"]),
        results=(),
    )
