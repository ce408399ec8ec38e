"""Transformations: what a function made of an event, checked, with the ids by which duplicates are told."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast

from ..errors import EventTooLarge, InvalidEvent
from ..spec import MAX_EVENT_BYTES, MAX_MESSAGE_ID
from .events.build import NO_DEFAULTS, whole
from .events.encode import encode, largest_field
from .guards import is_mapping

__all__ = ["MOST_RESULTS", "results"]

MOST_RESULTS = 100
"""Events that a function may make of one."""


def results(returned: Any, message_id: str, timestamp: str) -> tuple[bytes, ...]:
    """Return the events that a function has returned for one event, as JSON.

    A single event keeps the id of the one that it was made of, whatever the function has put in its place; the events
    of a list have the ids `id:0`, `id:1` and so on. So a repetition is recognised as one.

    Args:
        returned: an event, None, or a list of events.
        message_id: of the event that it was made of.
        timestamp: of that event, for one that has none any more.

    Raises:
        InvalidEvent: it is none of these, or an event in it cannot be sent; the message names the field.
        EventTooLarge: an event has become too large.
    """
    if returned is None:
        return ()
    if is_mapping(returned):
        return (_sealed(returned, message_id, timestamp),)
    if not isinstance(returned, list | tuple):
        raise InvalidEvent(f"it returned {type(returned).__name__}: return the event, None, or a list of events")
    events = cast("Sequence[Any]", returned)
    if len(events) > MOST_RESULTS:
        raise InvalidEvent(f"it returned {len(events):,} events: {MOST_RESULTS} are allowed")
    return tuple(_sealed(event, _numbered(message_id, n), timestamp) for n, event in enumerate(events))


def _sealed(event: Any, message_id: str, timestamp: str) -> bytes:
    content = whole(event, (timestamp, message_id), NO_DEFAULTS)
    content["messageId"] = message_id
    data = encode(content)
    if len(data) > MAX_EVENT_BYTES:
        raise EventTooLarge(len(data), MAX_EVENT_BYTES, largest_field(data))
    return data


def _numbered(message_id: str, number: int) -> str:
    numbered = f"{message_id}:{number}"
    return numbered if len(numbered) <= MAX_MESSAGE_ID else sha256(numbered.encode()).hexdigest()
