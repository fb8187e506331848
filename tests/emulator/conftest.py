"""The real wrangler, run as the reference says: hermetic, direct, with a compile cache."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import CloudAccount

WORKER_JS = """\
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname === "/log") console.log("seen", url.searchParams.get("word"));
    if (url.pathname === "/rows") {
      return Response.json((await env.DB.prepare("SELECT * FROM notes ORDER BY id").all()).results);
    }
    if (url.pathname === "/kv") return new Response((await env.KV.get(url.searchParams.get("key"))) ?? "nothing");
    return Response.json({ greeting: env.GREETING ?? null, secret: env.SECRET ?? null, release: "RELEASE" });
  },
  async queue() {},
};
"""


@dataclass
class Project:
    """A wrangler project in a folder, and the account it is deployed to."""

    folder: Path
    account: CloudAccount
    node: Path
    wrangler: Path
    home: Path
    compiled: Path
    config: dict[str, Any] = field(default_factory=dict)

    def write(self, release: str = "first", **config: Any) -> None:
        """Write the Worker and its configuration; *config* is merged into what was written before."""
        self.config |= config
        (self.folder / "wrangler.json").write_text(json.dumps(self.config))
        (self.folder / "index.js").write_text(WORKER_JS.replace("RELEASE", release))

    def command(self, *words: str) -> list[str]:
        """Return the whole command line of a wrangler command."""
        flags = ["--no-warnings", "--min-semi-space-size=16", "--max-semi-space-size=32"]
        return [str(self.node), *flags, str(self.wrangler), *words]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment that lets nothing of this machine in."""
        return {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "TMPDIR": str(self.home),
            "CI": "true",
            "NO_COLOR": "1",
            "WRANGLER_SEND_METRICS": "false",
            "WRANGLER_SEND_ERROR_REPORTS": "false",
            "WRANGLER_HIDE_BANNER": "true",
            "WRANGLER_WRITE_LOGS": "false",
            "NODE_COMPILE_CACHE": str(self.compiled),
            **self.account.environment,
            **(extra or {}),
        }

    def run(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run a wrangler command that must succeed; return what it printed on standard output."""
        done = self.attempt(*words, stdin=stdin, env=env)
        assert done.returncode == 0, f"wrangler {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def attempt(
        self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a wrangler command that may fail."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="session")
def wrangler_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that all wrangler runs of the session share, so that code is compiled once."""
    return tmp_path_factory.mktemp("wrangler")


@pytest.fixture
def project(account: CloudAccount, toolchain: Toolchain, wrangler_home: Path, tmp_path: Path) -> Project:
    """A project of one Worker named `shop`, in a fresh account."""
    made = Project(
        folder=tmp_path,
        account=account,
        node=toolchain.node,
        wrangler=toolchain.wrangler,
        home=wrangler_home,
        compiled=wrangler_home / "compiled",
    )
    made.write(
        name="shop",
        main="index.js",
        compatibility_date="2026-01-01",
        vars={"GREETING": "hello"},
        workers_dev=True,
        preview_urls=True,
    )
    return made
