"""How releases ended, as a person reads it: each reason once."""

from __future__ import annotations

import json

import pytest

from clodo.cli.outcomes import shown_when_failing
from clodo.releases.outcome import Ending, Outcome
from clodo.releases.rollout import RolloutFailed

REASON = "version 1 fails its smoke test GET /: answered 500, not 200"
LIVE = Outcome("web@production", Ending.LIVE, version_id="2" * 32)
UNDONE = Outcome(
    "api@production", Ending.UNDONE, message=f"api@production: {REASON}", hint="Look at the Worker.", exit_code=1
)
SKIPPED = Outcome("bff@production", Ending.SKIPPED, message="bff@production: skipped, since it needs api@production")


def failing(*outcomes: Outcome, as_json: bool = False) -> RolloutFailed:
    """Return the error that a command ends with, after it showed *outcomes*."""
    with pytest.raises(RolloutFailed) as failed, shown_when_failing(as_json=as_json):
        raise RolloutFailed(outcomes)
    return failed.value


def test_of_one_target_the_error_says_why(capsys):
    """The table says how it ended, and leaves the reason to the last line."""
    error = failing(UNDONE)

    shown = capsys.readouterr().out
    assert REASON not in shown
    assert "undone" in shown
    assert (error.message, error.hint) == (f"api@production: {REASON}", "Look at the Worker.")


def test_of_several_targets_the_table_says_why_of_each(capsys):
    """The error counts and names them; status and hint are as before."""
    error = failing(LIVE, UNDONE, SKIPPED)

    shown = capsys.readouterr().out
    assert shown.count(REASON) == 1
    assert "skipped, since it needs api@production" in shown
    assert shown.count("api@production") == 2
    named = "api@production (undone), bff@production (skipped)"
    assert error.message == f"1 of 3 targets are as desired; not: {named}"
    assert (error.exit_code, error.hint) == (3, "Look at the Worker.")


def test_a_script_gets_the_reason_in_the_document_and_on_standard_error(capsys):
    """They are read by different readers."""
    error = failing(LIVE, UNDONE, as_json=True)

    told = json.loads(capsys.readouterr().out)
    assert told["targets"][1]["message"] == f"api@production: {REASON}"
    assert REASON in error.message
