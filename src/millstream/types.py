"""Shared types: events, requests, responses, results."""

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
"""An event as the Tracking API receives it: camelCase keys, `type`, `messageId`, `timestamp` and the rest."""

Integrations: TypeAlias = Mapping[str, Any]
"""The destinations of an event: names (and `All`) to booleans, or to an object of options."""

Clock: TypeAlias = Callable[[], float]
"""Seconds of a monotonic clock."""


@dataclass(frozen=True)
class Request:
    """An HTTP request, ready to send.

    `timeout` is in seconds, for the whole exchange.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    timeout: float = 10.0

    def __repr__(self) -> str:
        # The headers hold the write key: a repr must not print secrets.
        return f"Request({self.method} {redacted(self.url)}, {len(self.body)} bytes)"


@dataclass(frozen=True)
class Response:
    """An HTTP response. Header names may have any case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@runtime_checkable
class HTTPClient(Protocol):
    """The interface of HTTP clients: `send` and `close`.

    `send` returns a Response, or anything with `status` (or `status_code`), `headers` and `body` (or `content`, or
    `data`), as the responses of requests, httpx and urllib3. An exception of any type counts as a failed attempt.

    For AsyncAnalytics both may be `async def`: they are awaited on the event loop, without a thread. A synchronous
    `send` runs in the loop's default executor. Analytics, which cannot await, refuses an `async def send`.
    """

    def send(self, request: Request, /) -> Any: ...

    def close(self) -> Any: ...


HTTPClientFunction: TypeAlias = Callable[[Request], Any]
"""A function as an HTTP client: `(request) -> response`; for AsyncAnalytics it may be `async def`."""


@dataclass(frozen=True)
class FlushResult:
    """The outcomes of the events submitted before a `flush` or `close_and_flush`.

    Events counted by an earlier flush are not counted again. `failed` counts final failures, `dropped` events refused
    by a plugin, `integrations` or a full queue, `pending` those unsettled at the deadline, `spooled` the part of them
    that is on disk. After a close, `unsent` holds the abandoned events: each can be passed to `send` again.
    """

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    pending: int = 0
    spooled: int = 0
    unsent: list[Event] = field(default_factory=list[Event])


@dataclass(frozen=True)
class DestinationStats:
    """The outcomes of the event copies for a registered destination."""

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    """Copies that the destination skips, or has no room for."""
    pending: int = 0


@dataclass(frozen=True)
class Stats:
    """A snapshot of a client's counters; `accepted == delivered + failed + dropped + pending` always holds."""

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
    """Whether events are on disk: `on`, or `off: ` and the reason. None without a spool."""
    corrupt: int = 0
    """Pieces of the spool that could not be read, and were moved to quarantine."""
    running_hook: str | None = None
    """The plugin hook (`name.hook`) that is running: shows one that hangs."""
    running_hook_seconds: float = 0.0
    abandoned_senders: int = 0
    """Threads in requests that did not end in time. New ones replace them, at most 32."""
    destinations: Mapping[str, DestinationStats] = field(default_factory=dict[str, DestinationStats])
    """The registered destinations, by name. The other counters are of events, whatever the number of destinations."""


publish("millstream", FlushResult, HTTPClient, Request, Response, Stats)
