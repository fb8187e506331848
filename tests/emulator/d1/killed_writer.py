"""A process that writes to a database and says so, until somebody kills it. Not a test; `test_store` runs it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from clodo.emulator.d1.limits import Limits
from clodo.emulator.d1.store import Databases
from clodo.emulator.runtime.ports import Statement


async def main(folder: Path, account: str, restores: bool) -> None:
    """Insert rows one after the other, printing number and bookmark of each when it is acknowledged."""
    databases = Databases(folder, limits=Limits(generation_bytes=100_000, restores=10**9))
    database = databases.find(account, "shop")
    ((start,),) = (await databases.query(database, [Statement("SELECT count(*) FROM t")]))[0][0].rows
    number = int(start)
    while True:
        _, bookmark = await databases.query(
            database, [Statement("INSERT INTO t VALUES(?, zeroblob(?))", [number, number % 7 * 1000])]
        )
        sys.stdout.write(f"{number} {bookmark}\n")
        sys.stdout.flush()
        number += 1
        if restores and number % 20 == 0:
            # To where it is: a new generation with the same rows.
            await databases.restore(database, bookmark=bookmark)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "restores"))
