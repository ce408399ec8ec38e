"""Exceptions: the tree of all that Millstream raises or reports.

    MillstreamError
    ├── SettingsError (ValueError)        a setting cannot be used; raised when a client is made
    ├── InvalidEvent (ValueError)         a call's arguments cannot become an event
    ├── MissingExtra (ImportError)        an optional dependency is not installed
    ├── QueryError                        SQL over the collector's events cannot be run
    ├── Fenced                            another router has moved the cursor; raised by cursor stores and sinks
    ├── SpoolError                        events are in memory alone, or in the spool and cannot be read; never raised
    └── DeliveryError                     why an accepted event did not arrive; what a receipt raises
        ├── EventTooLarge                 size, limit, field
        ├── Rejected                      status, body
        ├── RetriesExhausted              attempts, last
        ├── RateLimitExpired              attempts
        ├── QueueFull                     limit
        ├── Abandoned                     spooled
        ├── ClientClosed
        ├── Dropped                       reason
        ├── PluginError                   plugin
        ├── AuthError                     status
        └── TransportError

    DropEvent (BaseException)             a decision of a plugin, not an error: drop this event

A test compares this drawing with the classes.
"""

from __future__ import annotations

from ._public import publish

__all__ = [
    "Abandoned",
    "AuthError",
    "ClientClosed",
    "DeliveryError",
    "DropEvent",
    "Dropped",
    "EventTooLarge",
    "Fenced",
    "InvalidEvent",
    "MillstreamError",
    "MissingExtra",
    "PluginError",
    "QueryError",
    "QueueFull",
    "RateLimitExpired",
    "Rejected",
    "RetriesExhausted",
    "SettingsError",
    "SpoolError",
    "TransportError",
]


class MillstreamError(Exception):
    """The base class of all errors of Millstream."""


class SettingsError(MillstreamError, ValueError):
    """A setting is invalid. The message names it, its value, and what is allowed."""


class InvalidEvent(MillstreamError, ValueError):
    """An event call got an argument that cannot be sent. The message names the field and the remedy."""


class MissingExtra(MillstreamError, ImportError):
    """A feature needs a package that is not installed. The message has the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed: pip install 'millstream[{extra}]'")
        self.feature = feature
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.feature, self.extra)


class SpoolError(MillstreamError):
    """The spool failed. Reported to `error` listeners and the log, never raised: delivery goes on."""


class Fenced(MillstreamError):
    """Another process has moved the cursor that this one goes by: two routers deliver to one destination."""


class QueryError(MillstreamError):
    """A query of the collector's stored events failed: DuckDB's message, and a remedy where known."""


class DeliveryError(MillstreamError):
    """An accepted event was not delivered. Not raised by event calls: receipts, callbacks and listeners get it."""


class EventTooLarge(DeliveryError):
    """The event is over the Tracking API's limit for one event (32 KB) and was not sent."""

    def __init__(self, size: int, limit: int, field: str) -> None:
        super().__init__(
            f"the event is {size:,} bytes, {size - limit:,} over the limit of {limit:,}; "
            f"its largest field is {field}: send less of it, or a reference to where it is kept"
        )
        self.size = size
        self.limit = limit
        self.field = field

    def __reduce__(self) -> tuple[type[EventTooLarge], tuple[int, int, str]]:
        return type(self), (self.size, self.limit, self.field)


class Rejected(DeliveryError):
    """The server refused the batch, and a retry would not help."""

    def __init__(self, status: int, body: bytes = b"", hint: str = "") -> None:
        text = body[:200].decode("utf-8", "replace").strip()
        super().__init__(f"[{status}] the server refused the events" + (hint and f": {hint}") + (text and f" ({text})"))
        self.status = status
        self.body = body
        self.hint = hint

    def __reduce__(self) -> tuple[type[Rejected], tuple[int, bytes, str]]:
        return type(self), (self.status, self.body, self.hint)


class RetriesExhausted(DeliveryError):
    """Every allowed attempt failed. `last` is the error of the last one."""

    def __init__(self, attempts: int, last: DeliveryError) -> None:
        super().__init__(f"gave up after {attempts} attempt{'s' if attempts != 1 else ''}; the last one met: {last}")
        self.attempts = attempts
        self.last = last

    def __reduce__(self) -> tuple[type[RetriesExhausted], tuple[int, DeliveryError]]:
        return type(self), (self.attempts, self.last)


class RateLimitExpired(DeliveryError):
    """The server limited the rate for longer than `max_rate_limit_duration`."""

    def __init__(self, attempts: int, seconds: float) -> None:
        super().__init__(f"the server was still limiting the rate after {seconds:g} s and {attempts} attempts")
        self.attempts = attempts
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[RateLimitExpired], tuple[int, float]]:
        return type(self), (self.attempts, self.seconds)


class QueueFull(DeliveryError):
    """The queue had no room for the event: `max_queue_events` or `max_queue_bytes` was reached."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the queue is full ({limit}): the server is slower than the application, or down")
        self.limit = limit

    def __reduce__(self) -> tuple[type[QueueFull], tuple[str]]:
        return type(self), (self.limit,)


class Abandoned(DeliveryError):
    """The client closed before the event was delivered. With `spooled`, it is on disk and is sent later."""

    def __init__(self, *, spooled: bool = False) -> None:
        kept = "it is in the spool and is sent at the next start" if spooled else "it was not delivered"
        super().__init__(f"the client closed before the event could be delivered; {kept}")
        self.spooled = spooled

    def __reduce__(self) -> tuple[object, tuple[bool]]:
        return _abandoned, (self.spooled,)


def _abandoned(spooled: bool) -> Abandoned:
    return Abandoned(spooled=spooled)


class ClientClosed(DeliveryError):
    """The event was recorded after `close_and_flush`, or at the end of the process.

    Listen to `call_after_close` to keep events recorded after a close.
    """

    def __init__(self, why: str = "the client is closed") -> None:
        super().__init__(f"{why}: events are no longer accepted")
        self.why = why

    def __reduce__(self) -> tuple[type[ClientClosed], tuple[str]]:
        return type(self), (self.why,)


class Dropped(DeliveryError):
    """A plugin, or the event's own `integrations`, dropped it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"dropped: {reason}")
        self.reason = reason

    def __reduce__(self) -> tuple[type[Dropped], tuple[str]]:
        return type(self), (self.reason,)


class PluginError(DeliveryError):
    """A plugin's failure stopped the event. The plugin's own exception is the cause."""

    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(f"plugin {plugin!r}: {message}")
        self.plugin = plugin
        self.message = message

    def __reduce__(self) -> tuple[type[PluginError], tuple[str, str]]:
        return type(self), (self.plugin, self.message)


class AuthError(DeliveryError):
    """The authorization server granted no token. `status` is its answer's; None without an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status

    def __reduce__(self) -> tuple[type[AuthError], tuple[str, int | None]]:
        return type(self), (self.message, self.status)


class TransportError(DeliveryError):
    """No usable answer: refused, reset, timed out, unreadable. The original exception is the cause."""


class DropEvent(BaseException):
    """Raised by a plugin (or by `ctx.cancel`) to drop the event. Not a MillstreamError: nothing failed.

    It derives from BaseException so that a broad `except Exception` cannot swallow it.
    """

    def __init__(self, reason: str = "dropped by a plugin") -> None:
        super().__init__(reason)
        self.reason = reason


publish("millstream", *[value for name, value in globals().items() if name in __all__])
