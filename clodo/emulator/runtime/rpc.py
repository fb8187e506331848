"""
Calls between Workers: a pipe for workerd's Cap'n Proto connections that can move to another process in mid-life.

workerd opens one connection a service binding and keeps it for all its RPC sessions, while the version it leads to may
be replaced at any time. Sessions share nothing but the capability that they start from, the connection's entrance. So
the pipe changes over between sessions: it holds the messages of new sessions back until the old ones have ended, then
connects to the new process, asks it for its entrance, and passes them there. The caller notices nothing.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol

#: How long new sessions wait for old ones to end before they follow them to the old process after all.
MAX_HOLD_SECONDS = 2.0
#: A message may not be larger; workerd's own limit for RPC arguments is 32 MiB.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024


class Kind(IntEnum):
    """Messages of the RPC protocol (`rpc.capnp`) that tell when a session begins and ends."""

    CALL = 2
    RETURN = 3
    FINISH = 4
    RESOLVE = 5
    RELEASE = 6
    BOOTSTRAP = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One message, and what of it matters here.

    Attributes:
        kind: A `Kind`, or another number of the protocol's; -1 if it can't be read.

        question: Which question it asks, answers or forgets.

        on_answer: Of a call: the question on whose answer it is made.

        on_capability: Of a call: the capability of the other end that it is made on.

        exports: Capabilities of the sender's that it hands over.

        released: The capability of the other end that the sender gives back, and how many references.

        gives_back: Whether what came with the question (a Return) or with its answer (a Finish) goes back with this.

        is_last: Whether nothing more is needed: a Return that wants no Finish, or a Call that wants no Return.
    """

    data: bytes
    kind: int
    question: int | None = None
    on_answer: int | None = None
    on_capability: int | None = None
    exports: tuple[int, ...] = ()
    released: tuple[int, int] | None = None
    gives_back: bool = False
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class _Struct:
    """A struct within a message: where its data and its pointers are."""

    segment: int
    fields: int
    field_words: int
    pointers: int
    pointer_words: int


class _Message:
    """Reads Cap'n Proto's encoding, as far as is needed here (capnproto.org/encoding.html)."""

    def __init__(self, data: bytes) -> None:
        count: int = struct.unpack_from("<I", data)[0] + 1
        start = 4 + 4 * count
        start += start % 8
        self.data = data
        self._segments = []
        for words in struct.unpack_from(f"<{count}I", data, 4):
            self._segments.append((start, words * 8))
            start += words * 8

    def _at(self, segment: int, position: int, size: int) -> int:
        start, length = self._segments[segment]
        if not 0 <= position <= length - size:
            raise ValueError("a pointer leads out of its segment")
        return start + position

    def _pointer(self, segment: int, position: int) -> tuple[int, int, int, int] | None:
        """Follow far pointers; return segment and position of the content, and the two halves that describe it."""
        low, high = struct.unpack_from("<II", self.data, self._at(segment, position, 8))
        if low & 3 == 2:
            pad_segment, pad = high, (low >> 3) * 8
            if not low & 4:
                return self._pointer(pad_segment, pad)
            far_low, segment = struct.unpack_from("<II", self.data, self._at(pad_segment, pad, 8))
            low, high = struct.unpack_from("<II", self.data, self._at(pad_segment, pad + 8, 8))
            return segment, (far_low >> 3) * 8, low, high
        if low == high == 0:
            return None
        offset = (low >> 2) - (1 << 30 if low & 0x80000000 else 0)
        return segment, position + 8 + offset * 8, low, high

    def struct_at(self, segment: int, position: int) -> _Struct | None:
        found = self._pointer(segment, position)
        if found is None or found[2] & 3 != 0:
            return None
        segment, start, _, sizes = found
        words, pointers = sizes & 0xFFFF, sizes >> 16
        self._at(segment, start, (words + pointers) * 8)
        return _Struct(segment, start, words, start + words * 8, pointers)

    def pointer(self, parent: _Struct, index: int) -> _Struct | None:
        """Return the struct that pointer number *index* of *parent* leads to."""
        if index >= parent.pointer_words:
            return None
        return self.struct_at(parent.segment, parent.pointers + index * 8)

    def number(self, of: _Struct, offset: int, size: int) -> int:
        """Return an unsigned field of *size* bytes; 0 where the sender's schema has none."""
        if offset + size > of.field_words * 8:
            return 0
        start = self._at(of.segment, of.fields + offset, size)
        return int.from_bytes(self.data[start : start + size], "little")

    def exports_of(self, payload: _Struct | None) -> tuple[int, ...]:
        """Return the capabilities in a payload's table that its sender hosts or promises."""
        if payload is None or payload.pointer_words < 2:
            return ()
        found = self._pointer(payload.segment, payload.pointers + 8)
        if found is None or found[2] & 3 != 1:
            return ()
        segment, start, _, _ = found
        low, sizes = struct.unpack_from("<II", self.data, self._at(segment, start, 8))
        words, pointers = sizes & 0xFFFF, sizes >> 16
        exports: list[int] = []
        for index in range(low >> 2):
            place = start + 8 + index * (words + pointers) * 8
            exports += self.export_of(_Struct(segment, place, words, place + words * 8, pointers))
        return tuple(exports)

    def export_of(self, descriptor: _Struct | None) -> tuple[int, ...]:
        """Return the capability of a `CapDescriptor` if its sender hosts (1) or promises (2) it."""
        if descriptor is None or self.number(descriptor, 0, 2) not in (1, 2):
            return ()
        return (self.number(descriptor, 4, 4),)


