"""The default HTTP client of AsyncAnalytics: aiohttp, with the rules of Urllib3Client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra
from ..types import Request, Response
from ._common import MAX_BODY, MAX_HOPS, cached_proxies, no_answer, redirected

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

__all__ = ["AiohttpClient"]


class AiohttpClient:
    """Sends requests with aiohttp, on the event loop that runs.

    It may be made before there is a loop, and used on several: each has connections of its own, which are closed with
    it.

    Args:
        proxy: URL of a proxy for every request. Without it `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count.
        options: passed on to aiohttp's ClientSession (`headers`, `connector_owner` …).

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
        self._sessions: dict[asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[None, None]]] = {}

    async def send(self, request: Request) -> Response:
        """Exchange one request for its answer.

        A redirect that keeps method and body (307, 308) is followed on the same host; any other is returned as it is,
        because following it would turn the POST into a GET and lose the events.

        Raises:
            TransportError: there was no answer; aiohttp's own exception is the cause.
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
        _, tail = self._sessions.get(asyncio.get_running_loop(), (None, None))
        if tail is not None:
            await tail.aclose()
        self._forget_closed_loops()

    async def _exchange(self, request: Request, url: str, deadline: float) -> Response:
        import aiohttp  # noqa: PLC0415

        try:
            async with self._session().request(
                request.method,
                _as_it_is(url),
                data=request.body,
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(total=max(deadline - time.monotonic(), 0.001)),
                allow_redirects=False,
                proxy=self._proxy or self._proxy_for(url),
            ) as answer:
                body = await _read(answer)
                return Response(answer.status, answer.headers, body)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as exc:
            raise no_answer(url, exc) from exc

    def _session(self) -> aiohttp.ClientSession:
        """The session of the loop that runs."""
        import aiohttp  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            self._forget_closed_loops()
            options: dict[str, Any] = {"cookie_jar": aiohttp.DummyCookieJar(), **self._options}
            session = aiohttp.ClientSession(**options)
            tail = self._until_it_ends(loop, session)
            self._sessions[loop] = session, tail
            try:
                tail.__anext__().send(None)
            except StopIteration:  # it has yielded: the loop knows of it now
                pass
        return self._sessions[loop][0]

    async def _until_it_ends(
        self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession
    ) -> AsyncGenerator[None, None]:
        """Every loop that ends in good order closes its asynchronous generators, and with this one the session."""
        try:
            yield
        finally:
            self._sessions.pop(loop, None)
            await session.close()

    def _forget_closed_loops(self) -> None:
        """Of loops that ended otherwise: there the connections cannot be closed any more, only let go."""
        for loop in [loop for loop in self._sessions if loop.is_closed()]:
            session, _ = self._sessions.pop(loop)
            for _ in session.close().__await__():
                pass


def _as_it_is(url: str) -> URL:
    """The URL for aiohttp, which would quote it anew, and refuse a user in it beside an Authorization header."""
    from yarl import URL  # noqa: PLC0415

    return URL(url, encoded=url.isascii()).with_user(None)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body, so far as it is worth reading."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            answer.close()  # it goes on and on: not worth keeping the connection
            break
    return bytes(body[:MAX_BODY])
