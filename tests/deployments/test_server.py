"""The workspace's own Prefect server: guarded, shared, and gone when nobody needs it."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clodo.errors import PortInUse, Refused, ServerUnavailable
from deployments import server
from deployments.processes import wait_until
from deployments.server import Credentials, PrefectServer

# Borrows the server, says so, and holds on to it until it is killed.
BORROWER = """
import pathlib, signal, sys
from deployments.server import borrowed

with borrowed(pathlib.Path(sys.argv[1])) as server:
    print(server.api_url, flush=True)
    signal.pause()
"""


@dataclass
class Borrowed:
    workspace: Path
    server: PrefectServer
    borrower: subprocess.Popen[str]


@pytest.fixture(scope="module")
def borrowed(tmp_path_factory) -> Iterator[Borrowed]:
    """A server that another process started for itself alone."""
    workspace = tmp_path_factory.mktemp("workspace")
    words = [sys.executable, "-c", textwrap.dedent(BORROWER), str(workspace)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as borrower:
        assert borrower.stdout is not None
        assert borrower.stdout.readline().startswith("http://127.0.0.1:")
        found = server.find(workspace)
        assert found is not None
        yield Borrowed(workspace, found, borrower)
        borrower.kill()
    server.stop(workspace)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_who_has_the_auth_string_gets_in(borrowed):
    """Health is public; everything else wants the auth string from the private file."""
    auth = borrowed.server.credentials.auth_string

    assert status(f"{borrowed.server.api_url}/health") == 200
    assert status(f"{borrowed.server.api_url}/admin/version") == 401
    assert server.is_healthy(borrowed.server.api_url, auth)
    assert not server.is_healthy(borrowed.server.api_url, auth + "x")


def test_the_key_is_in_a_private_file_and_not_in_the_database(borrowed):
    """Who steals the database alone can't read the saved blocks."""
    folder = borrowed.server.folder
    credentials = borrowed.server.credentials

    with sqlite3.connect(folder / "prefect.db") as database:
        kept = database.execute("SELECT key, value FROM configuration").fetchall()

    assert "ENCRYPTION_KEY" not in dict(kept)
    assert credentials.encryption_key not in repr(kept)
    assert server.credentials_file(folder).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert credentials.auth_string not in repr(borrowed.server) + repr(credentials)
    assert (folder.parent / ".gitignore").read_text() == "*\n"


def test_neither_secret_is_in_a_process_argument(borrowed):
    """What `ps` shows to everybody holds no secret."""
    credentials = borrowed.server.credentials

    shown = subprocess.run(["ps", "-Awwo", "args="], capture_output=True, text=True, check=True).stdout

    assert "prefect.server.api.server:create_app" in shown
    assert credentials.auth_string not in shown
    assert credentials.encryption_key not in shown


def test_starting_it_again_finds_it(borrowed):
    """A second start gives the server that runs."""
    again, is_new = server.start(borrowed.workspace, is_kept=False)

    assert (again, is_new) == (borrowed.server, False)
    with pytest.raises(PortInUse, match="already runs"):
        server.start(borrowed.workspace, port=borrowed.server.port + 1, is_kept=False)


def test_a_flow_of_this_process_reports_to_it_without_heartbeats(borrowed):
    """Inside in_use, Prefect talks to this server, and flows pay no second at their end."""
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY

    @flow
    def add_one(number: int) -> int:
        return number + 1

    seen_by_a_thread = []
    with borrowed.server.in_use():
        thread = threading.Thread(target=lambda: seen_by_a_thread.append(PREFECT_API_URL.value()))
        thread.start()
        thread.join()
        assert PREFECT_API_URL.value() == borrowed.server.api_url
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
        assert add_one(1) == 2

    assert seen_by_a_thread == [borrowed.server.api_url]


def test_it_ends_with_the_last_who_borrowed_it(borrowed):
    """A borrower that is killed leaves the server to the others; when the last one lets go, it ends."""
    with server.borrowed(borrowed.workspace) as ours:
        borrowed.borrower.kill()
        borrowed.borrower.wait()

        assert ours == borrowed.server
        assert server.is_healthy(ours.api_url, ours.credentials.auth_string)

    assert wait_until(lambda: not ours.process.family(), seconds=30, alive=lambda: True)
    assert server.find(borrowed.workspace) is None


def test_a_port_that_is_taken_is_said(tmp_path):
    """A port on which something else listens is refused before anything is started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        with pytest.raises(PortInUse, match=str(other.getsockname()[1])):
            server.start(tmp_path, port=other.getsockname()[1])

    assert server.find(tmp_path) is None


@pytest.mark.exhaustive
def test_a_port_that_is_taken_meanwhile_is_left_to_whoever_took_it(tmp_path):
    """A port that nobody asked for may be lost while the server starts; it starts again on another one."""
    folder = server.folder_of(tmp_path)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier server may linger

        def take_the_port(step: str, share: float) -> None:
            if other.getsockname()[1] == 0:
                other.bind(("127.0.0.1", int(json.loads((folder / "server.json").read_text())["port"])))
                other.listen()

        started, is_new = server.start(tmp_path, report=take_the_port)
        try:
            assert is_new
            assert started.port != other.getsockname()[1]
            assert server.is_healthy(started.api_url, started.credentials.auth_string)
        finally:
            server.stop(tmp_path)


def test_a_database_without_its_key_is_not_opened(tmp_path):
    """When the credentials are gone but blocks are not, the server refuses rather than make a key that fits nothing."""
    (tmp_path / "prefect.db").touch()

    with pytest.raises(Refused, match=r"credentials\.env is gone"):
        Credentials.load_or_create(tmp_path)


def test_credentials_are_made_once(tmp_path):
    """The same folder gives the same credentials; another folder gives others."""
    first = Credentials.load_or_create(tmp_path)
    (tmp_path / "other").mkdir()

    assert Credentials.load_or_create(tmp_path) == first
    assert Credentials.load_or_create(tmp_path / "other") != first


def test_a_configured_server_that_is_silent_is_named():
    """An API URL at which nothing answers is an error with a remedy, found out before any work."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"

        with pytest.raises(ServerUnavailable, match="doesn't answer") as caught:
            server.raise_if_unreachable(url)

    assert caught.value.exit_code == 75
    assert "clodo up" in (caught.value.hint or "")
