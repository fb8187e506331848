"""Real wrangler, through the gateway, against a small fake Cloudflare."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clodo.cloudflare.budget import UnlimitedBudget
from clodo.errors import (
    ApiRefused,
    BadUsage,
    LockLost,
    OutcomeUnknown,
    PartlyDone,
    PermissionMissing,
    PlanIsStale,
    ToolchainMissing,
    WorkerNotFound,
    WranglerFailed,
)
from clodo.settings import Settings
from clodo.wrangler.commands import Wrangler
from clodo.wrangler.gateway import Gateway
from clodo.wrangler.toolchain import Toolchain, locate
from clodo.wrangler.uploads import Stamp

from .cloud import ACCOUNT, TOKEN, WORKER, Cloud, Fault

RELEASE = "01JABCDEFGHJKMNPQRSTVWXYZ0"
LIVE = "11111111-2222-3333-4444-555555555555"
SECRET = 'p"ss\n$HOME wörd & more'
CODE = "export default { fetch() { return new Response('hello') } }"

PR_SET_CHILD_SUBREAPER = 36

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc and pidfd are Linux's")


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A service's folder, and in `rendered/` the config that a release would render."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "index.js").write_text(CODE)
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<h1>hello</h1>")
    (tmp_path / "rendered").mkdir()
    # What a project may hold must not matter: process environment and credentials are ours.
    (tmp_path / "rendered" / ".env").write_text("CLOUDFLARE_API_KEY=theirs\nCLOUDFLARE_EMAIL=they@example.com\n")
    return tmp_path


@pytest.fixture
def config(service: Path) -> Path:
    return write_config(service)


def write_config(service: Path, **changes: Any) -> Path:
    whole = {
        "name": WORKER,
        "main": str(service / "src" / "index.js"),
        "compatibility_date": "2026-01-01",
        "workers_dev": False,
        "preview_urls": False,
        "vars": {"GREETING": "hello"},
        "assets": {"directory": str(service / "public"), "binding": "ASSETS"},
        **changes,
    }
    path = service / "rendered" / "wrangler.json"
    path.write_text(json.dumps(whole))
    return path


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def wrangler(toolchain: Toolchain, fake: Cloud, tmp_path: Path, log: list[str]) -> Iterator[Wrangler]:
    with Gateway(fake.url, TOKEN, budget=UnlimitedBudget()) as gateway:
        yield Wrangler(toolchain, gateway, scratch=tmp_path / "scratch", log=log.append)


def test_a_version_is_uploaded_stamped_with_its_secrets_and_assets(
    wrangler: Wrangler, fake: Cloud, config: Path, log: list[str], tmp_path: Path
) -> None:
    """
    One call uploads code, assets and secrets, marked with the release; the values are in the request and nowhere else.

    A comparison then sees the same content, and writes nothing.
    """
    stamp = Stamp(RELEASE, "ship it", keep_secrets_of=LIVE, live_secret_names=frozenset({"OLD", "KEY"}))
    seen_by_others: list[str] = []

    def guard() -> None:
        # wrangler is running now: this is what anybody on the machine, and anybody with the disk, could read.
        seen_by_others.append(everything_about_children())
        seen_by_others.extend(file.read_text("utf-8", "replace") for file in tmp_path.rglob("*") if file.is_file())

    uploaded = wrangler.upload_version(
        config, worker=WORKER, account_id=ACCOUNT, stamp=stamp, secrets={"KEY": SECRET}, guard=guard
    )

    [version] = fake.versions
    assert uploaded.version_id == version["id"]
    assert uploaded.has_preview
    assert uploaded.startup_time_ms == 7
    assert uploaded.requests == len(fake.received) == 5
    assert version["annotations"] == {
        "workers/tag": f"{RELEASE}.{uploaded.content_sha256}",
        "workers/message": "ship it",
    }
    assert {"name": "KEY", "type": "secret_text", "text": SECRET} in version["resources"]["bindings"]
    assert {"name": "OLD", "type": "inherit", "version_id": LIVE} in version["resources"]["bindings"]
    assert "keep_bindings" not in version["received"]
    assert fake.uploaded_assets == 1
    assert any("Uploaded shop" in line for line in log)
    assert not list((tmp_path / "scratch").iterdir())
    for secret in (TOKEN, SECRET, json.dumps(SECRET)[1:-1]):
        assert all(secret not in text for text in [*seen_by_others, *log])
    assert sum("cli.js" in text for text in seen_by_others) >= 1

    fake.received.clear()
    log.clear()
    compared = wrangler.compare(config, worker=WORKER, account_id=ACCOUNT)

    assert compared.content_sha256 == uploaded.content_sha256
    assert compared.assets["/index.html"].size == len("<h1>hello</h1>")
    assert {received.method for received in fake.received} == {"GET"}
    assert not any("ERROR" in line for line in log)


def test_a_first_deploy_is_one_version_with_the_same_content(wrangler: Wrangler, fake: Cloud, config: Path) -> None:
    """A Worker that doesn't exist is created, even when the answer to it is lost; its content has the same hash."""
    fake.exists = False
    fake.faults.append(Fault("PUT", WORKER, apply=True, reset=True))

    created = wrangler.deploy_first(config, worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE), secrets={"K": "v"})
    compared = wrangler.compare(config, worker=WORKER, account_id=ACCOUNT)

    [version] = fake.versions
    assert created.version_id == version["id"]
    assert created.was_found
    assert created.content_sha256 == compared.content_sha256
    assert not any(received.path.endswith(("/routes", "/schedules", "/domains/records")) for received in fake.received)


