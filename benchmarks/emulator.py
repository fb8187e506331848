"""What the embedded cloud bears: requests, D1 queries, redeploys under load, 200 Workers, and large databases."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.bare_workerd import bare_workerd
from benchmarks.clouds import Cloud, resident_bytes, start_cloud, verified
from benchmarks.visiting import Visits, visit, visit_for
from clodo.settings import Settings
from clodo.wrangler.toolchain import Toolchain, install

MIB = 2**20
CLIENTS = 16
ROUNDS = 5
ROUND_SECONDS = 3.0
#: 1,000 a second where bare workerd does 6,200, as on the quiet machine on which the goal was set.
MIN_ROUTER_RATIO = 1000 / 6200
REDEPLOYS = 20
WORKERS = 200
ACTIVE = 20
#: How long the others must be left alone until their processes are ended.
IDLE_SECONDS = 30.0
MAX_FEW_BYTES = 600 * MIB
MAX_ALL_BYTES = 3584 * MIB
MAX_GROWTH_BYTES = 64 * MIB
ROW_BYTES = 1000

#: Answers at once at /, and runs SELECTs at /select, `parallel` at a time.
WORKER = """
export default { async fetch(request, env) {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/seed") {
    await env.DB.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)");
    const insert = env.DB.prepare("INSERT INTO t VALUES (?, ?)");
    await env.DB.batch(Array.from({ length: 100 }, (_, id) => insert.bind(id, `name ${id}`)));
  }
  if (pathname === "/select") {
    let left = Number(searchParams.get("count"));
    const select = env.DB.prepare("SELECT name FROM t WHERE id = ?");
    const one = async () => {
      for (let id = --left; id >= 0; id = --left) {
        const row = await select.bind(id % 100).first();
        if (row.name !== `name ${id % 100}`) throw new Error("wrong row");
      }
    };
    await Promise.all(Array.from({ length: Number(searchParams.get("parallel")) }, one));
  }
  return new Response("ok");
} };
"""
SMALL = "export default {{ fetch() {{ return new Response('{answer}'); }} }};"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One thing that was measured.

    Attributes:
        measured: What came out, in words.

        goal: What is to be reached, in words.

        numbers: The same, for machines.
    """

    title: str
    measured: str
    goal: str
    is_reached: bool
    numbers: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"title": self.title, "goal": self.goal, "is_reached": self.is_reached, **self.numbers}


def measure(say: Say, *, workers: int = WORKERS, active: int = ACTIVE, megabytes: int = 500) -> tuple[Figure, ...]:
    """
    Measure all of it, one after the other.

    Args:
        workers, active: How many are deployed, and how many of them get visitors.

        megabytes: Size of the SQL file that is imported and exported.
    """
    toolchain = install(Settings.from_environment())
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="clodo-benchmark-") as folder:
        for figure in chain(
            _speeds(toolchain, Path(folder)),
            _redeploys(toolchain, Path(folder)),
            _memory(toolchain, Path(folder), workers, active),
            _transfers(toolchain, Path(folder), megabytes),
        ):
            say(f"{figure.title}: {figure.measured}")
            found.append(figure)
    return tuple(found)


def _speeds(toolchain: Toolchain, folder: Path) -> Iterator[Figure]:
    """Measure the cloud and bare workerd in turn, so that what else the machine does hits both."""
    cloud = start_cloud(toolchain, folder / "speeds")
    try:
        with cloud.client() as client, bare_workerd(toolchain.workerd, folder / "bare", WORKER) as bare_port:
            database = cloud.call(client, "POST", "/d1/database", json={"name": "shop"})["uuid"]
            cloud.deploy(client, "bench", WORKER, [{"type": "d1", "name": "DB", "id": database}])
            cloud.open_subdomain(client, "bench")
            host, port = cloud.hostname("bench"), int(cloud.edge_url.rpartition(":")[2])
            verified(client.get("/seed", headers={"Host": host}))
            verified(client.get(f"http://127.0.0.1:{bare_port}/seed"))
            yield _router(host, port, bare_port)
            for parallel, count in ((1, 1500), (CLIENTS, 3000)):
                yield _selects(client, host, bare_port, parallel, count)
    finally:
        cloud.stop()


