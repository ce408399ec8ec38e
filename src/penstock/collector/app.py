"""The collector as an ASGI application."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from penstock.errors import SettingsError

from . import core
from .counts import Counts
from .events import TYPES
from .store import JSONLines, Store
from .wire import MAX_BODY, Refused

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

_PATIENCE = 8 << 20
"""Bytes of a body too large that are read and thrown away: who is still sending does not hear an answer."""

_OK = b'{"success": true}'

_INDEX = """\
This is a Penstock collector: a Tracking API for customer-data events.

POST /v1/batch, or one event to /v1/identify, /v1/track, /v1/page, /v1/screen, /v1/group, /v1/alias
GET  /stats    what was received, stored and rejected
GET  /health   whether it is up
"""


class Collector:
    """A Tracking API that stores what it is sent before it answers 200.

    `store` is a directory, or a Store. With `keys`, only these write keys may write; without, anyone may.
    Raises SettingsError if the directory cannot be used.
    """

    def __init__(self, store: Store | str | os.PathLike[str], *, keys: Collection[str] | None = None) -> None:
        if isinstance(keys, str):
            raise SettingsError("keys is a collection of write keys: write keys=[key]")
        self.store = JSONLines(store) if isinstance(store, str | os.PathLike) else store
        self.counts = Counts()
        self._keys = None if keys is None else frozenset(keys)
        batch = partial(self._collect, "batch")
        self._app = Starlette(
            routes=[
                Route("/v1/batch", batch, methods=["POST"]),
                Route("/v1/import", batch, methods=["POST"]),
                *(Route(f"/v1/{kind}", partial(self._collect, kind), methods=["POST"]) for kind in TYPES),
                Route("/stats", self._stats),
                Route("/health", self._health),
                Route("/", self._index),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def close(self) -> None:
        """Let go of the store. Call it when no request can come any more."""
        self.store.close()

    async def _collect(self, route: core.Route, request: Request) -> Response:
        try:
            body = await _read(request)
        except Refused as refused:
            verdict = core.Verdict.of(refused)
        else:
            verdict = core.judge(route, request.headers, body, datetime.now(timezone.utc), keys=self._keys)
        return self._settle(verdict)

    def _settle(self, verdict: core.Verdict) -> Response:
        """Store, count, answer: in this order, so that a 200 is only ever said of what is kept."""
        try:
            if verdict.events:
                self.store.append([event.line for event in verdict.events])
        except OSError as error:
            self.counts.note(verdict, stored=False)
            return _refusal(503, "not_stored", f"the events could not be stored: {error.strerror}")
        self.counts.note(verdict, stored=True)
        if verdict.status == HTTPStatus.OK:
            return Response(_OK, media_type="application/json")
        return _refusal(verdict.status, verdict.reason, verdict.message)

    async def _stats(self, _: Request) -> Response:
        return JSONResponse(self.counts.snapshot())

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _index(self, _: Request) -> Response:
        return PlainTextResponse(_INDEX)


def _refusal(status: int, code: str, message: str) -> Response:
    # After a 413 the rest of the body may still be on its way, and is not to be taken for a request.
    headers = {"connection": "close"} if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None
    return JSONResponse({"success": False, "code": code, "message": message}, status, headers)


async def _read(request: Request) -> bytes:
    """The body; never more of it in memory than MAX_BODY and a piece."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size <= MAX_BODY:
                parts.append(part)
            elif size > _PATIENCE:
                break
    except ClientDisconnect as error:
        raise Refused(400, "disconnected", "the client left before its request was complete") from error
    if size > MAX_BODY:
        raise Refused(413, "body_too_large", f"the body is over the limit of {MAX_BODY:,} bytes")
    return b"".join(parts)
