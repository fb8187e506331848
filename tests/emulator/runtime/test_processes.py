"""workerd as a process: started, watched, ended, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clodo.emulator.config import CloudConfig
from clodo.emulator.runtime.configuration import Configuration, empty
from clodo.emulator.runtime.ports import ScriptInvalid, VersionSpec, VersionStats, WorkerdUnavailable
from clodo.emulator.runtime.processes import Nursery, StartFailed, started_at
from clodo.emulator.server import EmbeddedCloud
from tests.emulator.runtime.cloud import ACCOUNT, Cloud

HELLO = "export default { fetch: () => new Response('hello') };"
MINUTE = timedelta(minutes=1)


def stats_of(cloud: Cloud, version_id: str) -> VersionStats:
    return next(stats for stats in cloud.runtime.stats() if stats.version_id == version_id)


def processes_of(folder: Path) -> list[int]:
    """Return the processes that have a path in *folder* among their arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.fsencode(folder) in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while started_at(pid) is not None:
            await asyncio.sleep(0.01)


async def test_a_killed_worker_is_started_again_by_the_next_request(cloud: Cloud) -> None:
    """When a workerd is killed the next request starts another and is answered."""
    spec = await cloud.worker("phoenix", HELLO)
    await cloud.text("phoenix")
    pid = stats_of(cloud, spec.version_id).pid
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while stats_of(cloud, spec.version_id).pid == pid:
            await asyncio.sleep(0.01)

    assert await cloud.text("phoenix") == "hello"
    assert stats_of(cloud, spec.version_id).pid not in (None, pid)


async def test_a_worker_killed_in_mid_request_gives_an_error_page_not_silence(cloud: Cloud) -> None:
    """A request whose workerd dies gets the error page; the connection to the client stays whole."""
    spec = await cloud.worker("dying", "export default { fetch: () => scheduler.wait(60_000) };")
    request = asyncio.create_task(cloud.request("dying"))
    async with asyncio.timeout(10):
        while not any(s.version_id == spec.version_id and s.in_flight for s in cloud.runtime.stats()):
            await asyncio.sleep(0.01)

    os.kill(stats_of(cloud, spec.version_id).pid or 0, signal.SIGKILL)

    response = await request
    assert (response.status_code, "1101" in response.text) == (500, True)


async def test_a_retired_version_ends_after_its_last_request(cloud: Cloud) -> None:
    """Retiring waits for requests in flight, then the process is gone; its socket folder, too."""
    spec = await cloud.worker(
        "leaving", "export default { fetch: () => scheduler.wait(300).then(() => new Response('late')) };"
    )
    request = asyncio.create_task(cloud.text("leaving"))
    async with asyncio.timeout(10):
        while not any(s.version_id == spec.version_id and s.in_flight for s in cloud.runtime.stats()):
            await asyncio.sleep(0.01)
    pid = stats_of(cloud, spec.version_id).pid
    assert pid is not None

    await cloud.runtime.retire(ACCOUNT, "leaving", spec.version_id)

    assert started_at(pid) is None
    assert await request == "late"


async def test_a_hanging_worker_is_ended_after_the_grace(cloud: Cloud) -> None:
    """A version that never finishes its request is ended when the grace is over; an endless loop doesn't save it."""
    spec = await cloud.worker("looping", "export default { fetch() { for (;;) {} } };")
    request = asyncio.create_task(cloud.request("looping"))
    async with asyncio.timeout(10):
        while not any(s.version_id == spec.version_id and s.in_flight for s in cloud.runtime.stats()):
            await asyncio.sleep(0.01)

    await cloud.runtime.retire(ACCOUNT, "looping", spec.version_id, grace=timedelta(milliseconds=50))

    assert (await request).status_code == 500


async def test_idle_objects_sleep_in_the_same_place(workerd: Path, tmp_path: Path) -> None:
    """The process of idle Durable Objects ends, and the next request finds their data in a new one."""
    source = """import { DurableObject } from "cloudflare:workers";
        export class Counter extends DurableObject {
          async next() {
            const n = ((await this.ctx.storage.get("n")) ?? 0) + 1;
            await this.ctx.storage.put("n", n);
            return n;
          }
        }
        export default { async fetch(r, env) { return new Response(await env.COUNTER.getByName("a").next()); } };"""
    binding = {"type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter"}
    async with Cloud(workerd, tmp_path, idle_timeout=timedelta(seconds=0.2)) as cloud:
        spec = await cloud.worker("sleepy", source, binding, objects=["Counter"])
        assert await cloud.text("sleepy") == "1"
        async with asyncio.timeout(10):
            while _pid(cloud, spec) is not None:
                await asyncio.sleep(0.02)

        assert await cloud.text("sleepy") == "2"


