"""Judges one event: accepted or rejected with a reason, and the line it is stored as."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from millstream.spec import IDS, MAX_EVENT_BYTES, MAX_MESSAGE_ID, OBJECTS, TEXTS, TYPES

from .clock_skew import as_stored, json_of, moment_of
from .portable import each_member_once, integer_too_large, too_deep
from .request import ABSENT

try:
    from ._validate import usual
except ImportError:  # not compiled: docs/decisions/0026

    def usual(
        text: bytes,
        only: str,
        skew: int,
        ending: bytes,
        accepted: Callable[[str, str, bytes], Any],
        /,
    ) -> list[Any] | None:
        """Accept no event: each is judged in Python."""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An event to store: `line` is one JSON object without a line break.

    With `time_unknown` its timestamp could not be read.
    """

    type: str
    message_id: str
    line: bytes
    time_unknown: bool = False


class Kept(msgspec.Struct, frozen=True, gc=False):
    """The events of a request to store: their lines in one block of memory, and the number of each type.

    Nothing else of them is retained. The feed remembers thousands of events: as separate objects they would be slow to
    free and to scan for the garbage collector, which does not track these (gc=False).
    """

    text: bytes = b""
    types: dict[str, int] = {}
    count: int = 0
    times_unknown: int = 0

    @classmethod
    def of(cls, events: Sequence[Accepted]) -> Kept:
        if len(events) == 1:  # without a Counter, which is slow to make
            return cls(events[0].line + b"\n", {events[0].type: 1}, 1, int(events[0].time_unknown))
        text = b"\n".join([*[event.line for event in events], b""])
        types = dict(Counter([event.type for event in events]))
        return cls(text, types, len(events), sum([event.time_unknown for event in events]))

    def __len__(self) -> int:
        return self.count

    def lines(self, skip: int = 0) -> list[bytes]:
        """The lines of the events, without the first `skip`."""
        return self.text.split(b"\n")[skip:-1]


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A rejected event: its index in the request, the reason (one of REASONS), and its JSON.

    `line` is JSON on one line, without a write key; empty if the event is no object, too large or too deep.
    """

    index: int
    reason: str
    line: bytes = b""


def random_id() -> str:
    """Make a messageId for an event without one."""
    return os.urandom(16).hex()


class Stamp(msgspec.Struct, frozen=True):
    """The members that a request adds to each of its events.

    `source` names the write key without revealing it; `type` is the route's, for single events; `sent_at` and
    `defaults` (`context` and `integrations`) are the batch's.
    """

    received_at: datetime
    source: str = ""
    type: str = ""
    sent_at: Raw = ABSENT
    defaults: Mapping[str, Raw] = {}
    new_id: Callable[[], str] = random_id
    # Derived once for all events:
    skew: timedelta | None = None
    received: bytes = b""
    ending: bytes = b""

    def __post_init__(self) -> None:
        received = json_of(self.received_at)
        source = b',"sourceId":%b' % msgspec.json.encode(self.source) if self.source else b""
        force = msgspec.structs.force_setattr
        force(self, "skew", self._skew(self.sent_at))
        force(self, "received", received)
        force(self, "ending", b',"receivedAt":%b%b}' % (received, source))

    def timestamp(self, moment: datetime | None, sent_at: bytes) -> bytes:
        """The time of an event by the receiver's clock: its own, corrected, or else the time of receipt."""
        if moment is None:
            return self.received
        skew = self._skew(sent_at) if sent_at else self.skew
        if skew is None:
            return json_of(moment)
        try:
            return json_of(moment + skew)
        except OverflowError:
            return self.received

    def _skew(self, sent_at: bytes | Raw) -> timedelta | None:
        """How far the receiver's clock is ahead of the sender's, if transport took no time."""
        sent = None if sent_at is ABSENT else moment_of(sent_at)
        return None if sent is None else self.received_at - sent


