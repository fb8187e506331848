"""Secrets reach the version they are meant for, no other, and are found nowhere else."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import logging
import os
import secrets
import sqlite3
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import structlog
from pydantic import SecretStr

from blocks import CloudflareAccount, ServiceSecrets
from clodo import logs
from clodo.errors import ClodoError, ReleaseFailed
from clodo.ledger.schema import metadata
from clodo.releases.outcome import Ending
from clodo.releases.releasing import Wish
from clodo.releases.rollout import RolloutFailed
from tests.ledger.postgresql import run_postgresql

from .numbered import Numbered

CODE = """\
async function digest(text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export default {
  async fetch(request, env) {
    const names = Object.keys(env).filter((name) => typeof env[name] === "string").sort();
    const secrets = {};
    for (const name of names) secrets[name] = await digest(env[name]);
    return Response.json({ ok: true, number: NUMBER, version: env.VERSION.id, secrets }, { status: STATUS });
  },
  async scheduled() {},
};
"""

# Strong enough for production, where the security rules refuse others.
FIRST, SECOND, THIRD, STAYS, ADDED, CHANGED = (secrets.token_hex(16) for _ in range(6))


# --- where they belong ------------------------------------------------------------------------------------------------


@pytest.fixture
def service(account, toolchain, tmp_path) -> Numbered:
    """A Worker that tells the digests of its secrets; nothing is released."""
    return Numbered.create(account, toolchain, tmp_path / "workspace")


def write(service: Numbered, *, status: int = 200) -> None:
    """Write the next state of *service*."""
    service.write(service.number + 1)
    code = CODE.replace("NUMBER", str(service.number)).replace("STATUS", str(status))
    (service.root / service.worker / "index.js").write_text(code)


def release(service: Numbered, given: Mapping[str, str], *, status: int = 200, **wish: Any) -> None:
    """Release the next state of *service* with the secrets *given*, and expect it to fail if it answers so."""
    write(service, status=status)
    if status == 200:
        service.release(Wish(**wish), secrets=lambda target: given)
        return
    with pytest.raises(ReleaseFailed):
        service.release(Wish(**wish), secrets=lambda target: given)


def told_by(service: Numbered) -> dict[str, str]:
    """Return the digests that the live Worker tells."""
    found: dict[str, str] = service.answer()["secrets"]
    return found


def digests(given: Mapping[str, str]) -> dict[str, str]:
    """Return what a Worker with these secrets tells."""
    return {name: hashlib.sha256(value.encode()).hexdigest() for name, value in given.items()}


def test_a_failed_versions_secrets_stay_with_it(service):
    """What a failed version added and changed is not in the next one, though Cloudflare inherits from the newest."""
    good = {"KEY": FIRST, "OTHER": STAYS}
    release(service, good)
    release(service, {"KEY": CHANGED, "OTHER": STAYS, "ADDED": ADDED}, status=500)
    after_the_failure = told_by(service)

    release(service, good)

    assert after_the_failure == digests(good)
    assert told_by(service) == digests(good)
    assert service.observe().secrets == ("KEY", "OTHER")


@pytest.mark.exhaustive
def test_what_a_failed_version_lacked_is_still_there(service):
    """A failed version that no longer names a secret takes it from nobody."""
    good = {"KEY": FIRST, "OTHER": STAYS}
    release(service, good)
    release(service, {"KEY": FIRST}, status=500)

    release(service, {"KEY": SECOND})

    assert told_by(service) == digests({"KEY": SECOND, "OTHER": STAYS})


@pytest.mark.exhaustive
def test_a_secret_of_the_dashboard_survives_releases_that_fail_and_that_succeed(service):
    """What somebody saved by hand is carried over from the live version, never from one that failed."""
    release(service, {"KEY": FIRST})
    path = f"/workers/scripts/{service.worker}/secrets"
    by_hand = {"name": "BY_HAND", "text": "saved in the dashboard", "type": "secret_text"}
    service.account.result("PUT", path, json=by_hand)
    release(service, {"KEY": SECOND, "ADDED": ADDED}, status=500, overwrite=True)

    release(service, {"KEY": THIRD}, overwrite=True)

    assert told_by(service) == digests({"KEY": THIRD, "BY_HAND": "saved in the dashboard"})


# --- where they must not be -------------------------------------------------------------------------------------------


@dataclass
class Search:
    """
    Looks for secrets in whatever is given, as they are and as JSON, Python, URLs and base64 write them.

    Attributes:
        found: Where there was one; never the secret itself.
    """

    secrets: Iterable[str]
    found: set[str] = field(default_factory=set)
    bytes_read: int = 0

    def __post_init__(self) -> None:
        self._forms = {
            form.encode() for secret in self.secrets for form in _forms_of(secret) if len(form) >= len(secret)
        }

    def through(self, where: str, content: str | bytes) -> None:
        """Search *content*."""
        raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        self.bytes_read += len(raw)
        if any(form in raw for form in self._forms):
            self.found.add(where)

    def through_files(self, folder: Path) -> int:
        """Search every file below *folder*, names too; return how many there were."""
        count = 0
        for path in folder.rglob("*"):
            self.through(f"name of {path}", str(path))
            try:
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            except FileNotFoundError:
                continue
            count += 1
            self.through(str(path), content)
        return count


def _forms_of(secret: str) -> set[str]:
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    twice = {json.dumps(form)[1:-1] for form in in_json}
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {secret, repr(secret)[1:-1], quote(secret, safe=""), quote(secret), encoded, *in_json, *twice}


@pytest.mark.parametrize(
    "write_down",
    [str, repr, json.dumps, lambda text: json.dumps({"a": json.dumps([text])}), quote, lambda text: f"x={text}&y"],
)
def test_the_search_finds_what_it_looks_for(write_down):
    """Every way of writing a secret down is found, and what is none is not."""
    for secret in new_secrets().values():
        search = Search([secret])
        search.through("nowhere", write_down("something else"))
        search.through("here", f"before {write_down(secret)} after")
        assert search.found == {"here"}


GONE = (errno.ENOENT, errno.ESRCH, errno.EBADF)
"""How a process that ended meanwhile is told: before it is opened, while it is read, between the two."""


class Watch(threading.Thread):
    """Reads arguments and environments of every descendant of this process, and files, all the time."""

    def __init__(self, search: Search, folder: Path) -> None:
        super().__init__(daemon=True)
        self._search = search
        self._folder = folder
        self._over = threading.Event()
        self.programs: set[str] = set()
        self.files: set[str] = set()
        self._blinded: OSError | None = None

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._look_around()
                time.sleep(0.002)
        except OSError as error:
            self._blinded = error

    def end(self) -> None:
        """Stop watching; what could not be watched to the end proves nothing, so that it is raised here."""
        self._over.set()
        self.join()
        if self._blinded is not None:
            raise self._blinded

    def _look_around(self) -> None:
        for process in descendants():
            self._look_at(process)
        # Unlike a glob, a walk doesn't mind what is removed meanwhile.
        for folder, _, names in os.walk(self._folder):
            for name in names:
                self._read(Path(folder, name))

    def _look_at(self, process: int) -> None:
        for name in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{process}/{name}").read_bytes()
            except PermissionError:
                continue
            except OSError as error:
                if error.errno not in GONE:
                    raise
                continue
            if name == "cmdline" and content:
                words = content.split(b"\0")
                self.programs.update(Path(os.fsdecode(word)).name for word in words[:8])
            self._search.through(f"{name} of a process", content)

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            return
        self.files.add(path.name)
        self._search.through(str(path), content)


def descendants() -> set[int]:
    """Return the ids of all processes below this one, of all of its threads."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError as error:
                if error.errno not in GONE:
                    raise
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def new_secrets() -> dict[str, str]:
    """Make secrets that are easy to find, and hard to write down by mistake in one way only."""
    return {
        "KEY": secrets.token_hex(24),
        "AWKWARD": f'{secrets.token_hex(8)} "quoted" \\ $HOME & <ü> {secrets.token_hex(8)}',
        "LINES": f"-----BEGIN-----\n{secrets.token_hex(16)}\n{secrets.token_hex(16)}\n-----END-----",
    }


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Log everything at the lowest level, as the commands set it up, and as a library's user without any set-up."""
    stream = io.StringIO()
    before, level = structlog.get_config(), logging.getLogger().level
    factory, handlers = logging.getLogRecordFactory(), list(logging.getLogger().handlers)
    logs.configure(level=logging.DEBUG, as_json=True, stream=stream)
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        structlog.configure(**before)
        logging.setLogRecordFactory(factory)
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A private PostgreSQL server."""
    with run_postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.exhaustive)])
def on_each_ledger(request: pytest.FixtureRequest, service: Numbered) -> Numbered:
    """The service with its ledger in a file, and in PostgreSQL."""
    if request.param == "postgresql":
        service.ledger_url = request.getfixturevalue("postgresql")
    return service


def search_ledger(search: Search, service: Numbered) -> int:
    """Search every row of every table; return how many there were."""
    if service.ledger_url is None:
        ledger = service.root / ".clodo" / "ledger.sqlite3"
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = [row for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]
    else:
        with psycopg.connect(service.ledger_url) as connection:
            rows = [
                row for table in metadata.sorted_tables for row in connection.execute(f"SELECT t::text FROM {table} t")
            ]
    for row in rows:
        search.through("a row of the ledger", "\n".join(str(value) for value in row))
    return len(rows)


def search_error(search: Search, error: BaseException) -> None:
    """Search an error, what it came from, and everything that it carries."""
    search.through("a traceback", "".join(traceback.format_exception(error)))
    link: BaseException | None = error
    while link is not None:
        search.through(f"a {type(link).__name__}", f"{link!r} {link.__dict__!r}")
        link = link.__cause__ or link.__context__


def test_no_secret_is_found_anywhere_but_in_its_version(on_each_ledger, capfd):
    """Releases that succeed, fail and are refused leave no secret and no token in logs, ledger, files and processes."""
    service = on_each_ledger
    given, token = new_secrets(), service.account.token
    failing = {**new_secrets(), "ADDED": secrets.token_hex(24)}
    search = Search([*given.values(), *failing.values(), token])
    watch = Watch(search, service.root / ".clodo")
    watch.start()
    try:
        with everything_logged() as stream:
            release(service, given)
            write(service, status=500)
            with pytest.raises(ReleaseFailed) as failed:
                service.release(secrets=lambda target: failing)
            release(service, given)
    finally:
        watch.end()

    assert told_by(service) == digests(given), "the secrets never came to the Worker, so nothing was shown"
    assert {"cli.js", "workerd"} <= watch.programs, f"the right processes were not seen: {sorted(watch.programs)}"
    assert {"wrangler.json", "ledger.sqlite3"} - ({"ledger.sqlite3"} if service.ledger_url else set()) <= watch.files
    search_error(search, failed.value)
    assert search_ledger(search, service) > 40
    assert search.through_files(service.root) > 10
    search.through("the log", stream.getvalue())
    search.through("standard output", "".join(capfd.readouterr()))
    search.through("what was said", "\n".join(service.said))
    assert len(stream.getvalue().splitlines()) > 100
    assert any("Worker Version ID" in line for line in service.said), "wrangler's lines were not seen"
    assert search.found == set()


def test_a_library_user_who_sets_nothing_up_finds_no_secret_in_logs_either(service, capfd, caplog):
    """Without any set-up structlog prints to standard output, and the standard library's loggers say all they know."""
    given = new_secrets()
    search = Search([*given.values(), service.account.token])
    with caplog.at_level(logging.DEBUG):
        release(service, given)
        release(service, given, status=500)

    said = "".join(capfd.readouterr())
    assert "cloudflare request" in said
    search.through("standard output", said)
    search.through("the standard library's log", caplog.text)
    for record in caplog.records:
        search.through("a log record", repr(record.__dict__))
    assert search.found == set()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/versions$"),
        *(
            pytest.param(*call, marks=pytest.mark.exhaustive)
            for call in (("GET", "/deployments$"), ("POST", "/deployments$"), ("POST", "/d1/.*/query$"))
        ),
    ],
)
def test_what_cloudflare_quotes_is_not_passed_on(service, method, path):
    """When a refusal quotes what was sent, errors, the journal and the audit trail have asterisks instead."""
    given = new_secrets()
    release(service, given)
    search = Search([*given.values(), service.account.token])
    quoted = f"bad value {given['KEY']} and {given['AWKWARD']} with token {service.account.token}"
    fault = service.account.cloud.add_fault(
        f"{service.account.account_id}.*{path}", method=method, status=400, code=10021, message=quoted, times=None
    )
    write(service)
    try:
        with pytest.raises(ClodoError) as refused:
            service.release(secrets=lambda target: given)
    finally:
        service.account.cloud.clear_faults(fault)

    assert "bad value ***" in refused.value.message
    search_error(search, refused.value)
    search_ledger(search, service)
    search.through("what was said", "\n".join(service.said))
    assert search.found == set()


