"""The context: an event as callbacks, listeners and plugins see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from msgspec import Struct

from .._public import publish
from ..errors import DeliveryError, DropEvent
from ..types import Event
from .events.encode import decode
from .outcome import Outcome

__all__ = ["Callback", "Context", "ErrorEvent", "LogEntry", "Metric", "Metrics", "Shared"]

T = TypeVar("T")
LEVELS = ("debug", "info", "warn", "error")


class LogEntry(Struct, frozen=True):
    """An entry of a context's log."""

    level: str
    message: str
    extras: Mapping[str, Any] = {}


class Metric(Struct, frozen=True):
    """A number recorded by a plugin: a `counter` or a `gauge`."""

    metric: str
    value: float
    type: str
    tags: tuple[str, ...] = ()


class Metrics(list[Metric]):
    """Metrics that plugins recorded for one event."""

    def increment(self, metric: str, by: float = 1, tags: tuple[str, ...] = ()) -> None:
        """Increment a counter."""
        self.append(Metric(metric, by, "counter", tags))

    def gauge(self, metric: str, value: float, tags: tuple[str, ...] = ()) -> None:
        """Record a gauge."""
        self.append(Metric(metric, value, "gauge", tags))


class Shared(Struct, Generic[T], frozen=True, gc=False):
    """A value shared by many contexts. Not tracked by the garbage collector: it must never be part of a cycle."""

    value: T


