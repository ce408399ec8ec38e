"""The default HTTP client of AsyncAnalytics: aiohttp's connections, with the rules of Urllib3Client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra
from ..types import Request, Response
from ._common import MAX_HOPS, cached_proxies, no_answer, redirected

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["AiohttpClient"]


class AiohttpClient:
    """Sends requests with aiohttp, on the event loop that runs.

    It may be made before there is a loop, and used on several: each has connections of its own, which are closed with
    it.

    Args:
        proxy: URL of a proxy for every request. Without it `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count.
        options: passed on to aiohttp's TCPConnector (`ssl`, `limit`, `family` …).

    Raises:
        MissingExtra: aiohttp is not installed.
    """

    def __init__(self, *, proxy: str | None = None, **options: Any) -> None:
        try:
            # An extra, and heavy: loaded when somebody wants it.
            import aiohttp  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport]
        except ImportError:
            raise MissingExtra("AsyncAnalytics", "async") from None
        self._proxy = proxy
        self._proxy_for = cached_proxies()
        self._options = options
        self._pools: dict[asyncio.AbstractEventLoop, tuple[Pool, AsyncGenerator[None, None]]] = {}

    async def send(self, request: Request) -> Response:
        """Exchange one request for its answer.

        A redirect that keeps method and body (307, 308) is followed on the same host; any other is returned as it is,
        because following it would turn the POST into a GET and lose the events.

        Raises:
            TransportError: there was no answer; what was raised below (by aiohttp, for one) is the cause.
        """
        url, deadline = request.url, time.monotonic() + request.timeout
        response = await self._exchange(request, url, deadline)
        for _ in range(MAX_HOPS):
            target = redirected(url, response.status, response.headers.get("Location", ""))
            if target is None:
                break
            url = target
            response = await self._exchange(request, url, deadline)
        return response

    async def close(self) -> None:
        """Close the kept connections."""
        _, tail = self._pools.get(asyncio.get_running_loop(), (None, None))
        if tail is not None:
            await tail.aclose()
        self._forget_closed_loops()

    async def _exchange(self, request: Request, url: str, deadline: float) -> Response:
        import aiohttp  # noqa: PLC0415

        seconds = max(deadline - time.monotonic(), 0.001)
        try:
            return await self._pool().exchange(request, url, self._proxy or self._proxy_for(url), seconds)
        except (aiohttp.ClientError, HTTPException, asyncio.TimeoutError, OSError, ValueError) as exc:
            raise no_answer(url, exc) from exc

    def _pool(self) -> Pool:
        """The connections of the loop that runs."""
        loop = asyncio.get_running_loop()
        pool, _ = self._pools.get(loop) or self._open(loop)
        return pool

    def _open(self, loop: asyncio.AbstractEventLoop) -> tuple[Pool, AsyncGenerator[None, None]]:
        from ._pool import Pool  # noqa: PLC0415

        self._forget_closed_loops()
        pool = Pool(self._options)
        tail = self._until_it_ends(loop, pool)
        self._pools[loop] = pool, tail
        try:
            tail.__anext__().send(None)
        except StopIteration:  # it has yielded: the loop knows of it now
            pass
        return pool, tail

    async def _until_it_ends(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> AsyncGenerator[None, None]:
        """Every loop that ends in good order closes its asynchronous generators, and with this one the connections."""
        try:
            yield
        finally:
            self._pools.pop(loop, None)
            await pool.close()

    def _forget_closed_loops(self) -> None:
        """Of loops that ended otherwise: there the connections cannot be closed any more, only let go."""
        for loop in [loop for loop in self._pools if loop.is_closed()]:
            pool, _ = self._pools.pop(loop)
            for _ in pool.close().__await__():
                pass