# --- Prefect ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved_blocks(service: Numbered, prefect_server: str) -> dict[str, str]:
    """Blocks with the account's token and fresh secrets; gives the secrets."""
    given = new_secrets()
    block = f"test-{service.account.account_id[:12]}"
    CloudflareAccount(
        account_id=service.account.account_id,
        api_token=SecretStr(service.account.token),
        base_url=service.account.cloud.url,
        edge_url=service.account.cloud.edge_url,
    ).save(block, overwrite=True)
    save_secrets(block, service, given)
    return given


def save_secrets(block: str, service: Numbered, given: Mapping[str, str]) -> None:
    """Save the secrets of *service* in a block."""
    values = {name: SecretStr(value) for name, value in given.items()}
    ServiceSecrets.model_validate({"targets": {service.target: values}}).save(block, overwrite=True)


def write_for_prefect(service: Numbered, names: Iterable[str], *, status: int = 200) -> None:
    """Write the next state of *service* and a portfolio that names its blocks."""
    write(service, status=status)
    block = f"test-{service.account.account_id[:12]}"
    portfolio = service.root / "portfolio.toml"
    text = portfolio.read_text().replace('secrets = ["KEY"]', f"secrets = {json.dumps(sorted(names))}")
    portfolio.write_text(f'{text}\n[environments.production]\naccount = "{block}"\nsecrets = "{block}"\n')