async def test_versions_out_of_traffic_and_idle_ones_are_ended(workerd: Path, tmp_path: Path) -> None:
    """What is out of traffic ends by itself, so does what is idle; both come back when asked for."""
    async with Cloud(workerd, tmp_path, retire_after=timedelta(0), idle_timeout=timedelta(0)) as cloud:
        old = await cloud.worker("quiet", "export default { fetch: () => new Response('old') };")
        new = await cloud.worker("quiet", "export default { fetch: () => new Response('new') };")
        async with asyncio.timeout(10):
            while any(stats.pid is not None for stats in cloud.runtime.stats()) or cloud.runtime._instances:
                await asyncio.sleep(0.02)

        assert await cloud.text("quiet") == "new"
        assert await cloud.text(f"{old.version_id[:8]}-quiet") == "old"
        assert new.version_id != old.version_id


async def test_a_worker_that_only_computes_is_killed_and_shows_error_1102(workerd: Path, tmp_path: Path) -> None:
    """Beyond the CPU limit a Worker is killed and its visitor sees 1102; others, and the next visitor, are served."""
    async with Cloud(workerd, tmp_path, cpu_limit=timedelta(seconds=0.5)) as cloud:
        source = "export default { fetch(r) { if (r.url.endsWith('/loop')) for (;;) {} return new Response('ok'); } };"
        spec = await cloud.worker("greedy", source)
        other = await cloud.worker("modest", source)
        events: list[Mapping[str, Any]] = []
        cloud.runtime.open_tail(ACCOUNT, "greedy", events.append)
        await cloud.text("modest")
        before = _pid(cloud, other)

        looping = asyncio.create_task(cloud.request("greedy", "/loop"))
        while not looping.done():
            assert await cloud.text("modest") == "ok"
        looped = await looping

        assert (looped.status_code, "1102" in looped.text) == (503, True)
        assert await cloud.text("greedy") == "ok"
        assert _pid(cloud, other) == before
        assert [(event["outcome"], event["scriptVersion"]["id"]) for event in events[:1]] == [
            ("exceededCpu", spec.version_id)
        ]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("const x is 3;", "Uncaught SyntaxError: Missing initializer in const declaration\n  at index.js:1:6"),
        ("throw new TypeError('no way'); export default {};", "Uncaught TypeError: no way\n  at index.js:1:7"),
        (
            "import './gone.js'; export default {};",
            'Uncaught Error: No such module "gone.js".\n  imported from "index.js"',
        ),
        ("await fetch('http://x'); export default {};", "Disallowed operation called within global scope"),
        ("const nothing = 1;", "No event handlers were registered. This script does nothing."),
        ("export default {};", "No event handlers were registered. This script does nothing."),
    ],
    ids=["syntax", "throws", "missing module", "global fetch", "no exports", "no handlers"],
)
async def test_broken_scripts_are_refused_with_workerds_reason(cloud: Cloud, source: str, reason: str) -> None:
    """A script that can't start is refused in workerd's words, and no process is left."""
    spec = cloud.version("broken", source)

    with pytest.raises(ScriptInvalid) as refused:
        await cloud.runtime.validate(spec)

    assert reason in refused.value.message
    assert "service user" not in refused.value.message


async def test_unknown_flags_and_python_are_refused(cloud: Cloud) -> None:
    """Unknown compatibility flags, malformed dates and Python modules are refused."""
    flag = cloud.version("flagged", HELLO, flags=["no_such_flag"])
    date = cloud.version("dated", HELLO, date="tomorrow")
    python = cloud.version("snake", None, modules={"main.py": ("text/x-python", b"")}, main_module="main.py")

    for spec, reason in ((flag, "no_such_flag"), (date, "tomorrow"), (python, "Python")):
        with pytest.raises(ScriptInvalid, match=reason):
            await cloud.runtime.validate(spec)


