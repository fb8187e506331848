"""What Workers wrote to Analytics Engine: one SQLite file with a row a data point."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clodo.emulator.database import Database, Row
from clodo.emulator.runtime.ports import BindingRefused

#: https://developers.cloudflare.com/analytics/analytics-engine/limits/
MAX_BLOBS = MAX_DOUBLES = 20
MAX_BLOB_BYTES = 16 * 1024
MAX_INDEX_BYTES = 96

SCHEMA = """
CREATE TABLE points(
    number INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT NOT NULL, dataset TEXT NOT NULL,
    written_ms INTEGER NOT NULL, index1 TEXT NOT NULL, blobs TEXT NOT NULL, doubles TEXT NOT NULL
);
CREATE INDEX points_of_dataset ON points(account_id, dataset, written_ms);
"""


class Points:
    """
    The data points of every account.

    Args:
        clock: Tells Unix milliseconds.
    """

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._database = Database(path, SCHEMA)
        self._clock = clock

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    async def write(self, account_id: str, dataset: str, point: Mapping[str, Any]) -> None:
        """
        Keep one data point (``index1``, ``blob1``…, ``double1``…).

        Raises:
            BindingRefused: It is over Analytics Engine's limits.
        """
        index = str(point.get("index1") or "")
        blobs = [str(point.get(f"blob{number}") or "") for number in range(1, MAX_BLOBS + 1)]
        doubles = [float(point.get(f"double{number}") or 0) for number in range(1, MAX_DOUBLES + 1)]
        if len(index.encode()) > MAX_INDEX_BYTES:
            raise BindingRefused(400, f"index1 exceeds the limit of {MAX_INDEX_BYTES} bytes")
        if sum(len(blob.encode()) for blob in blobs) > MAX_BLOB_BYTES:
            raise BindingRefused(400, f"the blobs of a data point exceed the limit of {MAX_BLOB_BYTES} bytes")
        self._database.insert(
            "points",
            {
                "account_id": account_id,
                "dataset": dataset,
                "written_ms": self._clock(),
                "index1": index,
                "blobs": json.dumps(blobs),
                "doubles": json.dumps(doubles),
            },
        )

    def of_dataset(self, account_id: str, dataset: str) -> list[Row]:
        """
        Return a dataset's points, oldest first.

        Shape:
            ``{written_ms, index1, blobs: [20 strings], doubles: [20 numbers]}`` each.
        """
        rows = self._database.rows(
            "SELECT written_ms, index1, blobs, doubles FROM points"
            " WHERE account_id = ? AND dataset = ? ORDER BY number",
            (account_id, dataset),
        )
        return [{**row, "blobs": json.loads(row["blobs"]), "doubles": json.loads(row["doubles"])} for row in rows]
