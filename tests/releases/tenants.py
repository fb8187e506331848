"""
One service in several environments, each with a database of its own, and processes that sync or create them.

``python -m tests.releases.tenants`` has imported everything; for each line of JSON that it reads it forks a process,
which does what a command does: Ctrl-C and SIGTERM are requests, and errors become exit statuses.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

from clodo.cli.main import explain
from clodo.cloudflare.breaker import Breakers
from clodo.cloudflare.clock import SYSTEM_CLOCK, Clock
from clodo.ledger import Ledger, default_path
from clodo.releases.database_creation import Created, create_databases
from clodo.releases.database_sync import NotAllSynced, Sync, Synced
from clodo.releases.interruption import Interruption
from clodo.releases.migrating import Choice
from clodo.releases.site import AccountKeys, Site
from clodo.settings import Settings
from clodo.workspace.workspace import Workspace
from clodo.wrangler.toolchain import install
from tests.fixtures.embedded_cloud import CloudAccount

from .stage import keys_of

CONFIG = """\
name = "{service}"
main = "index.js"
compatibility_date = "2026-01-01"
"""
SECTION = """
[env.{environment}]
"""
BINDING = """
[[env.{environment}.d1_databases]]
binding = "{binding}"
database_name = "{database}"  # found by its name
migrations_dir = "../migrations"
"""
FILES = {
    "0001_orders.sql": "CREATE TABLE orders (id INTEGER PRIMARY KEY, item); INSERT INTO orders (item) VALUES ('a');",
    "0002_notes.sql": "ALTER TABLE orders ADD COLUMN note TEXT; CREATE TABLE notes (x TEXT);",
    "0003_more.sql": "INSERT INTO orders (item) VALUES ('b'); CREATE INDEX orders_by_item ON orders (item);",
}
MADE_BY = {"0001_orders.sql": "orders", "0002_notes.sql": "notes", "0003_more.sql": "orders_by_item"}
"""What each file leaves in the schema."""


@dataclass
class Tenants:
    """The workspace in *folder*, whose environments are served by an account of the embedded cloud."""

    account: CloudAccount
    folder: Path
    environments: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    lines: list[str] = field(default_factory=list)

    def write(
        self,
        *environments: str,
        services: tuple[str, ...] = ("api",),
        bindings: tuple[str, ...] = ("DB",),
        more: str = "",
    ) -> None:
        """
        Write the workspace, with three migrations.

        Args:
            services: All of them bind the same databases.

            bindings: Of each environment, one database each.
        """
        self.environments, self.services = environments, services
        tables = "\n".join(f"[environments.{name}]\n{more}" for name in environments)
        migrations = self.folder / "migrations"
        migrations.mkdir(parents=True)
        (self.folder / "portfolio.toml").write_text(
            f'[portfolio]\nname = "tenants"\ndefault_environment = "{environments[0]}"\n{tables}\n'
        )
        for service in services:
            folder = self.folder / service
            folder.mkdir()
            (folder / "index.js").write_text("export default { fetch() { return new Response('hello'); } };")
            text = CONFIG.format(service=service)
            for name in environments:
                text += SECTION.format(environment=name)
                text += "".join(
                    BINDING.format(environment=name, binding=binding, database=self.database(name, binding))
                    for binding in bindings
                )
            (folder / "wrangler.toml").write_text(text)
        for name, sql in FILES.items():
            (migrations / name).write_text(sql)

    def database(self, environment: str, binding: str = "DB") -> str:
        """Return the name of a database."""
        return f"{binding.lower()}-{environment}"

    def make(self) -> dict[str, str]:
        """Make the databases of all environments; return their ids."""
        return {
            name: self.account.result("POST", "/d1/database", json={"name": self.database(name)})["uuid"]
            for name in self.environments
        }

    @property
    def keys(self) -> AccountKeys:
        """What the account's block would give."""
        return keys_of(self.account)

    # --- doing

    @contextmanager
    def site(self, *, clock: Clock = SYSTEM_CLOCK) -> Iterator[Site]:
        """Open the workspace."""
        with open_site(self.keys, self.folder, clock, Interruption(), self.lines.append) as site:
            yield site

    def sync(self, *, clock: Clock = SYSTEM_CLOCK) -> tuple[Synced, ...]:
        """Sync all of them, here; those that fail are told in the answer."""
        with self.site(clock=clock) as site:
            return sync(site)

    def create(self, *, clock: Clock = SYSTEM_CLOCK) -> tuple[Created, ...]:
        """Have the databases of the first environment, here."""
        with self.site(clock=clock) as site:
            return create(site)

    # --- looking

    @property
    def config(self) -> str:
        """The wrangler config of the first service."""
        return (self.folder / self.services[0] / "wrangler.toml").read_text()

    def databases(self) -> dict[str, str]:
        """Return the databases of the account, name to id; a name that is there twice fails."""
        found = self.account.result("GET", "/d1/database", params={"per_page": 100})
        names = [item["name"] for item in found]
        assert len(names) == len(set(names)), names
        return {item["name"]: item["uuid"] for item in found}

    def query(self, database_id: str, sql: str) -> list[dict[str, Any]]:
        """Ask a database."""
        answer = self.account.result("POST", f"/d1/database/{database_id}/query", json={"sql": sql})
        return list(answer[-1]["results"])

    def applied(self, database_id: str) -> list[str]:
        """Return what a database has of the files, in order; a file without its records, or half, fails."""
        schema = {row["name"] for row in self.query(database_id, "SELECT name FROM sqlite_master")}
        if "d1_migrations" not in schema:
            assert not schema & {*MADE_BY.values(), "clodo_migrations"}, schema
            return []
        names = [row["name"] for row in self.query(database_id, "SELECT name FROM d1_migrations ORDER BY id")]
        records = self.query(database_id, "SELECT name FROM clodo_migrations ORDER BY name")
        assert [row["name"] for row in records] == sorted(names)
        assert [name for name, made in MADE_BY.items() if made in schema] == names
        items = self.query(database_id, "SELECT item FROM orders ORDER BY id") if "0001_orders.sql" in names else []
        assert [row["item"] for row in items] == ["a", "b"][: len(set(names) & {"0001_orders.sql", "0003_more.sql"})]
        return names


