"""Rollbacks while a backup runs on the same budget, against a cloud that counts requests as Cloudflare does."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.clouds import Cloud, verified
from benchmarks.emulator import Figure
from clodo.cloudflare.budget import Lane
from clodo.cloudflare.client import Cloudflare
from clodo.ledger import Ledger

ROLLBACKS = 30
#: One for each round: a Worker's list of deployments grows with each rollback, and with it the time to read it.
WORKERS = ("alone", "beside", "sharing", "waiting")
MAX_RATIO = 1.5
#: Requests after which a backup surely reads.
BEGUN = 20
PATIENCE_SECONDS = 300.0
#: Whose budget both sides share.
USER = "benchmark"

Say = Callable[[str], None]


def measure(say: Say, cloud: Cloud, client: httpx.Client, root: Path, apart: Path) -> Figure:
    """
    Put a Worker back to the version before while a namespace is backed up, and when that has used up its lane.

    A rollback is what Clodo sends for one: what is live, the version to go back to, a deployment, a look at it; and
    requests of the Worker until the version before answers. What it is compared with: rollbacks beside the same backup
    on a budget of its own, since cloud and backup need the same two cores; and rollbacks alone, once the backup waits.

    Args:
        root: A workspace; its ledger holds the budget that both sides share.

        apart: Another one.
    """
    for worker in WORKERS:
        for version in ("first", "second"):
            code = f"export default {{ fetch() {{ return new Response('{version}') }} }}"
            cloud.deploy(client, worker, code)
            cloud.open_subdomain(client, worker)
    _count_requests(cloud, client)
    account = str(cloud.state["account_id"]), str(cloud.state["token"]), f"{cloud.edge_url}/client/v4"
    with (
        Ledger.open(root / "ledger.sqlite3") as ledger,
        Cloudflare(*account, budget=ledger.budget(USER), lane=Lane.UNDO) as cloudflare,
    ):
        alone = _roll_back(cloud, client, cloudflare, "alone")
        with _backup(cloud, apart) as backup:
            beside = _roll_back_meanwhile(cloud, client, cloudflare, "beside", backup, _calls(cloud, client))
        _count_requests(cloud, client)
        start = _calls(cloud, client)
        with _backup(cloud, root) as backup:
            sharing = _roll_back_meanwhile(cloud, client, cloudflare, "sharing", backup, start)
            _wait(lambda: _is_still(cloud, client, start), backup)
            waiting = _roll_back(cloud, client, cloudflare, "waiting")
            if backup.poll() is not None:
                raise RuntimeError("the backup ended before its lane was used up: give it more keys")
    refused = sum(call["status"] == 429 for call in _ask(cloud, client, "GET", "/requests")["calls"])
    usual, disturbed = statistics.median(alone), statistics.median(beside)
    ratios = statistics.median(sharing) / disturbed, statistics.median(waiting) / usual
    measured = (
        f"{ratios[0]:.2f} × of {disturbed * 1000:.0f} ms beside a backup with a budget of its own, then"
        f" {ratios[1]:.2f} × of {usual * 1000:.0f} ms alone; {refused} answers 429"
    )
    say(f"rollbacks: {measured}")
    return Figure(
        f"{ROLLBACKS} rollbacks while KV is backed up on the same budget, and when that has used up its lane",
        measured,
        f"≤ {MAX_RATIO} ×, none refused",
        max(ratios) <= MAX_RATIO and refused == 0,
        {
            "alone_seconds": alone,
            "beside_seconds": beside,
            "sharing_seconds": sharing,
            "waiting_seconds": waiting,
            "refused": refused,
        },
    )


def _roll_back(cloud: Cloud, client: httpx.Client, cloudflare: Cloudflare, worker: str) -> list[float]:
    """Go to and fro between two versions; return the seconds of each."""
    second, first = (version.id for version in cloudflare.versions.list(worker, limit=2))
    seconds = []
    for _ in range(ROLLBACKS):
        began = time.perf_counter()
        live = cloudflare.deployments.current(worker)
        target = first if live is not None and live.only_version == second else second
        cloudflare.versions.get(worker, target)
        cloudflare.deployments.create(worker, {target: 100})
        cloudflare.deployments.current(worker)
        _visit(cloud, client, worker, "first" if target == first else "second")
        seconds.append(time.perf_counter() - began)
    return seconds


def _roll_back_meanwhile(
    cloud: Cloud, client: httpx.Client, cloudflare: Cloudflare, worker: str, backup: subprocess.Popen[str], start: int
) -> list[float]:
    """Roll back while the backup reads: it has begun before, and goes on until the end."""
    _wait(lambda: _reads(cloud, client, start) > BEGUN, backup)
    began = _reads(cloud, client, start)
    seconds = _roll_back(cloud, client, cloudflare, worker)
    if backup.poll() is not None or _reads(cloud, client, start) == began:
        raise RuntimeError("the backup did nothing beside the rollbacks: give it more keys")
    return seconds


def _calls(cloud: Cloud, client: httpx.Client) -> int:
    """Return how many requests the cloud has had."""
    return int(_ask(cloud, client, "GET", "/status")["calls"])


def _visit(cloud: Cloud, client: httpx.Client, worker: str, expected: str) -> None:
    """Ask the Worker until the expected version answers."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while (answer := client.get("/", headers={"Host": cloud.hostname(worker)})).text != expected:
        if time.monotonic() > ends:
            raise RuntimeError(f"the Worker answers {answer.status_code} {answer.text[:200]}, not {expected}")


@contextmanager
def _backup(cloud: Cloud, root: Path) -> Iterator[subprocess.Popen[str]]:
    """
    Back up KV in a process of its own, which is ended at the end: its lane has only so many requests.

    Args:
        root: Where its ledger is, and with it the budget.
    """
    said = {
        "root": str(root),
        "kinds": ["kv"],
        "url": f"{cloud.edge_url}/client/v4",
        "account_id": cloud.state["account_id"],
        "token": cloud.state["token"],
        "user": USER,
    }
    words = [sys.executable, "-m", "benchmarks.backup_child"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        if process.stdin is not None:
            process.stdin.write(json.dumps(said))
            process.stdin.close()
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def _wait(until: Callable[[], bool], backup: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not until():
        if backup.poll() is not None or time.monotonic() > ends:
            raise RuntimeError("the backup did not come so far: give it more keys")
        time.sleep(0.05)


def _is_still(cloud: Cloud, client: httpx.Client, start: int) -> bool:
    """Say whether the backup has used up what its lane had left: it has begun, and sent nothing for two seconds."""
    before = _reads(cloud, client, start)
    time.sleep(2)
    return before == _reads(cloud, client, start) > BEGUN


def _count_requests(cloud: Cloud, client: httpx.Client) -> None:
    """Let the cloud count requests as Cloudflare does, and answer 429 beyond them."""
    _ask(cloud, client, "PATCH", "/settings", {"rate_limit": True})


def _reads(cloud: Cloud, client: httpx.Client, start: int) -> int:
    """Return how many requests the backup has sent, of all after the first *start*."""
    calls = _ask(cloud, client, "GET", f"/requests?since={start}")["calls"]
    return sum("/storage/kv/" in call["path"] for call in calls)


def _ask(cloud: Cloud, client: httpx.Client, method: str, path: str, body: object = None) -> Any:
    """Ask the cloud about itself."""
    headers = {"Authorization": f"Bearer {cloud.state['admin_token']}"}
    return verified(client.request(method, f"/__clodo{path}", headers=headers, json=body)).json()["result"]
