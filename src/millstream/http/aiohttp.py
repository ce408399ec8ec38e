"""The default HTTP client of AsyncAnalytics: aiohttp, with the rules of Urllib3Client."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from .._public import publish
from ..errors import MissingExtra, SettingsError, TransportError
from ..types import Request, Response
from ._common import MAX_BODY, Attempt, check_end, no_answer
from ._environment import authorities, is_socks, proxies

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["AiohttpClient"]

NO_SOCKS = "aiohttp does not support SOCKS: pass http_client=Urllib3Client(), which does, in threads"


class AiohttpClient:
    """Sends requests with aiohttp, on the running event loop.

    It may be made before there is a loop, and used on several: each has its own session, which is closed with the loop.

    Args:
        proxy: URL of a proxy for every request; by default from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
            `NO_PROXY`.
        options: passed to aiohttp's TCPConnector (`ssl`, `limit`, `family` …).

    Raises:
        MissingExtra: aiohttp is not installed.
        SettingsError: the proxy is a SOCKS proxy.
    """

    def __init__(self, *, proxy: str | None = None, **options: Any) -> None:
        try:
            # An optional dependency, and slow to import.
            import aiohttp  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport]
        except ImportError:
            raise MissingExtra("AsyncAnalytics", "async") from None
        if is_socks(proxy):
            raise SettingsError(f"proxy is the URL of a SOCKS proxy, and {NO_SOCKS}")
        self._proxy_for = proxies(proxy)
        self._options = options
        self._sessions: dict[AbstractEventLoop, tuple[ClientSession, AsyncGenerator[None, None]]] = {}

    async def send(self, request: Request) -> Response:
        """Send a request and return the response, as Urllib3Client does; the timeout covers all of it.

        Raises:
            TransportError: no complete response; the exception of aiohttp, for example, is its cause.
        """
        for name, value in request.headers.items():
            if not {"\r", "\n"}.isdisjoint(name + value):  # aiohttp 3.10 refuses it too, but leaves the connection open
                raise TransportError(f"a line break in the header {name!r}: remove it")
        attempt = Attempt(request)
        response = await self._exchange(request, attempt)
        while attempt.goes_on(response):
            response = await self._exchange(request, attempt)
        return response

    async def close(self) -> None:
        """Close the kept connections."""
        _, tail = self._sessions.get(get_running_loop(), (None, None))
        if tail is not None:
            await tail.aclose()
        self._forget_closed_loops()

    async def _exchange(self, request: Request, attempt: Attempt) -> Response:
        from aiohttp import ClientTimeout, HttpVersion11  # noqa: PLC0415
        from yarl import URL  # noqa: PLC0415

        proxy = self._proxy_for(attempt.url)
        if is_socks(proxy):
            raise TransportError(f"the environment names a SOCKS proxy, and {NO_SOCKS}")
        try:
            url, left = attempt.url, attempt.left()
            answer = await self._session().request(
                request.method,
                # Encoded already: aiohttp would quote it again, and refuses a user in it beside our Authorization.
                URL(url, encoded=url.isascii()).with_user(None).with_fragment(None),
                data=request.body,
                headers=request.headers,
                proxy=proxy,
                timeout=ClientTimeout(total=left, ceil_threshold=left + 1.0),  # below this it is not rounded up
                allow_redirects=False,
            )
            try:
                check_end(answer.status, answer.headers, http11=answer.version == HttpVersion11)
                body = bytearray()
                while len(body) <= MAX_BODY and (piece := await answer.content.readany()):
                    body += piece
            except BaseException:
                answer.close()
                raise
            if len(body) > MAX_BODY:  # else aiohttp has released the connection
                answer.close()
            return Response(answer.status, answer.headers, bytes(body[:MAX_BODY]))
        except Exception as exc:  # instrumentation of aiohttp may raise anything
            raise no_answer(attempt.url, exc) from exc

    def _session(self) -> ClientSession:
        """The session of the running loop."""
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector  # noqa: PLC0415

        loop = get_running_loop()
        if loop not in self._sessions:
            self._forget_closed_loops()
            jar, headers = DummyCookieJar(), {"Accept-Encoding": "identity"}
            session = ClientSession(connector=TCPConnector(**_trusting(self._options)), cookie_jar=jar, headers=headers)
            tail = self._until_it_ends(loop, session)
            self._sessions[loop] = session, tail
            try:
                tail.__anext__().send(None)
            except StopIteration:  # it has yielded: the loop knows the generator
                pass
        return self._sessions[loop][0]

    async def _until_it_ends(self, loop: AbstractEventLoop, session: ClientSession) -> AsyncGenerator[None, None]:
        """Close the session with its loop: a loop that ends in good order closes its asynchronous generators."""
        try:
            yield
        finally:
            self._sessions.pop(loop, None)
            await session.close()

    def _forget_closed_loops(self) -> None:
        """Drop sessions of loops that ended otherwise: their connections cannot be closed any more."""
        for loop in [loop for loop in self._sessions if loop.is_closed()]:
            session, _ = self._sessions.pop(loop)
            for _ in session.close().__await__():
                pass


def _trusting(options: dict[str, Any]) -> dict[str, Any]:
    """Complete the connector's options: if they name no certificates, the environment may."""
    file, directory = (None, None) if "ssl" in options else authorities()
    if not (file or directory):
        return options
    import ssl  # noqa: PLC0415 - a client without certificates of its own does not load it

    return {**options, "ssl": ssl.create_default_context(cafile=file, capath=directory)}


publish("millstream", AiohttpClient)
