"""
Calls between Workers: a pipe for workerd's Cap'n Proto connections that can move to another process in mid-life.

workerd opens one connection a service binding and keeps it for all its RPC sessions, while the version it leads to may
be replaced at any time. Each session starts with a Bootstrap message and shares nothing with the others, so the pipe
changes over between sessions: it holds the messages of new sessions back until the old ones have ended, then connects
to the new process and passes them there. The caller notices nothing.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Protocol

#: How long new sessions wait for old ones to end before they follow them to the old process after all.
MAX_HOLD_SECONDS = 2.0
#: A message may not be larger; workerd's own limit for RPC arguments is 32 MiB.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024


class Kind(IntEnum):
    """Messages of the RPC protocol (`rpc.capnp`) that tell when a session begins and ends."""

    ABORT = 1
    CALL = 2
    RETURN = 3
    FINISH = 4
    RELEASE = 6
    BOOTSTRAP = 8


class Frame(NamedTuple):
    """
    One message.

    Attributes:
        kind: A `Kind`, or another number of the protocol's.

        question: Which question it asks, answers or forgets; None for the rest.

        about: Which question's result a call is made on; None if it is made on a capability.

        is_last: Whether the other end says nothing more about the question: a Return that needs no Finish, or a Call
            that needs no Return.
    """

    data: bytes
    kind: int
    question: int | None = None
    about: int | None = None
    is_last: bool = False


def read_frame(data: bytes) -> Frame:
    """Read what `Frame` says about one whole message. Whatever is unusual about its layout is of kind -1."""
    segments = struct.unpack_from("<I", data)[0] + 1
    table = 4 + 4 * segments
    body = table + table % 8
    root = _struct_at(data, body)
    if root is None:
        return Frame(data, -1)
    fields, _, pointers = root
    kind = struct.unpack_from("<H", data, fields)[0]
    if kind not in (Kind.CALL, Kind.RETURN, Kind.FINISH, Kind.BOOTSTRAP):
        return Frame(data, kind)
    content = _struct_at(data, pointers)
    if content is None:
        return Frame(data, -1)
    content_fields, content_words, content_pointers = content
    question = struct.unpack_from("<I", data, content_fields)[0] if content_words else 0
    about = None
    if kind == Kind.CALL and (target := _struct_at(data, content_pointers)) is not None:
        target_fields, target_words, target_pointers = target
        is_promised = target_words and struct.unpack_from("<H", data, target_fields + 4)[0] == 1
        if is_promised and (answer := _struct_at(data, target_pointers)) is not None:
            about = struct.unpack_from("<I", data, answer[0])[0] if answer[1] else 0
    is_last = False
    if kind == Kind.RETURN and content_words:
        is_last = bool(data[content_fields + 4] & 2)  # noFinishNeeded
    elif kind == Kind.CALL and content_words > 2:
        is_last = bool(data[content_fields + 16] & 4)  # onlyPromisePipeline
    return Frame(data, kind, question, about, is_last)


def _struct_at(data: bytes, position: int) -> tuple[int, int, int] | None:
    """Follow the struct pointer at *position*: offset of its data, words of data, offset of its pointers."""
    if position + 8 > len(data):
        return None
    low, data_words, _ = struct.unpack_from("<iHH", data, position)
    if low & 3 != 0:
        return None
    start = position + 8 + (low >> 2) * 8
    if not 0 <= start <= len(data) - data_words * 8:
        return None
    return start, data_words, start + data_words * 8


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
class Sessions:
    """
    What is going on in a connection, by the questions that both ends have open.

    Attributes:
        asked: The caller's questions that it has not yet forgotten (Finish) or that are not yet answered (Return).

        called_back: The same of the callee's.

        is_fresh: Whether nothing but leftovers of old sessions has passed since the connection was moved.
    """

    asked: dict[int, set[Kind]] = field(default_factory=dict)
    called_back: dict[int, set[Kind]] = field(default_factory=dict)
    is_fresh: bool = False

    @property
    def are_over(self) -> bool:
        """Whether no session is open."""
        return not self.asked and not self.called_back

    def note_inward(self, frame: Frame) -> None:
        """Take note of a message of the caller's."""
        self._note(frame, self.asked, self.called_back)

    def note_outward(self, frame: Frame) -> None:
        """Take note of a message of the callee's."""
        self._note(frame, self.called_back, self.asked)

    @staticmethod
    def _note(frame: Frame, own: dict[int, set[Kind]], others: dict[int, set[Kind]]) -> None:
        if frame.question is None:
            return
        if frame.kind in (Kind.CALL, Kind.BOOTSTRAP):
            own[frame.question] = {Kind.FINISH} if frame.is_last else {Kind.RETURN, Kind.FINISH}
            return
        questions = own if frame.kind == Kind.FINISH else others
        awaited = questions.get(frame.question, set())
        awaited.discard(Kind(frame.kind))
        if not awaited or frame.is_last:
            questions.pop(frame.question, None)


class Holding:
    """Tells the messages of new sessions from those of old ones, while the old ones are to end."""

    def __init__(self) -> None:
        self.held: list[Frame] = []
        self._questions: set[int] = set()

    def take(self, frame: Frame) -> bool:
        """Keep *frame* if it belongs to a session that began after the holding; say whether it did."""
        belongs = (
            frame.kind == Kind.BOOTSTRAP
            or (frame.kind == Kind.CALL and frame.about in self._questions)
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
            self._holding = Holding()
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
        self.sessions = Sessions()
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
        """Connect to the callee; return what it answered to the CONNECT request."""
        self._destination = await self._connect()
        reader, writer = await asyncio.open_unix_connection(str(self._destination.socket))
        writer.write(self._head)
        answer = await reader.readuntil(b"\r\n\r\n")
        self._callee = writer
        self._outward = asyncio.create_task(self._pass_outward(reader))
        return answer

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
        if self._holding is not None and self._holding.take(frame):
            return
        if self.sessions.is_fresh:
            if frame.kind != Kind.BOOTSTRAP:
                return  # A leftover of a session with the process before: nothing to do with this one.
            self.sessions.is_fresh = False
        self._pass_on(frame)

    def _pass_on(self, frame: Frame) -> None:
        self.sessions.note_inward(frame)
        if self._callee is not None:
            self._callee.write(frame.data)

    async def _move(self) -> None:
        held = self._end_holding()
        self._leave_callee()
        self.sessions.is_fresh = True
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
