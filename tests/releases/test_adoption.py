"""What somebody else deployed or edited: adopted when it is the same, shown before it is overwritten."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from clodo.errors import PlanIsStale, Refused, ReleaseFailed
from clodo.releases.assessment import Standing
from clodo.releases.outcome import Ending
from clodo.releases.releasing import Wish, release_target
from clodo.releases.rollout import Rollout

from .numbered import quick
from .stage import TARGET, WORKER, Stage, survey_shop

SERVICE = """\
name = "{name}"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true
routes = ["{zone}/{name}/*"]

[version_metadata]
binding = "VERSION"
"""
HELLO = "export default { fetch: (request, env) => Response.json({ version: env.VERSION.id }) };"
HOW_MANY = 5
MOST_REQUESTS = 10


@pytest.fixture
def quick_stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage whose uploads need no wrangler; what wrangler does is not what is tested here."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    return stage


def deploy_with_wrangler(stage: Stage, folder: Path) -> None:
    """Deploy the shop as somebody does who has never heard of Clodo."""
    file = folder / "secrets.json"
    file.write_text(json.dumps({"SIGNING_KEY": stage.shop.signing_key}))
    with stage.site() as site:
        account = site.account_of(site.workspace.find(TARGET))
        config = stage.folder / WORKER / "wrangler.toml"
        account.wrangler.run(
            ("deploy", f"--config={config}", f"--secrets-file={file}"), account_id=stage.account.account_id
        )


def writes(stage: Stage, since: int) -> list[tuple[str, str]]:
    """Return the requests that changed something, D1's queries left out."""
    return [
        (call["method"], call["path"])
        for call in stage.requests(since=since)
        if call["method"] != "GET" and not call["path"].endswith("/query")
    ]


def last_request(stage: Stage) -> int:
    return int(stage.requests()[-1]["number"])


def test_a_worker_that_wrangler_deployed_is_adopted_as_it_is(stage, tmp_path):
    """What is live is what the workspace says: it is remembered, nothing is uploaded, and the next run is unchanged."""
    stage.write(migrations={}, count="SELECT 0 AS orders")
    deploy_with_wrangler(stage, tmp_path)
    version, since = stage.live_version, last_request(stage)

    outcome = stage.release()

    assert (outcome.ending, outcome.version_id) == (Ending.ADOPTED, version)
    assert "nothing was deployed" in outcome.message
    assert "SIGNING_KEY" in outcome.message
    assert writes(stage, since) == []
    # A fleet is adopted by one list: the survey's.
    assert [call["path"].endswith("/workers/scripts") for call in stage.requests(since=since)].count(True) == 1
    assert (len(stage.versions), stage.live_version) == (1, version)
    assert stage.release().ending is Ending.UNCHANGED
    stage.raise_if_unsettled()


@pytest.mark.exhaustive
def test_a_worker_that_wrangler_deployed_otherwise_is_shown_before_it_is_overwritten(stage, tmp_path):
    """Somebody's other code is live: the release refuses, says what would be lost, and goes on when told to."""
    stage.write(migrations={}, count="SELECT 0 AS orders")
    deploy_with_wrangler(stage, tmp_path)
    version = stage.live_version
    stage.write(says="two")

    with pytest.raises(Refused, match=rf"version {version} is live.*; other: code") as refused:
        stage.release()

    assert refused.value.exit_code == 4
    assert "--overwrite" in (refused.value.hint or "")
    assert stage.live_version == version
    assert stage.release(overwrite=True).ending is Ending.LIVE
    assert stage.says() == "two"
    stage.raise_if_unsettled()


def edit_variable(stage: Stage) -> None:
    bindings = stage.api("GET", f"/workers/scripts/{WORKER}/settings")["bindings"]
    kept = [
        {"type": "inherit", "name": binding["name"]} for binding in bindings if binding["type"] != "version_metadata"
    ]
    changed = [*kept, {"type": "version_metadata", "name": "VERSION"}, {"type": "plain_text", "name": "X", "text": "y"}]
    parts = {"settings": (None, json.dumps({"bindings": changed}))}
    stage.api("PATCH", f"/workers/scripts/{WORKER}/settings", files=parts)


def edit_secret(stage: Stage) -> None:
    secret = {"name": "SIGNING_KEY", "text": "somebody else's", "type": "secret_text"}
    stage.api("PUT", f"/workers/scripts/{WORKER}/secrets", json=secret)


def deploy_other(stage: Stage) -> None:
    stage.account.deploy(WORKER, (stage.account.upload_version(WORKER)["id"], 100))


@pytest.mark.parametrize(
    ("edit", "lost"), [(edit_variable, "bindings X"), (edit_secret, "secrets"), (deploy_other, "code")]
)
def test_an_edit_in_the_dashboard_is_shown_before_it_is_overwritten(quick_stage, edit, lost):
    """A variable, a secret or a version of somebody else is no part of the workspace, and not lost unasked."""
    assert quick_stage.release().ending is Ending.LIVE
    edit(quick_stage)
    theirs = quick_stage.live_version

    with pytest.raises(Refused, match=rf"version {theirs} is live.*{lost}"):
        quick_stage.release()

    assert quick_stage.live_version == theirs
    assert [row.state.value for row in quick_stage.releases()] == ["live"]
    assert quick_stage.release(overwrite=True).ending is Ending.LIVE
    answer = quick_stage.visit().json()
    assert (answer["says"], answer["signs"]) == ("one", quick_stage.shop.signs)
    quick_stage.raise_if_unsettled()