def read_frame(data: bytes) -> Frame:
    """Read what `Frame` says about one whole message."""
    try:
        return _read_frame(data)
    except (ValueError, IndexError, struct.error):
        return Frame(data, -1)


def _read_frame(data: bytes) -> Frame:
    message = _Message(data)
    root = message.struct_at(0, 0)
    if root is None:
        return Frame(data, -1)
    kind = message.number(root, 0, 2)
    content = message.pointer(root, 0)
    if content is None or kind not in tuple(Kind):
        return Frame(data, kind)
    number = message.number(content, 0, 4)
    match kind:
        case Kind.BOOTSTRAP:
            return Frame(data, kind, number)
        case Kind.FINISH:
            return Frame(data, kind, number, gives_back=not message.number(content, 4, 1) & 1)
        case Kind.RELEASE:
            return Frame(data, kind, released=(number, message.number(content, 4, 4)))
        case Kind.RESOLVE:
            is_capability = message.number(content, 4, 2) == 0
            return Frame(data, kind, exports=message.export_of(message.pointer(content, 0)) if is_capability else ())
        case Kind.RETURN:
            flags = message.number(content, 4, 1)
            has_results = message.number(content, 6, 2) == 0
            exports = message.exports_of(message.pointer(content, 0)) if has_results else ()
            return Frame(data, kind, number, exports=exports, gives_back=not flags & 1, is_last=bool(flags & 2))
    target = message.pointer(content, 0)
    on_answer = on_capability = None
    if target is not None and message.number(target, 4, 2) == 0:
        on_capability = message.number(target, 0, 4)
    elif target is not None and (answer := message.pointer(target, 0)) is not None:
        on_answer = message.number(answer, 0, 4)
    return Frame(
        data,
        kind,
        number,
        on_answer=on_answer,
        on_capability=on_capability,
        exports=message.exports_of(message.pointer(content, 1)),
        is_last=bool(message.number(content, 16, 1) & 4),
    )


def finish(question: int) -> bytes:
    """Return a message that forgets *question* but keeps the capabilities of its answer."""
    return struct.pack("<IIIHHQIHHII", 0, 4, 0, 1, 1, Kind.FINISH, 0, 1, 0, question, 3)


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """
        Take bytes as they come; return the messages that are now whole.

        Raises:
            ValueError: This is not Cap'n Proto.
        """
        self._buffer += data
        frames = []
        while (size := self._size()) is not None and len(self._buffer) >= size:
            frames.append(read_frame(bytes(self._buffer[:size])))
            del self._buffer[:size]
        return frames

    def _size(self) -> int | None:
        if len(self._buffer) < 8:
            return None
        segments = struct.unpack_from("<I", self._buffer)[0] + 1
        if segments > 512:
            raise ValueError("not a Cap'n Proto stream")
        table = 4 + 4 * segments
        if len(self._buffer) < table:
            return None
        size: int = table + table % 8 + 8 * sum(struct.unpack_from(f"<{segments}I", self._buffer, 4))
        if size > MAX_MESSAGE_BYTES:
            raise ValueError("a message beyond all limits")
        return size


@dataclass(slots=True)
class _Question:
    """A question of one end's, until both have said all about it."""

    parameters: tuple[int, ...]
    needs_return: bool
    needs_finish: bool = True
    results: tuple[int, ...] = ()
    results_go_back: bool = False


@dataclass(slots=True)
class End:
    """
    What one end of a connection has open.

    Attributes:
        questions: That it has asked.

        exports: References to its capabilities that the other end has.
    """

    questions: dict[int, _Question] = field(default_factory=dict)
    exports: Counter[int] = field(default_factory=Counter)

    def give(self, capabilities: tuple[int, ...]) -> None:
        """Hand over one more reference to each."""
        self.exports.update(capabilities)

    def take_back(self, capability: int, count: int = 1) -> None:
        """Get references back."""
        self.exports[capability] -= count
        if self.exports[capability] <= 0:
            del self.exports[capability]


