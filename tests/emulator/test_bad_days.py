"""Bad days of the machine, and bad guests: full disks, killed Workers, others' hostnames, paths that lead elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from clodo.wrangler.toolchain import Toolchain
from tests.fixtures.embedded_cloud import HELLO, CloudAccount, script_parts

# --- a full disk ------------------------------------------------------------------------------------------------------

#: Mounts a small file system that only this process and its children see, and starts the cloud on it.
ON_A_SMALL_DISK = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'


def namespace_command() -> list[str] | None:
    """How a process gets mounts of its own here; None where the system doesn't let it."""
    unshare, mount = shutil.which("unshare"), shutil.which("mount")
    if unshare is None or mount is None:
        return None
    for flags in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        tried = subprocess.run(
            [unshare, *flags, mount, "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False, timeout=20
        )
        if tried.returncode == 0:
            return [unshare, *flags]
    return None


class SmallDisk:
    """
    A cloud on a file system of a few megabytes.

    Attributes:
        folder: The file system as seen from outside.
    """

    def __init__(self, data: Path, workerd: Path, megabytes: int) -> None:
        data.mkdir()
        namespace = namespace_command()
        if namespace is None:
            pytest.skip("no process may mount a file system of its own on this machine")
        start = [sys.executable, "-c", "import sys; from clodo.cli.main import main; sys.exit(main())"]
        self.process = subprocess.Popen(
            [
                *namespace,
                *("sh", "-c", ON_A_SMALL_DISK, "sh", f"{megabytes}m", str(data), *start),
                *("emulator", "start", "--data", str(data), "--workerd", str(workerd), "--port", "0", "--json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if line == "}\n":
                break
        state: dict[str, Any] = json.loads(text)
        self.folder = Path(f"/proc/{state['pid']}/root{data}")
        self.edge_url = state["edge_url"]
        self.host = f"shop.{state['subdomain']}.workers.dev"
        self.api = httpx.Client(
            base_url=f"{state['url']}/accounts/{state['account_id']}",
            headers={"Authorization": f"Bearer {state['token']}"},
            timeout=30,
            trust_env=False,
        )

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.folder / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.folder / "ballast").unlink()

    def end(self) -> None:
        """Stop the cloud."""
        self.api.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)


@pytest.fixture
def small_disk(tmp_path: Path, toolchain: Toolchain) -> Iterator[SmallDisk]:
    """A cloud on 24 MB."""
    made = SmallDisk(tmp_path / "data", toolchain.workerd, 24)
    yield made
    made.end()


def test_a_full_disk_changes_nothing_and_is_told(small_disk: SmallDisk) -> None:
    """
    With no byte left, each product's writes answer 507 and reads still work; with room again, so do writes.

    What had been acknowledged before is there, nothing else is, and every file is sound.
    """
    api = small_disk.api
    database = api.post("d1/database", json={"name": "notes"}).json()["result"]["uuid"]
    query = f"d1/database/{database}/query"
    assert api.post(query, json={"sql": "CREATE TABLE t (x)"}).is_success
    assert api.post(query, json={"sql": "INSERT INTO t VALUES ('kept')"}).is_success
    namespace = api.post("storage/kv/namespaces", json={"title": "cache"}).json()["result"]["id"]
    value = f"storage/kv/namespaces/{namespace}/values/a"
    assert api.put(value, content=b"kept").is_success
    assert api.post("r2/buckets", json={"name": "files"}).is_success
    assert api.put("r2/buckets/files/objects/a", content=b"kept").is_success
    assert api.put("workers/scripts/shop", files=script_parts(HELLO)).is_success
    assert api.post("workers/scripts/shop/subdomain", json={"enabled": True}).is_success
    large = b"x" * 1_000_000
    another = HELLO.replace("hello", "x" * 500_000)

    announced = {"action": "init", "etag": "0" * 32}
    link = api.post(f"d1/database/{database}/import", json=announced).json()["result"]["upload_url"]

    small_disk.fill()
    refused = {
        "d1": api.post(query, json={"sql": "INSERT INTO t VALUES (zeroblob(1000000))"}),
        "d1 create": api.post("d1/database", json={"name": "more"}),
        "kv": api.put(value, content=large),
        "r2": api.put("r2/buckets/files/objects/a", content=large),
        "script": api.put("workers/scripts/shop", files=script_parts(another)),
        "d1 import": httpx.put(link, content=large, timeout=30, trust_env=False),
        "queue": [api.post("queues", json={"queue_name": f"q{n}"}) for n in range(200)][-1],
    }
    reads = [
        api.post(query, json={"sql": "SELECT x FROM t"}).json()["result"][0]["results"],
        api.get(value).content,
        api.get("r2/buckets/files/objects/a").content,
        httpx.get(small_disk.edge_url, headers={"Host": small_disk.host}, timeout=30, trust_env=False).text,
    ]
    small_disk.empty()

    assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(refused, 507)
    for answer in refused.values():
        assert answer.json()["errors"][0]["code"] == 10507, answer.text
    assert reads == [[{"x": "kept"}], b"kept", b"kept", "hello"]
    assert api.post(query, json={"sql": "INSERT INTO t VALUES (zeroblob(1000000))"}).is_success
    assert api.put(value, content=large).is_success
    assert api.put("r2/buckets/files/objects/a", content=large).is_success
    assert api.put("workers/scripts/shop", files=script_parts(another)).is_success
    for name in ("cloud.db", "kv/kv.sqlite", "r2/r2.sqlite", "analytics.db", "d1/registry.sqlite"):
        # A copy: the running cloud's files are not to be opened by a second SQLite through another path.
        copy = small_disk.folder / "copy.db"
        for suffix in ("", "-wal"):
            if (small_disk.folder / f"{name}{suffix}").exists():
                shutil.copy(small_disk.folder / f"{name}{suffix}", f"{copy}{suffix}")
        connection = apsw.Connection(str(copy))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], name
        connection.close()
        for left in small_disk.folder.glob("copy.db*"):
            left.unlink()


