"""A rollout: the releases of several targets in waves, and the report of how each ended."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clodo.errors import ClodoError, Interrupted, PartlyDone, Refused
from clodo.releases.closer_look import look_closer
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.releasing import Surveyed, Wish, failed_outcome, raise_if_blocked, release_target, survey
from clodo.releases.site import Site
from clodo.releases.story import Take, directly

if TYPE_CHECKING:
    from clodo.workspace.targets import Target


class RolloutFailed(ClodoError):
    """
    Not every target is as desired.

    Args:
        with_reason: Whether the message says why the first of several failed.

    Attributes:
        outcomes: Of all targets, the good ones too.
    """

    def __init__(self, outcomes: Sequence[Outcome], *, with_reason: bool = True) -> None:
        bad = [outcome for outcome in outcomes if not outcome.is_success]
        good = len(outcomes) - len(bad)
        failed = [outcome for outcome in bad if outcome.ending is not Ending.SKIPPED]
        if len(outcomes) == 1:
            message = bad[0].message
        else:
            names = ", ".join(f"{outcome.target} ({outcome.ending})" for outcome in bad)
            message = f"{good} of {len(outcomes)} targets are as desired; not: {names}"
            if failed and with_reason:
                message += f". {failed[0].message}"
        super().__init__(message, hint=next((outcome.hint for outcome in failed if outcome.hint), None))
        codes = {outcome.exit_code for outcome in bad if outcome.exit_code}
        if Interrupted.exit_code in codes:
            self.exit_code = Interrupted.exit_code
        else:
            self.exit_code = PartlyDone.exit_code if good else (codes.pop() if len(codes) == 1 else 1)
        self.outcomes = tuple(outcomes)


class Rollout:
    """
    The releases of *targets*, wave after wave.

    Args:
        max_parallel: How many targets are released at the same time.

        stop_after_failures: Begin nothing more once so many have failed.
    """

    def __init__(
        self,
        site: Site,
        targets: Iterable[Target],
        wish: Wish,
        *,
        max_parallel: int = 2,
        stop_after_failures: int = 1,
    ) -> None:
        self.site = site
        self.wish = wish
        self.graph = site.workspace.graph()
        self.waves = self.graph.waves(tuple(targets))
        self.surveyed: dict[str, Surveyed] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._stop_after = stop_after_failures
        self._slots = threading.BoundedSemaphore(max_parallel)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Rollout of {sum(len(wave) for wave in self.waves)} targets>"

    def survey(self) -> tuple[Surveyed, ...]:
        """Compare all targets with what is live; those that are unchanged are done with that."""
        found = survey(self.site, [target for wave in self.waves for target in wave])
        self.surveyed = {str(item.target): item for item in found}
        for item in found:
            if item.is_unchanged:
                self.note(release_target(self.site, item, self.wish))
        return found

    def plan(self) -> tuple[Outcome, ...]:
        """Return what would change where, and what would be refused; nothing is written."""
        return tuple(_planned(self.site, surveyed, self.wish) for surveyed in self.surveyed.values())

    def waves_to_release(self) -> tuple[tuple[str, ...], ...]:
        """Return the targets that need a release, by wave; unchanged ones are left out, and so are empty waves."""
        waves = (tuple(str(target) for target in wave if str(target) not in self._outcomes) for wave in self.waves)
        return tuple(wave for wave in waves if wave)

    def release(self, target: str, take: Take = directly) -> Outcome:
        """
        Release one target, or skip it when too much has failed or what it needs is not as desired.

        Raises:
            ClodoError: It failed; the outcome is noted first.
        """
        surveyed = self.surveyed[target]
        with self._slots:
            reason = self._reason_to_skip(surveyed.target)
            if reason is not None:
                code = Interrupted.exit_code if self.site.interruption.is_requested else 0
                skipped = Outcome(target, Ending.SKIPPED, message=f"{target}: {reason}", exit_code=code)
                return self.note(skipped)
            try:
                outcome = release_target(self.site, surveyed, self.wish, take=take)
            except ClodoError as error:
                self.note(failed_outcome(surveyed.target, error))
                raise
        return self.note(outcome)

    def note(self, outcome: Outcome) -> Outcome:
        """Keep how a target ended."""
        with self._lock:
            self._outcomes[outcome.target] = outcome
        return outcome

    def note_crash(self, target: str, why: str) -> None:
        """Keep that a target's release ended without saying how."""
        if target not in self._outcomes:
            self.note(Outcome(target=target, ending=Ending.FAILED, message=f"{target}: {why}", exit_code=1))

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """How the targets ended so far, in the order of the waves."""
        with self._lock:
            order = [str(target) for wave in self.waves for target in wave]
            return tuple(self._outcomes[target] for target in order if target in self._outcomes)

    def raise_unless_done(self) -> None:
        """
        Say so unless every target is as desired.

        Raises:
            RolloutFailed: With all outcomes.
        """
        if not all(outcome.is_success for outcome in self.outcomes):
            raise RolloutFailed(self.outcomes)

    def _reason_to_skip(self, target: Target) -> str | None:
        outcomes = {outcome.target: outcome for outcome in self.outcomes}
        if self.site.interruption.is_requested:
            return "not begun, since the rollout was stopped"
        failed = [item.target for item in outcomes.values() if not item.is_success and item.ending != Ending.SKIPPED]
        missing = [
            str(needed)
            for needed in self.graph.needed_by(target)
            if str(needed) in outcomes and not outcomes[str(needed)].is_success
        ]
        if missing:
            return f"skipped, since it needs {', '.join(missing)}"
        if len(failed) >= self._stop_after:
            return f"skipped, since {', '.join(failed)} failed"
        return None


def _planned(site: Site, surveyed: Surveyed, wish: Wish) -> Outcome:
    """What a release of one target would do, and what would keep it from being begun."""
    look = None
    if not surveyed.is_unchanged:
        # wrangler says what it would upload.
        account = site.account_of(surveyed.target)
        look = look_closer(site, account, surveyed.desired, surveyed.remembered, surveyed.script)
        surveyed = replace(surveyed, look=look)
    outcome = Outcome(
        target=str(surveyed.target),
        ending=Ending.PLANNED if surveyed.has_changes else Ending.UNCHANGED,
        version_id=surveyed.remembered.version_id if surveyed.remembered else None,
        changes=surveyed.describe(),
    )
    if not surveyed.has_changes:
        return outcome
    try:
        raise_if_blocked(site, surveyed, wish)
    except Refused as error:
        return replace(outcome, message=f"would be refused: {error.message}", hint=error.hint)
    return outcome
