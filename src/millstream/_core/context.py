"""An event as callbacks, listeners and plugins see it."""

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
    """One line of a context's log."""

    level: str
    message: str
    extras: Mapping[str, Any] = {}


class Metric(Struct, frozen=True):
    """One number that a plugin has noted: a `counter` or a `gauge`."""

    metric: str
    value: float
    type: str
    tags: tuple[str, ...] = ()


class Metrics(list[Metric]):
    """The numbers that plugins have noted about one event."""

    def increment(self, metric: str, by: float = 1, tags: tuple[str, ...] = ()) -> None:
        """Count something."""
        self.append(Metric(metric, by, "counter", tags))

    def gauge(self, metric: str, value: float, tags: tuple[str, ...] = ()) -> None:
        """Note a level."""
        self.append(Metric(metric, value, "gauge", tags))


class Shared(Struct, Generic[T], frozen=True, gc=False):
    """What many contexts have in common. The garbage collector does not see it: it must never be part of a cycle."""

    value: T


# A struct, because two are made for an event that goes to a plugin: 0.1 µs for each, and 0.3 for a class with slots.
# msgspec shows a struct to the garbage collector when something is put into it that may be part of a cycle. What may be
# is made when it is asked for: so the contexts that only wait for an outcome, thousands in a burst, cost it nothing.
class Context(Struct, eq=False):
    """One event on its way: what it says, how far it has come, and what was noted about it.

    Decoding is put off until somebody looks at `event`, because most events are never looked at.
    """

    data: bytes
    id: str
    """The event's `messageId`."""
    attempts: int = 0
    """How many requests have carried the event."""
    _error: DeliveryError | None = None
    _options: Mapping[str, Any] | None = None
    _event: Event | None = None
    _passed: Shared[tuple[str, ...]] | None = None  # plugins that have had it in hand, while nothing else was noted
    _logs: list[LogEntry] | None = None
    _stats: Metrics | None = None
    _delivered: Shared[Mapping[str, Outcome]] | None = None
    _deliveries: dict[str, Outcome] | None = None

    def __repr__(self) -> str:
        return f"<Context {self.id}>"

    @property
    def options(self) -> Mapping[str, Any]:
        """For a destination plugin: the object that the event's integrations hold under its name."""
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
        """What became of the event at each destination, where some are plugins."""
        if self._deliveries is None:
            self._deliveries = {} if self._delivered is None else {**self._delivered.value}
        return self._deliveries

    @property
    def event(self) -> Event:
        """The event as it goes over the wire: a dict with camelCase keys."""
        event = self._event
        if event is None:
            event = self._event = decode(self.data)
        return event

    @event.setter
    def event(self, event: Event) -> None:
        self._event = event

    @property
    def _looked_at(self) -> bool:
        """Whether anybody has had the event in hand, and may have changed it."""
        return self._event is not None

    def _seal(self, data: bytes) -> None:
        """These are the event's bytes now. What anybody does to the dict that they had in hand changes nothing."""
        self.data = data
        self._event = None

    def update_event(self, path: str, value: Any) -> Event:
        """Set a value deep in the event, creating the levels that are missing: `update_event("traits.custom", …)`.

        An integration that the event has set to false is never overridden. A number stands for a place in a list that
        there is (`"properties.products.0.name"`).

        Returns:
            The event.

        Raises:
            LookupError: the list has no such place.
            ValueError: a place in a list is no number.
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
        """Take over what another context says of the event, and what was noted there."""
        self._event, self._logs, self._stats = other.event, other.logs(), other._stats

    def cancel(self, reason: str = "cancelled by a plugin") -> NoReturn:
        """Stop here: in a `before` or `enrichment` hook the event is dropped, and its receipt fails with Dropped."""
        raise DropEvent(reason)

    def log(self, level: str, message: str, extras: Mapping[str, Any] | None = None) -> None:
        """Note something about this event. `level` is debug, info, warn or error."""
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
        if self._logs is None:
            self._logs = self.logs()
        self._logs.append(LogEntry(level, message, extras or {}))

    def logs(self) -> list[LogEntry]:
        """What was noted, in order."""
        if self._logs is not None:
            return list(self._logs)
        passed = () if self._passed is None else self._passed.value
        return [LogEntry("debug", "plugin", {"plugin": name}) for name in passed]

    def _passes(self, plugins: Shared[tuple[str, ...]]) -> None:
        """The last of these plugins has the event in hand; the others have had it before."""
        if self._logs is None:
            self._passed = plugins
        else:
            self.log("debug", "plugin", {"plugin": plugins.value[-1]})

    def _is_at(self, destinations: Shared[Mapping[str, Outcome]]) -> None:
        """This became of the event at its destinations."""
        if self._deliveries is None:
            self._delivered = destinations
        else:
            self._deliveries.update(destinations.value)

    def failed_delivery(self) -> DeliveryError | None:
        """Why the event was not delivered; None if it was, or is still on its way."""
        return self._error

    def _settle(self, attempts: int, error: DeliveryError | None) -> None:
        """Note the outcome."""
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
    """The next level: what is there if it can hold something, else a new one."""
    if isinstance(inner, list):
        if not isinstance(inner[int(level)], dict | list):
            inner[int(level)] = {}
        return inner[int(level)]
    if not isinstance(inner.get(level), dict | list):
        inner[level] = {}
    return inner[level]


Callback: TypeAlias = Callable[[DeliveryError | None, Context], Awaitable[object] | object]
"""`callback(err, ctx)`: called once, when the event has its outcome; `err` is None if it was delivered."""


@dataclass(frozen=True)
class ErrorEvent:
    """What an `error` listener is given, once for each failed event and for each fault that is no event's.

    `code` says what kind: `delivery_failure` and `dropped` for events; `plugin`, `listener`, `callback`,
    `context_provider`, `http_client`, `invalid_event`, `auth`, `spool` and `internal` for the rest
    (docs/reference/emitter.md).
    `reason` is the exception, `context` the event's Context where there is one.
    """

    code: str
    reason: BaseException
    context: Context | None = None


publish("millstream", Context, ErrorEvent)
