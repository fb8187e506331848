"""The two ways to release the same portfolio: Clodo's command, and a shell script around plain wrangler."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from benchmarks.generated import Services, expected_health, secrets_of, write_secrets
from benchmarks.measuring import Ended, run
from benchmarks.stage import SideAccount, Stage

ACCOUNT_BLOCK = "default"

# What a team writes before it has a tool: three commands a service, several services at a time.
RELEASE_ONE = """\
set -e
cd "$SERVICES/$1"
wrangler d1 migrations apply DB --remote
wrangler secret bulk "$SECRETS/$1.json"
wrangler deploy
"""
RELEASE_ALL = """\
ls "$SERVICES" | grep '^service-' | xargs -n 1 -P "$PARALLEL" sh "$SCRIPTS/release-one.sh"
"""


class Side(Protocol):
    """One way to release the portfolio."""

    name: str
    account: SideAccount
    services: Services

    def change(self, number: int) -> None:
        """Make round *number* what must be released: code, a migration and a secret of every service."""

    def release(self) -> Ended:
        """Release the portfolio as it is, in a process of its own."""


class Clodo:
    """`clodo portfolio deploy`, as an operator types it."""

    name = "clodo"

    def __init__(self, stage: Stage, *, count: tuple[str, ...], parallel: int, log_folder: Path) -> None:
        self._stage = stage
        self._parallel = parallel
        self._log = log_folder / "clodo.log"
        self.account = stage.new_account("Clodo's side")
        self.services = Services(stage.workspace, {name: stage.new_database(self.account, name) for name in count})
        self.services.write(account=ACCOUNT_BLOCK)
        self.endings: dict[str, str] = {}
        self.release_ids: tuple[str, ...] = ()
        self._save_account()
        self._save_secrets(0)

    def change(self, number: int) -> None:
        """Make round *number* what must be released."""
        self.services.change(number)
        self._save_secrets(number)

    def release(self) -> Ended:
        """Run the command, and keep what it says of each target."""
        words = [str(Path(sys.executable).with_name("clodo")), "portfolio", "deploy", "--yes", "--json"]
        words += ["--max-parallel", str(self._parallel), "--workspace", str(self.services.folder)]
        ended = run(
            words,
            folder=self.services.folder,
            environment={**_inherited(), "CLODO_CACHE_DIR": str(self._stage.cache_dir)},
            log=self._log,
        )
        targets = json.loads(ended.output)["targets"]
        self.endings = {target["target"]: target["ending"] for target in targets}
        self.release_ids = tuple(target["release_id"] for target in targets if target["release_id"])
        return ended

    def _save_account(self) -> None:
        from pydantic import SecretStr

        from blocks import CloudflareAccount

        cloud = self._stage.cloud
        with self._stage.prefect.in_use():
            CloudflareAccount(
                account_id=self.account.account_id,
                api_token=SecretStr(self.account.token),
                base_url=cloud.url,
                edge_url=cloud.edge_url,
            ).save(ACCOUNT_BLOCK, overwrite=True)

    def _save_secrets(self, number: int) -> None:
        """Save a block per target, the names that Clodo looks for unless the portfolio says otherwise."""
        from blocks import ServiceSecrets

        with self._stage.prefect.in_use():
            for name in self.services.names:
                secrets = {f"{name}@production": secrets_of(name, number)}
                block = ServiceSecrets.model_validate({"targets": secrets})
                block.save(f"{name}-production", overwrite=True)


class PlainWrangler:
    """A shell script around `node_modules/.bin/wrangler`, two services at a time."""

    name = "plain wrangler"

    def __init__(self, stage: Stage, *, count: tuple[str, ...], parallel: int, log_folder: Path) -> None:
        folder = stage.workspace.parent / "plain"
        self._stage = stage
        self._parallel = parallel
        self._log = log_folder / "plain.log"
        self._scripts = folder / "scripts"
        self._secrets = folder / "secrets"
        for made in (self._scripts, self._secrets, folder / "home"):
            made.mkdir(parents=True)
        (self._scripts / "release-one.sh").write_text(RELEASE_ONE)
        (self._scripts / "release-all.sh").write_text(RELEASE_ALL)
        self._home = folder / "home"
        self.account = stage.new_account("Plain wrangler's side")
        self.services = Services(folder / "services", {name: stage.new_database(self.account, name) for name in count})
        self.services.write(account=ACCOUNT_BLOCK)
        self._write_secrets(0)

    def change(self, number: int) -> None:
        """Make round *number* what must be released."""
        self.services.change(number)
        self._write_secrets(number)

    def release(self) -> Ended:
        """Run the script."""
        tools = self._stage.toolchain
        commands = tools.wrangler.parents[2] / ".bin"
        environment = {
            "PATH": os.pathsep.join([str(tools.node.parent), str(commands), os.environ["PATH"]]),
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "CI": "true",
            "WRANGLER_SEND_METRICS": "false",
            "CLOUDFLARE_API_BASE_URL": self._stage.cloud.url,
            "CLOUDFLARE_API_TOKEN": self.account.token,
            "CLOUDFLARE_ACCOUNT_ID": self.account.account_id,
            "SERVICES": str(self.services.folder),
            "SECRETS": str(self._secrets),
            "SCRIPTS": str(self._scripts),
            "PARALLEL": str(self._parallel),
        }
        script = str(self._scripts / "release-all.sh")
        return run(["sh", script], folder=self.services.folder, environment=environment, log=self._log)

    def _write_secrets(self, number: int) -> None:
        for name in self.services.names:
            write_secrets(self._secrets, name, number)


class NotReleased(Exception):
    """A side ended well, and its Workers are not what they should be."""


def raise_unless_live(stage: Stage, side: Side, number: int) -> None:
    """
    Ask every Worker of *side* whether round *number* is live: code, secret and migrations.

    Raises:
        NotReleased: One says something else.
    """
    for name in side.services.names:
        answer = stage.visit(side.account, name, "/health")
        expected = expected_health(name, number)
        said = answer.json() if answer.is_success else {}
        if {key: said.get(key) for key in expected} != expected:
            raise NotReleased(f"{side.name}: {name} answers {answer.status_code} {answer.text[:300]}, not {expected}")


def _inherited() -> Mapping[str, str]:
    """Return this process's variables, without what would lead Clodo to other servers or tools of wrangler's."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "CLOUDFLARE_", "WRANGLER_"))
    }
