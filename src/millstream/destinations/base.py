"""What a destination is: a pure class that makes requests of events, and verdicts of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import msgspec

from .._core.delivery.verdicts import Refused, Verdict
from .._core.events.encode import decode, head
from .._core.events.timestamps import epoch_ms
from .._public import publish
from ..errors import DeliveryError, Dropped
from ..types import Request, Response

__all__ = ["Destination", "Event", "Limits", "Part", "Skip"]


class Event:
    """An event as it is stored. Read-only; `copy` is the caller's own."""

    __slots__ = ("_whole", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        """The event as JSON."""
        self._whole: Mapping[str, Any] | None = None

    @property
    def timestamp(self) -> str:
        """When it happened, decoded without the rest of it."""
        return head(self.data).timestamp

    @property
    def integrations(self) -> Mapping[str, Any]:
        """Which destinations the event goes to, decoded without the rest of it."""
        return head(self.data).integrations

    @property
    def whole(self) -> Mapping[str, Any]:
        """The event, decoded: keys are camelCase. Not to be changed."""
        if self._whole is None:
            self._whole = decode(self.data)
        return self._whole

    def copy(self) -> dict[str, Any]:
        """Return the event, decoded once more."""
        return decode(self.data)


class Part(msgspec.Struct, gc=False):
    """A piece of a request's body. Parts with different keys never share a request."""

    data: bytes
    key: str = ""


class Skip(msgspec.Struct, frozen=True):
    """The destination has no use for the event: counted as dropped there, and no failure."""

    reason: str


@dataclass(frozen=True)
class Limits:
    """What a request of the destination may hold. Sizes in bytes, times in seconds."""

    max_events: int = 2500
    max_bytes: int = 500_000
    overhead: int = 0
    """Bytes of a request's body that are not parts."""
    timeout: float = 10.0
    max_age: float | None = None
    """Seconds after its `timestamp` for which the destination takes an event. None: it takes any."""
    lanes: int = 4
    """Groups of users in a router: the events of one lane are sent in order, a slow one delays no other."""
    in_flight: int = 4
    """Requests at a time, at most."""


@runtime_checkable
class Destination(Protocol):
    """Maps events to requests and answers to verdicts. No I/O, clock or randomness.

    It may also have `alternative_names` (further names that stand for it in `integrations`), `type` (what a
    configuration calls it), `deduplicates` (by what the receiver finds an event that it has already, and for how long)
    and `probe(now)` (a request that proves the credentials and stores nothing).
    """

    name: str
    """What `integrations` and `ctx.deliveries` call it."""
    limits: Limits

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip | Refused:
        """Return the parts of one event: the same bytes every time. `options`: what its integrations hold for this."""
        ...

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        """Build a request of parts. `attempt` counts from 1, `now` is seconds since the epoch."""
        ...

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        """Return what the answer means for the parts."""
        ...


def parts_of(
    destination: Destination, event: Event, options: Mapping[str, Any], now: float
) -> Sequence[Part] | DeliveryError:
    """Return the parts that a destination makes of an event, or why there are none: a Dropped if that is intended.

    What `prepare` raises is raised.
    """
    max_age = destination.limits.max_age
    if max_age is not None and now - epoch_ms(event.timestamp) / 1000 > max_age:
        return Dropped(f"it happened more than {max_age / 3600:g} hours ago")
    match destination.prepare(event, options):
        case Skip(reason):
            return Dropped(reason)
        case Refused(error):
            return error
        case parts:
            return parts


publish("millstream.destinations", Destination, Event, Limits, Part, Skip)
