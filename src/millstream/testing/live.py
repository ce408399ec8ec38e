"""A collector in this process, on a port of its own, that can be made to fail."""

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
    """A whole collector for one test: real HTTP on a free port, nothing on disk.

    Faults are for the next requests to the Tracking API, in the order in which they were ordered; after them all is
    well again.

    Args:
        settings: those of `millstream.collector.Collector`: `keys`, `strict`, `rate_limit` …
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._collector = Collector.in_memory(**settings)
        self._faults: deque[faults.Fault] = deque()
        self._published = 0
        self._loopback = Loopback(self._app)

    @property
    def url(self) -> str:
        """Its base URL: the `host` of clients."""
        return self._loopback.url

    # -- faults -----------------------------------------------------------------------------------------

    def fail(self, status: int, *, times: int = 1, retry_after: int | None = None, body: bytes = b"") -> None:
        """HTTPAnswer the next requests with this status, and keep nothing of them.

        Args:
            status: 503, 429, 401 …
            times: how many requests.
            retry_after: whole seconds, as `Retry-After`.
            body: of the answer.
        """
        self._order(faults.refused(status, retry_after, body), times)

    def delay(self, seconds: float, *, times: int = 1) -> None:
        """Let the next requests wait so many seconds, and then do with them as ever."""
        self._order(faults.delayed(seconds), times)

    def stall(self, *, times: int = 1) -> None:
        """Never answer the next requests, and keep nothing of them, until the client has enough or the test is over."""
        self._order(faults.stalled, times)

    def drop(self, *, times: int = 1) -> None:
        """Keep the events of the next requests, and hang up: the client cannot know that, and sends them again."""
        self._order(faults.dropped, times)

    def garbage(self, data: bytes = b"\x00\x01 this is no HTTP\r\n\r\n", *, times: int = 1) -> None:
        """HTTPAnswer the next requests with these bytes, which are no HTTP, and keep nothing of them."""
        self._order(faults.garbage(data), times)

    def clear(self) -> None:
        """Forget what came, and the faults that nobody has met yet. Which ids have come is not forgotten."""
        with self._news:
            self._faults.clear()
            super().clear()

    def close(self) -> None:
        """Close the clients that were made here, hang up on all others, and let go of the port."""
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
        """Note a request, and what the collector has published since the last one."""
        reason = "" if status == HTTPStatus.OK else "by order of the test"
        found: dict[str, list[Any]] = {"stored": [], "duplicate": [], "rejected": []}
        for entry in self._collector.feed.entries(self._published):
            self._published = entry.id
            event = _event_of(entry.line)
            if entry.kind == "rejected":
                found["rejected"].append(RejectedEvent(entry.reason, REASONS[entry.reason], event))
            elif entry.kind in found:
                found[entry.kind].append(event)
            elif entry.kind == "refused":  # the whole request was, and this is its answer
                reason = str(event["message"])
        seen = replace(seen, status=status, reason=reason)
        self._add(seen, found["stored"], found["duplicate"], found["rejected"])

    def _reached_by(self) -> SettingsArgs:
        return {"host": self.url}


def _event_of(line: bytes) -> Event:
    """An event as a dict; an empty one where it cannot be read, as for one that was rejected for a number too large."""
    try:
        event: Event = msgspec.json.decode(line or b"{}")
    except msgspec.DecodeError:
        return {}
    return event


class _Exchange:
    """One request, as faults have it. It is noted before its client can know what became of it."""

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
        """The body, which has been read already."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _noted(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._note(message["status"])
        await self._send(message)


async def _ignored(_: Message) -> None:
    """An answer that nobody gets."""


async def _body(receive: Receive) -> bytes | None:
    """A request's whole body; None if its client has left."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def collector(**settings: Any) -> LiveCollector:
    """A collector in this process, on a free port, until the end of the `with` statement.

    Args:
        settings: those of `millstream.collector.Collector`: `keys`, `strict`, `rate_limit` …
    """
    return LiveCollector(**settings)


publish("millstream.testing", LiveCollector, collector)
