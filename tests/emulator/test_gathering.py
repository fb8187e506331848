"""What is written to a connection in one go is sent in one go, in order, and never lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.gathering import MAX_HELD_BYTES, GatheringTransport


class Wire(asyncio.Transport):
    """A transport that only remembers what it was told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def write_eof(self) -> None:
        self.told.append("eof")

    def get_write_buffer_size(self) -> int:
        return 0


async def test_head_and_body_go_out_together() -> None:
    """Nothing is sent before the loop's next turn, and then all of it at once."""
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())

    transport.write(b"head")
    transport.writelines([b"", b"bo", b"dy"])
    before = (list(wire.told), transport.get_write_buffer_size())
    await asyncio.sleep(0)

    assert before == ([], 8)
    assert wire.told == [b"headbody"]


@pytest.mark.parametrize(("ending", "word"), [("close", "close"), ("abort", "abort"), ("write_eof", "eof")])
async def test_an_end_comes_after_what_was_written(ending: str, word: str) -> None:
    """Closing, cutting and saying goodbye send what is held first, once."""
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"last")

    getattr(transport, ending)()
    await asyncio.sleep(0)

    assert wire.told == [b"last", word]


async def test_much_is_not_held() -> None:
    """More than 64 KiB goes on at once, so that a slow reader is noticed while it is being written."""
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())

    transport.write(b"x")
    transport.write(b"y" * MAX_HELD_BYTES)

    assert wire.told == [b"x" + b"y" * MAX_HELD_BYTES]
    assert transport.get_write_buffer_size() == 0


@given(st.lists(st.one_of(st.binary(max_size=3), st.just(None)), max_size=12))
def test_nothing_is_lost_or_swapped(steps: list[bytes | None]) -> None:
    """Whatever is written, and whenever the loop has its turn (None), the bytes are the same in the same order."""
    wire = Wire()

    async def run() -> None:
        transport = GatheringTransport(wire, asyncio.get_running_loop())
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            else:
                transport.write(step)
        await asyncio.sleep(0)

    asyncio.run(run())

    assert b"".join(one for one in wire.told if isinstance(one, bytes)) == b"".join(step or b"" for step in steps)
