"""Each line of the demo's table: true after a rehearsal, false when the thing it claims is broken."""

from __future__ import annotations

import json

import pytest

from clodo.cli.demo import report
from clodo.cli.demo.checks import CLAIMS, check, check_all
from clodo.releases.outcome import Ending
from tests.demo.conftest import played
from tests.demo.sabotage import SABOTAGES

CASES = [pytest.param(claim, sabotage, id=sabotage.__name__) for claim, ways in SABOTAGES.items() for sabotage in ways]


@pytest.fixture(scope="session")
def checked(rehearsal):
    """What the checks found right after the rehearsal."""
    return check_all(rehearsal)


def test_every_claim_holds_after_a_rehearsal(rehearsal, checked, capsys):
    """All acts end as they should, every line is true and says what was found, and the exit status is 0."""
    assert rehearsal.problem == ""
    assert {service: outcome.ending for service, outcome in rehearsal.third.items()} == {
        "auth": Ending.UNCHANGED,
        "api": Ending.UNDONE,
        "web": Ending.UNCHANGED,
    }
    assert [(line.name, line.ok) for line in checked] == [(name, True) for name in CLAIMS]
    assert report(checked, "http://127.0.0.1:4200", 1.0, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert set(document) == {"ok", "checks", "ui_url", "seconds"}
    assert all(set(line) == {"name", "ok", "detail", "seconds"} and line["detail"] for line in document["checks"])


def test_there_is_a_sabotage_for_every_claim():
    """No line may be added to the table without a way to turn it false."""
    assert set(SABOTAGES) == set(CLAIMS)
    assert all(SABOTAGES.values())


@pytest.mark.parametrize(("claim", "sabotage"), CASES)
def test_a_claim_is_false_while_what_it_claims_is_broken(rehearsal, checked, cloud, claim, sabotage, capsys):
    """The line turns false and names what was found, the exit status is 1; put back, the line is true again."""
    with sabotage(rehearsal, cloud) as broken:
        lines = {line.name: line for line in check_all(broken.rehearsal)}
        status = report(tuple(lines.values()), "http://127.0.0.1:4200", 1.0, as_json=False)

    assert not lines[claim].ok
    assert broken.says in lines[claim].detail
    assert status == 1
    assert any(
        line.startswith("FALSE") and claim in line and broken.says in line
        for line in capsys.readouterr().out.splitlines()
    )
    if broken.can_be_put_back:
        again = check(claim, rehearsal)
        assert again.ok, again.detail


@pytest.mark.exhaustive
def test_a_rehearsal_that_breaks_off_says_why_and_claims_nothing(cloud, prefect_server, tmp_path):
    """When the first act fails, the rest is left out, a sentence says what failed, and no line is true by default."""
    keys = cloud.new_account(name="broken demo")
    refused = cloud.add_fault(
        f"/accounts/{keys.account_id}/workers/scripts/api$", method="PUT", status=400, code=10021, times=None
    )
    try:
        with played(cloud, keys, tmp_path) as rehearsal:
            lines = {line.name: line for line in check_all(rehearsal)}
    finally:
        cloud.clear_faults(refused)

    assert rehearsal.problem.startswith("Act 1 did not end as it should, so the rest is left out. api@production is")
    assert "10021" in rehearsal.problem
    assert (rehearsal.second, rehearsal.third, rehearsal.visits) == ({}, {}, ())
    true = {name for name, line in lines.items() if line.ok}
    assert true == {
        "every migration is applied once",
        "every release ended, and the audit trail holds",
        "secrets are nowhere in clear",
    }
    assert lines["no visit failed during any release"].detail == "no visitor came by"
