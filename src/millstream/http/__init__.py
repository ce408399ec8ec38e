"""HTTP clients: adapts what the user passes as `http_client` to `send` and `close`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..errors import SettingsError, TransportError
from ..types import HTTPClient, Request, Response
from .sessions import session_sender

__all__ = ["as_client", "as_response", "is_async"]


class _FunctionClient:
    """A function as an HTTPClient."""

    def __init__(self, fn: Callable[[Request], Any]) -> None:
        self.send = fn

    def close(self) -> None:
        pass


def as_client(given: object, *, may_await: bool = False) -> HTTPClient:
    """Return an HTTPClient: `given` itself, or a wrapper around a function or another library's session.

    Raises:
        SettingsError: it is neither, or `async def` where it cannot be awaited.
    """
    if isinstance(given, type):
        raise SettingsError(f"http_client: pass an instance, not the class {given.__name__} itself")
    if (send := session_sender(given)) is not None:
        client: HTTPClient = _FunctionClient(send)
    elif isinstance(given, HTTPClient):
        client = given
    elif callable(given):
        client = _FunctionClient(given)
    else:
        raise SettingsError(
            "http_client must have `send(request)` and `close()`, or be a function of a request, or a session of "
            f"requests, httpx, aiohttp or urllib3; got {type(given).__name__}"
        )
    if is_async(client) and not may_await:
        raise SettingsError(
            f"http_client: {_name(given)} must be awaited, which Analytics cannot do; "
            "pass a synchronous one, or use AsyncAnalytics"
        )
    return client


def is_async(client: HTTPClient) -> bool:
    """Whether its `send` is declared `async def`; others may return an awaitable all the same."""
    call = getattr(client.send, "__call__", None)  # noqa: B004 - of an object that is called like a function
    return inspect.iscoroutinefunction(client.send) or inspect.iscoroutinefunction(call)


def _name(given: object) -> str:
    return str(getattr(given, "__name__", None) or f"a {type(given).__name__}")


def as_response(answer: object) -> Response:
    """Convert a response of any library (see HTTPClient) to ours.

    Raises:
        TransportError: it is not a response.
    """
    if isinstance(answer, Response) and type(answer.status) is int and type(answer.body) is bytes and answer.headers:
        return answer  # as our own clients make it; others need the checks below
    status = _first(answer, "status", "status_code")
    headers: Any = getattr(answer, "headers", None)
    body = _first(answer, "body", "content", "data")
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(status, int) or isinstance(status, bool) or not isinstance(body, bytes | bytearray | type(None)):
        raise TransportError(
            f"the HTTP client returned {type(answer).__name__}; it must return a Response, or an object "
            "with `status` (int), `headers` and `body` (bytes)"
        )
    pairs: dict[Any, Any] = dict(headers.items()) if hasattr(headers, "items") else {}
    return Response(int(status), {str(k): str(v) for k, v in pairs.items()}, bytes(body or b""))


def _first(answer: object, *names: str) -> Any:
    for name in names:
        value = getattr(answer, name, None)
        if value is not None:
            return value
    return None
