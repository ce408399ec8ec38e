"""Django middleware, for sync and async views: events have the ids and context of the request that is answered."""

# The framework has no types, or is not installed where types are checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY

from ..request import Visit, quoted, record_page
from ..wsgi import head_of
from .client import analytics, options

__all__ = ["MillstreamMiddleware", "session_user"]


class MillstreamMiddleware:
    """Gives events the ids and context of the request that is answered.

    The user's id comes from the session where Django's authentication keeps it, or from the option `user_id`, a
    function of the request. The request's `Identity` is `request.millstream`: set its `user_id` where the user becomes
    known otherwise.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        self.process_view = _prepare_async if self._is_async else _prepare
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        return self._answer_async(request) if self._is_async else self._answer(request)

    def _answer(self, request: Any) -> Any:
        visit = _visit(request)
        with visit.identity:
            return _finish(self._get_response(request), visit)

    async def _answer_async(self, request: Any) -> Any:
        visit = _visit(request)
        with visit.identity:
            return _finish(await self._get_response(request), visit)


def _prepare(request: Any, view: Any, *_: object) -> None:
    """Read the session before a view that must not wait for it: in an `async def`, Django refuses the database."""
    if _needs_session(request, view):
        session_user(request)


async def _prepare_async(request: Any, view: Any, *_: object) -> None:
    if _needs_session(request, view):
        await sync_to_async(session_user)(request)


def _needs_session(request: Any, view: Any) -> bool:
    is_known = settings.SESSION_COOKIE_NAME in request.COOKIES
    return is_known and options().capture.user_id is None and iscoroutinefunction(view)


def _visit(request: Any) -> Visit:
    capture = options().capture
    find_user = capture.user_id or session_user
    head = head_of(request.META)._replace(scheme=request.scheme, path=quoted(request.path))
    visit = Visit(head, capture, lambda: find_user(request))
    request.millstream = visit.identity
    return visit


def _finish(response: Any, visit: Visit) -> Any:
    """Record the page event, set the cookie, and have a body that is streamed made as the visitor's."""
    if visit.is_page(response.status_code, response.headers.get("Content-Type", "")):
        record_page(analytics(), visit)
    if cookie := visit.set_cookie():
        response.cookies.load(cookie)
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        stream = _astream if response.is_async else _stream
        response.streaming_content = visit.identity(stream)(response.streaming_content)
    return response


def _stream(pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield from pieces


async def _astream(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece


def session_user(request: Any) -> object:
    """Return the user's id from the session. To look for it does not make the page one that varies by the session."""
    session = getattr(request, "session", None)
    if session is None:  # no session middleware, or not yet
        return None
    accessed = session.accessed
    try:
        return session.get(SESSION_KEY)
    finally:
        session.accessed = accessed
