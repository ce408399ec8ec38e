"""Calls an ASGI application directly: no socket, no thread, every answer as a value."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millstream.collector import Collector


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(app: Collector, method: str, path: str, body: Any = b"", **headers: str) -> Answered:
    """One request from this machine. Names of headers are written with underscores; a body that is no bytes is JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(calling(app, method, path, [data], **headers))


async def calling(app: Collector, method: str, path: str, pieces: Sequence[bytes], **headers: str) -> Answered:
    """The same with a body in pieces; the client leaves if there are none."""
    messages = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    named = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
        "client": ("127.0.0.1", 50000),
    }
    await app(scope, receive, send)
    start, *bodies = sent
    assert [message["type"] for message in sent] == ["http.response.start", *["http.response.body"] * len(bodies)]
    return Answered(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in bodies),
    )
