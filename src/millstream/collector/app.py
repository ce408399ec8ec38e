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
from millstream.router.configuration import Source
from millstream.spec import REASONS

from . import metrics
from .admission import Admission, NamedSource, Rate
from .asgi import BodyReader, HTTPAnswer, error_response, headers_of
from .debugger import Access, routes
from .debugger.access import Forbidden
from .dedup import Dedup
from .destinations import Destinations
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
_NOT_FOUND = error_response(404, "unknown_route", "no such route")
_NOT_ALLOWED = error_response(405, "not_allowed", "this route takes POST", {"allow": "POST, OPTIONS"})
_API = "/v1/"
_A_YEAR = 366 * 86_400


class Collector:
    """A Tracking API that stores events before it answers 200.

    Args:
        store: a directory, or a Store.
        keys: accepted write keys; None accepts any, and requests without one.
        strict: answer 400 and list the rejected events, where Segment answers 200.
        rate_limit: events per second for each write key; None is unlimited.
        dedup_window: deduplication window in seconds: ids are kept for one to two windows; 0 disables it.
        dedup_ids: message ids per generation, of which there are two; more shorten the window.
        applications: OAuth clients of `/token`. With any, every request needs a token.
        audience: this server's URL as OAuth clients know it; by default from the Host header.
        token: secret that opens the page, `/stats` and `/metrics` to other machines; None keeps them local.
        hosts: names under which the page is served, beside localhost and addresses.
        prefix: a path that a proxy adds, as in `/tracking/v1/batch`; requests may have it or not.
        sources: named sources; their write keys are accepted, too. With any, `keys` defaults to none but these.
        destinations: where a router sends the events, for the page and `/metrics`.
        clock: returns the time in UTC.

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
        sources: Mapping[str, Source] | None = None,
        destinations: Destinations | None = None,
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
        admission = Admission(
            keys,
            tokens=self._tokens if applications else None,
            rate=None if rate_limit is None else Rate(rate_limit),
            sources=_by_key(sources or {}),
        )
        self._admission = admission
        self.store = Files(store) if isinstance(store, str | os.PathLike) else store
        try:
            suppressions = SuppressionList(self.store.path) if isinstance(self.store, Files) else None
            dedup = Dedup(dedup_window, dedup_ids)
            self._ingest = Ingest(self.store, admission, dedup, clock=clock, suppressions=suppressions)
        except BaseException:
            if self.store is not store:  # else it is the caller's
                self.store.close()
            raise
        self.counts = self._ingest.counts
        self._strict = strict
        self._clock = clock
        self._reader = BodyReader()
        self.destinations = destinations
        self._app = Starlette(
            routes=[
                routing.Route("/token", self._token, methods=["POST"]),
                routing.Route("/health", self._health),
                routing.Route("/ready", self._ready),
                routing.Route("/stats", self._guarded(self._stats)),
                routing.Route("/metrics", self._guarded(self._metrics)),
                *routes(self._ingest.feed, self._access, destinations),
            ],
            lifespan=self._lifespan,
        )

    @classmethod
    def in_memory(cls, **settings: Any) -> Collector:
        """Make a collector that stores its events in a list, `events`. It takes Collector's settings."""
        return cls(Memory(), **settings)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a collector in memory, in order of arrival.

        Raises:
            TypeError: this collector does not store in memory.
        """
        if not isinstance(self.store, Memory):
            raise TypeError("only Collector.in_memory() has `events`")
        return self.store.events

    @property
    def feed(self) -> Feed:
        """The last events and their outcomes."""
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
        """Answer a request under `/v1/`."""
        return _with_cors(await self._tracking_api(method, path, headers, receive), headers)

    def take(self, path: str, headers: Mapping[str, str], body: bytes, done: Callable[[HTTPAnswer], object]) -> None:
        """Judge a complete POST to a known path; call `done` with the answer once its events are stored."""

        def taken(verdict: Verdict) -> None:
            done(_with_cors(self._answer(verdict, headers), headers))

        self._ingest.take(ROUTES[path[len(_API) :]], headers, body, taken, strict=self._is_strict(headers))

    def use_sources(self, sources: Mapping[str, Source]) -> None:
        """Let these sources write, in place of those before that had a name. Call it on the event loop."""
        self._admission.use(_by_key(sources))

    def stop(self) -> None:
        """End the streams of the live page, which would stay open otherwise. Safe in a signal handler."""
        self._ingest.feed.close()

    def close(self) -> None:
        """Close the store. Call it after the last request."""
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
        if route is None:  # metrics that analytics.js sends about itself
            return _OK
        return self._answer(await self._taken(route, headers, body), headers)

    async def _taken(self, route: Route, headers: Mapping[str, str], body: bytes) -> Verdict:
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

        def done(found: Verdict) -> None:
            if not verdict.cancelled():  # else its client is gone
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
        states = () if self.destinations is None else self.destinations.statuses()
        text = metrics.exposition(self.counts, remembered=len(self._ingest.dedup), store=self.store, routes=states)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        """Whether events can be taken: 503 once it is stopping, and while the last ones could not be stored."""
        if self._ingest.feed.closed or self._ingest.failing:
            why = "stopping" if self._ingest.feed.closed else "events could not be stored"
            return JSONResponse({"status": why}, 503)
        return JSONResponse({"status": "ready"})

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None, None]:
        yield
        self.close()


def _by_key(sources: Mapping[str, Source]) -> dict[str, NamedSource]:
    return {
        each.key: NamedSource(
            name,
            None if each.rate_limit is None else Rate(each.rate_limit),
            frozenset(origin.lower().rstrip("/") for origin in each.origins),
        )
        for name, each in sources.items()
    }


def _prefix(text: str) -> str:
    """Normalize a prefix: a slash before it and none behind it; empty for none."""
    prefix = text.strip("/")
    if not prefix:
        return ""
    if not _PREFIX.fullmatch(prefix):
        raise SettingsError(f"prefix {text!r} must be a path such as /tracking, of letters, digits, slashes and -._~")
    return f"/{prefix}"


_PREFIX = re.compile(r"[0-9A-Za-z._~-]+(/[0-9A-Za-z._~-]+)*")
_SLASHES = re.compile("/{2,}")


def _hints(verdict: Verdict) -> dict[str, str]:
    """Headers that say what the client should do next."""
    hints: dict[str, str] = {}
    if verdict.retry_after:
        hints["retry-after"] = str(verdict.retry_after)
    if verdict.status == HTTPStatus.TOO_MANY_REQUESTS:
        hints["x-ratelimit-reset"] = str(verdict.retry_after)
    if verdict.reason in {"body_too_large", "busy"}:
        # Unread bytes of the body must not be parsed as the next request.
        hints["connection"] = "close"
    return hints


def _rejection(verdict: Verdict) -> HTTPAnswer:
    """List what is wrong, event by event; the other events are stored."""
    kept = len(verdict.kept) + len(verdict.duplicates)
    count = len(verdict.rejected)
    rejected = [
        {"index": event.index, "reason": event.reason, "message": REASONS[event.reason]} for event in verdict.rejected
    ]
    are = "is not valid and was" if count == 1 else "are not valid and were"
    message = f"{count:,} of {count + kept:,} events {are} not stored"
    return error_response(400, "events_rejected", message, stored=kept, rejected=rejected)


def _preflight(headers: Mapping[str, str]) -> HTTPAnswer:
    """Answer a CORS preflight. Any origin may send: a write key in a page is no secret."""
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
    """Add CORS headers for the request's origin, credentials included: no answer depends on cookies.

    `navigator.sendBeacon` always sends credentials, and browsers then refuse a `*`.
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
