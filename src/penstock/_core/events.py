"""The six calls as events: which fields they have, and what may be in them.

The envelope follows the specification of the Tracking API (docs/reference/events.md); what is checked here is what the
API would discard without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from typing import Any

import msgspec

from .._version import __version__
from ..errors import InvalidEvent
from ..types import Event

__all__ = ["KINDS", "LIBRARY", "MAX_EVENT_BYTES", "MAX_MESSAGE_ID", "build", "iso", "whole"]

KINDS = ("identify", "track", "page", "screen", "group", "alias")
MAX_EVENT_BYTES = 32 * 1024
"""The API's limit for one event."""
MAX_MESSAGE_ID = 100
LIBRARY = {"name": "penstock", "version": __version__}


def build(
    kind: str,
    fields: Event,
    stamp: tuple[str, str],
    *,
    user_id: object,
    anonymous_id: object,
    timestamp: object,
    context: Mapping[str, Any] | None,
    integrations: Mapping[str, Any] | None,
    message_id: object,
    defaults: Mapping[str, Any],
) -> Event:
    """An event's envelope around the fields of its kind.

    Args:
        kind: one of the six.
        fields: the arguments that only this kind has.
        stamp: the time of the call and a fresh id, for an event that brings none of its own.
        user_id: who did it; for an alias or a group call it may be absent where the specification says so.
        anonymous_id: who did it, before there was a user.
        timestamp: when it happened, if not now.
        context: the caller's context, merged over the defaults.
        integrations: the caller's, merged over the defaults.
        message_id: the caller's own id for the event.
        defaults: `context` and `integrations` for every event of the client.

    Raises:
        InvalidEvent: naming the field, what came and what is expected.
    """
    now, fresh_id = stamp
    event: Event = {
        "type": kind,
        "messageId": fresh_id if message_id is None else _message_id(message_id),
        "timestamp": now if timestamp is None else iso(timestamp),
    }
    if user_id is not None:
        event["userId"] = identity("user_id", user_id)
    if anonymous_id is not None:
        event["anonymousId"] = identity("anonymous_id", anonymous_id)
    event.update(_FIELDS[kind](**fields))
    if "userId" not in event and "anonymousId" not in event:
        raise InvalidEvent(f"{kind}: user_id or anonymous_id is needed, so that the event is somebody's")
    event["context"] = _context(context, defaults["context"])
    base = defaults["integrations"]
    event["integrations"] = base if integrations is None else {**base, **mapping("integrations", integrations)}
    return event


def _track(event: object, properties: object) -> Event:
    return {"event": text_of("event", event), "properties": mapping("properties", properties)}


def _identify(traits: object) -> Event:
    return {"traits": mapping("traits", traits)}


def _group(group_id: object, traits: object) -> Event:
    return {"groupId": identity("group_id", group_id), "traits": mapping("traits", traits)}


def _alias(user_id: object, previous_id: object) -> Event:
    return {"userId": identity("user_id", user_id), "previousId": identity("previous_id", previous_id)}


def _page(name: object, category: object, properties: object) -> Event:
    out = _screen(name, category, properties)
    if "category" in out:  # the page call alone makes it a property too (reference library: the same)
        out["properties"] = {**out["properties"], "category": out["category"]}
    return out


def _screen(name: object, category: object, properties: object) -> Event:
    out: Event = {"properties": mapping("properties", properties)}
    if name is not None:
        out["name"] = text_of("name", name)
    if category is not None:
        out["category"] = text_of("category", category)
    return out


_FIELDS: dict[str, Callable[..., Event]] = {
    "identify": _identify,
    "track": _track,
    "page": _page,
    "screen": _screen,
    "group": _group,
    "alias": _alias,
}


def _context(given: Mapping[str, Any] | None, base: Mapping[str, Any]) -> Mapping[str, Any]:
    """The caller's context over the defaults, with our library in it; in a dict of our own."""
    if given is None:
        return base
    given = mapping("context", given)
    library = given.get("library")
    if not isinstance(library, Mapping):
        return {**base, **given, "library": LIBRARY}
    return {**base, **given, "library": {**library, **LIBRARY}}


