"""Backups against curl, zstd and age on the same rows, and back; memory; an unchanged second one; requests for KV."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyrage

from benchmarks import restores, rollbacks
from benchmarks.clouds import Cloud, start_cloud
from benchmarks.emulator import Figure
from clodo.cloudflare.budget import POLICY, Lane
from clodo.settings import Settings
from clodo.wrangler.toolchain import install

MIB = 2**20
BACKUP_LANE = POLICY.ceilings[Lane.BACKUP]
ROWS_PER_INSERT = 10_000
#: What a person would ask for at once who pages by hand.
ROWS_PER_CURL_PAGE = 5_000
MIN_SPEED_RATIO = 0.6
MAX_MEMORY_BYTES = 150 * MIB
MAX_UNCHANGED_SECONDS = 3.0
MAX_UNCHANGED_SHARE = 0.01
MAX_REQUESTS_OVER_FLOOR = 1.05
DATABASES = 50

#: Text of several lengths, whole and broken numbers, a blob, a date, NULLs: about 400 bytes a row.
TABLE = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, note TEXT, price REAL, amount INT,"
    " paid INT, picture BLOB, made TEXT)"
)
FILL = f"""
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS_PER_INSERT})
INSERT INTO orders(customer, note, price, amount, paid, picture, made)
SELECT 'customer ' || abs(random() % 100000), hex(randomblob(60 + abs(random() % 60))) || char(10) || 'it''s fine',
 abs(random() % 100000) / 100.0, abs(random() % 1000), iif(random() % 3, 1, NULL), randomblob(32),
 datetime(1700000000 + abs(random() % 90000000), 'unixepoch') FROM n
