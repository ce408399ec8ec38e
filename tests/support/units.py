"""Real parts of a client for unit tests: no thread, no server, and an HTTP client that is a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millstream import ErrorEvent, Request, Response
from millstream._client.parts import parts_of
from millstream._core.events.encode import encode
from millstream._core.receipt import Receipt
from millstream._delivery.assemble import Parts, inline
from millstream._delivery.driver import Driver
from millstream._logging import Summary
from millstream.emitter import Emitter
from millstream.settings import Settings


class Told:
    """An emitter, and what its `error` listeners would be told."""

    def __init__(self) -> None:
        self.errors: list[ErrorEvent] = []
        self.hushed = False
        self.emitter = Emitter(self.errors.append, lambda: self.hushed)

    @property
    def said(self) -> list[str]:
        """The errors, as `code: text`."""
        return [f"{error.code}: {error.reason}" for error in self.errors]


def take_all(_: Request) -> Response:
    """An API that accepts everything."""
    return Response(200, {}, b'{"success":true}')


def parts(
    send: Callable[[Request], Any] = take_all,
    emitter: Emitter | None = None,
    summary: Summary | None = None,
    **more: Any,
) -> Parts:
    """The parts that a client with these settings has."""
    settings = Settings(**{"write_key": "key", "http_client": send, **more})
    return parts_of(settings, emitter or Told().emitter, summary or Summary(), may_await=False)


def driver(send: Callable[[Request], Any] = take_all, emitter: Emitter | None = None, **settings: Any) -> Driver:
    """A driver that delivers in the calls themselves."""
    return inline(parts(send, emitter, **settings))


def receipt(driver: Driver | None = None, name: str = "A", **fields: Any) -> Receipt:
    """An event on its way."""
    event = {"type": "track", "messageId": f"id-{name}", "timestamp": "2024-02-16T10:00:00.000Z", "event": name}
    data = encode({**event, "userId": "u", **fields})
    return Receipt(data, "track", f"id-{name}", driver, "integrations" in fields)  # type: ignore[arg-type]
