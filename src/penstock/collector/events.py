"""What one event is made of: whether it is kept, why not, and the line it is kept as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec
from msgspec import Raw

from .wire import ABSENT, MAX_EVENT

if TYPE_CHECKING:
    from collections.abc import Mapping

EventType: TypeAlias = Literal["identify", "track", "page", "screen", "group", "alias"]
MAX_MESSAGE_ID = 100
TYPES: tuple[EventType, ...] = get_args(EventType)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An event to keep: `line` is one JSON object without a line break."""

    type: str
    message_id: str | None
    line: bytes


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """An event that is not kept: its place in the request, and why, in Segment's words where it has some."""

    index: int
    reason: str


class Stamp(msgspec.Struct, frozen=True):
    """What a request adds to each of its events.

    `type` is the route's, for single events; `defaults` are a batch's own `context` and `integrations`;
    `sent_at` and `received_at` are JSON members with a comma before them.
    """

    received_at: bytes
    sent_at: bytes = b""
    type: str = ""
    defaults: Mapping[str, Raw] = {}


class _Object(msgspec.Struct, gc=False):
    """Any object: decoding it checks that it is one, and keeps nothing."""


class _Shape(msgspec.Struct, gc=False, rename="camel"):
    """What must hold of every event. What only has to be noticed is Raw."""

    type: str | None = None
    message_id: str | None = None
    user_id: str | int | float | None = None
    anonymous_id: str | int | float | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: _Object | None = None
    traits: _Object | None = None
    sent_at: Raw = ABSENT
    received_at: Raw = ABSENT
    write_key: Raw = ABSENT


_shape = msgspec.json.Decoder(_Shape)
_members = msgspec.json.Decoder(dict[str, Raw])

# The shape again, for saying which part of it does not hold: field, first bytes allowed, reason.
_STRING, _OBJECT, _NUMBER = b'"n', b"{n", b"-0123456789"
_REASONS = (
    ("type", _STRING, "type_not_string"),
    ("messageId", _STRING, "message_id_not_string"),
    ("userId", _STRING + _NUMBER, "user_id_not_string"),
    ("anonymousId", _STRING + _NUMBER, "anonymous_id_not_string"),
    ("event", _STRING, "event_not_string"),
    ("name", _STRING, "name_not_string"),
    ("category", _STRING, "category_not_string"),
    ("properties", _OBJECT, "properties_not_object"),
    ("traits", _OBJECT, "traits_not_object"),
)


def examine(raw: Raw, stamp: Stamp) -> Accepted | str:
    """The event as it is to be kept, or the reason why it is not."""
    line = bytes(raw)
    if len(line) > MAX_EVENT:
        return "event_too_large"
    try:
        return _examined(line, stamp)
    except (msgspec.DecodeError, RecursionError):
        return _fault(line)


def _examined(line: bytes, stamp: Stamp) -> Accepted | str:
    shape = _shape.decode(line)
    kind = stamp.type or shape.type or ""
    if reason := _objection(shape, kind):
        return reason
    if _needs_rewriting(shape, kind, stamp):
        line = _rewritten(line, kind, stamp)
        if len(line) > MAX_EVENT:
            return "event_too_large"
    # The bytes are kept as they came; what the request adds goes in before the closing brace.
    sent_at = stamp.sent_at if shape.sent_at is ABSENT else b""
    return Accepted(kind, shape.message_id, b"%b%b%b}" % (line[:-1], sent_at, stamp.received_at))


def _objection(shape: _Shape, kind: str) -> str:
    if not kind:
        return "type_not_defined"
    if kind not in TYPES:
        return "type_not_known"
    if shape.user_id in {None, ""} and shape.anonymous_id in {None, ""}:
        return "no_user_anon_id"
    if kind == "track" and not shape.event:
        return "event_not_defined"
    if shape.message_id and len(shape.message_id) > MAX_MESSAGE_ID:
        return "message_id_too_long"
    return ""


def _fault(line: bytes) -> str:
    if not line.startswith(b"{"):
        return "event_not_object"
    try:
        members = _members.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return "event_not_valid"
    for name, allowed, reason in _REASONS:
        if name in members and bytes(members[name])[0] not in allowed:
            return reason
    return "event_not_valid"


def _needs_rewriting(shape: _Shape, kind: str, stamp: Stamp) -> bool:
    return bool(
        stamp.defaults
        or shape.write_key is not ABSENT  # a source's key is a secret: it stays out of the file
        or shape.received_at is not ABSENT  # only the receiver knows
        or shape.type != kind  # the route's type is the one that counts
    )


def _rewritten(line: bytes, kind: str, stamp: Stamp) -> bytes:
    members = _members.decode(line)
    members.pop("writeKey", None)
    members.pop("receivedAt", None)
    members["type"] = Raw(msgspec.json.encode(kind))
    for name, default in stamp.defaults.items():
        members[name] = _merged(default, members.get(name))
    return msgspec.json.encode(members)


def _merged(default: Raw, own: Raw | None) -> Raw:
    """The event's own members over the batch's; what is no object has nothing to merge."""
    if own is None or bytes(own) == b"null":
        return default
    try:
        return Raw(msgspec.json.encode(_members.decode(default) | _members.decode(own)))
    except msgspec.DecodeError:
        return own
