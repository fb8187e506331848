"""What a release was told to be is remembered without secrets, and compared with what is live."""

from __future__ import annotations

from pathlib import Path

import pytest

from clodo.errors import ReleaseNotFound, WorkerNotFound
from clodo.ledger import fingerprints
from clodo.releases.configuration import (
    configuration_of_release,
    fingerprinter,
    live_values,
    remember_configuration,
    wanted_values,
)
from clodo.workspace.differences import differences
from clodo.workspace.effective_values import effective_values

from .numbered import quick
from .stage import TARGET, WORKER, Stage

# In vars, where it should not be.
MISPLACED = "sk_live_4242424242424242"


@pytest.fixture
def quick_stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage whose uploads need no wrangler; what wrangler does is not what is tested here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    return stage


def changed_paths(stage: Stage) -> list[str]:
    with stage.site() as site:
        target = site.workspace.find(TARGET)
        return [item.path for item in differences(live_values(site, target), wanted_values(site, target))]


def test_what_is_live_is_compared_with_the_config_path_by_path(quick_stage):
    """A Worker that is what the config says has no differences; then exactly what was edited does."""
    quick_stage.write(crons=("0 3 * * *",), previews=None, more='vars = { LEVEL = "info", LIMITS = { up = 10 } }')
    quick_stage.account.put_worker(
        WORKER,
        compatibility_date="2026-01-01",
        bindings=[
            {"type": "d1", "name": "DB", "id": quick_stage.database_id},
            {"type": "plain_text", "name": "LEVEL", "text": "info"},
            {"type": "json", "name": "LIMITS", "json": {"up": 10}},
            {"type": "secret_text", "name": "SIGNING_KEY", "text": "not to be seen"},
            {"type": "version_metadata", "name": "VERSION"},
        ],
    )
    quick_stage.account.result("PUT", f"/workers/scripts/{WORKER}/schedules", json=[{"cron": "0 3 * * *"}])

    before = changed_paths(quick_stage)
    quick_stage.write(crons=("0 4 * * *",), more='vars = { LEVEL = "debug", LIMITS = { up = 11 }, NEW = "1" }')
    after = changed_paths(quick_stage)

    assert before == []
    assert after == ["triggers.crons", "vars.LEVEL", "vars.LIMITS.up", "vars.NEW"]


def test_a_release_remembers_what_it_was_told_without_secrets(quick_stage):
    """The ledger tells what a release used, with a fingerprint in place of what looks secret, which can be compared."""
    quick_stage.write(more=f'vars = {{ LEVEL = "info", STRIPE_KEY = "{MISPLACED}" }}')
    with quick_stage.site() as site:
        outcome = _release_row(site)
        remember_configuration(site, outcome, site.workspace.find(TARGET))
        content = site.ledger.configurations.get(outcome)
        target, kept = configuration_of_release(site.ledger, outcome)
    quick_stage.write(more='vars = { LEVEL = "info", STRIPE_KEY = "sk_live_another" }')
    key = fingerprints.load_key(quick_stage.folder)
    now = effective_values(quick_stage.workspace, quick_stage.workspace.find(TARGET))

    changed = differences(kept, now, fingerprint=fingerprinter(key))

    assert target == TARGET
    assert MISPLACED not in str(content)
    assert [(item.path, item.before.shown, item.after.shown) for item in changed] == [("vars.STRIPE_KEY", "***", "***")]


def test_what_nobody_wrote_down_says_so(quick_stage):
    """A release whose configuration was not recorded, and a Worker that isn't deployed, are one sentence each."""
    with quick_stage.site() as site:
        release_id = _release_row(site)
        with pytest.raises(ReleaseNotFound, match="was not written down"):
            configuration_of_release(site.ledger, release_id)
        with pytest.raises(WorkerNotFound):
            live_values(site, site.workspace.find(TARGET))


def _release_row(site):
    from clodo.ledger import Release, ReleaseKind
    from clodo.ledger.clocks import utc_now
    from clodo.ledger.identifiers import new_release_id

    row = Release(new_release_id(), TARGET, "shop", "a" * 32, "all-at-once", "", "me", ReleaseKind.FIRST, "", utc_now())
    site.ledger.releases.create(row)
    return row.id


def test_every_release_writes_down_what_it_used(quick_stage):
    """A first release and the next one have a configuration each; the one key that changed is the difference."""
    quick_stage.write(more='vars = { LEVEL = "info" }')
    quick_stage.release()
    quick_stage.write(more='vars = { LEVEL = "warn" }')
    quick_stage.release()

    with quick_stage.site() as site:
        newest, first = site.ledger.releases.list(TARGET)
        kept = [configuration_of_release(site.ledger, release.id)[1] for release in (first, newest)]

    assert [item.path for item in differences(*kept)] == ["vars.LEVEL"]
