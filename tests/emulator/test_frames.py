"""Frames without a mask, as wrangler's first one, become frames with one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from clodo.emulator.tails.frames import MaskedFrames

frames = st.lists(
    st.tuples(st.binary(max_size=300) | st.sampled_from([b"x" * 126, b"x" * 65535, b"x" * 65536]), st.booleans()),
    min_size=1,
    max_size=5,
)


@given(frames, st.data())
def test_any_stream_in_any_chunks_becomes_masked(sent: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    """Whatever is masked or not, and however it is cut up, every frame comes out masked with its content."""
    stream = b"".join(Frame(Opcode.BINARY, payload).serialize(mask=mask) for payload, mask in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    masked = MaskedFrames()

    out = b"".join(masked.feed(piece) for piece in pieces)

    assert read_masked(out) == [payload for payload, _ in sent]


def read_masked(stream: bytes) -> list[bytes]:
    """Read frames with the WebSocket library's own parser, which insists on the mask."""
    position = 0
    found = []

    def read_exact(count: int):  # type: ignore[no-untyped-def]
        nonlocal position
        piece = stream[position : position + count]
        assert len(piece) == count
        position += count
        return piece
        yield

    while position < len(stream):
        parser = Frame.parse(read_exact, mask=True)
        try:
            next(parser)
        except StopIteration as end:
            found.append(bytes(end.value.data))
    return found
