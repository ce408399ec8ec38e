"""Frames on the two pipes between a router and a process that runs a transformation.

To the process: an event as JSON. From it, in the same order: what became of each. The first frame from it says whether
its function could be loaded.
"""

from __future__ import annotations

import struct

import msgspec

__all__ = ["HEADER", "Failed", "Frames", "Outcome", "Transformed", "decode", "frame"]

HEADER = struct.Struct(">I")
MOST = 256 << 20
"""Bytes of a frame that are taken for one: more is something else that writes to the pipe."""


class Transformed(msgspec.Struct, frozen=True, tag="t", array_like=True):
    """The events that were made of an event, as JSON: none if it was dropped."""

    events: tuple[bytes, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="f", array_like=True):
    """Why no event could be made of an event."""

    reason: str


Outcome = Transformed | Failed
_decoder = msgspec.msgpack.Decoder(Outcome)
_encode = msgspec.msgpack.Encoder().encode


def frame(content: bytes | Outcome) -> bytes:
    """Return a frame with these bytes, or with an outcome."""
    data = content if isinstance(content, bytes) else _encode(content)
    return HEADER.pack(len(data)) + data


def decode(content: bytes) -> Outcome:
    """Return the outcome in a frame."""
    return _decoder.decode(content)


class Frames:
    """Takes frames out of the bytes of a pipe, as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the contents of the frames that are complete.

        Raises:
            ValueError: these are no frames.
        """
        self._buffer += data
        found: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer, at)
            if size > MOST:
                raise ValueError("what comes through the pipe is no frame")
            end = at + HEADER.size + size
            if len(self._buffer) < end:
                break
            found.append(bytes(self._buffer[at + HEADER.size : end]))
            at = end
        del self._buffer[:at]
        return found
