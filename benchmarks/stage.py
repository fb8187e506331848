"""Where both sides are measured: one embedded cloud, one Prefect server, an account for each side."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from clodo.emulator.state import read_state
from clodo.settings import Settings
from clodo.wrangler.toolchain import Toolchain, install
from deployments import embedded_cloud, server
from deployments.embedded_cloud import Cloud
from deployments.processes import BackgroundProcess
from deployments.server import PrefectServer

UPLOAD = re.compile(r"PUT /accounts/\w+/workers/scripts/[^/]+|POST /accounts/\w+/workers/scripts/[^/]+/versions")


def is_upload(call: Mapping[str, Any]) -> bool:
    """Whether an API call stored a version of a Worker."""
    return UPLOAD.fullmatch(f"{call['method']} {call['path']}") is not None


@dataclass(frozen=True, slots=True)
class SideAccount:
    """An account of the embedded cloud that one side releases to."""

    account_id: str
    token: str = field(repr=False)
    subdomain: str


class Stage:
    """
    The embedded cloud and the Prefect server of a workspace, both idle before each measurement.

    Attributes:
        workspace: Clodo's workspace, whose cloud and server they are.

        cache_dir: Clodo's cache in a measurement: the installed toolchain, but compiled code and slots of its own, so
            that other Clodos on the machine neither warm nor block it.
    """

    def __init__(
        self, workspace: Path, cache_dir: Path, toolchain: Toolchain, cloud: Cloud, prefect: PrefectServer
    ) -> None:
        state = read_state(embedded_cloud.folder_of(workspace))
        if state is None:
            raise RuntimeError("the embedded cloud is gone")
        self.workspace = workspace
        self.cache_dir = cache_dir
        self.toolchain = toolchain
        self.cloud = cloud
        self.prefect = prefect
        self._api = httpx.Client(
            base_url=cloud.edge_url,
            headers={"Authorization": f"Bearer {state['admin_token']}"},
            timeout=60,
            trust_env=False,
        )

    @property
    def cloud_process(self) -> BackgroundProcess:
        """The embedded cloud's process."""
        file = self.workspace / ".clodo" / "emulator-process.json"
        return BackgroundProcess.from_json(json.loads(file.read_text()))

    def new_account(self, name: str) -> SideAccount:
        """Make an account of its own for one side."""
        made = self._ask("POST", "/__clodo/accounts", json={"name": name})
        return SideAccount(made["account_id"], made["token"], made["subdomain"])

    def new_database(self, account: SideAccount, name: str) -> str:
        """Make a D1 database and return its UUID."""
        made = self._ask(
            "POST",
            f"/client/v4/accounts/{account.account_id}/d1/database",
            json={"name": name},
            headers={"Authorization": f"Bearer {account.token}"},
        )
        return str(made["uuid"])

    def count_calls(self) -> int:
        """Return how many API calls there were since the cloud's start."""
        return int(self._ask("GET", "/__clodo/status")["calls"])

    def calls_since(self, number: int) -> list[dict[str, Any]]:
        """Return the API calls after the first *number*."""
        return list(self._ask("GET", "/__clodo/requests", params={"since": number})["calls"])

    def visit(self, account: SideAccount, worker: str, path: str) -> httpx.Response:
        """Send a request to a Worker, as a visitor would."""
        return self._api.get(path, headers={"Host": f"{worker}.{account.subdomain}.workers.dev", "Authorization": ""})

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        answer = self._api.request(method, path, **request)
        answer.raise_for_status()
        return answer.json()["result"]


def _free_port() -> int:
    """Return a port that nobody listens on; the usual one may be somebody else's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def opened() -> Iterator[Stage]:
    """Start a cloud and a server on a fresh workspace; stop and remove both at the end."""
    toolchain = install(Settings.from_environment())
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clodo-benchmark-")))
        workspace, cache_dir = root / "clodo", root / "cache"
        workspace.mkdir()
        cache_dir.mkdir()
        (cache_dir / "toolchain").symlink_to(toolchain.cache_dir / "toolchain")
        stack.callback(embedded_cloud.stop, workspace)
        cloud, _ = embedded_cloud.start(workspace, workerd=toolchain.workerd, port=0)
        stack.callback(server.stop, workspace)
        prefect, _ = server.start(workspace, port=_free_port())
        stage = Stage(workspace, cache_dir, toolchain, cloud, prefect)
        stack.callback(stage.close)
        yield stage
