"""The alarm about backups, at a real Prefect server whose notifications reach a real webhook."""

from __future__ import annotations

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events import AutomationCore, emit_event
from prefect.events.actions import DoNothing

from clodo.errors import BadConfiguration
from clodo.workspace.portfolio import Portfolio
from deployments.alarms import GOOD, TAG, TOO_OLD, set_alarms
from deployments.register import prefect_file, register
from deployments.server import send_what_is_queued

RECIPIENT = "age1xus2jd0wrmeh5z4qlspu6sqjagsacxemkx2ey5m4qm9fd6hkad8sg6cduj"


def portfolio(tmp_path: Path, **settings: object) -> Portfolio:
    """Return one of a name of its own, since all tests share the server."""
    said = {"recipients": [RECIPIENT]} | settings
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in said.items())
    tmp_path.joinpath("portfolio.toml").write_text(f'[portfolio]\nname = "{tmp_path.name}-x"\n[backups]\n{lines}')
    return Portfolio.read(tmp_path / "portfolio.toml")


def seen(portfolio: Portfolio):
    with get_client(sync_client=True) as client:
        found = [item for item in client.read_automations() if item.name.startswith(f"{portfolio.name}: ")]
    return sorted(found, key=lambda item: item.name)


def emit(portfolio: Portfolio, event: str, **payload: object) -> None:
    emit_event(event=event, resource={"prefect.resource.id": f"clodo.portfolio.{portfolio.name}"}, payload=payload)
    send_what_is_queued()


@pytest.fixture(scope="module")
def registered(prefect_server, tmp_path_factory):
    """A server that knows the deployment that checks the age."""
    folder = tmp_path_factory.mktemp("registered")
    document = yaml.safe_load(prefect_file().read_text())
    document["deployments"] = [item for item in document["deployments"] if item["name"] == "backup-age"]
    (folder / "prefect.yaml").write_text(yaml.safe_dump(document))
    register(workspace=folder, file=folder / "prefect.yaml")


@pytest.fixture
def webhook():
    """What is posted to a webhook, and the notification block that posts there."""
    posted: queue.Queue[dict[str, str]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    name = f"oncall-{uuid4().hex[:8]}"
    block = CustomWebhookNotificationBlock(
        name=name, url=f"http://127.0.0.1:{server.server_port}/", json_data={"title": "{{subject}}", "text": "{{body}}"}
    )
    block.save(name)
    yield f"custom-webhook/{name}", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_backup_that_is_too_old_is_told_to_the_block_that_the_portfolio_names(registered, webhook, tmp_path):
    """The event of the hourly check arrives at the webhook, with its message; that of another portfolio doesn't."""
    place, posted = webhook
    ours = portfolio(tmp_path, notify=place, objective_hours=26)

    alarms = set_alarms(ours)
    emit_event(event=TOO_OLD, resource={"prefect.resource.id": "clodo.portfolio.another"}, payload={"message": "no"})
    emit(ours, TOO_OLD, message="the newest good snapshot is 30.0 hours old")

    assert alarms.without_block is None
    assert posted.get(timeout=30) == {
        "title": f"{ours.name}: no good backup within 26 hours",
        "text": "the newest good snapshot is 30.0 hours old",
    }
    assert posted.empty()


def test_setting_alarms_again_leaves_them_and_what_an_operator_made_of_them(registered, tmp_path):
    """They stay the same, switched off too; another objective is heeded; without recipients there are none."""
    ours = portfolio(tmp_path)
    alarms = set_alarms(ours)
    first = seen(ours)
    with get_client(sync_client=True) as client:
        changed = AutomationCore(
            name=first[0].name, trigger=first[0].trigger, enabled=False, actions=[DoNothing(type="do-nothing")]
        )
        client.update_automation(first[0].id, changed)
    edited = seen(ours)

    set_alarms(ours)
    again = seen(ours)
    set_alarms(portfolio(tmp_path, objective_hours=3))
    changed = seen(ours)
    set_alarms(portfolio(tmp_path, recipients=[]))

    assert alarms.automations == tuple(item.name for item in reversed(first))
    assert all(TAG in item.tags for item in first)
    assert [item.type for item in first[0].actions] == ["run-deployment"]
    assert again == edited
    assert [item.id for item in changed] == [item.id for item in first]
    assert changed[0].trigger.within.total_seconds() == 3 * 3600
    assert [item.type for item in changed[0].actions] == ["do-nothing"]
    assert not changed[0].enabled
    assert seen(ours) == []


def test_a_block_that_nobody_saved_is_named_and_the_alarm_set_all_the_same(registered, tmp_path):
    """The block can only be saved once the server runs, so its absence is told and is no failure."""
    ours = portfolio(tmp_path, notify="slack-webhook/nobody")

    alarms = set_alarms(ours)

    assert alarms.without_block == "slack-webhook/nobody"
    assert len(seen(ours)) == 2


def test_a_block_is_named_by_type_and_name(tmp_path):
    """Anything else is refused when the file is read."""
    with pytest.raises(BadConfiguration, match="notify"):
        portfolio(tmp_path, notify="oncall")


@pytest.mark.exhaustive
@pytest.mark.parametrize("was_good", [False, True])
def test_silence_is_an_alarm(registered, webhook, tmp_path, was_good):
    """With no good snapshot within the objective, told once; one that was good in time starts the clock anew."""
    place, posted = webhook
    ours = portfolio(tmp_path, notify=place, objective_hours=12 / 3600)
    set_alarms(ours)
    began = time.monotonic()
    if was_good:
        with pytest.raises(queue.Empty):
            posted.get(timeout=6)
        began = time.monotonic()
        emit(ours, GOOD)

    told = posted.get(timeout=60)

    assert time.monotonic() - began >= 11
    assert "has published no good snapshot" in told["text"]
    with get_client(sync_client=True) as client:
        check = client.read_deployment_by_name("back-up/backup-age")
        runs = [run for run in client.read_flow_runs() if run.deployment_id == check.id and run.auto_scheduled is False]
    assert runs
