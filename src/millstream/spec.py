"""The specification of the Tracking API: event types, fields, limits and reason codes, defined once.

The library, the collector, the readers of its files, the testing tools and the live page use them, so that an event
that one of them accepts is accepted by all.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = [
    "IDS",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_EVENTS",
    "MAX_DEPTH",
    "MAX_EVENT_BYTES",
    "MAX_MESSAGE_ID",
    "MAX_NUMBER",
    "OBJECTS",
    "REASONS",
    "SENT_BATCH_BYTES",
    "STORED_TIME",
    "TEXTS",
    "TYPES",
    "EventType",
]

EventType: TypeAlias = Literal["identify", "track", "page", "screen", "group", "alias"]
TYPES: tuple[EventType, ...] = get_args(EventType)

MAX_EVENT_BYTES = 32_768
"""Bytes of one event: the documented 32 KB."""
MAX_BATCH_EVENTS = 2_500
"""Events in one request."""
MAX_BATCH_BYTES = 512_000
"""Bytes of a batch, decompressed, that a receiver accepts: the documented 500 KB, read as 500 KiB."""
SENT_BATCH_BYTES = 500_000
"""Bytes of a batch that a sender may send: 500 KB in either reading."""
MAX_MESSAGE_ID = 100
"""Characters of a `messageId`."""
MAX_DEPTH = 100
"""Levels of nested objects and lists; the event is the first. Far below the recursion limit of any reader."""
MAX_NUMBER = 2**1024 - 2**970 - 1
"""The largest integer that rounds to a finite double. JSON readers turn larger ones into infinity, or refuse them."""

TEXTS = {
    "type": "type_not_string",
    "messageId": "message_id_not_string",
    "event": "event_not_string",
    "name": "name_not_string",
    "category": "category_not_string",
}
"""Fields that hold a string, each with the reason code for other values. Null means absent, here and below."""
IDS = {
    "userId": "user_id_not_string",
    "anonymousId": "anonymous_id_not_string",
    "groupId": "group_id_not_string",
    "previousId": "previous_id_not_string",
}
"""Fields that hold a string or a number. An event needs a non-empty `userId` or `anonymousId`."""
OBJECTS = {
    "properties": "properties_not_object",
    "traits": "traits_not_object",
    "context": "context_not_object",
    "integrations": "integrations_not_object",
}
"""Fields that hold an object."""

REASONS = {
    "event_not_object": "it is not a JSON object",
    "event_not_valid": "it cannot be decoded",
    "event_too_large": f"it is over the limit of {MAX_EVENT_BYTES:,} bytes",
    "event_too_deep": f"it is nested deeper than {MAX_DEPTH} levels",
    "number_too_large": "it has a number beyond the largest double, about 1.8E+308",
    "type_not_defined": "it has no type",
    "type_not_known": f"its type is none of {', '.join(TYPES)}",
    "type_not_string": "its type is not a string",
    "no_user_anon_id": "it has neither userId nor anonymousId",
    "user_id_not_string": "its userId is neither a string nor a number",
    "anonymous_id_not_string": "its anonymousId is neither a string nor a number",
    "group_id_not_string": "its groupId is neither a string nor a number",
    "previous_id_not_string": "its previousId is neither a string nor a number",
    "event_not_defined": "a track event needs a name in event",
    "event_not_string": "its event is not a string",
    "name_not_string": "its name is not a string",
    "category_not_string": "its category is not a string",
    "properties_not_object": "its properties are not an object",
    "traits_not_object": "its traits are not an object",
    "context_not_object": "its context is not an object",
    "integrations_not_object": "its integrations are not an object",
    "message_id_not_string": "its messageId is not a string",
    "user_suppressed": "its user is suppressed",
    "message_id_too_long": f"its messageId is over {MAX_MESSAGE_ID} characters",
}
"""Why an event is rejected: reason codes, in Segment's words where it has some, and messages."""

STORED_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-]([01][0-9]|2[0-3])(:?[0-9]{2})?)?)?"
)
"""The shape of a time in a stored event, for `re` and for DuckDB's RE2; without an offset it is in UTC.

Other text in a time's place is not a time: the collector writes every time that it can read in this shape. It is ISO
8601, restricted to what every reader reads alike.
"""