def identity(field: str, value: object) -> str:
    """An id: a non-empty str; an int is taken as its text, because so many databases count their users."""
    if type(value) is str:
        if value:
            return value
    elif isinstance(value, str):
        return identity(field, str.__str__(value))
    elif isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    raise InvalidEvent(f"{field} must be a non-empty str or an int, got {describe(value)}")


def text_of(field: str, value: object) -> str:
    """A name: a non-empty str."""
    if isinstance(value, str) and value:
        return value
    raise InvalidEvent(f"{field} must be a non-empty str, got {describe(value)}")


def mapping(field: str, value: object) -> Mapping[str, Any]:
    """A mapping, or nothing, which is an empty one."""
    if type(value) is dict:
        return value
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    raise InvalidEvent(f"{field} must be a mapping (a dict), got {describe(value)}")


def _message_id(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= MAX_MESSAGE_ID:
        return value
    raise InvalidEvent(f"message_id must be a str of 1 to {MAX_MESSAGE_ID} characters, got {describe(value)}")


def iso(value: object) -> str:
    """A time as the API writes it: UTC, milliseconds, `Z`. A time without a zone is taken as UTC."""
    moment = _moment(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise InvalidEvent(f"timestamp must be a datetime or an ISO-8601 str, got {describe(value)}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        raise InvalidEvent(f"timestamp {value} has no place in UTC between the years 1 and 9999") from None


def _moment(value: str) -> datetime | None:
    try:
        return msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        pass
    try:
        day = msgspec.convert(value, date)
    except msgspec.ValidationError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def whole(event: object, stamp: tuple[str, str], defaults: Mapping[str, Any]) -> Event:
    """A whole wire event, as `send` takes it, in a dict of our own; its id, timestamp and extra keys are kept.

    Args:
        event: a mapping with `type` and camelCase keys.
        stamp: a time and an id, for an event that has none.
        defaults: `context` and `integrations` for every event of the client; the event's own win.

    Raises:
        InvalidEvent: naming the field, what came and what is expected.
    """
    if not isinstance(event, Mapping):
        raise InvalidEvent(f"an event must be a dict with `type` and the fields of its kind, got {describe(event)}")
    out: Event = {key: value for key, value in event.items() if value is not None or key not in _ABSENT_IF_NULL}
    kind = out.get("type")
    if kind not in KINDS:
        raise InvalidEvent(f"type must be one of {', '.join(KINDS)}, got {describe(kind)}")
    for key in ("userId", "anonymousId", "groupId", "previousId"):
        if key in out:
            out[key] = identity(key, out[key])
    for key in ("properties", "traits", "context", "integrations"):
        if key in out:
            out[key] = mapping(key, out[key])
    _check_kind(out)
    if "messageId" in out:
        out["messageId"] = _message_id(out["messageId"])
    if "timestamp" in out and not isinstance(out["timestamp"], str):
        out["timestamp"] = iso(out["timestamp"])
    elif "timestamp" in out:
        iso(out["timestamp"])
    now, fresh_id = stamp
    out.setdefault("messageId", fresh_id)
    out.setdefault("timestamp", now)
    for key in ("context", "integrations"):
        out[key] = {**defaults[key], **out.get(key, {})}
    return out


_ABSENT_IF_NULL = frozenset({"userId", "anonymousId", "timestamp", "messageId", "context", "integrations", "traits"})

_NEEDED = {"track": "event", "group": "groupId", "alias": "previousId"}


def _check_kind(event: Event) -> None:
    kind = event["type"]
    if kind == "alias" and "userId" not in event:
        raise InvalidEvent("alias: userId is needed")
    if "userId" not in event and "anonymousId" not in event:
        raise InvalidEvent(f"{kind}: userId or anonymousId is needed, so that the event is somebody's")
    needed = _NEEDED.get(kind)
    if needed is not None and needed not in event:
        raise InvalidEvent(f"{kind}: {needed} is needed")
    if kind == "track":
        text_of("event", event["event"])


def describe(value: object) -> str:
    """What came, for a message: its type, and the value where it is short and says something."""
    kind = type(value).__name__
    if value is None or isinstance(value, bool | int | float) or value == "":
        return f"{value!r}" if value is None else f"{kind} {value!r}"
    if isinstance(value, str):
        return f"str of {len(value)} characters" if len(value) > 40 else f"str {value!r}"
    return f"{kind}"
