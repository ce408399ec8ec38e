"""The collector as an ASGI application."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette import routing
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from millstream._public import publish
from millstream.errors import SettingsError
from millstream.spec import REASONS

from . import metrics
from .admission import Admission, Rate
from .asgi import HTTPAnswer, Reader, error_response, headers_of
from .debugger import Access, routes
from .debugger.access import Forbidden
from .dedup import Dedup
from .feed import Feed
from .ingest import Ingest, utc_now
from .judge import ROUTES, Route, Verdict
from .oauth import Application, Denied, TokenServer
from .request import RequestRefused
from .store import Files, Memory, Store
from .suppression import SuppressionList

if TYPE_CHECKING:
    from starlette.requests import Request

_OK = HTTPAnswer(200, b'{"success": true}')
_NOT_FOUND = error_response(404, "unknown_route", "there is no such route")
_NOT_ALLOWED = error_response(405, "not_allowed", "this route takes POST", {"allow": "POST, OPTIONS"})
_API = "/v1/"
_A_YEAR = 366 * 86_400


class Collector:
    """A Tracking API that stores what it is sent before it answers 200.

    Args:
        store: a directory, or a Store.
        keys: the write keys that may write; None is any, and none.
        strict: say what is wrong with events that are not kept, with status 400, where Segment says nothing.
        rate_limit: events per second for each write key; None is without a limit.
        dedup_window: seconds for which a messageId is remembered at least; 0 is not at all.
        dedup_ids: how many, at most twice over. With more, the window is shorter.
        applications: who gets OAuth tokens from `/token`. With any, every request needs a token.
        audience: our URL as OAuth clients know it; empty is what they call us in the Host header.
        token: what the page, `/stats` and `/metrics` are to be seen with from other machines; None is not at all.
        hosts: names under which the page is served, beside localhost and addresses.
        prefix: a path that a proxy leaves before ours, as in `/tracking/v1/batch`: requests come with it, or without.
        clock: what time it is, in UTC.

    Raises:
        SettingsError: the directory, or another setting, cannot be used.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str],
        *,
        keys: Collection[str] | None = None,
        strict: bool = False,
        rate_limit: float | None = None,
        dedup_window: float = 86_400.0,
        dedup_ids: int = 5_000_000,
        applications: Sequence[Application] = (),
        audience: str = "",
        token: str | None = None,
        hosts: Collection[str] = (),
        prefix: str = "",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        if isinstance(keys, str):
            raise SettingsError("keys is a collection of write keys: write keys=[key]")
        if rate_limit is not None and not rate_limit > 0:
            raise SettingsError("rate_limit must be a number of events per second over 0, or None for no limit")
        if not 0 <= dedup_window <= _A_YEAR:
            raise SettingsError("dedup_window must be a number of seconds from 0 to a year")
        self._prefix = _prefix(prefix)
        self._access = Access(token, hosts)
        self._tokens = TokenServer(applications, audience=audience)
        gate = Admission(
            keys,
            tokens=self._tokens if applications else None,
            rate=None if rate_limit is None else Rate(rate_limit),
        )
        self.store = Files(store) if isinstance(store, str | os.PathLike) else store
        try:
            suppressions = SuppressionList(self.store.path) if isinstance(self.store, Files) else None
            window = Dedup(dedup_window, dedup_ids)
            self._ingest = Ingest(self.store, gate, window, clock=clock, suppressions=suppressions)
        except BaseException:
            if self.store is not store:  # else it is the caller's
                self.store.close()
            raise
        self.counts = self._ingest.counts
        self._strict = strict
        self._clock = clock
        self._reader = Reader()
        self._app = Starlette(
            routes=[
                routing.Route("/token", self._token, methods=["POST"]),
                routing.Route("/health", self._health),
                routing.Route("/stats", self._guarded(self._stats)),
                routing.Route("/metrics", self._guarded(self._metrics)),
                *routes(self._ingest.feed, self._access),
            ],
            lifespan=self._lifespan,
        )

    @classmethod
    def in_memory(cls, **settings: Any) -> Collector:
        """A collector that keeps its events in a list, `events`, and nothing on disk. It takes Collector's settings."""
        return cls(Memory(), **settings)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a collector in memory, in the order in which they came.

        Raises:
            TypeError: this one keeps them elsewhere.
        """
        if not isinstance(self.store, Memory):
            raise TypeError("only Collector.in_memory() has its events at hand")
        return self.store.events

    @property
    def feed(self) -> Feed:
        """What came lately, and what became of it."""
        return self._ingest.feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._prefix and scope.get("path", "").startswith(f"{self._prefix}/"):
            scope = {**scope, "root_path": self._prefix}
        path: str = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        api_path = _SLASHES.sub("/", path)
        if scope["type"] == "http" and api_path.startswith(_API):
            answer = await self.tracking_api(scope["method"], api_path, headers_of(scope), receive)
            await answer.send(send)
        else:
            await self._app(scope, receive, send)

    async def tracking_api(self, method: str, path: str, headers: Mapping[str, str], receive: Receive) -> HTTPAnswer:
        """The answer to a request under `/v1/`, as it goes out."""
        return _with_cors(await self._tracking_api(method, path, headers, receive), headers)

    def take(self, path: str, headers: Mapping[str, str], body: bytes, done: Callable[[HTTPAnswer], object]) -> None:
        """Call `done` with the answer to a POST to a known path, of which all has come, when its events are kept."""

        def taken(verdict: Verdict) -> None:
            done(_with_cors(self._answer(verdict, headers), headers))

        self._ingest.take(ROUTES[path[len(_API) :]], headers, body, taken, strict=self._is_strict(headers))

    def stop(self) -> None:
        """Let those go that would stay for ever: who watches the page. May be called in a signal handler."""
        self._ingest.feed.close()

    def close(self) -> None:
        """Let go of the store. Call it when no request can come any more."""
        self.stop()
        self.store.close()

    # -- /v1/ -------------------------------------------------------------------------------------------

    async def _tracking_api(self, method: str, path: str, headers: Mapping[str, str], receive: Receive) -> HTTPAnswer:
        name = path[len(_API) :].rstrip("/")
        route = ROUTES.get(name)
        if route is None and name != "m":
            return _NOT_FOUND
        if method == "OPTIONS":
            return _preflight(headers)
        if method != "POST":
            return _NOT_ALLOWED
        try:
            body = await self._reader.read(receive)
        except RequestRefused as refused:
            return self._answer(self._ingest.refuse(refused), headers)
        if route is None:  # what analytics.js counts of itself
            return _OK
        return self._answer(await self._taken(route, headers, body), headers)

    async def _taken(self, route: Route, headers: Mapping[str, str], body: bytes) -> Verdict:
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

        def done(found: Verdict) -> None:
            if not verdict.cancelled():  # else nobody waits for it any more
                verdict.set_result(found)

        self._ingest.take(route, headers, body, done, strict=self._is_strict(headers))
        return await verdict

    def _is_strict(self, headers: Mapping[str, str]) -> bool:
        return self._strict or headers.get("x-strict-mode") == "1"

    def _answer(self, verdict: Verdict, headers: Mapping[str, str]) -> HTTPAnswer:
        if verdict.status != HTTPStatus.OK:
            return error_response(verdict.status, verdict.reason, verdict.message, _hints(verdict))
        if verdict.rejected and self._is_strict(headers):
            return _rejection(verdict)
        return _OK

    # -- all else ---------------------------------------------------------------------------------------

    async def _token(self, request: Request) -> Response:
        headers = {"cache-control": "no-store"}
        try:
            form = await self._reader.read(request.receive)
            host = request.headers.get("host", "") + request.scope.get("root_path", "")
            granted = self._tokens.grant(form, host, self._clock().timestamp())
        except RequestRefused as refused:
            return JSONResponse({"error": "invalid_request"}, refused.status, headers)
        except Denied as denied:
            return Response(denied.body, denied.status, headers, "application/json")
        return Response(granted, 200, headers, "application/json")

    def _guarded(self, endpoint: Callable[[], Response]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            client = request.client.host if request.client else ""
            try:
                self._access.check(request.headers, client, request.query_params.get("token", ""))
            except Forbidden as forbidden:
                return PlainTextResponse(f"{forbidden.message}\n", forbidden.status)
            return endpoint()

        return guarded

    def _stats(self) -> Response:
        return JSONResponse(self.counts.snapshot())

    def _metrics(self) -> Response:
        text = metrics.exposition(self.counts, remembered=len(self._ingest.window), store=self.store)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None, None]:
        yield
        self.close()


def _prefix(text: str) -> str:
    """A prefix with a slash before it and none behind it; empty for none."""
    prefix = text.strip("/")
    if not prefix:
        return ""
    if not _PREFIX.fullmatch(prefix):
        raise SettingsError(f"prefix {text!r} must be a path such as /tracking, of letters, digits, slashes and -._~")
    return f"/{prefix}"


_PREFIX = re.compile(r"[0-9A-Za-z._~-]+(/[0-9A-Za-z._~-]+)*")
_SLASHES = re.compile("/{2,}")


def _hints(verdict: Verdict) -> dict[str, str]:
    """What a client should do next, as headers."""
    hints: dict[str, str] = {}
    if verdict.retry_after:
        hints["retry-after"] = str(verdict.retry_after)
    if verdict.status == HTTPStatus.TOO_MANY_REQUESTS:
        hints["x-ratelimit-reset"] = str(verdict.retry_after)
    if verdict.reason in {"body_too_large", "busy"}:
        # The rest of the body may still be on its way, and is not to be taken for a request.
        hints["connection"] = "close"
    return hints


def _rejection(verdict: Verdict) -> HTTPAnswer:
    """What is wrong, event by event; those that are not named are kept."""
    kept = len(verdict.kept) + len(verdict.duplicates)
    count = len(verdict.rejected)
    rejected = [
        {"index": event.index, "reason": event.reason, "message": REASONS[event.reason]} for event in verdict.rejected
    ]
    are = "is not valid and was" if count == 1 else "are not valid and were"
    message = f"{count:,} of {count + kept:,} events {are} not kept"
    return error_response(400, "events_rejected", message, stored=kept, rejected=rejected)


def _preflight(headers: Mapping[str, str]) -> HTTPAnswer:
    """What a browser asks before it sends a page's request. Anybody may send: a write key is no secret in a page."""
    names = headers.get("access-control-request-headers", "")
    allowed = {
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": names if _NAMES.fullmatch(names) else "*",
        "access-control-max-age": "86400",
    }
    if "access-control-request-private-network" in headers:
        allowed["access-control-allow-private-network"] = "true"
    return HTTPAnswer(200, b"", allowed)


_NAMES = re.compile(r"[0-9A-Za-z_, -]+")


def _with_cors(answer: HTTPAnswer, headers: Mapping[str, str]) -> HTTPAnswer:
    """The same, for the page of any site: also where a browser would send cookies along, on which nothing here depends.

    `navigator.sendBeacon` always would, and then a browser takes no `*` for an answer.
    """
    origin = headers.get("origin")
    if origin is None:
        return answer
    more = {
        "access-control-allow-origin": origin if _ORIGIN.fullmatch(origin) else "*",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "retry-after, x-ratelimit-reset",
        "vary": "origin",
    }
    return answer._replace(headers={**answer.headers, **more})


_ORIGIN = re.compile(r"[!-~]+")


publish("millstream.collector", Collector)