class _Object(msgspec.Struct, gc=False):
    """Any object: decoding validates it, and keeps nothing."""


class Shape(msgspec.Struct, gc=False, rename="camel"):
    """The fields of `spec` with their types. Raw ones are only looked at for presence."""

    type: str | None = None
    message_id: str | None = None
    user_id: str | int | float | None = None
    anonymous_id: str | int | float | None = None
    group_id: str | int | float | None = None
    previous_id: str | int | float | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: _Object | None = None
    traits: _Object | None = None
    context: _Object | None = None
    integrations: _Object | None = None
    timestamp: Raw = ABSENT
    original_timestamp: Raw = ABSENT
    sent_at: Raw = ABSENT
    received_at: Raw = ABSENT
    source_id: Raw = ABSENT
    write_key: Raw = ABSENT


_shape = msgspec.json.Decoder(Shape)
_members = msgspec.json.Decoder(dict[str, Raw])

_NO_SKEW, _MICROSECOND = timedelta(), timedelta(microseconds=1)
_NULL = Raw(b"null")
_OURS = ("writeKey", "receivedAt", "sourceId", "timestamp", "originalTimestamp")
"""Members removed from a rewritten event: one is secret, the collector sets the others."""
_NOTHING_IF_EMPTY, _EMPTY = ("messageId", "sentAt"), (_NULL, Raw(b'""'))
_CONTEXT, _INTEGRATIONS = len(b',"context":{}'), len(b',"integrations":{}')
"""Bytes that `send` adds for the next receiver, where an event has none."""

# The shape again, to find the field at fault: the first bytes that a field's value may have.
_FAULTS = (
    *((name, b'"n', reason) for name, reason in TEXTS.items()),
    *((name, b'"n-0123456789', reason) for name, reason in IDS.items()),
    *((name, b"{n", reason) for name, reason in OBJECTS.items()),
)


def examine_all(items: Sequence[Raw], text: bytes, stamp: Stamp) -> list[Accepted | str]:
    """Judge each event of a request, whose text is that of a batch or of one event.

    Compiled code accepts events as clients send them; `examine` judges the others.
    """
    found = None if stamp.defaults else _usual(text, stamp)
    if found is None:
        return [examine(raw, stamp) for raw in items]
    return [each or examine(raw, stamp) for raw, each in zip(items, found, strict=True)]


def _usual(text: bytes, stamp: Stamp) -> list[Accepted | None] | None:
    """Return the valid events that only need times and a source added; None for each that `examine` must judge."""
    skew = (stamp.skew or _NO_SKEW) // _MICROSECOND
    ending = stamp.ending if stamp.sent_at is ABSENT else b',"sentAt":%b%b' % (stamp.sent_at, stamp.ending)
    return usual(text, stamp.type, skew, ending, Accepted)


def examine(raw: Raw, stamp: Stamp) -> Accepted | str:
    """Return the event to store, or the reason to reject it."""
    line = bytes(raw)
    try:
        if stamp.defaults and len(line) <= MAX_EVENT_BYTES:
            line = _with_defaults(line, stamp.defaults)
        if len(line) > MAX_EVENT_BYTES:
            return "event_too_large"
        if too_deep(line):
            return "event_too_deep"
        return _examined(each_member_once(line), stamp)
    except msgspec.DecodeError:
        return _fault(line)
    except RecursionError:  # too deep even to measure
        return "event_too_deep"


def without_key(raw: Raw) -> bytes:
    """Return a rejected event without its key, to show; empty if it is no object, too large or too deep."""
    line = bytes(raw)
    if len(line) > MAX_EVENT_BYTES or too_deep(line):
        return b""
    try:
        members = _members.decode(line)
        members.pop("writeKey", None)
        return msgspec.json.encode(members)
    except (msgspec.DecodeError, RecursionError):
        return b""


