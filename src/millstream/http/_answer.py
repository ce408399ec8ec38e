"""One HTTP/1.1 answer, read from its bytes (RFC 9112), and taken for one only if it is whole.

It is told the bytes as they come, and never waits. The standard library reads the same in ten times as many steps, and
takes an answer that breaks off within its headers for a whole one: a 200 that nobody has said to its end.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

from urllib3._collections import HTTPHeaderDict  # where every version has it

from ._common import MAX_BODY

__all__ = ["Answer"]

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers, or of a chunk's line."""

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")


class Answer:
    """What a server answers to one POST.

    Raises, where it is given bytes:
        HTTPException: they are no answer, or not a whole one.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers = HTTPHeaderDict()
        self.done = False
        self.reusable = False
        """Whether the connection may be used again."""
        self._buffer = bytearray()
        self._body = bytearray()
        self._left: int | None = None  # bytes of the body, or of its chunk; None: to the end of the connection
        self._step: Callable[[], bool] = self._read_head  # False: it needs more bytes

    @property
    def body(self) -> bytes:
        """The body, unpacked, as far as it is worth reading."""
        if self.headers.get("Content-Encoding", "").lower() in {"gzip", "x-gzip", "deflate"}:
            try:
                return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(self._body), MAX_BODY)
            except zlib.error as exc:
                raise HTTPException(f"the body of the answer cannot be unpacked: {exc}") from exc
        return bytes(self._body[:MAX_BODY])

    def feed(self, data: bytes) -> None:
        """More bytes; none at all are the end of the connection."""
        if not data:
            self._end()
            return
        self._buffer += data
        while not self.done and self._step():
            pass
        if self.done and self._buffer:  # whatever that is, it is no part of this answer
            self.reusable = False

    def _end(self) -> None:
        if self._step == self._read_head:
            began = bool(self.status or self._buffer)
            raise RemoteDisconnected(
                "the connection was closed within the headers of the answer"
                if began
                else "Remote end closed connection without response"
            )
        if self._left is not None:
            raise IncompleteRead(bytes(self._body), self._left)
        self.done = True

    def _read_head(self) -> bool:
        found = _HEAD_END.search(self._buffer)
        if found is None:
            if not b"HTTP/1.".startswith(self._buffer[:7]):
                raise BadStatusLine(repr(bytes(self._buffer[:40])))
            self._check_length()
            return False
        first, *lines = bytes(self._buffer[: found.start()]).replace(b"\r\n", b"\n").split(b"\n")
        del self._buffer[: found.end()]
        status = _STATUS.fullmatch(first)
        if status is None:
            raise BadStatusLine(repr(first[:40]))
        self.status = int(status[2])
        self.headers = _fields(lines)
        if self.status == 101:
            raise BadStatusLine("101: nobody has asked for another protocol")
        if self.status >= 200:  # else it is only said that the answer is coming
            self._begin_body(persistent=status[1] == b"1")
        return True

    def _begin_body(self, *, persistent: bool) -> None:
        """How the body's end is known: RFC 9112 §6.3."""
        connection = {each.strip().lower() for each in self.headers.get("Connection", "").split(",")}
        self.reusable = "close" not in connection if persistent else "keep-alive" in connection
        coding, length = self.headers.get("Transfer-Encoding"), self.headers.get("Content-Length")
        if self.status in {204, 304}:
            self.done = True
        elif coding is not None:
            if coding.strip().lower() != "chunked":
                raise HTTPException(f"the answer has the transfer coding {coding[:40]!r}")
            self._left, self._step = 0, self._read_chunk_line
        elif length is not None:
            lengths = {each.strip() for each in length.split(",")}  # repeated headers come with commas
            number = lengths.pop()
            if lengths or not (number.isascii() and number.isdigit()):
                raise HTTPException(f"the answer has the length {length[:40]!r}")
            self._left, self._step = int(number), self._read_body
            self.done = not self._left
        else:
            self.reusable, self._step = False, self._read_body

    def _read_body(self) -> bool:
        self._take()
        self.done = self.done or self._left == 0
        return False

    def _take(self) -> None:
        """What has come of the body, or of its chunk."""
        taken = self._buffer[: self._left]
        del self._buffer[: len(taken)]
        self._body += taken
        if self._left is not None:
            self._left -= len(taken)
        if len(self._body) > MAX_BODY:  # it goes on and on: not worth keeping the connection
            self.done, self.reusable = True, False

    def _read_chunk_line(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = _SIZE.fullmatch(line)
        if size is None:
            raise HTTPException(f"the answer has a chunk of length {line[:40]!r}")
        self._left = int(size[1], 16)
        self._step = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        self._take()
        if self._left or self.done:
            return False
        line = self._line()
        if line is None:
            return False
        if line:
            raise HTTPException("a chunk of the answer is longer than it says")
        self._step = self._read_chunk_line
        return True

    def _read_trailer(self) -> bool:
        line = self._line()
        self.done = line == b""
        return line is not None

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            self._check_length()
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _check_length(self) -> None:
        if len(self._buffer) > MAX_HEAD:
            raise HTTPException("the head of the answer has no end")


def _fields(lines: list[bytes]) -> HTTPHeaderDict:
    headers = HTTPHeaderDict()
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise HTTPException(f"the answer has the header {line[:40]!r}")
        headers.add(field[1].decode("ascii"), field[2].decode("latin-1"))
    return headers