async def test_an_endless_start_is_refused(workerd: Path, tmp_path: Path) -> None:
    """A script that never finishes its start is killed and refused."""
    async with Cloud(workerd, tmp_path, start_timeout=timedelta(seconds=1.5)) as cloud:
        with pytest.raises(ScriptInvalid, match="startup exceeded CPU time limit"):
            await cloud.runtime.validate(cloud.version("endless", "for (;;) {} export default {};"))

        assert cloud.runtime._nursery.children == set()


async def test_a_date_in_the_future_is_clamped_with_a_warning(cloud: Cloud) -> None:
    """A compatibility date newer than workerd runs with workerd's newest, and says so."""
    validated = await cloud.runtime.validate(cloud.version("future", HELLO, date="2199-01-01"))

    assert validated.handlers == ("fetch",)
    assert "2199-01-01 is newer" in validated.warnings[0]


async def test_validation_tells_handlers_and_entrypoints(cloud: Cloud) -> None:
    """Validation tells the handlers of the default export and the methods of named ones."""
    source = """
        import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
        export class Room extends DurableObject { fetch() {} join() {} }
        export class Admin extends WorkerEntrypoint { reset() {} }
        export const other = { fetch() {} };
        export default { fetch() {}, scheduled() {}, own() {} };"""

    validated = await cloud.runtime.validate(cloud.version("exports", source))

    assert validated.handlers == ("fetch", "scheduled")
    assert validated.named_handlers == {"Admin": ("reset",), "Room": ("fetch", "join"), "other": ("fetch",)}
    assert validated.startup_time_ms >= 1


async def test_service_worker_scripts_run(cloud: Cloud) -> None:
    """A script in the old service-worker syntax runs, and its handlers are known."""
    script = b"addEventListener('fetch', (event) => event.respondWith(new Response('old ' + NAME)));"
    spec = cloud.version(
        "classic",
        None,
        {"type": "plain_text", "name": "NAME", "text": "school"},
        modules={"worker.js": ("application/javascript", script)},
        body_part="worker.js",
    )

    validated = await cloud.runtime.validate(spec)
    await cloud.deploy(spec)

    assert validated.handlers == ("fetch",)
    assert await cloud.text("classic") == "old school"


async def test_secrets_are_in_no_file_and_no_argument(cloud: Cloud) -> None:
    """A secret's value is neither in a file of the runtime nor in the process's arguments; sockets are ours alone."""
    value = "s3cr3t-value-of-this-test"
    spec = await cloud.worker(
        "vault",
        "export default { fetch: (request, env) => new Response(String(env.KEY.length)) };",
        {"type": "secret_text", "name": "KEY", "text": value},
    )
    assert await cloud.text("vault") == str(len(value))
    pid = stats_of(cloud, spec.version_id).pid
    sockets = cloud.runtime._nursery.folder

    files = [path for root in (cloud.folder, sockets) for path in root.rglob("*") if path.is_file()]

    assert not [path for path in files if value.encode() in path.read_bytes()]
    assert value.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert value not in repr(spec)


async def test_strangers_on_this_machine_get_nothing_from_the_back_ends(cloud: Cloud) -> None:
    """Without the runtime's secret the back ends answer 403, whatever else is claimed."""
    caller = json.dumps({"account": ACCOUNT, "script": "x", "kind": "kv", "id": "sessions"})
    reader, writer = await asyncio.open_unix_connection(str(cloud.runtime._nursery.folder / "back.sock"))
    writer.write(f"GET /k HTTP/1.1\r\nHost: x\r\nx-clodo-caller: {caller}\r\nx-clodo-secret: no\r\n\r\n".encode())

    head = await reader.readuntil(b"\r\n")
    writer.close()

    assert b" 403 " in head


async def test_two_runtimes_do_not_share_a_data_folder(cloud: Cloud, workerd: Path) -> None:
    """A second runtime on the same data is refused, and the first one's Workers live on."""
    await cloud.worker("first", HELLO)

    with pytest.raises(WorkerdUnavailable, match="another embedded cloud"):
        await Cloud(workerd, cloud.folder).runtime.start()

    assert await cloud.text("first") == "hello"


