"""A small fleet with customers, run by commands in this process, on the embedded cloud."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks import CloudflareAccount
from clodo.cli.main import main
from clodo.workspace.workspace import Workspace
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write

CONFIG = """\
# The API, for everybody
name = "api"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true

[vars]
LEVEL = "info"

[[d1_databases]]
binding = "DB"
database_name = "everybody"
migrations_dir = "sql"

[[kv_namespaces]]
binding = "CACHE"
id = "0123456789abcdef0123456789abcdef"
"""
CODE = "export default { fetch(request, env) { return new Response(env.CUSTOMER_ID ?? 'nobody'); } };"


@dataclass
class Fleet:
    """The workspace, its account, and what commands print."""

    folder: Path
    account: CloudAccount
    block: str
    capsys: pytest.CaptureFixture[str]

    @classmethod
    def open(
        cls, folder: Path, account: CloudAccount, capsys: pytest.CaptureFixture[str], *, saves: bool = True
    ) -> Fleet:
        """Write the workspace; save its account's block unless told otherwise."""
        block = f"test-{account.account_id[:12]}"
        fleet = cls(folder, account, block, capsys)
        if saves:
            fleet.save(account.token)
        portfolio = f'[environments.production]\naccount = "{block}"\n'
        write(folder, {"portfolio.toml": portfolio, "api/wrangler.toml": CONFIG, "api/index.js": CODE})
        return fleet

    def save(self, token: str) -> None:
        """Save the account's block with *token*."""
        values = {
            "account_id": self.account.account_id,
            "api_token": token,
            "base_url": self.account.cloud.url,
            "edge_url": self.account.cloud.edge_url,
        }
        CloudflareAccount.model_validate(values).save(self.block, overwrite=True)

    def token(self, *permissions: str, account_ids: list[str] | None = None) -> str:
        """Make a token with these permission groups only; with all of them when none is given."""
        body = {"account_ids": account_ids or [self.account.account_id], "permissions": list(permissions) or None}
        answer = httpx.post(
            f"{self.account.cloud.edge_url}/__clodo/tokens",
            headers={"Authorization": f"Bearer {self.account.cloud.admin_token}"},
            json=body,
            trust_env=False,
        )
        assert answer.is_success, answer.text
        return str(answer.json()["result"]["token"])

    @property
    def workspace(self) -> Workspace:
        """The workspace as it is written now."""
        return Workspace.load(self.folder)

    def files(self) -> dict[str, bytes]:
        """Return everything the user wrote, by name."""
        found = (file for file in self.folder.rglob("*") if file.is_file() and ".clodo" not in file.parts)
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in found}

    def clodo(self, *words: str) -> int:
        """Run a command in this process."""
        return main(["--workspace", str(self.folder), *words])

    def told(self, *words: str, status: int = 0) -> Any:
        """Run a command with --json and return what it printed."""
        self.capsys.readouterr()
        ended = self.clodo(*words, "--json")
        printed = self.capsys.readouterr()
        assert ended == status, printed.err
        return json.loads(printed.out)

    def said(self, *words: str, status: int = 0) -> str:
        """Run a command and return what it said, on both streams."""
        self.capsys.readouterr()
        ended = self.clodo(*words)
        printed = self.capsys.readouterr()
        assert ended == status, printed.err
        assert "Traceback" not in printed.err
        return printed.out + printed.err
