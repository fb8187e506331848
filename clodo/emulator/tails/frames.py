"""
WebSocket frames as wrangler sends them: its first one is not masked, which RFC 6455 forbids and libraries refuse.

Cloudflare's own servers take it, so ours must. The bytes from the client are rewritten before the WebSocket library
sees them: a frame without mask gets the mask of four zero bytes, which changes nothing of its content.
"""

from __future__ import annotations

_MASK_BIT = 0x80
_ZERO_MASK = b"\0\0\0\0"


class MaskedFrames:
    """Turns a client's stream of frames into one in which every frame is masked, whatever the chunks it comes in."""

    def __init__(self) -> None:
        self._head = b""
        self._payload_left = 0

    def feed(self, data: bytes) -> bytes:
        """Return what may be passed on of the stream, now that *data* has come."""
        out = bytearray()
        position = 0
        while position < len(data):
            if self._payload_left:
                piece = data[position : position + self._payload_left]
                out += piece
                position += len(piece)
                self._payload_left -= len(piece)
                continue
            self._head += data[position : position + 1]
            position += 1
            if len(self._head) == _head_size(self._head):
                out += self._masked_head()
        return bytes(out)

    def _masked_head(self) -> bytes:
        head, self._head = self._head, b""
        is_masked = bool(head[1] & _MASK_BIT)
        extended = head[2 : 2 + _length_bytes(head)]
        self._payload_left = int.from_bytes(extended, "big") if extended else head[1] & 0x7F
        if is_masked:
            return head
        return bytes([head[0], head[1] | _MASK_BIT]) + extended + _ZERO_MASK


def _length_bytes(head: bytes) -> int:
    return {126: 2, 127: 8}.get(head[1] & 0x7F, 0)


def _head_size(head: bytes) -> int:
    if len(head) < 2:
        return 2
    return 2 + _length_bytes(head) + (4 if head[1] & _MASK_BIT else 0)
