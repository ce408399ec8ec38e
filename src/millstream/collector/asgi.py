"""HTTP requests and answers in ASGI's terms, without a framework, which would cost too much per request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .request import MAX_BODY, RequestRefused

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_PATIENCE = 8 << 20
"""Bytes of an oversized body that are read and discarded: a client that is still sending does not read an answer."""


class HTTPAnswer(NamedTuple):
    """An HTTP answer, with a body of JSON."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}

    def encoded_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI sends them."""
        return [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            *[(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()],
        ]

    async def send(self, send: Send) -> None:
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.encoded_headers()})
        await send({"type": "http.response.body", "body": self.body})


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: Any
) -> HTTPAnswer:
    """Make an error answer: a code for programs, a message for people."""
    body = msgspec.json.encode({"success": False, "code": code, "message": message, **more})
    return HTTPAnswer(status, body, headers or {})


def headers_of(scope: Scope) -> dict[str, str]:
    """Return a request's headers, with lower-case names."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


class BodyReader:
    """Reads request bodies, within a memory budget for all of them.

    Args:
        most: bytes of all incomplete bodies together.
    """

    def __init__(self, most: int = 128 << 20) -> None:
        self._left = most

    async def read(self, receive: Receive) -> bytes:
        """Read a whole body.

        Raises:
            RequestRefused: 413 if it is over MAX_BODY, 503 if the budget is used up, 400 if the client disconnects.
        """
        parts: list[bytes] = []
        size = held = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestRefused(400, "disconnected", "the client disconnected before its request was complete")
                part: bytes = message.get("body", b"")
                size += len(part)
                if size <= MAX_BODY:
                    parts.append(part)
                if not message.get("more_body") or size > _PATIENCE:
                    break
                if size <= MAX_BODY:
                    held += len(part)
                    self._left -= len(part)
                if self._left < 0:
                    raise RequestRefused(503, "busy", "too many requests are being received at once", retry_after=1)
        finally:
            self._left += held
        if size > MAX_BODY:
            raise RequestRefused(413, "body_too_large", f"the body is over the limit of {MAX_BODY:,} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)