def test_a_first_deploy_leaves_a_worker_alone_that_came_up_meanwhile(
    wrangler: Wrangler, fake: Cloud, config: Path
) -> None:
    """wrangler would replace what it serves; here nothing is uploaded and nothing deployed."""
    with pytest.raises(PlanIsStale, match="shop: was made by somebody else"):
        wrangler.deploy_first(config, worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE))

    assert fake.versions == []
    assert fake.count("POST", "/deployments") == 0


def test_a_first_deploy_that_fails_after_the_upload_says_so(wrangler: Wrangler, fake: Cloud, config: Path) -> None:
    """The version is live, the rest isn't: that is neither done nor failed."""
    fake.exists = False
    fake.faults.append(Fault("POST", "/subdomain", status=403, code=10000, message="Authentication error"))

    with pytest.raises(PartlyDone, match=r"is live, but .* Authentication error"):
        wrangler.deploy_first(config, worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE))

    assert len(fake.versions) == 1


def test_refused_code_is_said_with_cloudflares_words(
    wrangler: Wrangler, fake: Cloud, config: Path, log: list[str]
) -> None:
    """The error has Cloudflare's code and message, and the secret that the message quotes is masked."""
    fake.faults.append(Fault("POST", "/versions", status=400, code=10021, message="Uncaught hunter2-hunter2 at x"))

    with pytest.raises(ApiRefused, match=r"Uncaught \*+ at x \[code: 10021\]") as raised:
        wrangler.upload_version(
            config, worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE), secrets={"K": "hunter2-hunter2"}
        )

    assert (raised.value.status, raised.value.code) == (400, 10021)
    assert not any("hunter2" in line for line in log)


def test_a_worker_that_is_not_there_and_a_broken_config_are_told_apart(
    wrangler: Wrangler, fake: Cloud, service: Path
) -> None:
    """An upload to a Worker that doesn't exist, and one whose code doesn't even bundle, are different facts."""
    fake.exists = False
    with pytest.raises(WorkerNotFound, match="10007"):
        wrangler.upload_version(write_config(service), worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE))

    (service / "src" / "index.js").write_text("import './missing.js'; export default {}")
    with pytest.raises(WranglerFailed, match=r"missing\.js"):
        wrangler.upload_version(write_config(service), worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE))

    assert fake.versions == []


def test_a_lock_that_is_lost_in_mid_upload_is_what_is_raised(wrangler: Wrangler, fake: Cloud, config: Path) -> None:
    """The guard's own error comes out of the call, and nothing was written."""
    lost = LockLost("shop@production was taken over")

    def guard() -> None:
        raise lost

    with pytest.raises(LockLost) as raised:
        wrangler.upload_version(config, worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE), guard=guard)

    assert raised.value is lost
    assert {received.method for received in fake.received} == {"GET"}


WRITES_AND_HANGS = f"""
import os, signal, urllib.request

urllib.request.urlopen(
    urllib.request.Request(
        os.environ["CLOUDFLARE_API_BASE_URL"] + "/accounts/{ACCOUNT}/workers/scripts/{WORKER}/script-settings",
        method="PATCH",
        data=b"{{}}",
        headers={{"Authorization": "Bearer " + os.environ["CLOUDFLARE_API_TOKEN"]}},
    )
)
signal.pause()
"""


def test_a_call_that_takes_too_long_is_ended_with_all_its_processes(
    wrangler: Wrangler, fake: Cloud, config: Path
) -> None:
    """The timeout ends wrangler's whole process group; while nothing was written, the call says so."""
    fake.faults.append(Fault("GET", f"/services/{WORKER}", hold=threading.Event()))

    with pytest.raises(WranglerFailed, match="did not end within 2 s and was stopped; nothing was changed"):
        wrangler.upload_version(
            config, worker=WORKER, account_id=ACCOUNT, stamp=Stamp(RELEASE), timeout=timedelta(seconds=2)
        )

    assert "cli.js" not in everything_about_children()


def test_a_call_that_takes_too_long_after_a_write_has_an_unknown_outcome(
    toolchain: Toolchain, fake: Cloud, tmp_path: Path
) -> None:
    """Once a write was sent, a timeout doesn't say that nothing was changed."""
    node = tmp_path / "node"
    node.write_text(f"#!{sys.executable}\n{WRITES_AND_HANGS}")
    node.chmod(0o755)
    with Gateway(fake.url, TOKEN, budget=UnlimitedBudget()) as gateway:
        slow = Wrangler(replace(toolchain, node=node), gateway, scratch=tmp_path / "scratch")

        with pytest.raises(OutcomeUnknown, match="wrangler triggers deploy: did not end within 4 s"):
            slow.run(["triggers", "deploy"], account_id=ACCOUNT, timeout=timedelta(seconds=4))

    assert fake.count("PATCH", "/script-settings") == 1


