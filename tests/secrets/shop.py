"""A shop whose Worker accepts two keys, run by commands in this process, on the embedded cloud."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blocks import CloudflareAccount
from clodo.cli.main import main
from clodo.workspace.workspace import Workspace
from tests.fixtures.embedded_cloud import CloudAccount
from tests.workspace.folders import write

# Verifies HS256 with each of its two keys.
CODE = """\
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

async function isSignedWith(secret, token) {
  if (!secret) return false;
  const data = new TextEncoder();
  const key = await crypto.subtle.importKey("raw", data.encode(secret), { name: "HMAC", hash: "SHA-256" }, false,
    ["verify"]);
  const [head, claims, signature] = token.split(".");
  return crypto.subtle.verify("HMAC", key, bytes(signature), data.encode(`${head}.${claims}`));
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/who") {
      const token = (request.headers.get("authorization") ?? "").replace("Bearer ", "");
      const good = await isSignedWith(env.JWT_KEY, token) || await isSignedWith(env.JWT_KEY_PREVIOUS, token);
      return new Response(null, { status: good ? 200 : 401 });
    }
    return Response.json({ version: env.VERSION.id });
  },
};
"""
CONFIG = """\
name = "auth"
main = "index.js"
compatibility_date = "2026-01-01"
workers_dev = true
preview_urls = true
version_metadata = { binding = "VERSION" }
"""
PORTFOLIO = """\
[portfolio]
name = "shop"

[environments.production]
account = "{block}"
secrets = "{block}-secrets"

[services.auth]
secrets = ["JWT_KEY"]

[[services.auth.smoke_tests]]
path = "/"
version_json = "version"

[services.auth.rotation.JWT_KEY]
kind = "jwt"
previous = "JWT_KEY_PREVIOUS"
every_days = 90
grace_hours = 0

[services.auth.rotation.JWT_KEY.probe]
path = "/who"
headers = {{ authorization = "Bearer {{jwt}}" }}
"""


@dataclass
class Shop:
    """The workspace, its account, and what commands print."""

    folder: Path
    account: CloudAccount
    block: str
    capsys: pytest.CaptureFixture[str]
    printed: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path, account: CloudAccount, capsys: pytest.CaptureFixture[str]) -> Shop:
        """Write the workspace and save its account's block."""
        block = f"test-{account.account_id[:12]}"
        CloudflareAccount.model_validate(
            {
                "account_id": account.account_id,
                "api_token": account.token,
                "base_url": account.cloud.url,
                "edge_url": account.cloud.edge_url,
            }
        ).save(block, overwrite=True)
        write(folder, {"portfolio.toml": PORTFOLIO.format(block=block), "auth/wrangler.toml": CONFIG})
        write(folder, {"auth/index.js": CODE})
        return cls(folder, account, block, capsys)

    @property
    def workspace(self) -> Workspace:
        """The workspace as it is written now."""
        return Workspace.load(self.folder)

    def clodo(self, *words: str) -> int:
        """Run a command in this process."""
        return main(["--workspace", str(self.folder), *words])

    def told(self, *words: str, status: int = 0) -> Any:
        """Run a command with --json and return what it printed."""
        self.capsys.readouterr()
        ended = self.clodo(*words, "--json")
        printed = self.capsys.readouterr()
        self.printed += [printed.out, printed.err]
        assert ended == status, printed.err
        return json.loads(printed.out)

    def refused(self, *words: str, status: int) -> str:
        """Run a command that fails and return what it said."""
        self.capsys.readouterr()
        assert self.clodo(*words) == status
        said = self.capsys.readouterr().err
        assert "Traceback" not in said
        return said
