"""Whether a target needs a release, decided from values."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clodo.cli.portfolio import state_of
from clodo.cloudflare.scripts import Script
from clodo.ledger.live import Live
from clodo.releases.assessment import Standing, assess
from clodo.releases.desired import Desired
from clodo.releases.triggers import Route, Triggers
from clodo.workspace.workspace import Workspace

from .stage import TARGET, Shop, write_shop

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TRIGGERS = Triggers(routes=(Route("shop.example/*", "zone"),), schedules=("0 * * * *",), workers_dev=True)
SAME = ("etag", "modified_on", "input_hash", "secrets", "migrations", "triggers", "certain")


@pytest.fixture(scope="module")
def desired(tmp_path_factory: pytest.TempPathFactory) -> Desired:
    """What the workspace wants."""
    folder: Path = tmp_path_factory.mktemp("workspace")
    write_shop(folder, Shop(), "00000000-0000-0000-0000-000000000000")
    workspace = Workspace.load(folder)
    target = workspace.find(TARGET)
    return Desired(
        target=target,
        config=workspace.effective(target),
        settings=workspace.portfolio.settings_of(target.service),
        triggers=TRIGGERS,
        databases=(),
        namespace_ids={},
        secrets={"KEY": "value"},
        secrets_fingerprint="secrets",
        input_hash="inputs",
        is_certain=True,
        migrations_digest="migrations",
    )


REMEMBERED = Live(
    target=TARGET,
    release_id="r1",
    version_id="v1",
    deployment_id="d1",
    input_hash="inputs",
    content_sha256="content",
    script_etag="etag",
    script_modified_on=NOW.isoformat(),
    secrets_fingerprint="secrets",
    migrations_digest="migrations",
    recorded_at=NOW,
    triggers=replace(TRIGGERS, previews=True).to_json(),
)
LISTED = Script(id="shop", etag="etag", modified_on=NOW)


@pytest.mark.parametrize("equal", itertools.product((True, False), repeat=len(SAME)))
def test_unchanged_needs_everything_to_be_equal(desired, equal):
    """Of all 128 ways to agree and to differ, only full agreement is unchanged."""
    same = dict(zip(SAME, equal, strict=True))
    listed = LISTED.model_copy(
        update={
            "etag": "etag" if same["etag"] else "other",
            "modified_on": NOW if same["modified_on"] else NOW + timedelta(microseconds=1),
        }
    )
    wanted = replace(
        desired,
        input_hash="inputs" if same["input_hash"] else "other",
        secrets_fingerprint="secrets" if same["secrets"] else "other",
        migrations_digest="migrations" if same["migrations"] else "other",
        triggers=TRIGGERS if same["triggers"] else replace(TRIGGERS, schedules=()),
        is_certain=same["certain"],
    )

    assessment = assess(wanted, REMEMBERED, listed)

    assert (assessment.standing is Standing.UNCHANGED) == all(equal)
    assert bool(assessment.reasons) != all(equal)
    if not (same["etag"] and same["modified_on"]):
        assert assessment.standing is Standing.FOREIGN


def test_a_worker_that_is_not_listed_is_a_first_deploy(desired):
    """Without a Worker there is nothing to compare, and whether somebody deleted it is said."""
    assert assess(desired, None, None).standing is Standing.FIRST
    assert "deleted" in assess(desired, REMEMBERED, None).reasons[0]


def test_a_worker_the_ledger_does_not_know_needs_a_look(desired):
    """Nothing remembered means nothing can be said without looking."""
    assessment = assess(desired, None, LISTED)

    assert assessment.standing is Standing.UNKNOWN
    assert assessment.needs_a_look


def test_a_list_that_says_nothing_proves_nothing(desired):
    """A script without etag and date is never taken for the one that was remembered without them."""
    blank = LISTED.model_copy(update={"etag": None, "modified_on": None})

    assessment = assess(desired, replace(REMEMBERED, script_etag="", script_modified_on=""), blank)

    assert assessment.standing is Standing.FOREIGN


def test_inputs_that_may_be_incomplete_need_a_look(desired):
    """An equal hash that may miss an input is not enough."""
    assert assess(replace(desired, is_certain=False), REMEMBERED, LISTED).standing is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("etag", "is_half_way", "state"),
    [
        ("etag", False, "as-recorded"),
        ("etag", True, "as-recorded"),
        ("other", False, "changed-elsewhere"),
        ("other", True, "half-way"),
    ],
)
def test_what_our_own_release_is_changing_is_not_called_somebody_elses(etag, is_half_way, state):
    """While a release of ours is unfinished, a Worker that differs from what is remembered is half-way."""
    listed = LISTED.model_copy(update={"etag": etag})

    assert state_of(REMEMBERED, listed, is_asked=True, is_half_way=is_half_way) == state
