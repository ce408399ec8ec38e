"""What a route makes of a stored event: parts of requests, or why there are none. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from zlib import crc32

import msgspec
from msgspec import Struct

from .._core.outcome import DELIVERED, Outcome
from .._core.record import Record
from .._core.routing import allows, options
from ..destinations.base import Event, Part, parts_of
from ..errors import DeliveryError, Dropped, PluginError
from .configuration import RoutePlan, RouteSettings

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
    lane: int = 0
    integrations: Mapping[str, Any] | None = None
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
    """Makes the parts of one route, in two steps: between them events may be transformed.

    Args:
        settings: of the route.
        transforms: whether there is something between the two steps.
        wall: seconds since the epoch.
    """

    def __init__(
        self, settings: RouteSettings, *, transforms: bool = False, wall: Callable[[], float] = time.time
    ) -> None:
        self._destination = settings.destination
        self._lanes = settings.limits.lanes
        self._excluded = settings.excluded
        self._filters = settings.filters
        self._plans = settings.plans
        self._transforms = transforms
        self._wall = wall
        self.violations: dict[str, int] = {}
        """Of tracking plans, by kind."""

    def admit(self, record: Record) -> tuple[Routed, DeliveryError | None]:
        """Decide whether an event goes there: by source, integrations, filters and tracking plan.

        Returns the event, and why it does not: a Dropped if that is intended.
        """
        try:
            head = head_of(record.data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return Routed(record, "", ""), PluginError(self._destination.name, f"the event cannot be read: {error}")
        routed = Routed(record, head.message_id, head.received_at, lane=self._lane(head), size=len(record.data))
        routed.integrations = head.integrations
        if head.source_id in self._excluded:
            return routed, Dropped(f"the source {head.source_id} does not go there")
        if head.integrations and not allows(self._destination, head.integrations):
            return routed, Dropped("its integrations say so")
        if self._filters is not None and self._transforms and (why := self._filters.dropped(record.data)):
            return routed, Dropped(why)
        for source in ("", head.source_id) if self._plans else ():
            plan = self._plans.get(source)
            broken = None if plan is None else self._check(plan, record.data)
            if broken is not None:
                return routed, broken
        return routed, None

    def parts(self, routed: Routed, events: Sequence[bytes]) -> Prepared:
        """Return the parts of an event, or of what a transformation made of it; or why there are none."""
        parts: list[RoutedPart] = []
        why: Dropped | None = None
        for data in events:
            prepared = self._prepared(routed, data)
            if isinstance(prepared, list):
                parts += prepared
            elif isinstance(prepared, Dropped):
                why = prepared
            else:
                return prepared
        stored = routed.record.data
        for part in parts:
            if part.data is not stored:
                routed.size += len(part.data)
        routed.parts = len(parts)
        return parts or why or Dropped("the destination has no use for it")

    def _prepared(self, routed: Routed, data: bytes) -> list[RoutedPart] | DeliveryError:
        destination = self._destination
        try:
            if self._filters is not None:
                left = self._filters.trimmed(data) if self._transforms else self._filters.apply(data)
                if isinstance(left, str):
                    return Dropped(left)
                data = left
            chosen = options(destination, routed.integrations) if routed.integrations else NO_OPTIONS
            made = parts_of(destination, Event(data), chosen, self._wall())
        except Exception as error:  # noqa: BLE001 - a destination may be the user's own
            return PluginError(destination.name, f"prepare raised {type(error).__name__}: {error}")
        if isinstance(made, DeliveryError):
            return made
        return [RoutedPart(part.data, part.key, f"{routed.lane} {part.key}", routed) for part in made]

    def _check(self, plan: RoutePlan, data: bytes) -> DeliveryError | None:
        violations = plan.plan.check(Event(data))
        for each in violations:
            self.violations[each.kind] = self.violations.get(each.kind, 0) + 1
        action = plan.policy.decide(violations)
        if action not in {"drop", "block"}:
            return None
        worst = next(each for each in violations if plan.policy.mode(each) == action)
        what = f"tracking plan: {worst.kind} {worst.path}".rstrip()
        return Dropped(what) if action == "drop" else PluginError("tracking plan", f"{worst.event!r}: {worst.message}")

    def _lane(self, head: Head) -> int:
        if self._lanes == 1:
            return 0
        user = head.user_id if head.user_id is not None else head.anonymous_id
        return crc32(str(user).encode("utf-8", "replace")) % self._lanes
