"""WSGI middleware: events that are recorded while a request is answered have its visitor's ids and context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from .._public import Unpack, publish
from ..client import Analytics
from ..errors import SettingsError
from .request import Capture, CaptureArgs, Head, Visit, quoted, record_page
from .serverless import awaits

__all__ = ["MillstreamMiddleware"]

Environ: TypeAlias = dict[str, Any]
App: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class MillstreamMiddleware:
    """Gives events the ids and context of the request that is answered.

        app = MillstreamMiddleware(app, analytics)

    The request's `Identity` is `environ["millstream"]`: set its `user_id` where the user becomes known.

    Args:
        app: the WSGI application.
        analytics: the client that it records with.
        options: see `millstream.integrations.request.Capture`. `user_id` is called with the environ.

    Raises:
        SettingsError: an option is unknown, or its value cannot be used; or the client is an AsyncAnalytics.
    """

    def __init__(self, app: App, analytics: Analytics, **options: Unpack[CaptureArgs]) -> None:
        if awaits(analytics):
            raise SettingsError("a WSGI application has no event loop for an AsyncAnalytics: use Analytics")
        self.app = app
        self._analytics = analytics
        self._capture = Capture.of(options)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        find_user = self._capture.user_id
        visit = Visit(head_of(environ), self._capture, None if find_user is None else lambda: find_user(environ))
        environ["millstream"] = visit.identity

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            kind = next((value for name, value in headers if name.lower() == "content-type"), "")
            if visit.is_page(int(status[:3]) if status[:3].isdecimal() else 0, kind):
                record_page(self._analytics, visit)
            cookie = visit.set_cookie()
            return start_response(status, [*headers, ("Set-Cookie", cookie)] if cookie else headers, *exc_info)

        with visit.identity:
            body = self.app(environ, start)
        file_wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(body, list | tuple) or (isinstance(file_wrapper, type) and isinstance(body, file_wrapper)):
            return body  # nothing of the application runs any more, and the server may have a faster way
        return _Body(body, visit)


class _Body:
    """The body of an answer, whose pieces are made as the visitor's."""

    def __init__(self, body: Iterable[bytes], visit: Visit) -> None:
        self._body = body
        self._identity = visit.identity
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._identity:
            if self._pieces is None:
                self._pieces = iter(self._body)
            return next(self._pieces)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._identity:
                close()


def head_of(environ: Environ) -> Head:
    """Return the head of the request with this environ."""

    def header(name: str) -> str:
        return str(environ.get(f"HTTP_{name.upper().replace('-', '_')}", ""))

    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    return Head(
        method=str(environ.get("REQUEST_METHOD", "GET")),
        scheme=str(environ.get("wsgi.url_scheme", "http")),
        host=header("host") or str(environ.get("SERVER_NAME", "")),
        path=quoted(path.encode("latin-1", "replace").decode("utf-8", "replace")),
        query=str(environ.get("QUERY_STRING", "")),
        peer=str(environ.get("REMOTE_ADDR", "")),
        header=header,
    )


publish("millstream.integrations.wsgi", MillstreamMiddleware)
