"""ASGI middleware: events that are recorded while a request is answered have its visitor's ids and context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from .._public import Unpack, publish
from ..aio import AsyncAnalytics
from ..client import Analytics
from .request import Capture, CaptureArgs, Head, Visit, quoted, record_page
from .serverless import Flusher

__all__ = ["FlushOnShutdown", "MillstreamMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

FLUSH_TIMEOUT = 5.0
"""Seconds that the end of the server may take to deliver what is left."""


class MillstreamMiddleware:
    """Gives events the ids and context of the request that is answered, and delivers what is left when the server ends.

        app = MillstreamMiddleware(app, analytics)

    The request's `Identity` is `scope["millstream"]`: set its `user_id` where the user becomes known.

    Args:
        app: the ASGI application.
        analytics: the client that it records with, an Analytics or an AsyncAnalytics.
        options: see `millstream.integrations.request.Capture`. `user_id` is called with the scope.

    Raises:
        SettingsError: an option is unknown, or its value cannot be used.
    """

    def __init__(self, app: App, analytics: Analytics | AsyncAnalytics, **options: Unpack[CaptureArgs]) -> None:
        self.app = app
        self._analytics = analytics
        self._capture = Capture.of(options)
        self._flushing = FlushOnShutdown(app, analytics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._flushing(scope, receive, send)
            return
        find_user = self._capture.user_id
        visit = Visit(head_of(scope), self._capture, None if find_user is None else lambda: find_user(scope))
        scope["millstream"] = visit.identity
        with visit.identity:
            await self.app(scope, receive, self._answering(visit, send))

    def _answering(self, visit: Visit, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.accept"}:
                headers = [*message.get("headers", ())]
                kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
                if visit.is_page(message.get("status", 101), kind.decode("latin-1")):
                    record_page(self._analytics, visit)
                cookie = visit.set_cookie()
                if cookie is not None:
                    message = {**message, "headers": [*headers, (b"set-cookie", cookie.encode("latin-1"))]}
            await send(message)

        return answer


class FlushOnShutdown:
    """Delivers what is left when the server ends, and leaves requests alone.

        application = FlushOnShutdown(get_asgi_application(), analytics)

    MillstreamMiddleware does the same. This is for applications whose framework has a middleware of its own (Django).

    Args:
        app: the ASGI application, whether or not it takes part in the server's lifespan.
        analytics: the client, an Analytics or an AsyncAnalytics.
    """

    def __init__(self, app: App, analytics: Analytics | AsyncAnalytics) -> None:
        self.app = app
        self._flusher = Flusher(analytics, FLUSH_TIMEOUT, 0.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = False

        async def ask() -> Message:
            nonlocal asked
            asked = True
            return await receive()

        async def tell(message: Message) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await self._flusher.aflush()
            await send(message)

        try:
            await self.app(scope, ask, tell)
        except Exception:
            if asked:  # it has failed in its own start or end
                raise
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await tell({"type": "lifespan.shutdown.complete"})


def head_of(scope: Scope) -> Head:
    """Return the head of the request or handshake with this scope."""
    headers: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        separator = "; " if key == "cookie" else ", "  # HTTP/2 may split cookies over several headers
        headers[key] = f"{headers[key]}{separator}{text}" if key in headers else text

    def header(name: str) -> str:
        return headers.get(name, "")

    server, peer = scope.get("server") or ("", None), scope.get("client") or ("", None)
    path, root = scope.get("path", ""), scope.get("root_path", "")
    return Head(
        method=scope.get("method", "GET"),
        scheme="https" if scope.get("scheme") in {"https", "wss"} else "http",
        host=headers.get("host") or str(server[0]),
        path=quoted(path if path.startswith(root) else root + path),
        query=scope.get("query_string", b"").decode("latin-1"),
        peer=str(peer[0]),
        header=header,
    )


publish("millstream.integrations.asgi", FlushOnShutdown, MillstreamMiddleware)