@contextmanager
def open_site(keys: AccountKeys, folder: Path, clock: Clock, interruption: Interruption, log: Any) -> Iterator[Site]:
    """Open the workspace in *folder* for *keys*, whatever block it names."""
    with Site(
        Workspace.load(folder),
        Ledger.open(default_path(folder)),
        accounts=lambda block: keys,
        secrets=lambda target: {},
        toolchain=lambda: install(Settings.from_environment()),
        actor="tester",
        tool_environment={},
        log=log,
        interruption=interruption,
        clock=clock,
        breakers=Breakers(clock=clock),
    ) as site:
        yield site


def raise_unless_synced(outcomes: tuple[Synced, ...]) -> None:
    """End as the flow does."""
    if not all(item.is_synced for item in outcomes):
        raise NotAllSynced(outcomes)


def sync(site: Site) -> tuple[Synced, ...]:
    """Sync all targets, as the flow does."""
    run = Sync(site, site.workspace.targets, Choice())
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run.one, run.targets))
    return run.finish()


def create(site: Site) -> tuple[Created, ...]:
    """Have the databases of the first target, as the flow does."""
    return create_databases(site, site.workspace.targets[0])


@dataclass(frozen=True)
class Started:
    """
    A process that was started.

    Attributes:
        log: What it says.

        poll: Returns its exit status, as `subprocess` gives it; None while it runs.
    """

    pid: int
    log: Path
    poll: Callable[[], int | None]

    @property
    def said(self) -> str:
        """All that it said so far."""
        return self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 120) -> int:
        """Return its exit status."""
        deadline = time.monotonic() + seconds
        while (status := self.poll()) is None:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)
        return status

    def until_said(self, text: str) -> None:
        """Wait until it said *text*."""
        deadline = time.monotonic() + 30
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)


class Processes:
    """Forks processes from one that has imported everything already; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @contextmanager
    def doing(self, tenants: Tenants, action: str, *, dies_before: int | None = None) -> Iterator[Started]:
        """
        Sync or create in a process of its own, which is gone at the end.

        Args:
            dies_before: The step of writing before which it kills itself; see `die_before_step`.
        """
        log = self._folder / f"{next(self._numbers)}.log"
        log.touch()
        told = {"keys": asdict(tenants.keys), "folder": str(tenants.folder), "action": action}
        pid = int(self._ask({**told, "log": str(log), "dies_before": dies_before}))
        started = Started(pid, log, functools.partial(self._poll, pid, []))
        try:
            yield started
        finally:
            if started.poll() is None:
                started.send(signal.SIGKILL)
                started.wait()

    def _poll(self, pid: int, ended: list[int]) -> int | None:
        if not ended and (answer := self._ask({"poll": pid})) != "running":
            ended.append(int(answer))
        return ended[0] if ended else None

    def _ask(self, question: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def die_before_step(number: int, folder: Path) -> None:
    """
    Let this process be killed right before it opens for writing, renames or removes a file below *folder*.

    Args:
        number: Which time, counted from 1.
    """
    steps = itertools.count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove") or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def do(told: dict[str, Any]) -> int:
    """Do what is told, and return the exit status."""
    if told["dies_before"] is not None:
        die_before_step(told["dies_before"], Path(told["folder"]))
    interruption = Interruption()
    try:
        with (
            interruption.on_signals(say),
            open_site(AccountKeys(**told["keys"]), Path(told["folder"]), SYSTEM_CLOCK, interruption, say) as site,
        ):
            if told["action"] == "create":
                for made in create(site):
                    say(f"{'found' if made.was_adopted else 'created'} {made.database}")
            else:
                raise_unless_synced(sync(site))
                say("synced")
    except BaseException as error:  # noqa: BLE001 -- as the command's own edge
        return explain(error)
    return 0


def say(line: str) -> None:
    """Say a line to the test."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def serve() -> None:
    """Answer each line: with the id of a process that does what it says, or with how one ended."""
    for line in sys.stdin:
        told = json.loads(line)
        if "poll" in told:
            pid, ended = os.waitpid(told["poll"], os.WNOHANG)
            answer = str(os.waitstatus_to_exitcode(ended)) if pid else "running"
        else:
            answer = str(os.fork())
            if answer == "0":
                become(told)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def become(told: dict[str, Any]) -> NoReturn:
    """Be the process that does what is told; never goes back to reading lines."""
    status = 1
    log = os.open(told["log"], os.O_WRONLY | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    try:
        status = do(told)
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
