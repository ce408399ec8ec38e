"""aiohttp's connections on one event loop, with an exchange of our own. Loaded with aiohttp.

What is aiohttp's stays: names, TLS, proxies, tunnels, kept connections. An exchange through a session of its takes 1 ms
of a busy loop, in pieces of up to 0.5 (Python 3.11, aiohttp 3.14); this one half of that.
"""

from __future__ import annotations

import asyncio
import sys
from functools import lru_cache
from http.client import HTTPException
from typing import Any

import aiohttp
from yarl import URL

from ..types import Request, Response
from ._answer import Answer
from ._head import Heads

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout  # type: ignore[import-not-found,unused-ignore] # aiohttp brings it

__all__ = ["Pool"]

PIECE = 16_384
"""Bytes of an answer that are read at a time."""
_PORTS = {"http": 80, "https": 443}
_PROXY_KEY = "Proxy-Authorization"
_NO_LIMITS = aiohttp.ClientTimeout(total=None)  # of connecting alone: there is one for the whole exchange


class Pool:
    """Connections to any servers. Made on the loop that it is for.

    Args:
        options: of aiohttp's TCPConnector.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(**options)
        self._route = lru_cache(maxsize=16)(_Route)

    async def exchange(self, request: Request, url: str, proxy: str | None, seconds: float) -> Response:
        """Exchange a request for its answer, within `seconds`."""
        route = self._route(url, proxy, self._loop)
        async with timeout(seconds):
            connection = await self._connector.connect(route.request, [], _NO_LIMITS)
            try:
                answer = await _Exchange(connection.transport).of(route.head(request), request.body)
            except BaseException:
                connection.close()
                raise
        if answer.reusable:
            connection.release()
        else:
            connection.close()
        return Response(answer.status, answer.headers, answer.body)

    async def close(self) -> None:
        """Close the kept connections."""
        await self._connector.close()


class _Route:
    """The way to a URL: what aiohttp wants to know to connect, and the heads that are written there."""

    def __init__(self, url: str, proxy: str | None, loop: asyncio.AbstractEventLoop) -> None:
        target = _as_it_is(url)
        self.request = aiohttp.ClientRequest("POST", target, proxy=URL(proxy) if proxy else None, loop=loop)
        self._target = str(target) if proxy and target.scheme == "http" else target.raw_path_qs
        self._heads = Heads(target.raw_host or "", target.port, _PORTS[target.scheme])

    def head(self, request: Request) -> bytes:
        """All that comes before the body."""
        headers = request.headers
        key = self.request.headers.get(_PROXY_KEY)  # aiohttp puts it there when it connects
        if key is not None:
            headers = {**headers, _PROXY_KEY: key}
        return self._heads.write(request.method, self._target, headers, len(request.body))


class _Exchange(asyncio.BufferedProtocol):
    """Has a connection for as long as one request and its answer take; then it is aiohttp's again.

    With a buffer of its own: for any other protocol the loop makes one of 256 KB, for each piece of an answer, which
    takes more than to read the answer (0.09 ms of 0.23).
    """

    def __init__(self, transport: asyncio.Transport | None) -> None:
        if transport is None:
            raise ConnectionResetError("the connection was lost as soon as it was made")
        self._transport = transport
        self._owner = transport.get_protocol()
        self._answer = Answer()
        self._buffer = bytearray(PIECE)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def of(self, head: bytes, body: bytes) -> Answer:
        """Send a request, and wait for its answer."""
        self._transport.set_protocol(self)
        self._transport.write(head + body)
        try:
            await self._over
        except BaseException:
            self._transport.abort()  # or it stays until the server has read what it was sent
            raise
        self._transport.set_protocol(self._owner)
        return self._answer

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the protocol has it
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._take(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self._take(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._over.done():
            self._over.set_exception(exc)
        self._take(b"")
        self._owner.connection_lost(exc)

    def _take(self, data: bytes) -> None:
        if self._over.done():  # it is no part of this answer; or nobody waits for it any more
            self._answer.reusable = False
            return
        try:
            self._answer.feed(data)
        except HTTPException as exc:
            self._over.set_exception(exc)
        else:
            if self._answer.done:
                self._over.set_result(None)


def _as_it_is(url: str) -> URL:
    """The URL for aiohttp, which would quote it anew, and send a user in it beside our own Authorization header."""
    return URL(url, encoded=url.isascii()).with_user(None).with_fragment(None)