# --- Workers ----------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_started_again(account: CloudAccount) -> None:
    """A workerd that is killed costs no request: the next one starts another."""
    account.put_worker("shop")
    account.visit(account.hostname("shop"))
    headers = {"Authorization": f"Bearer {account.cloud.admin_token}"}
    status = httpx.get(f"{account.cloud.edge_url}/__clodo/status", headers=headers, trust_env=False).json()["result"]
    (pid,) = [entry["pid"] for entry in status["workers"] if entry["account_id"] == account.account_id]
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([process], [], [], 30)[0], "it lives on"
    os.close(process)

    assert account.visit(account.hostname("shop")).text == "hello"


# --- guests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "a.workers.dev"]
)
@pytest.mark.parametrize("path", ["/client/v4/accounts", "/__clodo/status", "/"])
def test_another_hosts_name_is_refused(account: CloudAccount, host: str, path: str) -> None:
    """A page whose name was pointed at this machine gets nothing, whatever token it has."""
    answer = httpx.get(
        account.cloud.edge_url + path,
        headers={"Host": host, "Authorization": f"Bearer {account.token}"},
        trust_env=False,
    )

    assert answer.status_code == 421
    assert account.account_id not in answer.text


def test_it_listens_on_loopback_only(account: CloudAccount) -> None:
    """Nobody on another machine reaches it, unless it was started with another --host."""
    port = int(account.cloud.edge_url.rpartition(":")[2])

    with socket.socket() as client:
        client.settimeout(5)
        # Whoever listens on all addresses of a machine listens on this one too.
        assert client.connect_ex(("127.0.0.2", port)) != 0


NAMES = ("..", "../../etc/passwd", "a/../../b", "%2e%2e", "a\\b", "a\0b", "/etc/passwd", "con", "é" * 200, "x" * 600)


def test_names_lead_nowhere_else(account: CloudAccount) -> None:
    """What looks like a path, in names and keys, is a key like any other or refused; no file of that name appears."""
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "cache"})["id"]
    account.result("POST", "/r2/buckets", json={"name": "files"})
    written: list[str] = []
    for name in NAMES:
        encoded = "".join(f"%{byte:02x}" for byte in name.encode())
        answers = [
            account.api.put(f"{account.root}/storage/kv/namespaces/{namespace}/values/{encoded}", content=b"v"),
            account.api.put(f"{account.root}/r2/buckets/files/objects/{encoded}", content=b"v"),
            account.api.put(f"{account.root}/workers/scripts/{encoded}", files=script_parts(HELLO)),
            account.api.post(f"{account.root}/d1/database", json={"name": name}),
            account.api.post(f"{account.root}/r2/buckets", json={"name": name}),
            account.api.post(f"{account.root}/queues", json={"queue_name": name}),
            account.api.get(f"{account.root}/d1/database/{encoded}"),
        ]
        assert all(answer.status_code < 500 for answer in answers), (name, [answer.text for answer in answers])
        written += [name] if answers[0].is_success else []

    listed = [key["name"] for key in account.result("GET", f"/storage/kv/namespaces/{namespace}/keys")]
    assert listed == sorted(written, key=str.encode)
    assert "../../etc/passwd" in written
    data = account.cloud.config.data
    assert not [path for path in data.rglob("*passwd*") if path.name == "passwd"]
    assert not (data.parent / "b").exists()