async def test_a_missing_binary_is_named(tmp_path: Path) -> None:
    """A workerd that isn't there is an error that names the path."""
    nursery = Nursery(tmp_path / "no-workerd", tmp_path / "records")

    with pytest.raises(WorkerdUnavailable, match="no-workerd"):
        await nursery.open()
    await nursery.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "can't read workerd: No such file"),
        (b"#!/usr/bin/env node\n", "not workerd itself but a script"),
        (b"", "not workerd itself"),
        (Path(sys.executable).read_bytes()[:4096], "doesn't run as workerd"),
    ],
    ids=["missing", "script", "empty", "damaged"],
)
def test_a_cloud_without_the_workerd_binary_does_not_start(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """What isn't workerd is refused at the start, at once, by name and with what to do; nothing keeps running."""
    binary = tmp_path / "workerd"
    if content is not None:
        binary.write_bytes(content)
        binary.chmod(0o700)
    config = CloudConfig(data=tmp_path / "cloud", workerd=binary, port=0)
    began = time.monotonic()

    with pytest.raises(WorkerdUnavailable, match=reason) as refused:
        EmbeddedCloud(config).start()

    assert str(binary) in refused.value.message
    assert "--workerd" in (refused.value.hint or "")
    assert time.monotonic() - began < 5
    assert not (tmp_path / "cloud" / "emulator.json").exists()


async def test_another_program_is_no_workerd(tmp_path: Path) -> None:
    """A program that runs and isn't workerd is refused before anything is uploaded."""
    nursery = Nursery(Path("/bin/true").resolve(), tmp_path / "records")

    with pytest.raises(WorkerdUnavailable, match="doesn't run as workerd"):
        await nursery.open()
    await nursery.close()


async def test_what_a_process_started_ends_with_it(workerd: Path, tmp_path: Path) -> None:
    """Where workerd is the child of the process that was started, stopping ends both, soon."""
    binary = tmp_path / "workerd"
    binary.symlink_to(workerd)
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\n"{binary}" "$@"\nexit $?\n')
    launcher.chmod(0o700)
    nursery = Nursery(workerd, tmp_path / "records")
    await nursery.open()
    nursery.workerd = launcher
    folder = nursery.new_folder()
    await nursery.spawn(empty(sockets=folder, newest=nursery.newest), folder, timeout=MINUTE)
    assert len(processes_of(tmp_path)) == 2

    async with asyncio.timeout(10):
        await nursery.close()

    assert processes_of(tmp_path) == []


async def test_stopping_ends_all_processes_together(workerd: Path, tmp_path: Path) -> None:
    """Stopping twenty processes takes about as long as stopping one, even if some ignore SIGTERM."""
    nursery = Nursery(workerd, tmp_path / "records")
    await nursery.open()
    folders = [nursery.new_folder() for _ in range(6)]
    children = await asyncio.gather(
        *(nursery.spawn(empty(sockets=f, newest=nursery.newest), f, timeout=MINUTE) for f in folders)
    )
    children[0].signal(signal.SIGSTOP)

    began = asyncio.get_running_loop().time()
    await nursery.close()

    assert asyncio.get_running_loop().time() - began < 4
    assert [started_at(child.pid) for child in children] == [None] * 6
    assert not list((tmp_path / "records").glob("*.json"))
    assert not [folder for folder in folders if folder.exists()]


async def test_the_last_words_are_kept(workerd: Path, tmp_path: Path) -> None:
    """What a process prints is read all the time, so that it never blocks, and the end of it is kept."""
    async with Cloud(workerd, tmp_path) as cloud:
        source = """export default { fetch() {
            for (let i = 0; i < 5000; i++) console.log("line", i, "x".repeat(90));
            return new Response("ok");
        } };"""
        spec = await cloud.worker("chatty", source)
        await cloud.text("chatty")
        async with asyncio.timeout(10):
            while "line 4999" not in cloud.runtime.log(ACCOUNT, "chatty", spec.version_id):
                await asyncio.sleep(0.01)

        assert len(cloud.runtime.log(ACCOUNT, "chatty", spec.version_id)) < 200_000


_PARENT = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from clodo.emulator.runtime.configuration import empty
from clodo.emulator.runtime.processes import Nursery

async def main():
    nursery = Nursery(Path(sys.argv[1]), Path(sys.argv[2]))
    await nursery.open()
    if sys.argv[3] == "fork":
        from clodo.emulator.runtime import processes
        nursery._wrapper, nursery._before_exec = [], processes._die_with_parent()
    folders = [nursery.new_folder() for _ in range(3)]
    children = await asyncio.gather(
        *(nursery.spawn(empty(sockets=f, newest=nursery.newest), f, timeout=timedelta(minutes=1)) for f in folders))
    print(*(child.pid for child in children), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["setpriv", "fork"])
async def test_no_workerd_survives_a_killed_parent(workerd: Path, tmp_path: Path, way: str) -> None:
    """After kill -9 of the parent its workerd processes are gone, without anybody's help."""
    records = tmp_path / "records"
    command = [sys.executable, "-c", _PARENT, str(workerd), str(records), way]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
    assert len(pids) == 3
    assert all(started_at(pid) for pid in pids)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    for pid in pids:
        await gone(pid)
    folder = Path(json.loads(next(records.glob("*.json")).read_text())["folder"]).parent
    assert folder.exists()
    nursery = Nursery(workerd, records)
    await nursery.open()
    assert not folder.exists()
    assert not list(records.glob("*.json"))
    await nursery.close()


_SPAWNING = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from clodo.emulator.runtime import processes
from clodo.emulator.runtime.configuration import empty

async def main():
    nursery = processes.Nursery(Path(sys.argv[1]), Path(sys.argv[2]))
    await nursery.open()
    if sys.argv[3] == "fork":
        nursery._wrapper, nursery._before_exec = [], processes._die_with_parent()

    async def renew():
        while True:
            folder = nursery.new_folder()
            child = await nursery.spawn(
                empty(sockets=folder, newest=nursery.newest), folder, timeout=timedelta(minutes=1))
            await child.stop()

    print("spawning", flush=True)
    await asyncio.gather(*(renew() for _ in range(6)))

asyncio.run(main())
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize(("way", "rounds"), [("setpriv", 40), ("fork", 15)])
async def test_no_workerd_survives_whenever_its_parent_is_killed(
    workerd: Path, tmp_path: Path, way: str, rounds: int
) -> None:
    """Kill -9 at any moment of starting and stopping processes leaves none of them, in whatever stage it was."""
    binary = tmp_path / "workerd"
    binary.symlink_to(workerd)
    random = Random(20261120)
    caught = 0
    for round_ in range(rounds):
        command = [sys.executable, "-c", _SPAWNING, str(binary), str(tmp_path / f"records-{round_}"), way]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        await asyncio.to_thread(parent.stdout.readline)
        # The moment is what is sampled here; nothing is waited for.
        await asyncio.sleep(random.uniform(0, 0.15))

        caught += len(processes_of(tmp_path)) - 1
        parent.kill()
        parent.wait()
        parent.stdout.close()

        async with asyncio.timeout(10):
            while processes_of(tmp_path):
                await asyncio.sleep(0.01)
    assert caught > rounds / 2


async def test_leftovers_of_an_earlier_run_are_swept(workerd: Path, tmp_path: Path) -> None:
    """A process recorded by an earlier run is killed at the next start; one that only has its number is left alone."""
    records = tmp_path / "records"
    records.mkdir()
    leftover = subprocess.Popen(["sleep", "600"])
    stranger = subprocess.Popen(["sleep", "600"])
    for child, started in ((leftover, started_at(leftover.pid)), (stranger, "1")):
        record = {"pid": child.pid, "started": started, "folder": ""}
        (records / f"{child.pid}.json").write_text(json.dumps(record))
    (records / "broken.json").write_text("{")

    nursery = Nursery(workerd, records)
    await nursery.open()

    assert leftover.wait(10) == -signal.SIGKILL
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    await nursery.close()


async def test_a_refused_configuration_leaves_nothing(workerd: Path, tmp_path: Path) -> None:
    """A configuration that workerd can't read fails with its words, and neither process nor record is left."""
    nursery = Nursery(workerd, tmp_path / "records")
    await nursery.open()

    with pytest.raises(StartFailed) as failed:
        await nursery.spawn(Configuration("nonsense", 1), nursery.new_folder(), timeout=MINUTE)

    assert "Parse error" in failed.value.output
    assert not nursery.children
    await nursery.close()


def _pid(cloud: Cloud, spec: VersionSpec) -> int | None:
    (pid,) = (stats.pid for stats in cloud.runtime.stats() if stats.version_id == spec.version_id)
    return pid
