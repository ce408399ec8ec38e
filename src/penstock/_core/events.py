"""The six calls as events: which fields they have, and what may be in them.

The envelope follows the specification of the Tracking API (docs/reference/events.md); what is checked here is what the
API would discard without a word. What may be inside a mapping is checked when it is encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from .._version import __version__
from ..errors import InvalidEvent
from ..types import Event
from . import standins
from .times import iso

__all__ = ["KINDS", "LIBRARY", "MAX_EVENT_BYTES", "MAX_MESSAGE_ID", "build", "mapping", "whole"]

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
    context: object,
    integrations: object,
    message_id: object,
    defaults: Mapping[str, Any],
) -> Event:
    """An event's envelope around the fields of its kind.

    Args:
        kind: one of the six.
        fields: the arguments that only this kind has.
        stamp: the time of the call and a fresh id, for an event that brings none of its own.
        user_id: who did it.
        anonymous_id: who did it, where the user is not known (yet).
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
        "messageId": fresh_id if message_id is None else _message_id("message_id", message_id),
        "timestamp": now if timestamp is None else iso(timestamp),
    }
    if user_id is not None:
        event["userId"] = _identity("user_id", user_id)
    if anonymous_id is not None:
        event["anonymousId"] = _identity("anonymous_id", anonymous_id)
    event.update(_FIELDS[kind](**fields))
    if "userId" not in event and "anonymousId" not in event:
        raise InvalidEvent(f"{kind}: user_id or anonymous_id is needed, so that the event is somebody's")
    event["context"] = _context(context, defaults["context"])
    base = defaults["integrations"]
    event["integrations"] = base if integrations is None else {**base, **mapping("integrations", integrations)}
    return event


def _track(event: object, properties: object) -> Event:
    return {"event": _name("event", event), "properties": _mapping("properties", properties)}


def _identify(traits: object) -> Event:
    return {"traits": _mapping("traits", traits)}


def _group(group_id: object, traits: object) -> Event:
    return {"groupId": _identity("group_id", group_id), "traits": _mapping("traits", traits)}


def _alias(user_id: object, previous_id: object) -> Event:
    return {"userId": _identity("user_id", user_id), "previousId": _identity("previous_id", previous_id)}


def _page(name: object, category: object, properties: object) -> Event:
    out = _screen(name, category, properties)
    if "category" in out:  # the page call alone makes it a property too (reference library: the same)
        out["properties"] = {**mapping("properties", properties), "category": out["category"]}
    return out


def _screen(name: object, category: object, properties: object) -> Event:
    out: Event = {"properties": _mapping("properties", properties)}
    if name is not None:
        out["name"] = _name("name", name)
    if category is not None:
        out["category"] = _name("category", category)
    return out


_FIELDS: dict[str, Callable[..., Event]] = {
    "identify": _identify,
    "track": _track,
    "page": _page,
    "screen": _screen,
    "group": _group,
    "alias": _alias,
}


def _context(given: object, base: Mapping[str, Any]) -> Mapping[str, Any]:
    """The caller's context over the defaults, with our library in it; in a dict of our own."""
    if given is None:
        return base
    merged = {**base, **mapping("context", given)}
    library = merged.get("library")
    if library is None:
        merged["library"] = LIBRARY
    elif library is not base.get("library"):
        merged["library"] = {**mapping("context.library", library), **LIBRARY}
    return merged


def _identity(field: str, value: object) -> str:
    """An id: a non-empty str; an int is taken as its text, because so many databases count their users."""
    if type(value) is str and value:
        return value
    kind = type(value)
    if issubclass(kind, str) and (plain_text := str.__str__(cast("str", value))):
        return plain_text
    if issubclass(kind, int) and kind is not bool:
        try:
            return int.__repr__(cast("int", value))
        except ValueError:  # over 4,300 digits
            pass
    raise InvalidEvent(f"{field} must be a non-empty str or an int, got {describe(value)}")


def _name(field: str, value: object) -> str:
    """A name: a non-empty str."""
    if type(value) is str and value:
        return value
    if issubclass(type(value), str) and (plain_text := str.__str__(cast("str", value))):
        return plain_text
    raise InvalidEvent(f"{field} must be a non-empty str, got {describe(value)}")


