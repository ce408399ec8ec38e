"""The specification of the Tracking API: event types, fields, limits and reason codes, each written once.

The library's `send`, the collector and the readers of its files import them from here, so that an event that one of
them accepts is accepted by all.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = [
    "IDS",
    "MAX_DEPTH",
    "MAX_EVENT_BYTES",
    "MAX_MESSAGE_ID",
    "MAX_NUMBER",
    "OBJECTS",
    "REASONS",
    "STORED_TIME",
    "TEXTS",
    "TYPES",
    "EventType",
]

EventType: TypeAlias = Literal["identify", "track", "page", "screen", "group", "alias"]
TYPES: tuple[EventType, ...] = get_args(EventType)

MAX_EVENT_BYTES = 32_768
"""Bytes of one event: the documented 32 KB."""
MAX_MESSAGE_ID = 100
"""Characters of a `messageId`."""
MAX_DEPTH = 100
"""Levels of objects and lists in each other; the event is the first. Far below the recursion limit of any reader."""
MAX_NUMBER = 2**1024 - 2**970 - 1
"""The largest integer that is a finite double, rounded. Readers of JSON make of more an infinity, or an error."""

TEXTS = {
    "type": "type_not_string",
    "messageId": "message_id_not_string",
    "event": "event_not_string",
    "name": "name_not_string",
    "category": "category_not_string",
}
"""Fields that hold a string, each with the reason code for other values. Null is as good as absent, here and below."""
IDS = {
    "userId": "user_id_not_string",
    "anonymousId": "anonymous_id_not_string",
    "groupId": "group_id_not_string",
    "previousId": "previous_id_not_string",
}
"""Fields that hold a string or a number. An event needs a `userId` or an `anonymousId` that is not empty."""
OBJECTS = {
    "properties": "properties_not_object",
    "traits": "traits_not_object",
    "context": "context_not_object",
    "integrations": "integrations_not_object",
}
"""Fields that hold an object."""

REASONS = {
    "event_not_object": "it is no JSON object",
    "event_not_valid": "it cannot be read",
    "event_too_large": f"it is over the limit of {MAX_EVENT_BYTES:,} bytes",
    "event_too_deep": f"it is nested deeper than {MAX_DEPTH} levels",
    "number_too_large": "it has a number beyond the largest double, about 1.8E+308",
    "type_not_defined": "it has no type",
    "type_not_known": f"its type is none of {', '.join(TYPES)}",
    "type_not_string": "its type is no string",
    "no_user_anon_id": "it has neither userId nor anonymousId",
    "user_id_not_string": "its userId is neither a string nor a number",
    "anonymous_id_not_string": "its anonymousId is neither a string nor a number",
    "group_id_not_string": "its groupId is neither a string nor a number",
    "previous_id_not_string": "its previousId is neither a string nor a number",
    "event_not_defined": "a track event needs a name in event",
    "event_not_string": "its event is no string",
    "name_not_string": "its name is no string",
    "category_not_string": "its category is no string",
    "properties_not_object": "its properties are no object",
    "traits_not_object": "its traits are no object",
    "context_not_object": "its context is no object",
    "integrations_not_object": "its integrations are no object",
    "message_id_not_string": "its messageId is no string",
    "user_suppressed": "its user is suppressed",
    "message_id_too_long": f"its messageId is over {MAX_MESSAGE_ID} characters",
}
"""Why an event is not kept: reason codes in Segment's words, where it has some, and what they mean."""

STORED_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-]([01][0-9]|2[0-3])(:?[0-9]{2})?)?)?"
)
"""The shape of a time in a stored event, for `re` and for DuckDB's RE2; without an offset it is in UTC.

A member that should be a time and has another shape names none: the collector has written every time that it could read
in this shape. It is ISO 8601, restricted to what every reader reads alike.
"""