def prefect_database() -> Path:
    """Return the file of the Prefect server's database."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    assert url is not None
    text = url.get_secret_value() if isinstance(url, SecretStr) else str(url)
    return Path(text.partition("///")[2].partition("?")[0])


def rows_of(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a SQLite database, by table."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables}


def wait_for_rows(database: Path, table: str, text: str) -> None:
    """Wait until Prefect has written something down, which it does in its own time."""
    deadline = time.monotonic() + 60
    while not any(text in str(row) for row in rows_of(database)[table]):
        assert time.monotonic() < deadline, f"no {text!r} in {table}"
        time.sleep(0.1)


@pytest.mark.timeout(400)
def test_prefect_keeps_no_secret_but_in_its_encrypted_blocks(service, saved_blocks, capfd):
    """Parameters, states, logs with tracebacks, artifacts and events of a good and a failed rollout have no secret."""
    from flows.roll_out_portfolio import roll_out_portfolio

    given, token = saved_blocks, service.account.token
    failing = new_secrets()
    search = Search([*given.values(), *failing.values(), token])
    write_for_prefect(service, given)
    released = roll_out_portfolio(workspace=str(service.root), reason="a good one")
    write_for_prefect(service, given, status=500)
    save_secrets(f"test-{service.account.account_id[:12]}", service, failing)
    with pytest.raises(RolloutFailed) as failed:
        roll_out_portfolio(workspace=str(service.root), reason="a bad one")
    # A refusal that quotes the secret goes through every layer, from wrangler up to the flow's state.
    write_for_prefect(service, given)
    fault = service.account.cloud.add_fault(
        f"{service.account.account_id}.*/versions$",
        method="POST",
        status=400,
        code=10021,
        message=f"no good: {failing['KEY']} {token}",
        times=None,
    )
    try:
        with pytest.raises(RolloutFailed) as refused:
            roll_out_portfolio(workspace=str(service.root), reason="one that is refused")
    finally:
        service.account.cloud.clear_faults(fault)

    assert [outcome.ending for outcome in released] == [Ending.LIVE]
    assert told_by(service) == digests(given)
    database = prefect_database()
    # The refusal and its traceback come last; whatever was there to be leaked is in by then.
    for table in ("log", "events", "task_run_state", "flow_run_state", "artifact"):
        wait_for_rows(database, table, "no good")
    wait_for_rows(database, "log", "Worker Version ID")
    tables = rows_of(database)
    for name in ("artifact", "events", "flow_run", "flow_run_state", "log", "task_run", "task_run_state"):
        assert tables[name], f"nothing in {name}, so nothing was shown"
    for name, rows in tables.items():
        for row in rows:
            search.through(f"Prefect's table {name}", "\n".join(str(value) for value in row))
    for path in database.parent.glob(f"{database.name}*"):
        search.through(path.name, path.read_bytes())
    for error in (failed.value, refused.value):
        search_error(search, error)
    search_ledger(search, service)
    search.through_files(service.root)
    search.through("standard output", "".join(capfd.readouterr()))
    assert search.found == set()
