"""Routes of the live page: its files and its data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from msgspec import Raw
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from millstream.errors import DeliveryError
from millstream.spec import REASONS, TYPES

from ..clock_skew import moment_of
from ..destinations import letter_of
from .access import Access, Forbidden
from .rows import RowFilter, row_of
from .snippet import body_of, call_of
from .subscriber import AT_ONCE, Subscriber

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from ..destinations import Destinations
    from ..feed import Entry, Feed

TICK = 0.1
"""Seconds between two messages to a watcher."""
STATS_EVERY = 1.0

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}

_Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def routes(feed: Feed, access: Access, destinations: Destinations | None = None) -> list[Route]:
    """Make the routes: the page at `/`, its data under `/debug/`, all behind `access`."""
    pages = _Pages(feed, access, destinations)
    about = _About(feed, destinations)
    return [
        Route("/", pages.guarded(pages.index, page=True)),
        Route("/debug/app.js", pages.guarded(pages.static)),
        Route("/debug/style.css", pages.guarded(pages.static)),
        Route("/debug/events", pages.guarded(pages.events)),
        Route("/debug/events/{id}", pages.guarded(pages.event)),
        Route("/debug/events/{id}/{name}", pages.guarded(about.preview)),
        Route("/debug/destinations", pages.guarded(about.states)),
        Route("/debug/deadletters/{name}", pages.guarded(about.letters)),
        Route("/debug/deadletters/{name}/{id}", pages.guarded(about.retry), methods=["POST"]),
    ]


class _Pages:
    def __init__(self, feed: Feed, access: Access, destinations: Destinations | None) -> None:
        self._feed = feed
        self._access = access
        self._destinations = destinations

    def guarded(self, endpoint: _Endpoint, *, page: bool = False) -> _Endpoint:
        async def checked(request: Request) -> Response:
            client = request.client.host if request.client else ""
            try:
                self._access.check(request.headers, client, _token(request), page=page)
                response = await endpoint(request)
            except Forbidden as forbidden:
                response = PlainTextResponse(f"{forbidden.message}\n", forbidden.status)
            response.headers.update(_HEADERS)
            return response

        return checked

    async def index(self, request: Request) -> Response:
        page = (_STATIC / "index.html").read_bytes().replace(b"{types}", " ".join(TYPES).encode())
        response = Response(page, media_type="text/html")
        access = self._access
        if access.shows_token(_token(request)):
            # No redirect to an address without the token: a browser that came by a link from another site would
            # follow it without a cookie that is SameSite=Strict. The page itself takes the token out of its address.
            secure = request.url.scheme == "https"
            response.set_cookie(
                access.cookie, access.cookie_value, path="/", httponly=True, samesite="strict", secure=secure
            )
        return response

    async def static(self, request: Request) -> Response:
        return _file(request.scope["path"].rpartition("/")[2])

    async def events(self, request: Request) -> Response:
        if request.method == "HEAD":  # else the response would never end
            return Response(media_type=_Stream.media_type)
        return _Stream(self._feed, _follower(self._feed, request))

    async def event(self, request: Request) -> Response:
        number = _number(request.path_params["id"])
        entry = None if number is None else self._feed.get(number)
        if entry is None:
            return Response(b"{}", 404, media_type="application/json")
        detail = _detail(self._feed, entry)
        if self._destinations is not None:
            detail["destinations"] = self._destinations.fates(entry.position)
        return _json(detail)


class _About:
    """What the page shows of destinations, and the one thing that it does: another attempt for a dead letter."""

    def __init__(self, feed: Feed, destinations: Destinations | None) -> None:
        self._feed = feed
        self._destinations = destinations

    async def states(self, _: Request) -> Response:
        if self._destinations is None:
            return _json([])
        now = time()
        fields = ("name", "type", "state", "since", "lag_events", "lag_seconds", "rate", "last_error", "lost")
        return _json(
            [
                {name: getattr(each, name) for name in fields}
                | {
                    "seconds": max(0.0, now - each.since) if each.since else 0.0,
                    "delivered": each.counters.delivered,
                    "retried": each.counters.retried,
                    "dropped": each.counters.dropped,
                    "dead": each.counters.dead,
                }
                for each in self._destinations.statuses()
            ]
        )

    async def preview(self, request: Request) -> Response:
        number = _number(request.path_params["id"])
        entry = None if number is None else self._feed.get(number)
        if entry is None or self._destinations is None:
            return _json({}, 404)
        try:
            return _json(self._destinations.preview(request.path_params["name"], entry.line))
        except KeyError:
            return _json({}, 404)
        except DeliveryError as error:
            return _json({"message": str(error)}, 422)

    async def letters(self, request: Request) -> Response:
        if self._destinations is None or request.path_params["name"] not in self._destinations.routes:
            return _json({}, 404)
        return _json([letter_of(each) for each in self._destinations.letters(request.path_params["name"])])

    async def retry(self, request: Request) -> Response:
        """Send a dead letter again.

        A page of another site can make a browser send a POST with cookies, but not one with a header of ours: for that
        it would have to ask first, and is not allowed.
        """
        if request.headers.get(ACTION) != "retry":
            raise Forbidden(403, f"this needs the header {ACTION}: retry")
        name = request.path_params["name"]
        if self._destinations is None or name not in self._destinations.routes:
            return _json({}, 404)
        problem = await self._destinations.retry(name, request.path_params["id"])
        return _json({"delivered": not problem, "message": problem})


ACTION = "x-millstream-action"


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _token(request: Request) -> str:
    return request.query_params.get("token", "")


def _file(name: str) -> Response:
    path = _STATIC / name
    return Response(path.read_bytes(), media_type=_MEDIA_TYPES[path.suffix])


def _detail(feed: Feed, entry: Entry) -> dict[str, object]:
    """Return all there is to know of an entry: its row, why it was not kept, its JSON, and what makes one like it.

    `call` is Python, `body` is for `curl`; `original` is the row of the event that a duplicate repeats.
    """
    row, line = row_of(entry), entry.line
    original = _original(feed, entry) if entry.kind == "duplicate" else None
    return {
        "row": row,
        "why": REASONS.get(row.reason, "") or _time_unknown(line),
        "json": _formatted(line),
        "call": call_of(line) if entry.kind in {"stored", "duplicate"} else "",
        "body": body_of(line) if entry.kind in {"stored", "duplicate"} else "",
        "original": None if original is None else row_of(original),
    }


class _Id(msgspec.Struct, rename="camel"):
    message_id: str = ""


def _message_id(line: bytes) -> str:
    try:
        return msgspec.json.decode(line, type=_Id).message_id
    except (msgspec.DecodeError, RecursionError):
        return ""


def _original(feed: Feed, duplicate: Entry) -> Entry | None:
    """Return the stored event that a duplicate repeats, if it is still remembered."""
    wanted = _message_id(duplicate.line)
    for entry in feed.entries(0):
        same_source = entry.kind == "stored" and entry.source == duplicate.source and entry.id < duplicate.id
        if same_source and _message_id(entry.line) == wanted:
            return entry
    return None


def _formatted(line: bytes) -> str:
    try:
        return msgspec.json.format(line, indent=2).decode()
    except (msgspec.DecodeError, RecursionError):
        return ""


class _Times(msgspec.Struct, rename="camel"):
    original_timestamp: Raw = Raw(b"")
    received_at: Raw = Raw(b"")


def _time_unknown(line: bytes) -> str:
    """Say why a stored event has the time of its receipt, although it has a timestamp."""
    try:
        times = msgspec.json.decode(line, type=_Times)
    except (msgspec.DecodeError, RecursionError):
        return ""
    if not (bytes(times.received_at) and bytes(times.original_timestamp)) or moment_of(times.original_timestamp):
        return ""
    return "its timestamp could not be read: the time of receipt is used"


def _follower(feed: Feed, request: Request) -> Subscriber:
    asked = request.query_params
    wanted = RowFilter(
        kinds=asked.getlist("kind"),
        types=asked.getlist("type"),
        sources=asked.getlist("source"),
        name=asked.get("name", ""),
        user=asked.get("user", ""),
        text=asked.get("text", ""),
    )
    after = request.headers.get("last-event-id") or asked.get("after", "")
    return Subscriber(
        feed,
        wanted,
        whole=asked.get("whole") == "1",
        after=after,
        last=_number(asked.get("last", "")),
        complete=asked.get("complete") == "1",
    )


def _number(text: str) -> int | None:
    """Parse a number; None for other text, and for more digits than any number here has."""
    return int(text) if text.isdecimal() and len(text) < _DIGITS else None


_DIGITS = 19


class _Stream(Response):
    """Server-sent events for one watcher, until the client disconnects or the feed closes."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, follower: Subscriber) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # else nginx buffers the messages
        self._feed = feed
        self._follower = follower

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        async def say(message: bytes) -> None:
            await send({"type": "http.response.body", "body": message, "more_body": True})

        gone = asyncio.ensure_future(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await say(b"retry: 1000\n\n" + self._follower.hello())
            next_stats = monotonic()
            while not gone.done():
                closing = self._feed.closed
                await self._catch_up(say)
                if closing:  # all events before the end are sent
                    break
                if monotonic() >= next_stats:
                    next_stats = monotonic() + STATS_EVERY
                    await say(self._follower.stats(time()))
                await asyncio.wait({gone}, timeout=TICK)
        finally:
            gone.cancel()
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})

    async def _catch_up(self, say: Callable[[bytes], Awaitable[None]]) -> None:
        """Send the events that are due; yield to other requests between two portions."""
        told = 0
        follower = self._follower
        while follower.in_the_past or (follower.behind and (follower.complete or told < AT_ONCE)):
            message, rows = follower.portion()
            told += rows
            if message:
                await say(message)
            await asyncio.sleep(0)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
