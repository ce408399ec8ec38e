"""Filters: which events a destination gets, in Segment's filter query language (docs/reference/filters.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ._core.delivery.verdicts import Refused, Verdict
from ._core.filters import Filter, Filters, Sample
from ._core.fql import Conditions
from ._public import publish
from .destinations import Destination, Event, Part, Skip
from .types import Request, Response

__all__ = ["Filter", "Sample", "compile", "filtered"]

Condition = Callable[[Event | Mapping[str, Any] | bytes], bool]


def compile(fql: str) -> Condition:  # noqa: A001 - users write filters.compile, as they write re.compile
    """Make a function `(event) -> bool` of an FQL expression. The event is a dict, its JSON, or an Event.

    Of an event that comes as JSON or as an Event, only the values that the expression names are decoded.

    Raises:
        SettingsError: it is no FQL, a ValueError: the message names the column and the remedy.
    """
    holds = Conditions(fql).first

    def condition(event: Event | Mapping[str, Any] | bytes) -> bool:
        return holds(event.data if isinstance(event, Event) else event)

    return condition


def filtered(destination: Destination, *filters: str | Filter | Mapping[str, Any]) -> Destination:
    """Return a destination that gets some events, or some of their members, and otherwise is the one given.

    Args:
        destination: gets what the filters leave.
        filters: an expression (events for which it is true are sent, others are not), a Filter, or the same as a dict:
            `{"if": "type = 'page'", "drop": True}`. All samples are taken first, then events are dropped, then members.

    Raises:
        SettingsError: a filter cannot be used; the message names it, the column if it is no FQL, and the remedy.
    """
    # Names differ from instance to instance here, where the protocol speaks of the class.
    return cast("Destination", _Filtered(destination, Filters(filters)))


class _Filtered:
    """A destination behind filters."""

    def __init__(self, destination: Destination, filters: Filters) -> None:
        self.name = destination.name
        self.alternative_names: Sequence[str] = getattr(destination, "alternative_names", ())
        self.limits = destination.limits
        self._destination = destination
        self._filters = filters

    def __getattr__(self, name: str) -> Any:
        """Return what the destination has beyond the protocol."""
        if name.startswith("__") or "_destination" not in self.__dict__:  # a copy that is being made has nothing yet
            raise AttributeError(name)
        return getattr(self._destination, name)

    def prepare(self, event: Event, options: Mapping[str, Any]) -> tuple[Part, ...] | Skip | Refused:
        """Return the parts of what the filters leave of an event."""
        left = self._filters.apply(event.data)
        if isinstance(left, str):
            return Skip(left)
        return self._destination.prepare(event if left is event.data else Event(left), options)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        """Build the destination's request."""
        return self._destination.request(parts, attempt, now)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        """Return the destination's verdict."""
        return self._destination.judge(response, parts, now)


publish("millstream.filters", Filter, Sample, compile, filtered)