@dataclass(slots=True)
class Sessions:
    """
    What is going on in a connection.

    Attributes:
        bootstrap: The caller's first message, and number of the capability it got: where all sessions start from.
    """

    caller: End = field(default_factory=End)
    callee: End = field(default_factory=End)
    bootstrap: Frame | None = None
    entrance: int | None = None

    @property
    def are_over(self) -> bool:
        """Whether nothing is open but the entrance for the next session."""
        return (
            not self.caller.questions
            and not self.callee.questions
            and not self.caller.exports
            and all(capability == self.entrance for capability in self.callee.exports)
        )

    def note_inward(self, frame: Frame) -> None:
        """Take note of a message of the caller's."""
        if frame.kind == Kind.BOOTSTRAP and self.bootstrap is None:
            self.bootstrap = frame
        self._note(frame, self.caller, self.callee)

    def note_outward(self, frame: Frame) -> None:
        """Take note of a message of the callee's."""
        is_entrance = (
            frame.kind == Kind.RETURN and self.bootstrap is not None and frame.question == self.bootstrap.question
        )
        if is_entrance and self.entrance is None and len(frame.exports) == 1:
            self.entrance = frame.exports[0]
        self._note(frame, self.callee, self.caller)

    def begin_again(self) -> Sessions:
        """Return what is open right after a move: the entrance."""
        again = Sessions(bootstrap=self.bootstrap, entrance=self.entrance)
        if self.entrance is not None:
            again.callee.give((self.entrance,))
        return again

    @staticmethod
    def _note(frame: Frame, sender: End, receiver: End) -> None:
        match frame.kind:
            case Kind.CALL | Kind.BOOTSTRAP:
                assert frame.question is not None
                sender.questions[frame.question] = _Question(frame.exports, needs_return=not frame.is_last)
                sender.give(frame.exports)
            case Kind.RETURN:
                assert frame.question is not None
                question = receiver.questions.get(frame.question)
                if question is None:
                    return
                question.needs_return = False
                if frame.gives_back:
                    for capability in question.parameters:
                        receiver.take_back(capability)
                if not question.results_go_back:
                    sender.give(frame.exports)
                    question.results = frame.exports
                if frame.is_last or not question.needs_finish:
                    del receiver.questions[frame.question]
            case Kind.FINISH:
                assert frame.question is not None
                question = sender.questions.get(frame.question)
                if question is None:
                    return
                question.needs_finish = False
                if frame.gives_back:
                    question.results_go_back = True
                    for capability in question.results:
                        receiver.take_back(capability)
                if not question.needs_return:
                    del sender.questions[frame.question]
            case Kind.RESOLVE:
                sender.give(frame.exports)
            case Kind.RELEASE if frame.released is not None:
                receiver.take_back(*frame.released)


class Holding:
    """
    Tells the messages of new sessions from those of old ones, while the old ones are to end.

    Args:
        entrance: The capability that sessions start from.
    """

    def __init__(self, entrance: int | None) -> None:
        self.held: list[Frame] = []
        self._entrance = entrance
        self._questions: set[int] = set()

    def take(self, frame: Frame) -> bool:
        """Keep *frame* if it belongs to a session that began after the holding; say whether it did."""
        belongs = (
            frame.kind == Kind.BOOTSTRAP
            or (frame.kind == Kind.CALL and frame.on_capability is not None and frame.on_capability == self._entrance)
            or (frame.kind == Kind.CALL and frame.on_answer in self._questions)
            or (frame.kind == Kind.FINISH and frame.question in self._questions)
        )
        if belongs:
            self.held.append(frame)
            if frame.question is not None:
                self._questions.add(frame.question)
        return belongs


class Destination(Protocol):
    """The process that a connection leads to."""

    @property
    def socket(self) -> Path:
        """Where it listens."""

    def hold(self) -> None:
        """Count a session: the process must not be ended."""

    def release(self) -> None:
        """Count it no more."""


