"""uvicorn's connection, with the limits that a server needs when it does not know its clients."""

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
"""Lines of a request's headers, and of these and its trailers together."""
_PIECE = 4096
"""Bytes of a chunked body that are parsed in one go."""


class Budget:
    """Bytes that all connections together may hold: heads, requests that wait for their turn, unsent answers.

    Args:
        most: how many.
    """

    def __init__(self, most: int = 64 << 20) -> None:
        self.left = most


class Connection(HttpToolsProtocol):
    """A connection on which a request is read when the one before it has been answered.

    uvicorn takes all requests that a client sends ahead, trailers without end, and waits for ever for a client that
    does not read its answers. So bytes are passed to its parser up to the end of a message and no further; the rest
    is held back, and nothing more is read from the socket meanwhile. Heads and chunked messages both end with an empty
    line, so that no piece needs to go past one; other bodies have a length.

    Args:
        budget: what all connections may hold.
        config: uvicorn's, as the others are.
    """

    waiting_since: float | None = None
    """When a request began to come that is not complete yet, in seconds; at first, when the connection was made."""
    idle_since: float | None = None
    """When the last answer went out, if no request has come since."""
    unsent_since: float | None = None
    """When the client stopped reading, as far as the system's buffers show it."""
    _message_over = False
    _chunked = False
    _body_left = 0
    _head = 0
    """Bytes without a byte of body among them, since the message began or since the last one of its body."""
    _lines = 0
    _seam = b""
    """The end of what was parsed last: an empty line may have come in two reads."""
    _held: tuple[bytes, int] | None = None
    """What waits for the answer to the request before it: bytes, and where in them it begins."""
    _unsent = 0
    """Bytes of answers, when the client stopped reading."""
    _counted = 0
    """What this one holds of the budget."""

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
        if self._held is not None:  # a transport may have read once more before it paused
            held, at = self._held
            self._hold(held[at:] + data, 0)
        elif self._is_busy():
            self._hold(data, 0)
        else:
            self._read(data, 0)

    def end_if_over(self, now: float, *, timeout: float, keep_alive: float) -> None:
        """End it if the client has taken `timeout` seconds to send a request or to read, or sends nothing any more."""
        if self.transport.is_closing() and self.unsent_since is None:
            self.unsent_since = now  # what is left to send keeps a closed connection open
        if _before(self.waiting_since, now - timeout) or _before(self.unsent_since, now - timeout):
            self._abort()
        elif _before(self.idle_since, now - keep_alive):
            self.transport.close()

    # -- what comes -------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        """Whether the last request is complete, and its answer is not."""
        return self._message_over and not self.cycle.response_complete

    def _read(self, data: bytes, at: int) -> None:
        """Parse bytes from `at` up to the end of a message, and hold the rest."""
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
        """Count what begins at `at` as head, and return where it ends: after the first empty line, or with the data.

        In a chunked body all is head that is no chunk's data, and trailers are headers.
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
        """Pass a piece to the parser; return whether it could be parsed."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return self._ignore_upgrade()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return False
        return True

    def _ignore_upgrade(self) -> bool:
        """Go on in HTTP/1.1 (RFC 9110 §7.8): the parser has left it, and gets the head once more without the offer."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self.send_400_response("This is no proxy.")
            return False
        lines = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        head = [b"%b %b HTTP/%b" % (method, self.url, version), *lines, b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        return self._parse(memoryview(b"\r\n".join(head)))

    def _hold(self, data: bytes, at: int) -> None:
        """Keep what came too early, and read no more."""
        self._held = data, at
        self.flow.pause_reading()
        cast("_Flow", self.flow).holding = True
        self._count()
        if not self._is_busy():
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Read what was held, one message in one turn of the event loop: other connections have theirs between."""
        if self._held is None or self._is_busy() or self.flow.write_paused or self.transport.is_closing():
            return
        (data, at), self._held = self._held, None
        cast("_Flow", self.flow).holding = False
        self.flow.resume_reading()
        self._read(data, at)

    def _count(self) -> None:
        """Take from the budget what this connection holds now. One for which there is no room ends."""
        holds = self._unsent + (len(self._held[0]) if self._held else self._head)
        self._budget.left += self._counted - holds
        self._counted = holds
        if holds and self._budget.left < 0 and not self.transport.is_closing():
            self._abort()

    def _abort(self) -> None:
        """End it with a reset: else the system would keep what the client does not read, for minutes."""
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
                self._body_left = int(value)  # of more digits than Python reads: an error, which the parser passes on
            elif name == b"transfer-encoding":
                self._chunked = True
        self._begin()

    def _begin(self) -> None:
        """Begin to answer a request whose head is complete."""
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
        """Do as uvicorn does, without a timer for each answer: to make and stop one takes 5 µs."""
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
    """Reading, which does not go on while a connection holds something back, whoever asks for it."""

    holding = False

    def resume_reading(self) -> None:
        if not self.holding:
            super().resume_reading()


_EMPTY_LINE = b"\n\r\n"
_MOST_LINES = MAX_LINES + 2
"""With the request's own line and the empty one."""


def _before(began: float | None, latest: float) -> bool:
    return began is not None and began < latest