def test_any_other_command_gives_its_output_or_a_typed_error(wrangler: Wrangler, fake: Cloud) -> None:
    """`run` returns what was printed and recorded; a right that is missing is named."""
    completed = wrangler.run(["d1", "list", "--json"], account_id=ACCOUNT)
    assert json.loads(completed.stdout) == []
    assert completed.records[0]["type"] == "wrangler-session"
    assert [call.status for call in completed.calls] == [200]

    fake.faults.append(Fault("GET", "/d1/database", status=403, code=10000, message="Authentication error"))
    with pytest.raises(PermissionMissing, match="d1/database: Authentication error") as raised:
        wrangler.run(["d1", "list", "--json"], account_id=ACCOUNT)
    assert raised.value.hint is not None
    assert "D1, Edit" in raised.value.hint


def test_what_wrangler_reads_comes_through_a_pipe(wrangler: Wrangler, fake: Cloud, log: list[str]) -> None:
    """A value given on standard input arrives as it is, and is in no output."""
    completed = wrangler.run(["secret", "put", "KEY", "--name", WORKER], account_id=ACCOUNT, stdin="s3cret value")

    assert json.loads(fake.received[-1].body)["text"] == "s3cret value"
    assert not any(
        "s3cret value" in text for text in [completed.stdout, completed.stderr, str(completed.records), *log]
    )


def test_a_secret_without_a_value_is_refused(wrangler: Wrangler, fake: Cloud) -> None:
    """wrangler would store an empty secret and exit 0."""
    with pytest.raises(BadUsage, match="standard input"):
        wrangler.run(["secret", "put", "KEY", "--name", WORKER], account_id=ACCOUNT)

    assert fake.received == []


def test_a_toolchain_that_was_removed_is_missing(toolchain: Toolchain, fake: Cloud, config: Path) -> None:
    """A node that isn't there any more is a fact of its own."""
    gone = replace(toolchain, node=config.parent / "no-node")
    with Gateway(fake.url, TOKEN, budget=UnlimitedBudget()) as gateway:
        wrangler = Wrangler(gone, gateway, scratch=config.parent / "s")

        with pytest.raises(ToolchainMissing, match="no-node"):
            wrangler.run(["whoami"], account_id=ACCOUNT)


RELEASING_PROCESS = """
import json, sys
from pathlib import Path
from clodo.cloudflare.budget import UnlimitedBudget
from clodo.settings import Settings
from clodo.wrangler.commands import Wrangler
from clodo.wrangler.gateway import Gateway
from clodo.wrangler.toolchain import locate
from clodo.wrangler.uploads import Stamp

url, token, config, worker, account, scratch = sys.argv[1:]
with Gateway(url, token, budget=UnlimitedBudget()) as gateway:
    wrangler = Wrangler(locate(Settings.from_environment()), gateway, scratch=Path(scratch))
    wrangler.upload_version(Path(config), worker=worker, account_id=account, stamp=Stamp("r"))
"""


@pytest.fixture
def adopting() -> Iterator[None]:
    """Makes this process the new parent of orphaned descendants, so that it learns how they ended."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@linux_only
@pytest.mark.usefixtures("adopting")
def test_wrangler_dies_with_the_releasing_process(
    toolchain: Toolchain, fake: Cloud, config: Path, tmp_path: Path
) -> None:
    """When only the Python process is killed, in mid-upload, its wrangler is too, and nothing of it reaches the API."""
    assert locate(Settings.from_environment()) == toolchain
    let_go = threading.Event()
    fake.faults.append(Fault("POST", "/assets-upload-session", hold=let_go))
    arguments = [fake.url, TOKEN, config, WORKER, ACCOUNT, tmp_path / "scratch"]
    releasing = subprocess.Popen([sys.executable, "-c", RELEASING_PROCESS, *arguments])
    try:
        fake.wait_for("POST", "/assets-upload-session")
        [orphan] = children_of(releasing.pid, lambda words: "cli.js" in words)
        before = len(fake.received)
    finally:
        releasing.kill()
        releasing.wait()

    _, status = os.waitpid(orphan, 0)

    # Killed by the kernel at once: it had no time to find out that its gateway is gone.
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    let_go.set()
    assert len(fake.received) == before
    assert fake.versions == []


def children_of(parent: int, fits: Callable[[str], bool]) -> list[int]:
    """Return the processes that *parent* started and whose command line fits."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            words = (status.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if int(fields[1]) == parent and fits(words):
            found.append(int(status.parent.name))
    return found


def everything_about_children() -> str:
    """Return arguments and environments of all that this process started."""
    texts = []
    for pid in children_of(os.getpid(), lambda words: True):
        for name in ("cmdline", "environ"):
            try:
                texts.append(Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace"))
            except OSError:
                continue
    return "\n".join(texts)
