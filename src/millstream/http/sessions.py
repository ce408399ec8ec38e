"""Sessions of other HTTP libraries as functions of a request.

Such sessions have methods named as an HTTPClient's, but with other arguments. `as_response` converts what they return.
Closing a session is left to its owner.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..errors import SettingsError
from ..types import Request, Response

__all__ = ["session_sender"]

Send = Callable[[Request], Any]


def session_sender(given: object) -> Send | None:
    """Return a function that sends requests with a session; None if `given` is not a session.

    Raises:
        SettingsError: the session's library is not supported.
    """
    for (library, name), sender in _SENDERS.items():
        kind = getattr(sys.modules.get(library), name, None)  # a library that is not loaded has no sessions
        if isinstance(kind, type) and isinstance(given, kind):
            return sender(given)
    if all(callable(getattr(given, name, None)) for name in ("send", "request", "get", "post")):
        kind = type(given)
        raise SettingsError(
            f"http_client is a {kind.__module__}.{kind.__qualname__}, whose `send` takes no request of Millstream's: "
            "pass a function of a request that sends with it, such as "
            "`lambda r: session.request(r.method, r.url, data=r.body, headers=dict(r.headers), timeout=r.timeout)`"
        )
    return None


def _with(body: str, **settings: Any) -> Callable[[Any], Send]:
    """Make senders for sessions. `body` names the argument for the body; `settings` are added to each request."""

    def sender(session: Any) -> Send:
        def send(request: Request) -> Any:
            given = {body: request.body, "headers": dict(request.headers), "timeout": request.timeout, **settings}
            return session.request(request.method, request.url, **given)

        return send

    return sender


_with_httpx = _with("content", follow_redirects=False)


def _with_async_httpx(client: Any) -> Send:
    send_now = _with_httpx(client)

    async def send(request: Request) -> Any:
        return await send_now(request)

    return send


def _with_aiohttp(session: Any) -> Send:
    from aiohttp import ClientTimeout  # noqa: PLC0415 - whose session it is

    async def send(request: Request) -> Response:
        async with session.request(
            request.method,
            request.url,
            data=request.body,
            headers=dict(request.headers),
            timeout=ClientTimeout(total=request.timeout),
            allow_redirects=False,
        ) as answer:
            return Response(answer.status, answer.headers, await answer.read())

    return send


_SENDERS: dict[tuple[str, str], Callable[[Any], Send]] = {
    ("requests", "Session"): _with("data", allow_redirects=False),
    ("urllib3", "PoolManager"): _with("body", redirect=False, retries=False),
    ("httpx", "Client"): _with_httpx,
    ("httpx", "AsyncClient"): _with_async_httpx,
    ("aiohttp", "ClientSession"): _with_aiohttp,
}