def test_a_schedule_set_in_the_dashboard_is_shown_before_it_is_overwritten(quick_stage):
    """Triggers that somebody else set are left alone by a release, unless it is told to overwrite them."""
    quick_stage.write(crons=("0 * * * *",))
    assert quick_stage.release().ending is Ending.LIVE
    quick_stage.cloudflare.schedules.put(WORKER, ["7 * * * *"])
    quick_stage.write(says="two")

    with pytest.raises(ReleaseFailed, match=r"what somebody else set: schedules 7 \* \* \* \*") as refused:
        quick_stage.release()

    assert refused.value.exit_code == 4
    assert (quick_stage.crons, quick_stage.says()) == (["7 * * * *"], "one")
    assert quick_stage.release(overwrite=True).ending is Ending.LIVE
    assert (quick_stage.crons, quick_stage.says()) == (["0 * * * *"], "two")
    quick_stage.raise_if_unsettled()


def test_a_route_that_somebody_took_away_is_no_unchanged_target(quick_stage):
    """Nobody changed the workspace or the Worker, but a route is gone: it is shown, and put back when told to."""
    zone = quick_stage.account.zone
    quick_stage.write(routes=(f"{zone}/*", f"www.{zone}/*"))
    assert quick_stage.release().ending is Ending.LIVE
    (found,) = [
        route
        for route in quick_stage.cloudflare.routes.list(quick_stage.account.zone_id)
        if route.pattern == f"www.{zone}/*"
    ]
    quick_stage.cloudflare.routes.delete(quick_stage.account.zone_id, found.id)

    surveyed = quick_stage.survey()
    with pytest.raises(ReleaseFailed, match=f"what somebody else set: routes {zone}/") as refused:
        quick_stage.release()

    assert surveyed.assessment.standing is Standing.CHANGED
    assert surveyed.describe() == (f"routes {zone}/*, www.{zone}/*",)
    assert refused.value.exit_code == 4
    assert quick_stage.routes == [f"{zone}/*"]
    assert quick_stage.release(overwrite=True).ending is Ending.LIVE
    assert quick_stage.routes == sorted([f"{zone}/*", f"www.{zone}/*"])
    quick_stage.raise_if_unsettled()


@pytest.mark.exhaustive
def test_a_domain_that_somebody_gave_away_is_no_unchanged_target(quick_stage):
    """A custom domain that leads to another Worker by now is shown, and not taken back silently."""
    hostname = f"buy.{quick_stage.account.zone}"
    domain = f'routes = [{{ pattern = "{hostname}", custom_domain = true }}]'
    quick_stage.write(more=domain)
    assert quick_stage.release().ending is Ending.LIVE
    assert quick_stage.release().ending is Ending.UNCHANGED
    quick_stage.account.put_worker("other")
    (ours,) = quick_stage.cloudflare.domains.list(hostname=hostname)
    quick_stage.cloudflare.domains.detach(ours.id)
    quick_stage.cloudflare.domains.attach(hostname, "other", zone_id=quick_stage.account.zone_id)

    assert quick_stage.survey().describe() == (f"domains {hostname}",)
    with pytest.raises(ReleaseFailed, match="what somebody else set: domains none"):
        quick_stage.release()
    with pytest.raises(ReleaseFailed, match=f"{hostname} belongs to the Worker other"):
        quick_stage.release(overwrite=True)
    assert quick_stage.account.visit(hostname).text == "hello"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_deployment_between_the_look_and_the_lock_is_not_overwritten(quick_stage, is_first):
    """Somebody deploys while the release is being prepared: it stops before it writes anything."""
    if not is_first:
        assert quick_stage.release().ending is Ending.LIVE
        quick_stage.write(says="two")
    with quick_stage.site() as site:
        surveyed = survey_shop(site)
        if is_first:
            quick_stage.account.put_worker(WORKER)
        else:
            deploy_other(quick_stage)
        theirs = quick_stage.live_version
        with pytest.raises(ReleaseFailed, match="somebody deployed meanwhile") as stale:
            release_target(site, surveyed, Wish())

    assert isinstance(stale.value.__cause__, PlanIsStale)
    assert quick_stage.live_version == theirs
    assert quick_stage.tables == ([] if is_first else ["orders"])


def test_an_unchanged_portfolio_costs_no_request_a_target_and_no_wrangler(quick_stage):
    """Five targets that nobody changed: at most ten requests in all, none of them a write, and no process."""
    portfolio = '[portfolio]\nname = "five"\n'
    for number in range(HOW_MANY):
        folder = quick_stage.folder / f"s{number}"
        folder.mkdir()
        (folder / "wrangler.toml").write_text(SERVICE.format(name=folder.name, zone=quick_stage.account.zone))
        (folder / "index.js").write_text(HELLO)
        portfolio += f'\n[[services.{folder.name}.smoke_tests]]\npath = "/"\nversion_json = "version"\n'
    for file in (quick_stage.folder / WORKER).rglob("*.*"):
        file.unlink()
    (quick_stage.folder / "portfolio.toml").write_text(portfolio)
    with quick_stage.site() as site:
        rollout = Rollout(site, site.workspace.targets, Wish())
        rollout.survey()
        for wave in rollout.waves_to_release():
            for target in wave:
                assert rollout.release(target).ending is Ending.LIVE
    since = last_request(quick_stage)
    without_node = replace(quick_stage.toolchain, node=Path("/nowhere/node"))

    with quick_stage.site(toolchain=lambda: without_node) as site:
        again = Rollout(site, site.workspace.targets, Wish())
        again.survey()

    assert [outcome.ending for outcome in again.outcomes] == [Ending.UNCHANGED] * HOW_MANY
    assert again.waves_to_release() == ()
    calls = quick_stage.requests(since=since)
    assert len(calls) <= MOST_REQUESTS
    assert {call["method"] for call in calls} == {"GET"}
    assert not [call for call in calls if any(f"/s{number}" in call["path"] for number in range(HOW_MANY))]