# A struct, because two are made for an event that goes to a plugin, and structs are fast to make. msgspec lets the
# garbage collector track a struct once it holds a value that may be part of a cycle. Such values are made on demand,
# so that contexts that only wait for an outcome, thousands in a burst, cost the collector nothing.
class Context(Struct, eq=False):
    """An event in delivery: its content, progress, and what plugins recorded.

    It is decoded only when `event` is read, because most events are never inspected.
    """

    data: bytes
    id: str
    """The event's `messageId`."""
    attempts: int = 0
    """Requests that have carried the event."""
    _error: DeliveryError | None = None
    _options: Mapping[str, Any] | None = None
    _event: Event | None = None
    _passed: Shared[tuple[str, ...]] | None = None  # plugins that have handled it, while nothing else was recorded
    _logs: list[LogEntry] | None = None
    _stats: Metrics | None = None
    _delivered: Shared[Mapping[str, Outcome]] | None = None
    _deliveries: dict[str, Outcome] | None = None

    def __repr__(self) -> str:
        return f"<Context {self.id}>"

    @property
    def options(self) -> Mapping[str, Any]:
        """For a destination plugin: its options in the event's integrations."""
        if self._options is None:
            self._options = {}
        return self._options

    @property
    def stats(self) -> Metrics:
        """`increment` and `gauge`, for plugins."""
        if self._stats is None:
            self._stats = Metrics()
        return self._stats

    @property
    def deliveries(self) -> dict[str, Outcome]:
        """The outcome at each destination, where some are plugins."""
        if self._deliveries is None:
            self._deliveries = {} if self._delivered is None else {**self._delivered.value}
        return self._deliveries

    @property
    def event(self) -> Event:
        """The event as sent: a dict with camelCase keys."""
        event = self._event
        if event is None:
            event = self._event = decode(self.data)
        return event

    @event.setter
    def event(self, event: Event) -> None:
        self._event = event

    @property
    def _looked_at(self) -> bool:
        """Whether user code has had the event, and may have changed it."""
        return self._event is not None

    def _seal(self, data: bytes) -> None:
        """Fix the event's bytes. Later changes to a dict that user code holds have no effect."""
        self.data = data
        self._event = None

    def update_event(self, path: str, value: Any) -> Event:
        """Set a value deep in the event, creating missing levels: `update_event("traits.custom", …)`.

        An integration that the event has set to false is never overridden. A number is an index into an existing list
        (`"properties.products.0.name"`).

        Returns:
            The event.

        Raises:
            LookupError: the index is out of range.
            ValueError: the index is not a number.
        """
        *levels, last = path.split(".")
        if levels[:1] == ["integrations"] and self._is_switched_off([*levels, last][1]):
            return self.event
        inner: Any = self.event
        for level in levels:
            inner = _step_into(inner, level)
        if isinstance(inner, list):
            inner[int(last)] = value
        else:
            inner[last] = value
        return self.event

    def _is_switched_off(self, name: str) -> bool:
        integrations: Event = self.event.get("integrations") or {}
        return integrations.get(name) is False

    def _adopt(self, other: Context) -> None:
        """Take over the event and the records of another context."""
        self._event, self._logs, self._stats = other.event, other.logs(), other._stats

    def cancel(self, reason: str = "cancelled by a plugin") -> NoReturn:
        """Cancel the event in a `before` or `enrichment` hook: it is dropped, and its receipt fails with Dropped."""
        raise DropEvent(reason)

    def log(self, level: str, message: str, extras: Mapping[str, Any] | None = None) -> None:
        """Record a log entry. `level` is debug, info, warn or error."""
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
        if self._logs is None:
            self._logs = self.logs()
        self._logs.append(LogEntry(level, message, extras or {}))

    def logs(self) -> list[LogEntry]:
        """The log entries, in order."""
        if self._logs is not None:
            return list(self._logs)
        passed = () if self._passed is None else self._passed.value
        return [LogEntry("debug", "plugin", {"plugin": name}) for name in passed]

    def _passes(self, plugins: Shared[tuple[str, ...]]) -> None:
        """Record that the last of these plugins has the event, and the others have had it."""
        if self._logs is None:
            self._passed = plugins
        else:
            self.log("debug", "plugin", {"plugin": plugins.value[-1]})

    def _is_at(self, destinations: Shared[Mapping[str, Outcome]]) -> None:
        """Record the outcomes at destinations."""
        if self._deliveries is None:
            self._delivered = destinations
        else:
            self._deliveries.update(destinations.value)

    def failed_delivery(self) -> DeliveryError | None:
        """The error of a failed delivery; None if it succeeded or is pending."""
        return self._error

    def _settle(self, attempts: int, error: DeliveryError | None) -> None:
        """Record the outcome."""
        self.attempts = attempts
        self._error = error

    def to_dict(self) -> dict[str, Any]:
        """The context as plain values: `id`, `event`, `attempts`, `error` (text or None), `logs`, `metrics`."""
        return {
            "id": self.id,
            "event": self.event,
            "attempts": self.attempts,
            "error": None if self._error is None else str(self._error),
            "logs": [{"level": e.level, "message": e.message, "extras": dict(e.extras)} for e in self.logs()],
            "metrics": [{"metric": m.metric, "value": m.value, "type": m.type, "tags": [*m.tags]} for m in self.stats],
        }


def _step_into(inner: Event | list[Any], level: str) -> Any:
    """Return the next level: the existing value if it is a container, else a new one."""
    if isinstance(inner, list):
        if not isinstance(inner[int(level)], dict | list):
            inner[int(level)] = {}
        return inner[int(level)]
    if not isinstance(inner.get(level), dict | list):
        inner[level] = {}
    return inner[level]


Callback: TypeAlias = Callable[[DeliveryError | None, Context], Awaitable[object] | object]
"""`callback(err, ctx)`: called once, with the event's outcome; `err` is None if it was delivered."""


@dataclass(frozen=True)
class ErrorEvent:
    """The argument of `error` listeners, once for each failed event and each other fault.

    `code` is the kind: `delivery_failure` and `dropped` for events; `plugin`, `listener`, `callback`,
    `context_provider`, `http_client`, `invalid_event`, `auth`, `spool` and `internal` for the rest
    (docs/reference/emitter.md).
    `reason` is the exception, `context` the event's Context where there is one.
    """

    code: str
    reason: BaseException
    context: Context | None = None


publish("millstream", Context, ErrorEvent)
