"""Reading what processes print."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import uvloop

from clodo.emulator.runtime.pipes import PipeReader


def run(main) -> None:
    """Run it on the loop that the embedded cloud has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_all_of_a_pipe_is_read_and_its_end_is_told_once() -> None:
    """More than a chunk comes whole, then the end; closing it again changes nothing."""
    told: list[bytes] = []
    written = bytes(range(256)) * 1024

    async def main() -> None:
        reading, writing = os.pipe()
        ended = asyncio.Event()
        reader = PipeReader(reading, asyncio.get_running_loop(), told.append, ended.set)

        def write() -> None:
            with os.fdopen(writing, "wb") as end:
                end.write(written)

        await asyncio.to_thread(write)
        await ended.wait()
        reader.close()

    run(main)

    assert b"".join(told) == written


def test_nothing_is_told_after_it_was_closed() -> None:
    """Neither what still comes nor the end."""
    told: list[object] = []

    async def main() -> None:
        reading, writing = os.pipe()
        reader = PipeReader(reading, asyncio.get_running_loop(), told.append, lambda: told.append("end"))
        os.write(writing, b"late")
        reader.close()
        os.close(writing)
        await asyncio.sleep(0)

    run(main)

    assert told == []


def test_files_of_other_threads_stay_open(tmp_path: Path) -> None:
    """A descriptor is closed once: closed twice, it would be a file that another thread has just opened."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    done = threading.Event()
    failures: list[OSError] = []

    def read_files() -> None:
        while not done.is_set():
            try:
                with file.open("rb", buffering=0) as opened:
                    opened.read(1)
                    opened.read(1)
            except OSError as error:
                failures.append(error)
                return

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(3000):
            reading, writing = os.pipe()
            ended = asyncio.Event()
            reader = PipeReader(reading, loop, lambda data: None, ended.set)
            os.close(writing)
            if number % 10 == 0:
                await ended.wait()
            reader.close()
            await asyncio.sleep(0)

    threads = [threading.Thread(target=read_files) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        run(main)
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert failures == []
