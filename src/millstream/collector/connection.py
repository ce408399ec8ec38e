"""uvicorn's connection with limits on headers, memory and time, for clients that are not trusted."""

from __future__ import annotations

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET
from time import monotonic
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 1 << 16
"""Bytes of a request's headers, and of the trailers after a chunked body."""
MAX_LINES = 100
"""Lines of a request's headers; also of headers and trailers together."""
_PIECE = 4096
"""Bytes of a chunked body that are parsed at a time."""


class Budget:
    """A memory budget for all connections: headers, requests that wait for their turn, unsent answers.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = 64 << 20) -> None:
        self.left = most


class Connection(HttpToolsProtocol):
    """A connection that reads a request only after the previous one is answered.

    By itself uvicorn reads all pipelined requests and unlimited trailers, and waits indefinitely for a client that does
    not read its answers. Here bytes are parsed up to the end of a message and no further; the rest is held back and
    reading is paused. Headers and chunked messages both end with an empty line, so a piece never needs to pass one;
    other bodies have a length.

    Args:
        budget: the memory budget of all connections.
        config: uvicorn's, with its other arguments.
    """

    waiting_since: float | None = None
    """When the first byte of an incomplete request arrived, in seconds; at first, when the connection was made."""
    idle_since: float | None = None
    """When the last answer was sent, if no request has followed."""
    unsent_since: float | None = None
    """When the client stopped reading, as far as the system's buffers show it."""
    _message_over = False
    _chunked = False
    _body_left = 0
    _head = 0
    """Bytes of headers and framing since the message began, or since the last byte of its body."""
    _lines = 0
    _seam = b""
    """The last bytes parsed: an empty line may be split over two reads."""
    _held: tuple[bytes, int] | None = None
    """Bytes that wait for the answer to the previous request, and the offset at which they begin."""
    _unsent = 0
    """Bytes of answers, when the client stopped reading."""
    _counted = 0
    """Bytes that this connection takes from the budget."""

    def __init__(self, *, budget: Budget, **config: Any) -> None:
        super().__init__(**config)
        self._budget = budget

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.waiting_since = monotonic()
        super().connection_made(transport)
        self.flow = _Flow(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = None
        self._head = self._unsent = 0
        self._count()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._held is not None:  # a transport may have read once more before it was paused
            held, at = self._held
            self._hold(held[at:] + data, 0)
        elif self._is_busy():
            self._hold(data, 0)
        else:
            self._read(data, 0)

    def end_if_over(self, now: float, *, timeout: float, keep_alive: float) -> None:
        """Close it if a request or the reading of an answer takes over `timeout` seconds, or if it is idle too long."""
        if self.transport.is_closing() and self.unsent_since is None:
            self.unsent_since = now  # unsent bytes keep a closed connection open
        if _before(self.waiting_since, now - timeout) or _before(self.unsent_since, now - timeout):
            self._abort()
        elif _before(self.idle_since, now - keep_alive):
            self.transport.close()

    # -- what comes -------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        """Whether the last request is complete, and its answer is not."""
        return self._message_over and not self.cycle.response_complete

    def _read(self, data: bytes, at: int) -> None:
        """Parse bytes from `at` up to the end of a message, and hold back the rest."""
        if self.waiting_since is None:
            self.waiting_since = monotonic()
        self.idle_since = None
        self._message_over = False
        view, size = memoryview(data), len(data)
        while at < size and not self._message_over:
            end = at + self._body_left if self._body_left else self._end_of_head(data, at)
            if self._head > MAX_HEAD or self._lines > _MOST_LINES:
                self.send_400_response("The headers are too large.")
                return
            if not self._parse(view[at:end]):
                return
            at = end
        if self._message_over:
            self._head = self._lines = 0
            if at < size and not self.transport.is_closing():
                self._hold(data, at)
        elif self._head or self._counted:
            self._count()

    def _end_of_head(self, data: bytes, at: int) -> int:
        """Count the bytes from `at` as headers; return where they end: after the first empty line, or with the data.

        In a chunked body everything but chunk data counts as headers, trailers too.
        """
        seam = self._seam
        if seam and (found := (seam + data[at : at + 2]).find(_EMPTY_LINE)) >= 0:
            end = at + found + len(_EMPTY_LINE) - len(seam)
        elif (found := data.find(_EMPTY_LINE, at)) >= 0:
            end = found + len(_EMPTY_LINE)
        else:
            end = len(data)
        if self._chunked and end > at + _PIECE:
            found, end = -1, at + _PIECE
        self._seam = b"" if found >= 0 else (seam + data[max(at, end - 2) : end])[-2:]
        self._head += end - at
        self._lines = len(self.headers) if self._chunked else self._lines + data.count(b"\n", at, end)
        return end

    def _parse(self, piece: memoryview) -> bool:
        """Feed a piece to the parser; return whether it was valid."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return self._ignore_upgrade()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return False
        return True

    def _ignore_upgrade(self) -> bool:
        """Stay on HTTP/1.1 (RFC 9110 §7.8): feed the parser the head again, without the Upgrade header."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self.send_400_response("This is not a proxy.")
            return False
        lines = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        head = [b"%b %b HTTP/%b" % (method, self.url, version), *lines, b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        return self._parse(memoryview(b"\r\n".join(head)))

    def _hold(self, data: bytes, at: int) -> None:
        """Hold back bytes that arrived early, and pause reading."""
        self._held = data, at
        self.flow.pause_reading()
        cast("_Flow", self.flow).holding = True
        self._count()
        if not self._is_busy():
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Parse the bytes held back, one message per turn of the event loop, so that other connections get theirs."""
        if self._held is None or self._is_busy() or self.flow.write_paused or self.transport.is_closing():
            return
        (data, at), self._held = self._held, None
        cast("_Flow", self.flow).holding = False
        self.flow.resume_reading()
        self._read(data, at)

    def _count(self) -> None:
        """Update this connection's share of the budget; close the connection if it does not fit."""
        holds = self._unsent + (len(self._held[0]) if self._held else self._head)
        self._budget.left += self._counted - holds
        self._counted = holds
        if holds and self._budget.left < 0 and not self.transport.is_closing():
            self._abort()

    def _abort(self) -> None:
        """Reset the connection: after a plain close the system keeps unread bytes for minutes."""
        socket: Any = self.transport.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # -- what the parser finds --------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._body_left = 0
        self._chunked = False
        for name, value in self.headers:
            if name == b"content-length":
                self._body_left = int(value)  # too many digits for Python: an error, which the parser reports
            elif name == b"transfer-encoding":
                self._chunked = True
        self._begin()

    def _begin(self) -> None:
        """Start the answer to a request whose head is complete."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head = 0
        if self._body_left:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._message_over = True
        self._chunked = False
        self.waiting_since = None
        super().on_message_complete()

    # -- what goes out ----------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Do as uvicorn does, without a timer for each answer."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self.idle_since = monotonic()
        if self._held is not None:
            self.loop.call_soon(self._go_on)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unsent_since = monotonic()
        self._unsent = self.transport.get_write_buffer_size()
        self._count()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unsent_since = None
        self._unsent = 0
        self._count()
        if self._held is not None:
            self.loop.call_soon(self._go_on)


class _Flow(FlowControl):
    """Flow control under which reading stays paused while the connection holds bytes back."""

    holding = False

    def resume_reading(self) -> None:
        if not self.holding:
            super().resume_reading()


_EMPTY_LINE = b"\n\r\n"
_MOST_LINES = MAX_LINES + 2
"""With the request line and the empty line."""


def _before(began: float | None, latest: float) -> bool:
    return began is not None and began < latest