"""

Say = Callable[[str], None]


def measure(say: Say, *, megabytes: int, keys: int) -> list[Figure]:
    """Measure a database of *megabytes* and a namespace of *keys*."""
    _raise_unless_installed()
    restores.raise_unless_installed()
    toolchain = install(Settings.from_environment())
    with tempfile.TemporaryDirectory(prefix="clodo-benchmark-") as temporary:
        folder = Path(temporary)
        cloud = start_cloud(toolchain, folder / "cloud")
        try:
            with cloud.client() as client:
                return _measure(say, cloud, client, folder, megabytes=megabytes, keys=keys)
        finally:
            cloud.stop()


def _measure(say: Say, cloud: Cloud, client: httpx.Client, folder: Path, *, megabytes: int, keys: int) -> list[Figure]:
    identity = pyrage.x25519.Identity.generate()
    root = folder / "workspace"
    _workspace(root, str(identity.to_public()))
    database = cloud.call(client, "POST", "/d1/database", json={"name": "shop-db"})["uuid"]
    namespace = cloud.call(client, "POST", "/storage/kv/namespaces", json={"title": "shop-kv"})["id"]
    rows, size = _fill(say, cloud, client, database, megabytes)
    say(f"{rows:,} rows, {size / MIB:,.0f} MiB")
    by_hand = _by_hand(cloud, database, folder, rows, str(identity.to_public()))
    say(f"curl | zstd -3 | age: {by_hand:.1f} s")
    first = _back_up(cloud, root, "d1")
    say(f"clodo: {first['seconds']:.1f} s, {first['peak_bytes'] / MIB:.0f} MiB, {first['requests']} requests")
    second = _back_up(cloud, root, "d1")
    say(f"unchanged: {second['seconds']:.2f} s, {second['new_bytes']:,} bytes")
    key = folder / "identity.txt"
    key.write_text(f"{identity}\n")
    restored = restores.measure(say, cloud, client, root, key, parts=first["parts"], rows=rows, size=size)
    _fill_namespace(cloud, client, namespace, keys)
    kv = _back_up(cloud, root, "kv")
    floor = -(-keys // 1000) + -(-keys // 100)
    say(f"KV: {kv['requests']} requests for {keys:,} keys, floor {floor}; {kv['seconds']:.1f} s")
    many = _many_databases(cloud, client, root)
    for name in ("beside", "apart"):
        _workspace(folder / name, str(identity.to_public()))
    rolled_back = rollbacks.measure(say, cloud, client, folder / "beside", folder / "apart")
    say(f"{DATABASES} databases: {many['requests']} requests, {many['seconds']:.1f} s")
    if not all(found["is_good"] for found in (first, second, kv, many)) or first["rows"] != rows:
        raise RuntimeError("a snapshot is not a good one, so its seconds mean nothing")
    ratio = by_hand / first["seconds"]
    speed = size / MIB / first["seconds"]
    share = second["new_bytes"] / first["bytes"]
    return [
        Figure(
            f"D1 of {size / MIB:,.0f} MiB, {rows:,} rows: speed against curl, zstd -3 and age on the same rows",
            f"{ratio:.2f} × ({first['seconds']:.1f} s against {by_hand:.1f} s; {speed:.1f} MiB/s)",
            f"≥ {MIN_SPEED_RATIO} ×",
            ratio >= MIN_SPEED_RATIO,
            {"ratio": ratio, "seconds": first["seconds"], "by_hand_seconds": by_hand, "bytes": size},
        ),
        Figure(
            "memory of that backup's process at its peak",
            f"{first['peak_bytes'] / MIB:.0f} MiB",
            f"≤ {MAX_MEMORY_BYTES // MIB} MiB",
            first["peak_bytes"] <= MAX_MEMORY_BYTES,
            {"peak_bytes": first["peak_bytes"]},
        ),
        Figure(
            "the same again, unchanged",
            f"{second['seconds']:.2f} s, {share:.2%} of the bytes",
            f"≤ {MAX_UNCHANGED_SECONDS:.0f} s, ≤ {MAX_UNCHANGED_SHARE:.0%}",
            second["seconds"] <= MAX_UNCHANGED_SECONDS and share <= MAX_UNCHANGED_SHARE,
            {"seconds": second["seconds"], "share": share},
        ),
        *restored,
        Figure(
            f"KV of {keys:,} keys: requests against the API's floor",
            f"{kv['requests']} against {floor} ({kv['seconds']:.1f} s)",
            f"≤ {MAX_REQUESTS_OVER_FLOOR - 1:.0%} over it",
            kv["requests"] <= floor * MAX_REQUESTS_OVER_FLOOR,
            {"requests": kv["requests"], "floor": floor, "seconds": kv["seconds"]},
        ),
        Figure(
            f"{DATABASES} databases in parallel: requests against what the lowest lane has in five minutes",
            f"{many['requests']} against {BACKUP_LANE} ({many['seconds']:.1f} s)",
            f"≤ {BACKUP_LANE}",
            many["requests"] <= BACKUP_LANE,
            {"requests": many["requests"], "seconds": many["seconds"]},
        ),
        rolled_back,
    ]


def _many_databases(cloud: Cloud, client: httpx.Client, root: Path) -> dict[str, Any]:
    """Back up fifty databases with a thousand rows each, bound to one Worker."""
    bindings = []
    for number in range(DATABASES):
        name = f"customer-{number}"
        database = cloud.call(client, "POST", "/d1/database", json={"name": name})["uuid"]
        sql = f"{TABLE};{FILL.replace(f'i < {ROWS_PER_INSERT}', 'i < 1000')}"
        cloud.call(client, "POST", f"/d1/database/{database}/query", json={"sql": sql})
        bindings.append(f'[[d1_databases]]\nbinding = "DB{number}"\ndatabase_name = "{name}"\n')
    config = root / "shop" / "wrangler.toml"
    config.write_text("".join([config.read_text().partition("[[d1")[0], *bindings]))
    return _back_up(cloud, root, "d1")


def _workspace(root: Path, recipient: str) -> None:
    service = root / "shop"
    service.mkdir(parents=True)
    (service / "wrangler.toml").write_text(
        'name = "shop"\nmain = "index.js"\ncompatibility_date = "2026-01-01"\n'
        '[[d1_databases]]\nbinding = "DB"\ndatabase_name = "shop-db"\n'
        '[[kv_namespaces]]\nbinding = "KV"\n'
    )
    (service / "index.js").write_text("export default {};\n")
    (root / "portfolio.toml").write_text(f'[backups]\nrecipients = ["{recipient}"]\n')


def _fill(say: Say, cloud: Cloud, client: httpx.Client, database: str, megabytes: int) -> tuple[int, int]:
    path = f"/d1/database/{database}/query"
    cloud.call(client, "POST", path, json={"sql": TABLE})
    rows = size = 0
    while size < megabytes * MIB:
        (answer,) = cloud.call(client, "POST", path, json={"sql": FILL})
        size = int(answer["meta"]["size_after"])
        rows += ROWS_PER_INSERT
        if rows % (ROWS_PER_INSERT * 40) == 0:
            say(f"filled {size / MIB:,.0f} MiB")
    return rows, size


def _by_hand(cloud: Cloud, database: str, folder: Path, rows: int, recipient: str) -> float:
    """Fetch all rows by one curl that keeps its connection, through zstd and age into a file; return the seconds."""
    url = f"{cloud.edge_url}{cloud.root}/d1/database/{database}/raw"
    requests = []
    for start in range(0, rows, ROWS_PER_CURL_PAGE):
        sql = f"SELECT * FROM orders WHERE id > {start} ORDER BY id LIMIT {ROWS_PER_CURL_PAGE}"
        body = json.dumps({"sql": sql}).replace('"', '\\"')
        header = f"Authorization: {cloud.bearer['Authorization']}"
        requests.append(
            f'url = "{url}"\nheader = "{header}"\nheader = "Content-Type: application/json"\ndata = "{body}"\n'
        )
    config = folder / "curl.config"
    config.write_text("silent\nfail\n" + "next\nsilent\nfail\n".join(requests))
    target = folder / "by-hand.age"
    began = time.perf_counter()
    subprocess.run(
        ["sh", "-ec", 'curl -K "$0" | zstd -3 -q | age -r "$1" > "$2"', str(config), recipient, str(target)], check=True
    )
    seconds = time.perf_counter() - began
    if target.stat().st_size < rows * 50:
        raise RuntimeError("curl did not fetch the rows")
    target.unlink()
    return seconds


def _fill_namespace(cloud: Cloud, client: httpx.Client, namespace: str, keys: int) -> None:
    for start in range(0, keys, 10_000):
        pairs = [
            {"key": f"key-{number:07}", "value": f"value {number} " + "x" * (number % 200)}
            for number in range(start, min(start + 10_000, keys))
        ]
        cloud.call(client, "PUT", f"/storage/kv/namespaces/{namespace}/bulk", json=pairs)


def _back_up(cloud: Cloud, root: Path, kind: str) -> dict[str, Any]:
    said = {
        "root": str(root),
        "kinds": [kind],
        "url": f"{cloud.edge_url}/client/v4",
        "account_id": cloud.state["account_id"],
        "token": cloud.state["token"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.backup_child"],
        input=json.dumps(said),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the backup failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _raise_unless_installed() -> None:
    missing = [name for name in ("curl", "zstd", "age") if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"{', '.join(missing)} must be installed")
