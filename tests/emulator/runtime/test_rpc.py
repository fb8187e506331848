"""Reading Cap'n Proto's messages, and telling when sessions are over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clodo.emulator.runtime.rpc import Frames, Holding, Kind, Sessions, finish, read_frame

# What workerd 1.20261117 wrote for one session: a Bootstrap, and three calls of which each is made on the one before.
BOOTSTRAP = (
    "00000000 05000000 00000000 01000100 08000000 00000000 00000000 01000100 00000000 00000000 00000000 00000000"
)
ENTRANCE = (
    "00000000 0b000000 00000000 01000100 03000000 00000000 00000000 02000100 00000000 00000000 00000000 00000000"
    "00000000 00000200 03000000 00000000 01000000 17000000 04000000 01000100 01000000 00000000 00000000 00000000"
)
CALL_ON_ANSWER = (
    "00000000 14000000 00000000 01000100 02000000 00000000 00000000 03000300 01000000 00000000 e3ad34a3 cd488087"
    "00000000 00000000 20000000 01000100 04000000 00000200 00000000 00000000 04000000 01000300 00000000 00000000"
    "00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 01000000 00000000 01000100"
    "00000000 00000000 01000000 07000000 00000000 01000000"
)
CALL_ON_ENTRANCE = (
    "00000000 11000000 00000000 01000100 02000000 00000000 00000000 03000300 00000000 00000000 e3ad34a3 cd488087"
    "00000000 00000000 20000000 01000100 04000000 00000200 00000000 00000000 04000000 01000300 00000000 00000000"
    "00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000"
)
RETURN_OF_CALL = (
    "00000000 0c000000 00000000 01000100 03000000 00000000 00000000 02000100 01000000 01000000 00000000 00000000"
    "00000000 00000200 04000000 00000100 05000000 17000000 03000000 00000000 04000000 01000100 01000000 01000000"
    "00000000 00000000"
)
FINISH = "00000000 04000000 00000000 01000100 04000000 00000000 00000000 01000000 01000000 03000000"
RELEASE = "00000000 04000000 00000000 01000100 06000000 00000000 00000000 01000000 01000000 01000000"
RESOLVE = (
    "00000000 07000000 00000000 01000100 05000000 00000000 00000000 01000100 03000000 00000000 00000000 01000100"
    "01000000 02000000 00000000 00000000"
)
ALL = [bytes.fromhex(text) for text in (BOOTSTRAP, ENTRANCE, CALL_ON_ANSWER, RETURN_OF_CALL, FINISH, RELEASE, RESOLVE)]


def test_workerds_messages_are_read() -> None:
    """Each kind of message is read as workerd meant it."""
    call, entrance, returned, resolve = (
        read_frame(bytes.fromhex(text)) for text in (CALL_ON_ANSWER, CALL_ON_ENTRANCE, RETURN_OF_CALL, RESOLVE)
    )

    assert (call.kind, call.question, call.on_answer, call.on_capability) == (Kind.CALL, 1, 0, None)
    assert (entrance.question, entrance.on_answer, entrance.on_capability) == (0, None, 0)
    assert (returned.kind, returned.question, returned.exports, returned.gives_back) == (Kind.RETURN, 1, (1,), False)
    assert (resolve.kind, resolve.exports) == (Kind.RESOLVE, (2,))
    assert read_frame(bytes.fromhex(RELEASE)).released == (1, 1)


def test_our_finish_is_workerds() -> None:
    """The one message that we write ourselves is the same as workerd's."""
    assert finish(1) == bytes.fromhex(FINISH)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_messages_are_cut_alike_however_they_arrive(sizes: list[int]) -> None:
    """The same bytes give the same messages in whatever pieces they arrive."""
    stream = b"".join(ALL)
    frames = Frames()
    found = []
    position = 0
    for size in sizes:
        found += frames.feed(stream[position : position + size])
        position += size
    found += frames.feed(stream[position:])

    assert [frame.data for frame in found] == ALL


@given(st.sampled_from(ALL), st.data())
def test_broken_messages_are_of_no_kind_but_break_nothing(message: bytes, data: st.DataObject) -> None:
    """A message with a broken byte beyond its table is read as something, or as nothing; never as an error."""
    position = data.draw(st.integers(8, len(message) - 1))
    broken = bytearray(message)
    broken[position] = data.draw(st.integers(0, 255))

    assert isinstance(read_frame(bytes(broken)).kind, int)


def test_a_session_is_over_when_all_is_finished_and_given_back() -> None:
    """A session is over when every question is answered and forgotten and every capability but the entrance is back."""
    sessions = Sessions()
    sessions.note_inward(read_frame(bytes.fromhex(BOOTSTRAP)))
    sessions.note_outward(read_frame(bytes.fromhex(ENTRANCE)))
    sessions.note_inward(read_frame(bytes.fromhex(CALL_ON_ANSWER)))
    sessions.note_inward(read_frame(finish(0)))
    steps = [sessions.are_over]
    sessions.note_outward(read_frame(bytes.fromhex(RETURN_OF_CALL)))
    sessions.note_inward(read_frame(bytes.fromhex(FINISH)))
    steps.append(sessions.are_over)
    sessions.note_inward(read_frame(bytes.fromhex(RELEASE)))
    steps.append(sessions.are_over)

    assert steps == [False, False, True]
    assert sessions.entrance == 0
    assert sessions.begin_again().are_over


def test_only_new_sessions_are_held_back() -> None:
    """While old sessions end, calls on the entrance and what follows from them wait; the rest passes."""
    holding = Holding(entrance=0)
    old = read_frame(bytes.fromhex(CALL_ON_ANSWER))
    new = read_frame(bytes.fromhex(CALL_ON_ENTRANCE))

    taken = [holding.take(old), holding.take(new), holding.take(old), holding.take(read_frame(finish(1)))]

    assert taken == [False, True, True, True]
    assert not holding.take(read_frame(finish(7)))