def _message_id(field: str, value: object) -> str:
    if issubclass(type(value), str):
        plain_text = standins.text(str.__str__(cast("str", value)))
        if 0 < len(plain_text) <= MAX_MESSAGE_ID:
            return plain_text
    raise InvalidEvent(f"{field} must be a str of 1 to {MAX_MESSAGE_ID} characters, got {describe(value)}")


def mapping(field: str, value: object) -> dict[Any, Any]:
    """A mapping as a dict that can be merged, not to be changed: the caller's own, or one read from his mapping."""
    given = _mapping(field, value)
    if type(given) is dict:
        return given  # pyright: ignore[reportUnknownVariableType]
    try:
        pairs = standins.pairs(given)
        out = dict(pairs)
    except Exception as exc:
        raise InvalidEvent(f"{field}: {standins.type_name(value)} cannot be read: {standins.type_name(exc)}") from exc
    if len(out) != len(pairs):
        raise InvalidEvent(f"{field}: {standins.type_name(value)} has the same key twice")
    return out


def _mapping(field: str, value: object) -> Mapping[Any, Any]:
    """A mapping, or nothing, which is an empty one. What is in it is read when it is encoded."""
    if type(value) is dict:
        return value  # pyright: ignore[reportUnknownVariableType]
    if value is None:
        return {}
    try:
        if standins.is_mapping(value):
            return value
    except Exception:  # noqa: BLE001, S110 - isinstance asks the object, which may raise anything
        pass
    raise InvalidEvent(f"{field} must be a mapping (a dict), got {describe(value)}")


def whole(event: object, stamp: tuple[str, str], defaults: Mapping[str, Any]) -> Event:
    """A whole wire event, as `send` takes it, in a dict of our own; its id, timestamp and extra keys are kept.

    Args:
        event: a mapping with `type` and camelCase keys.
        stamp: a time and an id, for an event that has none.
        defaults: `context` and `integrations` for every event of the client; the event's own win, `library` included.

    Raises:
        InvalidEvent: naming the field, what came and what is expected.
    """
    if event is None:
        raise InvalidEvent("an event must be a mapping (a dict), got None")
    out = {**mapping("an event", event)}
    kind = out["type"] = _kind(out.get("type"))
    for key in out.keys() & _CHECKS.keys():
        if out[key] is None:
            del out[key]
        else:
            out[key] = _CHECKS[key](key, out[key])
    _check_kind(kind, out)
    now, fresh_id = stamp
    out.setdefault("messageId", fresh_id)
    out.setdefault("timestamp", now)
    for key in ("context", "integrations"):
        out[key] = {**defaults[key], **mapping(key, out.get(key))}
    return out


def _kind(value: object) -> str:
    plain_text = str.__str__(cast("str", value)) if issubclass(type(value), str) else ""
    if plain_text in KINDS:
        return plain_text
    raise InvalidEvent(f"type must be one of {', '.join(KINDS)}, got {describe(value)}")


def _label(field: str, value: object) -> object:
    """A name that may be empty: some clients write that, and the API keeps it."""
    return "" if type(value) is str and not value else _name(field, value)


def _kept_time(field: str, value: object) -> str:
    """A time that came as text stays as it is, once it is known to be one."""
    canonical = iso(value, field)
    return str.__str__(cast("str", value)) if issubclass(type(value), str) else canonical


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "userId": _identity,
    "anonymousId": _identity,
    "groupId": _identity,
    "previousId": _identity,
    "messageId": _message_id,
    "timestamp": _kept_time,
    "event": _label,
    "name": _label,
    "category": _label,
    "properties": _mapping,
    "traits": _mapping,
    "context": _mapping,
    "integrations": _mapping,
}
"""The fields of a wire event that are looked at; where one is null, it is absent."""

_NEEDED = {"track": ("event",), "group": ("groupId",), "alias": ("userId", "previousId")}


def _check_kind(kind: str, event: Event) -> None:
    for needed in _NEEDED.get(kind, ()):
        if not event.get(needed):
            raise InvalidEvent(f"{kind}: {needed} is needed")
    if "userId" not in event and "anonymousId" not in event:
        raise InvalidEvent(f"{kind}: userId or anonymousId is needed, so that the event is somebody's")


def describe(value: object) -> str:
    """What came, for a message: its type and its size, never its content, which may be a secret."""
    if value is None:
        return "None"
    kind = type(value)
    if kind is str:
        length = len(cast("str", value))
        return f"a str of {length:,} characters" if length else "an empty str"
    return standins.type_name(value)
