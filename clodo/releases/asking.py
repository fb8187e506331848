"""Where the versions of one Worker can be asked, and what its smoke tests say there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clodo.cloudflare.workers import preview_hostname
from clodo.errors import SmokeTestFailed, SmokeTestInconclusive
from clodo.releases.addresses import Address, addresses_of
from clodo.releases.desired import Desired
from clodo.releases.observed import Observed
from clodo.releases.smoke import UNDECLARED, Place, Result, SmokeTester, Verdict, key_of, worst
from clodo.releases.triggers import Triggers
from clodo.workspace.portfolio import SmokeTest

NOWHERE = "it has no preview URL, and no route, domain or workers.dev address leads to it"


def hint_to_be_asked(desired: Desired, *, is_first: bool) -> str:
    """Return what to change so that somebody can ask the Worker of *desired* before its users do."""
    if not is_first:
        switch = "workers_dev" if desired.config.own_object_classes else "preview_urls"
        return (
            "Name a service that passes requests on to it:"
            f' smoke_tests_through = "…" under [services.{desired.target.service}] in portfolio.toml. Or say {switch} ='
            " true in the wrangler config and switch that on in the dashboard, once: a release sets triggers last."
        )
    if desired.config.own_object_classes:
        return (
            "Workers that implement Durable Objects have no preview URLs: give it a route or workers_dev = true, at"
            " least for its first release; or deploy it once with `wrangler deploy`, which `clodo deploy` then adopts."
        )
    return "Switch preview URLs on (preview_urls = true in the wrangler config)."


def raise_if_nobody_can_ask_the_first(desired: Desired) -> None:
    """
    Refuse what would only be found out after an upload: that no request can reach the first version of a Worker.

    Raises:
        SmokeTestInconclusive: It will have neither a preview URL nor an address.
    """
    has_preview = desired.config.preview_urls is not False and not desired.config.own_object_classes
    if not has_preview and not addresses_of(desired.triggers, desired.worker, account_subdomain="any"):
        raise SmokeTestInconclusive(
            f"{desired.target}: nobody could ask its first version: {NOWHERE}",
            hint=hint_to_be_asked(desired, is_first=True),
        )


@dataclass(frozen=True, slots=True)
class Asking:
    """
    Asks the versions of one Worker.

    Attributes:
        account_subdomain: ``<this>.workers.dev``; None when the account has none.
    """

    desired: Desired
    tester: SmokeTester
    account_subdomain: str | None

    def private_place(self, version_id: str, observed: Observed, *, has_preview: bool) -> Place | None:
        """
        Return where a version without traffic answers: at its preview URL, else by a version override.

        None when a first version has no preview, or when no address leads to the Worker, be it through another one.

        Args:
            observed: The Worker before the release.

            has_preview: Whether Cloudflare made a preview URL for the version.
        """
        if has_preview and self._shows_previews(observed):
            return self._preview(version_id)
        if not observed.exists or observed.live_version is None:
            return None
        addresses = self._addresses(observed.triggers)
        return Place(addresses[0].hostname, version_id, override_for=self.desired.worker) if addresses else None

    def baseline(self, observed: Observed) -> frozenset[str]:
        """Return the keys of the smoke tests that the live version passes before anything is changed."""
        place = None if observed.is_split else self._place_of_live(observed)
        if place is None:
            return frozenset()
        tests = self.desired.settings.smoke_tests
        return frozenset(key_of(test) for test in tests if worst(self.tester.run([test], place)) is Verdict.PASSED)

    def ask_version_before(self, observed: Observed, *, only: frozenset[str]) -> tuple[Result, ...]:
        """Ask the version that is *observed* live those smoke tests whose keys are in *only*."""
        place = self._place_of_live(observed)
        tests = [test for test in self.desired.settings.smoke_tests if key_of(test) in only]
        return self.tester.run(tests, place) if place is not None else ()

    def ask_at(self, place: Place) -> tuple[Result, ...]:
        """Ask all smoke tests at *place*."""
        return self.tester.run(self.desired.settings.smoke_tests, place)

    def ask_live(self, version_id: str, triggers: Triggers, *, must_answer: bool) -> tuple[Result, ...]:
        """
        Ask each address the tests that reach the Worker there; the first address all, the others one.

        Args:
            must_answer: Whether nobody has tested the version yet, so that silence would prove nothing.

        Raises:
            SmokeTestFailed: It answered, and wrongly.

            SmokeTestInconclusive: Nothing proves that *version_id* answered, or nobody could be asked.
        """
        addresses = self._addresses(triggers)
        results: list[Result] = []
        for number, address in enumerate(addresses):
            tests = self._tests_at(address)
            if tests:
                chosen = tests if number == 0 or not results else tests[:1]
                results.extend(self.tester.run(chosen, self._live_place(version_id, address.hostname, triggers)))
        if results:
            self.raise_unless_passed(results, "the live Worker")
        elif must_answer and addresses:
            raise SmokeTestInconclusive(
                f"{self.desired.target}: no smoke test reaches the Worker at {addresses[0].hostname}",
                hint="Give the service a smoke test whose path one of its routes serves.",
            )
        elif must_answer:
            raise SmokeTestInconclusive(
                f"{self.desired.target}: nobody can ask the Worker whether it works: {NOWHERE}",
                hint=hint_to_be_asked(self.desired, is_first=True),
            )
        return tuple(results)

    def raise_unless_passed(self, results: Sequence[Result], what: str) -> None:
        """
        Say which smoke test *what* did not pass.

        Raises:
            SmokeTestFailed: One failed.

            SmokeTestInconclusive: None failed, and one could not be judged.
        """
        verdict = worst(results)
        if verdict is Verdict.PASSED:
            return
        bad = next((result for result in results if result.verdict is verdict), None)
        said = f"{bad.name} at {bad.url}: {bad.reason}" if bad is not None else "nothing was asked"
        if verdict is Verdict.FAILED:
            raise SmokeTestFailed(f"{self.desired.target}: {what} fails its smoke test {said}")
        raise SmokeTestInconclusive(f"{self.desired.target}: {what} could not be judged by its smoke test {said}")

    def _addresses(self, triggers: Triggers) -> tuple[Address, ...]:
        return addresses_of(triggers, self.desired.worker, self.account_subdomain) or self.desired.through

    def _shows_previews(self, observed: Observed) -> bool:
        """Workers that implement Durable Objects have none; a first deploy switches them on unless forbidden."""
        if self.account_subdomain is None or self.desired.config.own_object_classes:
            return False
        if not observed.exists:
            return self.desired.config.preview_urls is not False
        return bool(observed.triggers.previews)

    def _preview(self, version_id: str) -> Place:
        hostname = preview_hostname(version_id, self.desired.worker, self.account_subdomain or "")
        return Place(hostname, version_id, is_preview=True)

    def _place_of_live(self, observed: Observed) -> Place | None:
        live = observed.live_version
        if live is None:
            return None
        if observed.exists and self._shows_previews(observed):
            return self._preview(live)
        addresses = self._addresses(observed.triggers)
        return Place(addresses[0].hostname, live) if addresses else None

    def _live_place(self, version_id: str, hostname: str, triggers: Triggers) -> Place:
        """Static assets are served without the Worker, so no version names itself: then its preview must agree."""
        place = Place(hostname, version_id)
        has_twin = triggers.previews and self.desired.config.assets is not None and self.account_subdomain
        return replace(place, twin=self._preview(version_id).hostname) if has_twin else place

    def _tests_at(self, address: Address) -> Sequence[SmokeTest]:
        declared = self.desired.settings.smoke_tests or [UNDECLARED]
        return [test for test in declared if address.serves(test.path)]
