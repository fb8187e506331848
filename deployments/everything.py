"""What `clodo up` starts and `clodo down` stops: the embedded cloud, the Prefect server and a worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clodo.settings import Settings
from clodo.workspace.portfolio import FILE_NAME, Portfolio
from clodo.wrangler.toolchain import install
from deployments import embedded_cloud, server, worker
from deployments.embedded_cloud import Cloud
from deployments.failures import named_as_ours
from deployments.server import PrefectServer

if TYPE_CHECKING:
    from prefect.blocks.core import Block

    from deployments.alarms import Alarms

EMBEDDED_ACCOUNT = "embedded-cloud"
DEFAULT_ACCOUNT = "default"

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Running:
    """
    All that runs for a workspace.

    Attributes:
        started: Which of ``cloud``, ``prefect`` and ``worker`` were started just now; the others ran already.

        deployments: ``flow/deployment`` names that the UI offers.

        alarms: What watches over the age of the backups.
    """

    cloud: Cloud
    prefect: PrefectServer
    worker_pid: int
    started: tuple[str, ...]
    deployments: tuple[str, ...]
    alarms: Alarms

    def as_json(self) -> dict[str, Any]:
        """Return it as ``clodo up --json`` shows it: addresses and where secrets are kept, never a secret."""
        return {
            "cloud": {
                "url": self.cloud.url,
                "edge_url": self.cloud.edge_url,
                "account_id": self.cloud.account_id,
                "subdomain": self.cloud.subdomain,
                "zone": self.cloud.zone,
                "account_block": EMBEDDED_ACCOUNT,
                "pid": self.cloud.pid,
                "started_now": "cloud" in self.started,
            },
            "prefect": {
                "ui_url": self.prefect.ui_url,
                "api_url": self.prefect.api_url,
                "credentials_file": str(server.credentials_file(self.prefect.folder)),
                "pid": self.prefect.process.pid,
                "started_now": "prefect" in self.started,
            },
            "worker": {"pid": self.worker_pid, "started_now": "worker" in self.started},
            "deployments": list(self.deployments),
            "alarms": list(self.alarms.automations),
        }


def up(
    workspace: Path,
    *,
    settings: Settings,
    cloud_port: int | None = None,
    prefect_port: int | None = None,
    report: Report,
) -> Running:
    """
    Start what doesn't run yet, and register blocks and deployments; doing it again changes nothing.

    Raises:
        PortInUse: Something else listens on a port that was asked for.

        ToolchainMissing: workerd can't be fetched.

        BadConfiguration: ``portfolio.toml`` is broken.
    """
    file = workspace / FILE_NAME
    portfolio = Portfolio.read(file) if file.is_file() else Portfolio.default(workspace.name)
    toolchain = install(settings, lambda step, share: report(step, share * 0.3))
    with _stopped_again_on_failure(workspace):
        with ThreadPoolExecutor(2) as beside:
            cloud_start = beside.submit(embedded_cloud.start, workspace, workerd=toolchain.workerd, port=cloud_port)
            prefect_start = beside.submit(
                server.start,
                workspace,
                port=prefect_port,
                report=lambda step, share: report(step, 0.3 + share * 0.4),
            )
            # Prefect takes seconds to import and its server more to start: both at once.
            from deployments import alarms, register

            cloud, cloud_is_new = cloud_start.result()
            prefect, prefect_is_new = prefect_start.result()
        with prefect.in_use():
            report("starting the worker", 0.7)
            since = datetime.now(UTC)
            with named_as_ours():
                register.make_work_pool()
            process, worker_is_new = worker.start(prefect, workspace, work_pool=register.WORK_POOL)
            report("registering blocks and deployments", 0.8)
            registered = register.register(workspace=workspace, blocks=_accounts(cloud))
            watching = alarms.set_alarms(portfolio)
            if worker_is_new:
                report("waiting for the worker", 0.9)
                worker.wait_for(process, work_pool=register.WORK_POOL, since=since)
        news = (("cloud", cloud_is_new), ("prefect", prefect_is_new), ("worker", worker_is_new))
        running = Running(
            cloud,
            prefect,
            process.pid,
            tuple(name for name, is_new in news if is_new),
            registered.deployments,
            watching,
        )
        server.write_privately(workspace / ".clodo" / "up.json", json.dumps(running.as_json(), indent=2))
        report("ready", 1.0)
        return running


def down(workspace: Path, *, report: Report) -> tuple[str, ...]:
    """
    Stop what runs for *workspace*: the worker first, whose runs undo what they had begun; return what was stopped.

    Nothing that was saved is lost: blocks, runs, and the embedded cloud's data stay.
    """
    steps = _stops(workspace)
    stopped = []
    for number, (name, title, stop) in enumerate(steps):
        report(title, number / len(steps))
        if stop():
            stopped.append(name)
    (workspace / ".clodo" / "up.json").unlink(missing_ok=True)
    return tuple(stopped)


@contextmanager
def _stopped_again_on_failure(workspace: Path) -> Iterator[None]:
    """Leave running only what ran before, unless all goes well: half of a rehearsal is of no use to anybody."""
    ran_before = (
        worker.find(server.folder_of(workspace)) is not None,
        server.find(workspace) is not None,
        embedded_cloud.find(workspace) is not None,
    )
    is_done = False
    try:
        yield
        is_done = True
    finally:
        if not is_done:
            for ran, (_, _, stop) in zip(ran_before, _stops(workspace), strict=True):
                if not ran:
                    stop()


def _stops(workspace: Path) -> tuple[tuple[str, str, Callable[[], bool]], ...]:
    """Return name, title and action of each thing to stop, in that order."""
    return (
        ("worker", "the worker and its runs", lambda: worker.stop(server.folder_of(workspace))),
        ("prefect", "the Prefect server", lambda: server.stop(workspace)),
        ("cloud", "the embedded cloud", lambda: embedded_cloud.stop(workspace)),
    )


def _accounts(cloud: Cloud) -> dict[str, Block]:
    """
    Return the account blocks to save.

    Targets whose environment names no account use the block "default"; it is made when there is none, and follows the
    embedded cloud as long as it means one. An account that an operator saved under that name stays.
    """
    from pydantic import SecretStr

    from blocks import CloudflareAccount

    account = CloudflareAccount(
        account_id=cloud.account_id, api_token=SecretStr(cloud.token), base_url=cloud.url, edge_url=cloud.edge_url
    )
    found: dict[str, Block] = {EMBEDDED_ACCOUNT: account}
    try:
        kept = CloudflareAccount.load(DEFAULT_ACCOUNT)
    except ValueError:  # Prefect's word for "there is no such block"
        kept = account
    if isinstance(kept, CloudflareAccount) and kept.is_embedded:
        found[DEFAULT_ACCOUNT] = account.model_copy()
    return found
