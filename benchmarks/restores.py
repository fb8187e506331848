"""A restored database against age, zstd and sqlite3 on the same archive, and the memory that takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.clouds import Cloud
from benchmarks.emulator import Figure

MIB = 2**20
MIN_SPEED_RATIO = 0.5
MAX_MEMORY_BYTES = 150 * MIB

Say = Callable[[str], None]


def measure(
    say: Say,
    cloud: Cloud,
    client: httpx.Client,
    root: Path,
    identity: Path,
    *,
    parts: Sequence[str],
    rows: int,
    size: int,
) -> list[Figure]:
    """
    Restore the newest snapshot of the workspace *root* into a new database.

    Args:
        identity: File with the private key that opens the archive.

        parts: SHA-256 of the archive's parts.

        rows, size: Of the database in it.
    """
    by_hand = _by_hand(root, identity, parts, rows)
    say(f"age -d | zstd -d | sqlite3: {by_hand:.1f} s")
    restored = _restore(cloud, root, identity)
    say(
        f"restored: {restored['seconds']:.1f} s ({restored['compared_seconds']:.1f} s of it compared),"
        f" {restored['peak_bytes'] / MIB:.0f} MiB"
    )
    cloud.call(client, "DELETE", f"/d1/database/{restored['id']}")
    if restored["rows"] != rows:
        raise RuntimeError(f"{restored['rows']:,} rows came back, and not {rows:,}")
    ratio = by_hand / restored["seconds"]
    return [
        Figure(
            f"that snapshot's D1 of {size / MIB:,.0f} MiB restored and compared: speed against age, zstd and sqlite3",
            f"{ratio:.2f} × ({restored['seconds']:.1f} s against {by_hand:.1f} s,"
            f" {restored['compared_seconds']:.1f} s of it compared)",
            f"≥ {MIN_SPEED_RATIO} ×",
            ratio >= MIN_SPEED_RATIO,
            {
                "ratio": ratio,
                "seconds": restored["seconds"],
                "compared_seconds": restored["compared_seconds"],
                "by_hand_seconds": by_hand,
                "bytes": size,
            },
        ),
        Figure(
            "memory of that restore's process at its peak",
            f"{restored['peak_bytes'] / MIB:.0f} MiB",
            f"≤ {MAX_MEMORY_BYTES // MIB} MiB",
            restored["peak_bytes"] <= MAX_MEMORY_BYTES,
            {"peak_bytes": restored["peak_bytes"]},
        ),
    ]


def _by_hand(root: Path, identity: Path, parts: Sequence[str], rows: int) -> float:
    """Restore as docs/backups.md shows without Clodo; return the seconds."""
    files = [str(root / "vault" / "objects" / part[:2] / part) for part in parts]
    target = root / "by-hand.db"
    began = time.perf_counter()
    subprocess.run(
        [
            "sh",
            "-ec",
            'identity="$1"; target="$2"; shift 2; cat "$@" | age -d -i "$identity" | zstd -d -q | sqlite3 "$target"',
            "sh",
            str(identity),
            str(target),
            *files,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - began
    counted = subprocess.run(
        ["sqlite3", str(target), "SELECT count(*) FROM orders"], check=True, capture_output=True, text=True
    )
    target.unlink()
    if int(counted.stdout) != rows:
        raise RuntimeError("sqlite3 did not restore the rows")
    return seconds


def _restore(cloud: Cloud, root: Path, identity: Path) -> dict[str, Any]:
    said = {
        "root": str(root),
        "identity": identity.read_text().strip(),
        "url": f"{cloud.edge_url}/client/v4",
        "account_id": cloud.state["account_id"],
        "token": cloud.state["token"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.restore_child"],
        input=json.dumps(said),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the restore failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def raise_unless_installed() -> None:
    """
    Look for what the way by hand needs.

    Raises:
        RuntimeError: Something isn't installed.
    """
    if missing := [name for name in ("age", "zstd", "sqlite3") if shutil.which(name) is None]:
        raise RuntimeError(f"{', '.join(missing)} must be installed")
