"""Requests to the Tracking API, passed from the connection to the collector without ASGI.

For small requests ASGI is a large part of the work (docs/decisions/0024): a second description of the request,
middleware, two messages and two packets for the answer. Unusual requests go through ASGI.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from .asgi import HTTPAnswer, error_response, headers_of
from .connection import Connection
from .judge import ROUTES

if TYPE_CHECKING:
    from starlette.types import Receive, Scope


class Api(Protocol):
    """Answers requests to the Tracking API: the collector."""

    def take(
        self, path: str, headers: Mapping[str, str], body: bytes, done: Callable[[HTTPAnswer], object]
    ) -> None: ...

    async def tracking_api(
        self, method: str, path: str, headers: Mapping[str, str], receive: Receive
    ) -> HTTPAnswer: ...


_STOPPING = HTTPAnswer(503)
_FAILED = error_response(500, "internal_error", "internal error: see the collector's log", {"connection": "close"})
_PATHS = {f"/v1/{name}".encode(): f"/v1/{name}" for name in ROUTES}


class Direct(Connection):
    """A connection that passes requests to the Tracking API to the collector.

    A request that arrives in one piece, as nearly all do, is answered without a task. The others have a task that
    waits for the rest.

    Args:
        api: answers the requests.
        connection: as for any connection.
    """

    _begun: _Exchange | None = None
    """The incomplete request whose bytes are being parsed."""

    def __init__(self, *, api: Api, **connection: Any) -> None:
        super().__init__(**connection)
        self._api = api

    def _read(self, data: bytes, at: int) -> None:
        super()._read(data, at)
        if (exchange := self._begun) is not None:
            self._begun = None
            task = self.loop.create_task(exchange.run(self._api))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)

    def _begin(self) -> None:
        parser: Any = self.parser
        path = _PATHS.get(self.url)
        if path is None or not self._is_usual(parser):
            super()._begin()
            return
        exchange = self.cycle = self._begun = _Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        exchange.path = path

    def on_body(self, body: bytes) -> None:
        if self._begun is not None and len(body) == self._body_left:
            self._begun.whole = body  # nothing waits for it yet: no need to join it
            self._body_left = 0
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        exchange, self._begun = self._begun, None
        if exchange is not None:
            exchange.take(self._api)

    def _is_usual(self, parser: Any) -> bool:
        last: Any = self.cycle
        most = self.limit_concurrency or math.inf
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and (last is None or last.response_complete)
            and not self.flow.write_paused  # else the client does not read its answers
            and len(self.connections) < most
            and len(self.tasks) < most
        )


class _Exchange(RequestResponseCycle):
    """One request and its answer. uvicorn fills in the body, and reads from it when the answer is complete."""

    path = ""
    usual: ClassVar[_Written | None] = None
    whole: bytes | None = None
    """The body, if it arrived in one piece with the head."""

    def take(self, api: Api) -> None:
        """Answer the request, which is complete."""
        body = bytes(self.body) if self.whole is None else self.whole
        try:
            api.take(self.path, headers_of(cast("Scope", self.scope)), body, self._answer)
        except Exception:
            self.logger.exception("an answer failed")
            self._answer(_FAILED)

    async def run(self, api: Api) -> None:
        """Wait for the rest of the request, and answer it."""
        headers, receive = headers_of(cast("Scope", self.scope)), cast("Receive", self.receive)
        try:
            answer = await api.tracking_api("POST", self.path, headers, receive)
        except asyncio.CancelledError:  # only uvicorn cancels, and only when it stops
            answer = _STOPPING
        except Exception:
            self.logger.exception("an answer failed")
            answer = _FAILED
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        self._answer(answer)

    def _answer(self, answer: HTTPAnswer) -> None:
        """Write the answer at once: each write is a packet of its own, and wakes the client."""
        if self.disconnected:
            return
        usual = _Exchange.usual
        if usual and self.keep_alive and answer is usual.answer and self.default_headers is usual.default_headers:
            text = usual.text
        else:
            text = self._text(answer)
        self.response_started = True
        self.transport.write(text)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _text(self, answer: HTTPAnswer) -> bytes:
        headers = [*self.default_headers, *answer.encoded_headers()]
        closing = (b"connection", b"close")
        if not self.keep_alive and closing not in headers:
            headers.append(closing)
        self.keep_alive = closing not in headers
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        text = b"".join((STATUS_LINE[answer.status], head, b"\r\n", answer.body))
        if self.keep_alive:
            _Exchange.usual = _Written(answer, self.default_headers, text)
        return text


class _Written(NamedTuple):
    """A cached answer as bytes: nearly all are equal, until the Date header changes."""

    answer: HTTPAnswer
    default_headers: list[tuple[bytes, bytes]]
    text: bytes
