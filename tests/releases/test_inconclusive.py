"""An answer that nobody can attribute to the new version is not success: the release refuses, and all is as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clodo.errors import ReleaseFailed, SmokeTestInconclusive
from clodo.releases.outcome import Ending

from .numbered import quick
from .stage import WORKER, Stage
from .test_acknowledged_rows import Customers

REFUSED = 4


@pytest.fixture(autouse=True)
def _fast_uploads(stage: Stage, tmp_path: Path) -> None:
    """How a version came to the cloud makes no difference here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)


@pytest.fixture
def ignored_overrides(stage: Stage) -> Iterator[None]:
    """The embedded cloud takes no notice of version overrides, as Cloudflare's edge sometimes does."""
    stage.account.cloud.ignore_overrides(True)
    yield
    stage.account.cloud.ignore_overrides(False)


@pytest.fixture
def live(stage: Stage) -> str:
    """A first version, without preview URLs: the next one can only be asked at 0 %."""
    stage.write(previews=False)
    released = stage.release()
    assert released.version_id is not None
    return released.version_id


def leave_versions_unnamed(stage: Stage) -> None:
    """Let no smoke test say where the Worker names its version, so that only a tail can prove who answered."""
    portfolio = stage.folder / "portfolio.toml"
    portfolio.write_text(portfolio.read_text().replace('version_json = "version"\n', ""))


def test_an_ignored_override_is_inconclusive_and_refused(stage, live, ignored_overrides):
    """The live version answers in the new one's place, rightly or not; that proves nothing, so nothing is released."""
    stage.write(says="two")

    with pytest.raises(ReleaseFailed) as refused:
        stage.release()

    assert refused.value.exit_code == REFUSED
    assert isinstance(refused.value.__cause__, SmokeTestInconclusive)
    assert f"version {live} answered" in refused.value.message
    assert stage.live_version == live
    assert stage.says() == "one"
    stage.raise_if_unsettled()


def test_an_ignored_override_is_seen_by_a_tail_too(stage, live, ignored_overrides):
    """Where the Worker names no version, the tail shows that the live one answered."""
    stage.write(says="one", signing_key="another-key-than-before", expects="one")
    leave_versions_unnamed(stage)

    with pytest.raises(ReleaseFailed, match=f"version {live} answered") as refused:
        stage.release()

    assert refused.value.exit_code == REFUSED
    assert stage.live_version == live
    stage.raise_if_unsettled()


@pytest.mark.parametrize("proof", ["the version that the Worker names", "a tail event"])
def test_a_version_at_no_traffic_is_proven_by_what_it_names_or_by_a_tail(stage, live, proof):
    """With overrides the new version is asked at 0 %, and no user meets it before it has passed."""
    stage.write(says="two")
    if proof == "a tail event":
        leave_versions_unnamed(stage)
    tested = threading.Event()
    seen_before: set[str] = set()

    def take(step, work):
        done = work()
        if step == "smoke-test":
            # Half-way: the new version is deployed and has no share of the traffic.
            customers.wait_for(10)
            seen_before.update(customers.versions)
            tested.set()
        return done

    with Customers(stage) as customers:
        released = stage.release(take=take)

    assert tested.is_set()
    assert released.ending is Ending.LIVE
    assert set(released.tests) == {f"GET /health (proven by {proof})", f"GET / (proven by {proof})"}
    assert seen_before == {live}
    assert customers.failures == []
    assert stage.live_version == released.version_id
    assert stage.says() == "two"
    asked_at = [
        entry.detail["at_zero"]
        for entry in stage.entries(released.release_id)
        if (entry.step, entry.phase) == ("smoke-test", "intent")
    ]
    assert asked_at == [True]


def test_a_version_that_fails_at_no_traffic_is_taken_out_again(stage, live):
    """The deployment with 0 % is undone: the version before has all of the traffic, by itself."""
    stage.write(says="two", status=500)

    with Customers(stage) as customers, pytest.raises(ReleaseFailed, match="answered 500, not 200"):
        stage.release()

    assert customers.failures == []
    assert customers.versions == {live}
    assert stage.live_version == live
    stage.raise_if_unsettled()


def test_a_worker_without_any_address_is_not_released_again(stage, live):
    """Nothing leads to the new version before it is live, and no guess takes a test's place."""
    stage.api("POST", f"/workers/scripts/{WORKER}/subdomain", json={"enabled": False, "previews_enabled": False})
    stage.write(says="two", workers_dev=False)

    with pytest.raises(ReleaseFailed, match="can't be asked before it gets traffic") as refused:
        stage.release(overwrite=True)

    assert refused.value.exit_code == REFUSED
    assert "preview_urls" in (refused.value.hint or "")
    assert stage.live_version == live
    # What the hint says helps: on in the config, and on once before the release, which sets triggers last.
    stage.api("POST", f"/workers/scripts/{WORKER}/subdomain", json={"enabled": False, "previews_enabled": True})
    stage.write(previews=True)
    assert stage.release(overwrite=True).ending is Ending.LIVE


def test_a_first_version_without_any_address_is_not_called_live(stage):
    """Nobody could ask it, neither before it is live nor after, so it is not uploaded; its plan says so too."""
    stage.write(previews=False, workers_dev=False)

    with pytest.raises(SmokeTestInconclusive) as refused:
        stage.release()

    assert refused.value.exit_code == REFUSED
    assert "preview_urls" in (refused.value.hint or "")
    assert stage.live_version is None
    assert stage.releases() == []


def test_a_first_version_is_asked_at_its_preview_url_even_if_that_is_off_later(stage):
    """A Worker that only others call is tested where preview URLs are on until its triggers are set."""
    stage.write(previews=None, workers_dev=False)

    released = stage.release()

    assert set(released.tests) == {"GET /health (proven by its preview URL)", "GET / (proven by its preview URL)"}
    subdomain = stage.api("GET", f"/workers/scripts/{WORKER}/subdomain")
    assert (subdomain["enabled"], subdomain["previews_enabled"]) == (False, False)
