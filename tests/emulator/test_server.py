"""Starting, stopping, killing and finding the embedded cloud."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clodo.emulator.config import AccountKeys, CloudConfig
from clodo.emulator.server import EmbeddedCloud
from clodo.emulator.state import read_state
from clodo.errors import BadUsage, LockHeld, PortInUse
from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import account_of, script_parts

SHOW = "export default { fetch(request, env) { return new Response(env.KEY); } };"


class Process:
    """`clodo emulator start` as a process of its own."""

    def __init__(self, data: Path, workerd: Path, *options: str) -> None:
        self.data = data
        began = time.monotonic()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", "import sys; from clodo.cli.main import main; sys.exit(main())"),
                *("emulator", "start", "--data", str(data), "--workerd", str(workerd), "--port", "0", "--json"),
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if line == "}\n":
                break
        assert text, self.process.stderr and self.process.stderr.read()
        self.seconds = time.monotonic() - began
        self.state: dict[str, Any] = json.loads(text)
        self.api = httpx.Client(
            base_url=f"{self.state['url']}/accounts/{self.state['account_id']}",
            headers={"Authorization": f"Bearer {self.state['token']}"},
            timeout=30,
            trust_env=False,
        )

    def visit(self, worker: str) -> str:
        """What the Worker says to a visitor."""
        host = f"{worker}.{self.state['subdomain']}.workers.dev"
        return httpx.get(self.state["edge_url"], headers={"Host": host}, timeout=30, trust_env=False).text

    def end(self, number: int = signal.SIGKILL) -> tuple[int, str]:
        """Send a signal and return the exit status and what was said on standard error."""
        self.api.close()
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def started(tmp_path: Path, toolchain: Toolchain) -> Iterator[Any]:
    """Start clouds on one data folder; whatever still runs at the end is killed."""
    running: list[Process] = []

    def start(*options: str) -> Process:
        running.append(Process(tmp_path / "data", toolchain.workerd, *options))
        return running[-1]

    yield start
    for process in running:
        if process.process.poll() is None:
            process.end()


def fill(api: httpx.Client) -> None:
    """Deploy a Worker with a secret, an undeployed version, a database and a key."""
    parts = script_parts(SHOW, bindings=[{"name": "KEY", "type": "secret_text", "text": "swordfish"}])
    assert api.put("workers/scripts/shop", files=parts).is_success
    assert api.post("workers/scripts/shop/subdomain", json={"enabled": True}).is_success
    assert api.put("workers/scripts/shop/schedules", json=[{"cron": "0 0 * * *"}]).is_success
    assert api.post("workers/scripts/shop/versions", files=script_parts("export default {fetch(){}}")).is_success
    database = api.post("d1/database", json={"name": "notes"}).json()["result"]["uuid"]
    assert api.post(f"d1/database/{database}/query", json={"sql": "CREATE TABLE t (x)"}).is_success
    namespace = api.post("storage/kv/namespaces", json={"title": "cache"}).json()["result"]["id"]
    assert api.put(f"storage/kv/namespaces/{namespace}/values/a", content=b"1").is_success


def everything(process: Process) -> dict[str, Any]:
    """What there is, as the API and a visitor see it."""
    api = process.api
    return {
        "scripts": api.get("workers/scripts").json()["result"],
        "versions": api.get("workers/scripts/shop/versions").json()["result"],
        "deployments": api.get("workers/scripts/shop/deployments").json()["result"],
        "schedules": api.get("workers/scripts/shop/schedules").json()["result"],
        "databases": api.get("d1/database").json()["result"],
        "namespaces": api.get("storage/kv/namespaces").json()["result"],
        "answer": process.visit("shop"),
    }


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive),
    ],
)
def test_everything_comes_back(started: Any, number: int) -> None:
    """After a stop, an interrupt or kill -9, the next start has the same account, Workers, data and answers."""
    first = started("--zone", "shop.example")
    fill(first.api)
    before = everything(first)
    status, errors = first.end(number)
    second = started()

    assert before["answer"] == "swordfish"
    assert everything(second) == before
    same = ("account_id", "token", "subdomain", "zone", "zone_id")
    assert {key: first.state[key] for key in same} == {key: second.state[key] for key in same}
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert "Traceback" not in errors


@pytest.mark.exhaustive
def test_it_starts_in_two_seconds(started: Any) -> None:
    """From the start of the process to an answering API, at the best of five: others use this machine too."""
    seconds = []
    for _ in range(5):
        process = started()
        seconds.append(process.seconds)
        process.end(signal.SIGTERM)

    assert min(seconds) < 2.0


def test_nothing_acknowledged_is_lost_to_kill(started: Any) -> None:
    """While versions and queues are made as fast as they go, kill -9: every one that was acknowledged is there."""
    first = started()
    fill(first.api)
    acknowledged: list[str] = []

    def write() -> None:
        number = 0
        while True:
            number += 1
            try:
                made = first.api.post("queues", json={"queue_name": f"q{number}"})
                acknowledged.append(made.json()["result"]["queue_name"])
                secret = {"env": {"N": {"type": "secret_text", "text": str(number)}}}
                made = first.api.patch("workers/workers/shop/versions/latest", json=secret)
                acknowledged.append(made.json()["result"]["id"])
            except (httpx.TransportError, RuntimeError):
                return

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 60 and writer.is_alive():
        time.sleep(0.005)
    first.process.kill()
    first.process.wait()
    writer.join()
    first.api.close()
    second = started()
    versions = second.api.get("workers/scripts/shop/versions", params={"per_page": 100}).json()["result"]["items"]
    queues = second.api.get("queues").json()["result"]

    there = {version["id"] for version in versions} | {queue["queue_name"] for queue in queues}
    assert len(acknowledged) >= 60
    assert set(acknowledged) <= there
    numbers = [version["number"] for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)


def test_no_worker_process_survives(started: Any) -> None:
    """When the cloud is killed, the workerd processes it had started die with it."""
    first = started()
    fill(first.api)
    first.visit("shop")
    headers = {"Authorization": f"Bearer {first.state['admin_token']}"}
    status = httpx.get(f"{first.state['edge_url']}/__clodo/status", headers=headers, trust_env=False).json()["result"]
    pids = [worker["pid"] for worker in status["workers"] if worker["pid"]]
    first.end(signal.SIGKILL)

    assert pids
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in pids if is_alive(pid)] == []


def is_alive(pid: int) -> bool:
    """Say whether a process runs (a zombie doesn't)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_port_in_use_says_so(tmp_path: Path, toolchain: Toolchain) -> None:
    """Another listener on the port is a PortInUse with a remedy; the data folder is free again at once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port}") as refusal:
            EmbeddedCloud(CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=port)).start()

    assert "--port" in (refusal.value.hint or "")
    assert read_state(tmp_path) is None
    with EmbeddedCloud(CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=0)) as cloud:
        assert read_state(tmp_path) is not None
        assert cloud.url.startswith("http://127.0.0.1:")


def test_one_cloud_a_folder(tmp_path: Path, toolchain: Toolchain) -> None:
    """A second cloud on the same data is refused and names the first; the first goes on."""
    config = CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=0)
    with EmbeddedCloud(config) as first:
        with pytest.raises(LockHeld, match=str(os.getpid())):
            EmbeddedCloud(config).start()
        answer = httpx.get(f"{first.url}/user", headers={"Authorization": f"Bearer {first.account.token}"})

    assert answer.status_code == 200
    assert read_state(tmp_path) is None


def test_the_first_account_is_as_asked(tmp_path: Path, toolchain: Toolchain) -> None:
    """Id, token, subdomain and zones can be given; an impossible id is refused."""
    config = CloudConfig(
        data=tmp_path,
        workerd=toolchain.workerd,
        port=0,
        account_id="0" * 32,
        token="a-token-of-my-own",
        zones=("one.example", "two.example"),
        workers_subdomain="mine",
    )
    with EmbeddedCloud(config) as cloud, account_of(cloud, cloud.account) as account:
        assert cloud.account == AccountKeys("0" * 32, "a-token-of-my-own", "mine", "one.example", account.zone_id)
        assert [zone["name"] for zone in account.api.get("/zones").json()["result"]] == ["one.example", "two.example"]
    with pytest.raises(BadUsage, match="32 hex digits"):
        EmbeddedCloud(CloudConfig(data=tmp_path / "other", workerd=toolchain.workerd, port=0, account_id="me")).start()


def test_the_clouds_own_endpoints_follow_the_first_accounts_token(tmp_path: Path, toolchain: Toolchain) -> None:
    """Rolled, only the token's new value opens ``/__clodo``; deleted, none does, and the admin token still does."""
    config = CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=0)
    with EmbeddedCloud(config) as cloud, httpx.Client(trust_env=False) as client:

        def shown(token: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {token}"}

        def status(token: str) -> int:
            return client.get(f"{cloud.edge_url}/__clodo/status", headers=shown(token)).status_code

        old = cloud.account.token
        before = status(old)
        token_id = client.get(f"{cloud.url}/user/tokens/verify", headers=shown(old)).json()["result"]["id"]
        path = f"{cloud.url}/user/tokens/{token_id}"
        new = client.put(f"{path}/value", headers=shown(old), json={}).json()["result"]
        rolled = (status(old), status(new))
        client.delete(path, headers=shown(new)).raise_for_status()
        deleted = (status(old), status(new), status("none"), status(cloud.admin_token))

    assert (before, rolled, deleted) == (200, (403, 200), (403, 403, 403, 200))


def test_stopping_twice_is_stopping_once(tmp_path: Path, toolchain: Toolchain) -> None:
    """A cloud can be stopped again, and started again on the same data."""
    cloud = EmbeddedCloud(CloudConfig(data=tmp_path, workerd=toolchain.workerd, port=0)).start()
    token = cloud.account.token
    cloud.stop()
    cloud.stop()
    cloud.start()
    again = cloud.account.token
    cloud.stop()

    assert again == token