def test_modules_can_have_any_name(account: CloudAccount) -> None:
    """A module named like a path outside is stored under its hash, and nothing outside is written."""
    parts: list[tuple[str, Any]] = [
        ("metadata", (None, json.dumps({"main_module": "../../index.js", "compatibility_date": "2026-01-01"}))),
        ("../../index.js", ("../../index.js", HELLO.encode(), "application/javascript+module")),
    ]
    answer = account.api.put(f"{account.root}/workers/scripts/shop", files=parts)

    assert answer.status_code in (200, 400)
    assert not (account.cloud.config.data.parent / "index.js").exists()


@pytest.mark.parametrize(
    ("method", "path", "announced"),
    [
        ("PUT", "/workers/scripts/shop", 200 * 1024 * 1024),
        ("PUT", "/storage/kv/namespaces/NAMESPACE/values/a", 26 * 1024 * 1024),
        ("PUT", "/storage/kv/namespaces/NAMESPACE/bulk", 101_000_000),
        ("POST", "/d1/database", 200 * 1024 * 1024),
        ("POST", "/workers/scripts/shop/versions", 200 * 1024 * 1024),
    ],
)
def test_a_huge_upload_is_refused_before_it_came(account: CloudAccount, method: str, path: str, announced: int) -> None:
    """A body that is announced as too large is answered 413 though not a byte of it was sent."""
    account.put_worker("shop")
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "cache"})["id"]
    path = path.replace("NAMESPACE", namespace)
    host, port = account.cloud.edge_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = [
            f"{method} /client/v4{account.root}{path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Authorization: Bearer {account.token}",
            "Content-Type: multipart/form-data; boundary=x",
            f"Content-Length: {announced}",
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        status = connection.recv(4096).split(b" ")[1]

    assert status == b"413"


def test_links_of_imports_refuse_in_words(account: CloudAccount) -> None:
    """Another file than announced, one that is announced as too large, and a wrong link are each told what is wrong."""
    database = account.result("POST", "/d1/database", json={"name": "notes"})["uuid"]
    announced = {"action": "init", "etag": "0" * 32}
    link = account.result("POST", f"/d1/database/{database}/import", json=announced)["upload_url"]
    other = httpx.put(link, content=b"SELECT 1", trust_env=False)
    wrong = httpx.put(link.replace("/__d1/", "/__d1/0"), content=b"SELECT 1", trust_env=False)
    host, port = account.cloud.edge_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        path = link.removeprefix(account.cloud.edge_url)
        head = [f"PUT {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Length: 6000000000", "", ""]
        connection.sendall("\r\n".join(head).encode())
        status = connection.recv(4096).split(b" ")[1]

    assert (other.status_code, other.json()["errors"][0]["code"]) == (400, 7400)
    assert wrong.status_code == 403
    assert status == b"413"


def test_many_writers_at_once(account: CloudAccount) -> None:
    """Five clients that create, write and deploy at the same time each get what they wrote, and no 500."""
    database = account.result("POST", "/d1/database", json={"name": "notes"})["uuid"]
    query = f"{account.root}/d1/database/{database}/query"
    account.result("POST", f"/d1/database/{database}/query", json={"sql": "CREATE TABLE t (writer, n)"})
    namespace = account.result("POST", "/storage/kv/namespaces", json={"title": "cache"})["id"]
    account.put_worker("shop")
    statuses: list[int] = []

    def write(writer: int) -> None:
        for number in range(4):
            statement = {"sql": "INSERT INTO t VALUES (?, ?)", "params": [writer, number]}
            key = f"{account.root}/storage/kv/namespaces/{namespace}/values/{writer}-{number}"
            secret = {"env": {f"S{writer}": {"type": "secret_text", "text": str(number)}}}
            for answer in (
                account.api.post(query, json=statement),
                account.api.put(key, content=str(number).encode()),
                account.api.patch(f"{account.root}/workers/workers/shop/versions/latest", json=secret),
                account.api.post(f"{account.root}/d1/database", json={"name": f"db{number}"}),
            ):
                statuses.append(answer.status_code)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(5)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()

    assert all(status < 500 for status in statuses)
    count = {"sql": "SELECT count(*) AS n, count(DISTINCT writer * 100 + n) AS d FROM t"}
    assert account.result("POST", f"/d1/database/{database}/query", json=count)[0]["results"] == [{"n": 20, "d": 20}]
    assert len(account.result("GET", f"/storage/kv/namespaces/{namespace}/keys")) == 20
    # Of five that create a database of one name at once, exactly one did.
    assert statuses.count(400) == 4 * 4
    names = [entry["name"] for entry in account.result("GET", "/d1/database")]
    assert sorted(names) == sorted(["notes", *(f"db{number}" for number in range(4))])
    secrets = {secret["name"] for secret in account.result("GET", "/workers/scripts/shop/secrets")}
    assert secrets == {f"S{writer}" for writer in range(5)}
