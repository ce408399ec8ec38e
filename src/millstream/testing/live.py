"""A collector in this process, on a port of its own, with injected faults."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec

from millstream._public import publish
from millstream.collector import Collector
from millstream.collector.asgi import HTTPAnswer, headers_of
from millstream.settings import SettingsArgs
from millstream.spec import REASONS
from millstream.types import Event

from . import faults
from .loopback import Loopback
from .receiver import Receiver, RejectedEvent, SeenRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


__all__ = ["LiveCollector", "collector"]

_API = "/v1/"


class LiveCollector(Receiver):
    """A collector for one test: real HTTP on a free port, in memory.

    Faults apply to the next requests to the Tracking API, in the order of the calls; later requests are handled
    normally.

    Args:
        settings: of `millstream.collector.Collector`: `keys`, `strict`, `rate_limit` …
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._collector = Collector.in_memory(**settings)
        self._faults: deque[faults.Fault] = deque()
        self._published = 0
        self._loopback = Loopback(self._app)

    @property
    def url(self) -> str:
        """The base URL, for the `host` of clients."""
        return self._loopback.url

    # -- faults -----------------------------------------------------------------------------------------

    def fail(self, status: int, *, times: int = 1, retry_after: int | None = None, body: bytes = b"") -> None:
        """Answer the next requests with this status, and store none of their events.

        Args:
            status: 503, 429, 401 …
            times: the number of requests.
            retry_after: whole seconds, as `Retry-After`.
            body: of the answer.
        """
        self._order(faults.refused(status, retry_after, body), times)

    def delay(self, seconds: float, *, times: int = 1) -> None:
        """Delay the next requests by this many seconds, then handle them normally."""
        self._order(faults.delayed(seconds), times)

    def stall(self, *, times: int = 1) -> None:
        """Never answer the next requests, nor store their events; wait until the client disconnects."""
        self._order(faults.stalled, times)

    def drop(self, *, times: int = 1) -> None:
        """Store the events of the next requests, and disconnect: the client cannot know, and sends them again."""
        self._order(faults.dropped, times)

    def garbage(self, data: bytes = b"\x00\x01 this is not HTTP\r\n\r\n", *, times: int = 1) -> None:
        """Answer the next requests with these bytes, which are not HTTP, and store none of their events."""
        self._order(faults.garbage(data), times)

    def clear(self) -> None:
        """Discard events, requests and pending faults. Message ids are still deduplicated."""
        with self._news:
            self._faults.clear()
            super().clear()

    def close(self) -> None:
        """Close the clients made here, disconnect all others, and release the port."""
        super().close()
        self._loopback.close()
        self._collector.close()

    def _order(self, fault: faults.Fault, times: int) -> None:
        with self._news:
            self._faults.extend(repeat(fault, times))

    # -- the server's side, on its thread ---------------------------------------------------------------

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(_API):
            await self._collector(scope, receive, send)
            return
        body = await _body(receive)
        if body is not None:
            with self._news:
                fault = self._faults.popleft() if self._faults else faults.none
            seen = SeenRequest(scope["method"], scope["path"], headers_of(scope), body)
            connection = self._loopback.connection(scope["client"])
            exchange = _Exchange(self._collector, scope, body, receive, send, connection, partial(self._note, seen))
            await fault(exchange)

    def _note(self, seen: SeenRequest, status: int) -> None:
        """Record a request, and the events that the collector published since the last one."""
        reason = "" if status == HTTPStatus.OK else "ordered by the test"
        found: dict[str, list[Any]] = {"stored": [], "duplicate": [], "rejected": []}
        for entry in self._collector.feed.entries(self._published):
            self._published = entry.id
            event = _event_of(entry.line)
            if entry.kind == "rejected":
                found["rejected"].append(RejectedEvent(entry.reason, REASONS[entry.reason], event))
            elif entry.kind in found:
                found[entry.kind].append(event)
            elif entry.kind == "refused":  # the whole request: this is its answer
                reason = str(event["message"])
        seen = replace(seen, status=status, reason=reason)
        self._add(seen, found["stored"], found["duplicate"], found["rejected"])

    def _reached_by(self) -> SettingsArgs:
        return {"host": self.url}


def _event_of(line: bytes) -> Event:
    """Decode an event; an empty dict if that fails, as for one rejected because of a number too large."""
    try:
        event: Event = msgspec.json.decode(line or b"{}")
    except msgspec.DecodeError:
        return {}
    return event


class _Exchange:
    """A request, for faults. It is recorded before its client can know the outcome."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        body: bytes,
        receive: Receive,
        send: Send,
        connection: asyncio.Transport | None,
        note: Callable[[int], None],
    ) -> None:
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        self._receive = receive
        self._send = send
        self._connection = connection
        self._note = note

    async def serve(self) -> None:
        await self._app(self._scope, self._once_more, self._noted)

    async def keep(self) -> None:
        await self._app(self._scope, self._once_more, _ignored)

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await HTTPAnswer(status, body, headers).send(self._noted)

    async def hang_up(self, data: bytes = b"") -> None:
        self._note(0)
        if self._connection is not None:
            self._connection.write(data)
            self._connection.close()
        await self._until_gone()

    async def wait(self) -> None:
        self._note(0)
        await self._until_gone()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _once_more(self) -> Message:
        """Replay the body, which was read already."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _noted(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._note(message["status"])
        await self._send(message)


async def _ignored(_: Message) -> None:
    """Discard an answer."""


async def _body(receive: Receive) -> bytes | None:
    """Read a request's whole body; None if its client has disconnected."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def collector(**settings: Any) -> LiveCollector:
    """Run a collector in this process, on a free port, until the end of the `with` statement.

    Args:
        settings: of `millstream.collector.Collector`: `keys`, `strict`, `rate_limit` …
    """
    return LiveCollector(**settings)


publish("millstream.testing", LiveCollector, collector)