def _router(host: str, port: int, bare_port: int) -> Figure:
    ours: list[Visits] = []
    bare: list[Visits] = []
    for _ in range(ROUNDS):
        bare.append(visit_for(ROUND_SECONDS, bare_port, "x", clients=CLIENTS))
        ours.append(visit_for(ROUND_SECONDS, port, host, clients=CLIENTS))
    failed = sum(visits.failed for visits in (*ours, *bare))
    ratio = median(one.rate / other.rate for one, other in zip(ours, bare, strict=True))
    rate, bare_rate = (median(visits.rate for visits in side) for side in (ours, bare))
    return Figure(
        f"router, {CLIENTS} clients",
        f"{rate:,.0f} requests/s, bare workerd {bare_rate:,.0f}, ratio {ratio:.2f}, {failed} failed",
        f"≥ 1,000 requests/s, or a ratio ≥ {MIN_ROUTER_RATIO:.2f} on a busy machine, 0 failed",
        (rate >= 1000 or ratio >= MIN_ROUTER_RATIO) and not failed,
        {"rate": rate, "bare_rate": bare_rate, "ratio": ratio, "failed": failed},
    )


def _selects(client: httpx.Client, host: str, bare_port: int, parallel: int, count: int) -> Figure:
    path = f"/select?count={count}&parallel={parallel}"
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS + 1):
        for url, headers, seconds in ((path, {"Host": host}, ours), (f"http://127.0.0.1:{bare_port}{path}", {}, bare)):
            began = time.perf_counter()
            verified(client.get(url, headers=headers))
            seconds.append(time.perf_counter() - began)
    # The first round only warms.
    ratio = median(other / one for one, other in zip(ours[1:], bare[1:], strict=True))
    rate, bare_rate = (count / median(seconds[1:]) for seconds in (ours, bare))
    return Figure(
        f"D1 selects from a Worker, {parallel} in flight",
        f"{rate:,.0f}/s, workerd's bundled D1 {bare_rate:,.0f}/s, ratio {ratio:.2f}",
        "ratio ≥ 1",
        ratio >= 1,
        {"rate": rate, "bare_rate": bare_rate, "ratio": ratio},
    )


def _redeploys(toolchain: Toolchain, folder: Path) -> Iterator[Figure]:
    """Deploy again and again while visitors ask, and count what any of them got that wasn't an answer."""
    cloud = start_cloud(toolchain, folder / "redeploys")
    try:
        with cloud.client() as client:
            cloud.deploy(client, "bench", SMALL.format(answer="0"))
            cloud.open_subdomain(client, "bench")
            host, port = cloud.hostname("bench"), int(cloud.edge_url.rpartition(":")[2])

            async def run() -> Visits:
                until = asyncio.Event()
                visiting = asyncio.create_task(visit(port, host, "/", clients=4, until=until))
                for number in range(1, REDEPLOYS + 1):
                    await asyncio.to_thread(cloud.deploy, client, "bench", SMALL.format(answer=number))
                until.set()
                return await visiting

            visits = asyncio.run(run())
            last = client.get("/", headers={"Host": host}).text
    finally:
        cloud.stop()
    versions = len({body for status, body in visits.answers if status == 200})
    yield Figure(
        f"{REDEPLOYS} redeploys under load",
        f"{visits.failed} of {visits.count:,} requests failed; {versions} versions answered",
        "0 failed",
        visits.failed == 0 and last == str(REDEPLOYS),
        {"failed": visits.failed, "requests": visits.count, "versions": versions},
    )


def _memory(toolchain: Toolchain, folder: Path, workers: int, active: int) -> Iterator[Figure]:
    """Weigh the cloud when few of its Workers have visitors, and when all have."""
    cloud = start_cloud(toolchain, folder / "memory")
    try:
        with cloud.client() as client:
            for number in range(workers):
                cloud.deploy(client, f"w{number}", SMALL.format(answer=number) + "//" + "x" * 20_000)
                cloud.open_subdomain(client, f"w{number}")
            quiet_since = time.monotonic()
            while time.monotonic() - quiet_since < IDLE_SECONDS:
                _ask(cloud, client, active)
                time.sleep(1)
            few = cloud.memory_bytes()
            _ask(cloud, client, workers)
            every = cloud.memory_bytes()
    finally:
        cloud.stop()
    for count, used, allowed in ((active, few, MAX_FEW_BYTES), (workers, every, MAX_ALL_BYTES)):
        yield Figure(
            f"memory of {workers} deployed Workers, {count} active",
            f"{used / MIB:,.0f} MiB",
            f"≤ {allowed / MIB:,.0f} MiB",
            used <= allowed,
            {"bytes": used, "max_bytes": allowed},
        )


