"""`clodo up` and `clodo down`: a whole rehearsal on this machine, started twice and stopped once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from clodo.settings import child_environment
from clodo.wrangler.toolchain import Toolchain
from deployments import embedded_cloud, server
from deployments.processes import start_of, wait_until

CLODO = [sys.executable, "-m", "clodo.cli"]
PORTFOLIO = """\
[portfolio]
name = "shop"

[environments.production]
secrets = "shop"

[services.hello]
secrets = ["GREETING"]

[[services.hello.smoke_tests]]
path = "/"
version_json = "version"
"""
CONFIG = """\
name = "hello"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true
preview_urls = true
version_metadata = { binding = "VERSION" }
"""
CODE = """\
export default {
  fetch(request, env) { return Response.json({ knows: env.GREETING.length, version: env.VERSION.id }); },
};
"""
GREETING = "hush-greeting-7c1e09"


@dataclass
class Up:
    workspace: Path
    told: dict[str, Any]

    def clodo(self, *words: str) -> subprocess.CompletedProcess[str]:
        return clodo(self.workspace, *words)

    @property
    def api(self) -> httpx.Client:
        found = server.find(self.workspace)
        assert found is not None
        user, _, password = found.credentials.auth_string.partition(":")
        return httpx.Client(base_url=found.api_url, auth=(user, password), timeout=30, trust_env=False)


def clodo(workspace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLODO, *words],
        cwd=workspace,
        env=child_environment(without=("PREFECT_",)),
        capture_output=True,
        text=True,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Iterator[Up]:
    """A workspace with everything up."""
    workspace = tmp_path_factory.mktemp("rehearsal")
    (workspace / "portfolio.toml").write_text(PORTFOLIO)
    (workspace / "hello").mkdir()
    (workspace / "hello" / "wrangler.toml").write_text(CONFIG)
    (workspace / "hello" / "index.js").write_text(CODE)
    ports = ("--port", str(free_port()), "--prefect-port", str(free_port()))
    try:
        ended = clodo(workspace, "up", "--json", *ports)
        assert ended.returncode == 0, ended.stderr
        yield Up(workspace, json.loads(ended.stdout))
    finally:
        clodo(workspace, "down")


def test_everything_is_started_and_says_where_it_is(running):
    """Cloud, Prefect server and worker run, and what a person needs to use them is printed, secrets excepted."""
    found = server.find(running.workspace)
    cloud = embedded_cloud.find(running.workspace)
    assert found is not None
    assert cloud is not None

    assert [running.told[name]["started_now"] for name in ("cloud", "prefect", "worker")] == [True, True, True]
    assert running.told["prefect"]["ui_url"] == found.ui_url
    assert running.told["cloud"]["url"] == cloud.url
    declared = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]
    assert {name.partition("/")[2] for name in running.told["deployments"]} == {item["name"] for item in declared}
    kept = running.workspace / ".clodo" / "up.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    for secret in (cloud.token, found.credentials.auth_string, found.credentials.encryption_key):
        assert secret not in json.dumps(running.told) + kept.read_text()
    assert Path(running.told["prefect"]["credentials_file"]).read_text().count(found.credentials.auth_string) == 1


@pytest.mark.exhaustive
def test_a_second_up_says_what_runs_already(running):
    """Doing it again starts nothing and changes nothing."""
    told = json.loads(running.clodo("up", "--json").stdout)
    said = running.clodo("up").stdout

    assert [told[name]["started_now"] for name in ("cloud", "prefect", "worker")] == [False, False, False]
    assert [told[name]["pid"] for name in ("cloud", "prefect", "worker")] == [
        running.told[name]["pid"] for name in ("cloud", "prefect", "worker")
    ]
    assert said.count("[was running]") == 3
    assert "PREFECT_API_AUTH_STRING in " in said


def test_a_rollout_from_the_form_works_like_one_from_the_command_line(running):
    """A run that the UI makes is taken by the worker, releases the portfolio, and keeps its secrets to itself."""
    with running.api as api:
        _save_secret(api)
        deployment = api.get("/deployments/name/roll-out-portfolio/portfolio").json()
        run = api.post(
            f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": {"reason": "form"}}
        ).json()
        wait_until(
            lambda: api.get(f"/flow_runs/{run['id']}").json()["state_type"] in ("COMPLETED", "FAILED", "CRASHED"),
            seconds=120,
            alive=lambda: True,
        )
        ended = api.get(f"/flow_runs/{run['id']}").json()
        refused = api.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"max_parallel": 99}, "enforce_parameter_schema": True},
        )
        artifacts = api.post("/artifacts/latest/filter", json={}).json()
    worker_log = (running.workspace / ".clodo" / "prefect" / "worker.log").read_text()
    cloud = embedded_cloud.find(running.workspace)
    assert cloud is not None
    again = json.loads(running.clodo("deploy", "hello", "--json").stdout)
    answer = httpx.get(
        cloud.edge_url, headers={"Host": f"hello.{cloud.subdomain}.workers.dev"}, timeout=30, trust_env=False
    ).json()

    assert ended["state_type"] == "COMPLETED", worker_log
    assert ended["parameters"] == {"workspace": str(running.workspace), "reason": "form"}
    assert refused.status_code == 409
    assert {artifact["key"] for artifact in artifacts} >= {"portfolio-shop", "release-hello-production"}
    assert answer["knows"] == len(GREETING)
    assert again["targets"][0]["ending"] == "unchanged"
    _nowhere(running.workspace, GREETING, except_for=("emulator",))
    _nowhere(running.workspace, cloud.token, except_for=("emulator",))


@pytest.mark.exhaustive
def test_a_port_that_is_taken_is_named(running, tmp_path):
    """Asking for a port on which something listens ends with a sentence, and what was started is stopped again."""
    port = running.told["prefect"]["ui_url"].rpartition(":")[2]

    ended = clodo(tmp_path, "up", "--prefect-port", port)
    left = (embedded_cloud.find(tmp_path), server.find(tmp_path))

    assert ended.returncode == 1
    assert f"Error: Something else listens on port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert left == (None, None)
    assert (tmp_path / ".clodo" / "emulator.log").exists()


def test_down_stops_all_of_it_even_what_lost_its_parent(running):
    """After `clodo down` no process of the rehearsal is left, not even one whose parent was killed."""
    pids = [running.told[name]["pid"] for name in ("cloud", "prefect", "worker")]
    os.kill(running.told["worker"]["pid"], signal.SIGKILL)

    told = json.loads(running.clodo("down", "--json").stdout)
    again = running.clodo("down")

    assert set(told["stopped"]) >= {"prefect", "cloud"}
    assert [start_of(pid) for pid in pids] == [None, None, None]
    assert not (running.workspace / ".clodo" / "up.json").exists()
    assert (again.returncode, again.stdout) == (0, "Nothing was running.\n")


def _save_secret(api: httpx.Client) -> None:
    """Save a block as the UI's form does."""
    kind = api.get("/block_types/slug/service-secrets").json()
    schema = api.post("/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}).json()
    answer = api.post(
        "/block_documents/",
        json={
            "name": "shop",
            "data": {"targets": {"hello@production": {"GREETING": GREETING}}},
            "block_schema_id": schema[0]["id"],
            "block_type_id": kind["id"],
        },
    )
    assert answer.status_code == 201, answer.text


def _nowhere(workspace: Path, secret: str, *, except_for: tuple[str, ...]) -> None:
    """Search every file that was written for *secret*."""
    state = workspace / ".clodo"
    files = [file for file in workspace.rglob("*") if file.is_file()]
    found = [
        str(file.relative_to(workspace))
        for file in files
        if not any(state / name in file.parents for name in except_for) and secret.encode() in file.read_bytes()
    ]
    assert len(files) > 10
    assert found == []