class Pipe:
    """
    One connection of a caller's.

    Args:
        reader, writer: The caller's end.

        head: Its CONNECT request, passed on as it is.

        connect: Chooses the process for the sessions from now on.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        connect: Callable[[], Awaitable[Destination]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head
        self._connect = connect
        self._destination: Destination | None = None
        self._is_held = False
        self._callee: asyncio.StreamWriter | None = None
        self._outward: asyncio.Task[None] | None = None
        self._holding: Holding | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self.sessions = Sessions()

    async def run(self) -> None:
        """Pass messages until either end is gone."""
        try:
            self._writer.write(await self._open())
            await self._pass_inward()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # The caller sees a lost connection, as it would between two data centres.
        finally:
            self.close()

    def repoint(self) -> None:
        """Move to where `connect` says, as soon as the open sessions have ended."""
        if self._holding is None:
            self._holding = Holding(self.sessions.entrance)
            self._changed.set()
            self._patience = asyncio.get_running_loop().call_later(MAX_HOLD_SECONDS, self._give_in)

    def close(self) -> None:
        """Close both ends."""
        self._writer.close()
        if self._patience is not None:
            self._patience.cancel()
        self._leave_callee()

    def _leave_callee(self) -> None:
        if self._outward is not None:
            self._outward.cancel()
        if self._callee is not None:
            self._callee.close()
            self._callee = None
        self.sessions = self.sessions.begin_again()
        self._count()

    def _count(self) -> None:
        """Tell the destination whether sessions are open."""
        if self._destination is not None and self._is_held == self.sessions.are_over:
            self._is_held = not self._is_held
            if self._is_held:
                self._destination.hold()
            else:
                self._destination.release()

    async def _open(self) -> bytes:
        """
        Connect to the callee; return what it answered to the CONNECT request.

        Raises:
            ConnectionError: It doesn't answer, or another way than the one before.
        """
        self._destination = await self._connect()
        reader, writer = await asyncio.open_unix_connection(str(self._destination.socket))
        writer.write(self._head)
        answer = await reader.readuntil(b"\r\n\r\n")
        if self.sessions.bootstrap is not None:
            try:
                await self._enter(reader, writer, self.sessions.bootstrap)
            except BaseException:
                writer.close()
                raise
        self._callee = writer
        self._outward = asyncio.create_task(self._pass_outward(reader))
        return answer

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bootstrap: Frame) -> None:
        """Ask a new process for its entrance, which must have the number that the caller knows."""
        writer.write(bootstrap.data)
        frames = Frames()
        while True:
            data = await reader.read(2**16)
            if not data:
                raise ConnectionResetError("the callee ended")
            for frame in frames.feed(data):
                if frame.kind != Kind.RETURN or frame.exports != (self.sessions.entrance,):
                    raise ConnectionResetError("the callee answers in another way than the one before")
                assert frame.question is not None
                writer.write(finish(frame.question))
                return

    async def _pass_outward(self, reader: asyncio.StreamReader) -> None:
        frames = Frames()
        try:
            while data := await reader.read(2**16):
                for frame in frames.feed(data):
                    self.sessions.note_outward(frame)
                self._count()
                self._writer.write(data)
                await self._writer.drain()
                if self._holding is not None and self.sessions.are_over:
                    self._changed.set()
        except (OSError, ValueError):
            pass  # The same as its end: the callee is gone.
        if self.sessions.are_over:
            self.repoint()  # Nobody has noticed yet; the next session finds the process that is there then.
        else:
            self._writer.close()

    async def _pass_inward(self) -> None:
        frames = Frames()
        reading = asyncio.create_task(self._reader.read(2**16))
        try:
            while True:
                changing = asyncio.create_task(self._changed.wait())
                await asyncio.wait((reading, changing), return_when=asyncio.FIRST_COMPLETED)
                changing.cancel()
                self._changed.clear()
                if reading.done():
                    data = reading.result()
                    if not data:
                        return
                    for frame in frames.feed(data):
                        self._take_inward(frame)
                    self._count()
                    reading = asyncio.create_task(self._reader.read(2**16))
                if self._holding is not None and self._holding.held and self.sessions.are_over:
                    await self._move()
                if self._callee is not None:
                    await self._callee.drain()
        finally:
            reading.cancel()

    def _take_inward(self, frame: Frame) -> None:
        if self._holding is None or not self._holding.take(frame):
            self._pass_on(frame)

    def _pass_on(self, frame: Frame) -> None:
        self.sessions.note_inward(frame)
        if self._callee is not None:
            self._callee.write(frame.data)

    async def _move(self) -> None:
        held = self._end_holding()
        self._leave_callee()
        await self._open()
        for frame in held:
            self._take_inward(frame)
        self._count()

    def _end_holding(self) -> list[Frame]:
        held = [] if self._holding is None else self._holding.held
        self._holding = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return held

    def _give_in(self) -> None:
        """Let the sessions that wait follow those that don't end, and try again later."""
        for frame in self._end_holding():
            self._pass_on(frame)
        self._count()
        self.repoint()
