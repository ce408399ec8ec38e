"""The glossary: the words the other modules and the users share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ._public import publish
from .urls import redacted

__all__ = [
    "Clock",
    "DestinationStats",
    "Event",
    "FlushResult",
    "HTTPClient",
    "HTTPClientFunction",
    "Integrations",
    "Request",
    "Response",
    "Stats",
]

Event: TypeAlias = dict[str, Any]
"""One event as the Tracking API knows it: camelCase keys, `type`, `messageId`, `timestamp` and the rest."""

Integrations: TypeAlias = Mapping[str, Any]
"""Which destinations an event goes to: names (and `All`) to booleans, or to an object of options."""

Clock: TypeAlias = Callable[[], float]
"""Seconds, only ever compared with each other."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, ready to send.

    `timeout` is in seconds, for the whole exchange.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    timeout: float = 10.0

    def __repr__(self) -> str:
        # The headers hold the write key: a request may be printed, its secrets may not.
        return f"Request({self.method} {redacted(self.url)}, {len(self.body)} bytes)"


@dataclass(frozen=True)
class Response:
    """What came back. Header names are looked up in any case by those who read them."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@runtime_checkable
class HTTPClient(Protocol):
    """The seam to HTTP: one method that sends, one that lets go.

    `send` returns a Response, or anything with `status` (or `status_code`), `headers` and `body`
    (or `content`, or `data`): what requests, httpx and urllib3 return will do. It raises whatever it
    likes when there is no answer; that counts as a failed attempt.

    For AsyncAnalytics both may be `async def`: they are awaited on the event loop, and no thread is needed. A plain
    `send` is called there in the loop's default executor. Analytics, which cannot await, refuses an `async def send`.
    """

    def send(self, request: Request, /) -> Any: ...

    def close(self) -> Any: ...


HTTPClientFunction: TypeAlias = Callable[[Request], Any]
"""The short form of an HTTPClient: `(request) -> response`; for AsyncAnalytics it may be `async def`."""


@dataclass(frozen=True)
class FlushResult:
    """What became of the events that were submitted before a `flush` or `close_and_flush`.

    Counted are those that no earlier flush has counted. `failed` counts events that
    reached a final failure, `dropped` those that a plugin, `integrations` or a full queue refused,
    `pending` those that the deadline left undecided, `spooled` the part of them that is safe on disk.
    `unsent` holds, after a close, the events that were given up: each can be passed to `send` again.
    """

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    pending: int = 0
    spooled: int = 0
    unsent: list[Event] = field(default_factory=list[Event])


@dataclass(frozen=True)
class DestinationStats:
    """What became of the copies of events that went to one registered destination."""

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    """Those that it has no use for, or had no room for."""
    pending: int = 0


@dataclass(frozen=True)
class Stats:
    """A snapshot of a client's counters: `accepted == delivered + failed + dropped + pending`, always."""

    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    pending: int = 0
    spooled: int = 0
    in_flight: int = 0
    queue_bytes: int = 0
    requests: int = 0
    retries: int = 0
    spool: str | None = None
    """Whether events are on disk: `on`, or `off: ` and why. None without a spool."""
    corrupt: int = 0
    """Pieces of the spool that could not be read, and were moved to quarantine."""
    running_hook: str | None = None
    """The plugin's hook (`name.hook`) that runs at this moment: one that hangs is seen here."""
    running_hook_seconds: float = 0.0
    abandoned_senders: int = 0
    """Threads held by requests that did not end in time. Others take their places, for at most 32 of them."""
    destinations: Mapping[str, DestinationStats] = field(default_factory=dict[str, DestinationStats])
    """The registered destinations, by name. The other counters are of events, whatever the number of destinations."""


publish("millstream", FlushResult, HTTPClient, Request, Response, Stats)