def _examined(line: bytes, stamp: Stamp) -> Accepted | str:
    shape = _shape.decode(line)
    kind = stamp.type or shape.type or ""
    if reason := _objection(shape, kind):
        return reason
    if integer_too_large(line):
        return "number_too_large"
    timestamp, sent_at = _value(shape.timestamp), _value(shape.sent_at)
    original = timestamp or _value(shape.original_timestamp)
    moment = moment_of(original) if original else None
    corrected = stamp.timestamp(moment, sent_at)
    if _needs_rewriting(line, shape, kind):
        line = _rewritten(line, kind)
    elif timestamp:
        # All other bytes are kept, and the request's members are added before the closing brace.
        line, corrected = line.replace(timestamp, corrected, 1), b""
    own = [line[:-1]]
    if corrected:
        own += b',"timestamp":', corrected
    message_id = shape.message_id
    if not message_id:
        message_id = stamp.new_id()
        own += b',"messageId":', msgspec.json.encode(message_id)
    whole = b"".join(own)
    added = (_CONTEXT if shape.context is None else 0) + (_INTEGRATIONS if shape.integrations is None else 0)
    if len(whole) + len(b"}") + added > MAX_EVENT_BYTES:
        return "event_too_large"
    parts = [whole]
    if original:
        parts += b',"originalTimestamp":', as_stored(original)
    if stamp.sent_at is not ABSENT and not sent_at:
        parts += b',"sentAt":', stamp.sent_at
    parts.append(stamp.ending)
    return Accepted(kind, message_id, b"".join(parts), bool(original) and moment is None)


def _objection(shape: Shape, kind: str) -> str:
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


def _value(raw: Raw) -> bytes:
    """The bytes of a member; empty if it is missing or null."""
    return b"" if raw is ABSENT or raw == _NULL else bytes(raw)


def _fault(line: bytes) -> str:
    if not line.startswith(b"{"):
        return "event_not_object"
    try:
        members = _members.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return "event_not_valid"
    for name, allowed, reason in _FAULTS:
        if name in members and bytes(members[name])[0] not in allowed:
            return reason
    try:
        each_member_once(line)
    except msgspec.DecodeError:
        return "number_too_large"
    return "event_not_valid"


def _needs_rewriting(line: bytes, shape: Shape, kind: str) -> bool:
    """Whether more must change than one timestamp, which can be replaced in place if its text is unique."""
    return bool(
        shape.write_key is not ABSENT
        or shape.received_at is not ABSENT
        or shape.source_id is not ABSENT
        or shape.original_timestamp is not ABSENT
        or shape.type != kind  # the route's type takes precedence
        or (shape.timestamp is not ABSENT and (shape.timestamp == _NULL or line.count(bytes(shape.timestamp)) > 1))
        or (
            shape.sent_at is not ABSENT and (shape.sent_at == _NULL or as_stored(bytes(shape.sent_at)) != shape.sent_at)
        )
        or (not shape.message_id and b"messageId" in line)
    )


def _rewritten(line: bytes, kind: str) -> bytes:
    members = _members.decode(line)
    for name in _OURS:
        members.pop(name, None)
    for name in _NOTHING_IF_EMPTY:
        if members.get(name) in _EMPTY:
            del members[name]
    members["type"] = Raw(msgspec.json.encode(kind))
    if "sentAt" in members:
        members["sentAt"] = Raw(as_stored(bytes(members["sentAt"])))
    return msgspec.json.encode(members)


def _with_defaults(line: bytes, defaults: Mapping[str, Raw]) -> bytes:
    """Merge the batch's `context` and `integrations` into the event; the event's own members take precedence."""
    members = _members.decode(line)
    for name, default in defaults.items():
        own = members.get(name, _NULL)
        if own == _NULL:
            members[name] = default
        elif bytes(own).startswith(b"{"):
            members[name] = Raw(msgspec.json.encode(_members.decode(default) | _members.decode(own)))
    return msgspec.json.encode(members)