def _ask(cloud: Cloud, client: httpx.Client, count: int) -> None:
    for number in range(count):
        answer = client.get("/", headers={"Host": cloud.hostname(f"w{number}")})
        if answer.text != str(number):
            raise RuntimeError(f"w{number} answered {answer.status_code} {answer.text[:100]}")


def _transfers(toolchain: Toolchain, folder: Path, megabytes: int) -> Iterator[Figure]:
    """Import a large file, and export it again, watching how much memory the cloud takes meanwhile."""
    file = folder / "large.sql"
    etag, rows = _write_dump(file, megabytes)
    cloud = start_cloud(toolchain, folder / "transfers")
    try:
        with cloud.client() as client:
            databases = "/d1/database"
            one = f"{databases}/{cloud.call(client, 'POST', databases, json={'name': 'large'})['uuid']}"
            moves: dict[str, Callable[[], int]] = {
                "import": partial(_import, cloud, client, one, file, etag),
                "export": partial(_export, cloud, client, one),
            }
            for title, move in moves.items():
                began = time.perf_counter()
                with _Scale(cloud.process.pid) as scale:
                    size = move()
                seconds = time.perf_counter() - began
                yield Figure(
                    f"{title} of a database of {megabytes} MB",
                    f"{size / 1e6:,.0f} MB in {seconds:.0f} s, memory grew by {scale.growth / MIB:.0f} MiB",
                    f"≤ {MAX_GROWTH_BYTES // MIB} MiB more than before",
                    scale.growth <= MAX_GROWTH_BYTES and size >= megabytes * 1e6 * 0.9,
                    {"bytes": size, "seconds": seconds, "growth_bytes": scale.growth},
                )
            sql = {"sql": "SELECT count(*) AS count FROM t"}
            there = cloud.call(client, "POST", f"{one}/query", json=sql)[0]["results"][0]["count"]
            if there != rows:
                raise RuntimeError(f"{there} of {rows} rows arrived")
    finally:
        cloud.stop()


def _write_dump(file: Path, megabytes: int) -> tuple[str, int]:
    """Write a dump; return its MD5 and how many rows it holds."""
    digest, rows = hashlib.md5(usedforsecurity=False), 0
    with file.open("wb") as out:
        text = b"CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);\n"
        while True:
            digest.update(text)
            if out.write(text) and out.tell() >= megabytes * 1e6:
                return digest.hexdigest(), rows
            values = ",".join(f"({rows + number},'{'x' * ROW_BYTES}')" for number in range(50))
            rows += 50
            text = f"INSERT INTO t VALUES {values};\n".encode()


def _import(cloud: Cloud, client: httpx.Client, one: str, file: Path, etag: str) -> int:
    path = f"{one}/import"
    begun = cloud.call(client, "POST", path, json={"action": "init", "etag": etag})
    with file.open("rb") as content:
        verified(client.put(begun["upload_url"], content=content))
    ingest = {"action": "ingest", "etag": etag, "filename": begun["filename"]}
    told = cloud.call(client, "POST", path, json=ingest)
    while told["status"] != "complete":
        poll = {"action": "poll", "current_bookmark": told["at_bookmark"]}
        told = _progress(cloud.call(client, "POST", path, json=poll))
    return file.stat().st_size


def _export(cloud: Cloud, client: httpx.Client, one: str) -> int:
    told = cloud.call(client, "POST", f"{one}/export", json={"output_format": "polling"})
    while told["status"] != "complete":
        again = {"output_format": "polling", "current_bookmark": told["at_bookmark"]}
        told = _progress(cloud.call(client, "POST", f"{one}/export", json=again))
    size = 0
    with client.stream("GET", told["result"]["signed_url"]) as answer:
        for piece in answer.iter_bytes():
            size += len(piece)
    return size


def _progress(told: dict[str, Any]) -> dict[str, Any]:
    if told.get("status") == "error" or told.get("success") is False:
        raise RuntimeError(str(told.get("error")))
    return told


class _Scale:
    """Watches how much memory a process has in use while something goes on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = resident_bytes(pid)
        self._most = self._before
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @property
    def growth(self) -> int:
        """How many bytes more than before it had at its largest."""
        return self._most - self._before

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._most = max(self._most, resident_bytes(self._pid))

    def __enter__(self) -> _Scale:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
