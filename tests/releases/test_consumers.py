"""Queues that a Worker receives from are triggers: set after the version is live, and put back when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clodo.errors import ReleaseFailed
from clodo.releases.outcome import Ending

from .numbered import quick
from .stage import WORKER, Stage


@pytest.fixture
def stage(stage: Stage, tmp_path: Path) -> Stage:
    """A stage with the queues *orders* and *mails*, whose uploads need no wrangler."""
    stage.toolchain = quick(stage.toolchain, tmp_path)
    for name in ("orders", "mails"):
        stage.api("POST", "/queues", json={"queue_name": name})
    return stage


def consumed(stage: Stage) -> dict[str, tuple[str, Any]]:
    """Return by queue who receives from it, and in which batches."""
    return {
        queue["queue_name"]: (consumer["script_name"], consumer["settings"]["batch_size"])
        for queue in stage.api("GET", "/queues")
        for consumer in queue["consumers"]
    }


def test_consumers_are_set_as_the_config_says_and_only_when_they_differ(stage):
    """A first deploy adds them, a redeploy changes, adds and removes them, and then there is nothing to do."""
    stage.write(more='queues.consumers = [{ queue = "orders", max_batch_size = 5, max_batch_timeout = 2 }]')
    first = stage.release()
    after_first = consumed(stage)
    stage.write(more='queues.consumers = [{ queue = "mails", dead_letter_queue = "orders" }]')
    second = stage.release()

    assert first.ending is second.ending is Ending.LIVE
    assert after_first == {"orders": (WORKER, 5)}
    assert consumed(stage) == {"mails": (WORKER, 10)}
    assert stage.release().ending is Ending.UNCHANGED


def test_consumers_are_put_back_when_the_release_fails(stage):
    """A version that fails where users reach it leaves the queues as they were."""
    stage.write(more='queues.consumers = [{ queue = "orders", max_batch_size = 5 }]')
    stage.release()
    queues = 'queues.consumers = [{ queue = "orders", max_batch_size = 9 }, { queue = "mails" }]'
    stage.write(says="two", live_status=500, more=queues)

    with pytest.raises(ReleaseFailed, match="put back: queues orders"):
        stage.release()

    assert consumed(stage) == {"orders": (WORKER, 5)}
    assert stage.says() == "one"


def test_a_queue_that_is_missing_or_taken_is_said_and_nothing_stays_changed(stage):
    """The release names the queue and the way out, and what was live is live."""
    stage.write()
    stage.release()
    said = []
    stage.api(
        "PUT",
        "/workers/scripts/other",
        files={
            "metadata": (None, '{"main_module": "a.js"}'),
            "a.js": ("a.js", "export default { queue() {} };", "application/javascript+module"),
        },
    )
    mails = next(queue for queue in stage.api("GET", "/queues") if queue["queue_name"] == "mails")
    stage.api("POST", f"/queues/{mails['queue_id']}/consumers", json={"type": "worker", "script_name": "other"})
    for queue in ("nothing-of-the-kind", "mails"):
        stage.write(says="two", more=f'queues.consumers = [{{ queue = "{queue}" }}]')
        with pytest.raises(ReleaseFailed) as failed:
            stage.release()
        said.append(f"{failed.value.message} {failed.value.hint}")

    assert "wrangler queues create nothing-of-the-kind" in said[0]
    assert "the queue mails is received by the Worker other already" in said[1]
    assert stage.says() == "one"
    assert consumed(stage) == {"mails": ("other", 10)}
