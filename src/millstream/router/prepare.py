"""What a route makes of a stored event: parts of requests, or why there are none. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from zlib import crc32

import msgspec
from msgspec import Struct

from .._core.delivery.verdicts import Refused
from .._core.filters import Filters
from .._core.outcome import DELIVERED, Outcome
from .._core.record import Record
from .._core.routing import allows, options
from ..destinations.base import Destination, Event, Part, Skip, too_old
from ..errors import DeliveryError, Dropped, PluginError

__all__ = ["Preparer", "Routed", "RoutedPart"]

NO_OPTIONS: Mapping[str, Any] = {}


class Head(Struct, rename="camel", gc=False):
    """What is asked of every event."""

    message_id: str = ""
    user_id: str | int | float | None = None
    anonymous_id: str | int | float | None = None
    source_id: str = ""
    received_at: str = ""
    integrations: dict[str, Any] | None = None


head_of = msgspec.json.Decoder(Head).decode


class Routed(Struct, eq=False):
    """One event on its way to the destination."""

    record: Record
    message_id: str
    received_at: str
    size: int = 0
    """Bytes that it holds in memory, roughly."""
    parts: int = 0
    """Those that have no outcome."""
    outcome: Outcome = DELIVERED
    """The worst of its parts', so far."""
    refused: str = ""
    """The key of the part that has it."""


class RoutedPart(Part, gc=True):
    """A part that knows whose it is, and with which others it is sent in order."""

    queue: str = ""
    routed: Routed | None = None


Prepared: TypeAlias = "Sequence[RoutedPart] | DeliveryError"


class Preparer:
    """Makes the parts of one destination.

    Args:
        destination: makes parts of events.
        lanes: groups of users; the events of one are sent in order.
        excluded: sources whose events do not go there.
        filters: which events go there, and which of their members.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        destination: Destination,
        lanes: int,
        excluded: frozenset[str] = frozenset(),
        filters: Filters | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._destination = destination
        self._lanes = lanes
        self._excluded = excluded
        self._filters = filters
        self._wall = wall
        self._max_age = destination.limits.max_age

    def __call__(self, record: Record) -> tuple[Routed, Prepared]:
        """Return an event and its parts; or the error because of which it has none, a Dropped if that is intended."""
        try:
            head = head_of(record.data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return Routed(record, "", ""), PluginError(self._destination.name, f"the event cannot be read: {error}")
        routed = Routed(record, head.message_id, head.received_at)
        return routed, self._parts(routed, head)

    def _parts(self, routed: Routed, head: Head) -> Prepared:
        destination = self._destination
        if head.source_id in self._excluded:
            return Dropped(f"the source {head.source_id} does not go there")
        integrations = head.integrations
        if integrations and not allows(destination, integrations):
            return Dropped("its integrations say so")
        data = routed.record.data
        try:
            if self._filters is not None:
                data = self._filters.apply(data)
                if isinstance(data, str):
                    return Dropped(data)
            event = Event(data)
            if self._max_age is not None and (old := too_old(event, destination.limits, self._wall())):
                return Dropped(old)
            chosen = options(destination, integrations) if integrations else NO_OPTIONS
            prepared = destination.prepare(event, chosen)
        except Exception as error:  # noqa: BLE001 - a destination may be the user's own
            return PluginError(destination.name, f"prepare raised {type(error).__name__}: {error}")
        match prepared:
            case Skip(reason):
                return Dropped(reason)
            case Refused(error):
                return error
            case ():
                return Dropped("the destination has no use for it")
            case _:
                lane = self._lane(head)
                parts = [RoutedPart(part.data, part.key, f"{lane} {part.key}", routed) for part in prepared]
        size = len(routed.record.data)
        routed.size = size + sum([len(part.data) for part in parts if part.data is not event.data])
        routed.parts = len(parts)
        return parts

    def _lane(self, head: Head) -> int:
        if self._lanes == 1:
            return 0
        user = head.user_id if head.user_id is not None else head.anonymous_id
        return crc32(str(user).encode("utf-8", "replace")) % self._lanes
