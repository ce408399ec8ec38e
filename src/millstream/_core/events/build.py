"""Builds events: the fields of the six calls, and their checks.

The envelope follows the specification of the Tracking API (docs/reference/events.md); checked here is what the API
would discard silently. Values inside mappings are checked when they are encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, ClassVar, cast
from uuid import UUID

from msgspec import Raw, Struct

from ..._version import __version__
from ...errors import InvalidEvent
from ...spec import IDS, MAX_MESSAGE_ID, OBJECTS, TEXTS, TYPES
from ...types import Event
from . import coerce
from .encode import decode, encode
from .fastpath import write
from .timestamps import iso

__all__ = [
    "LIBRARY",
    "NO_DEFAULTS",
    "Alias",
    "Defaults",
    "Group",
    "Identify",
    "Page",
    "Screen",
    "Track",
    "WireEvent",
    "mapping",
    "whole",
]

LIBRARY = {"name": "millstream", "version": __version__}


class Defaults(Struct, frozen=True):
    """`context` and `integrations` for every event of a client; also encoded, for a call without its own."""

    context: Event
    integrations: Event
    encoded_context: Raw
    encoded_integrations: Raw

    @classmethod
    def of(cls, context: Mapping[str, Any], integrations: Mapping[str, Any]) -> Defaults:
        """Encode and decode once: later changes by the caller have no effect.

        Raises:
            InvalidEvent: a value cannot be sent.
        """
        known = decode(encode({"context": dict(context), "integrations": dict(integrations)}))
        return cls(*known.values(), *(Raw(encode(value)) for value in known.values()))


NO_DEFAULTS = Defaults({}, {}, Raw(b"{}"), Raw(b"{}"))


class WireEvent(Struct, rename="camel", tag_field="type", omit_defaults=True, gc=False):
    """One of the six calls: its arguments, and once completed, the event as sent.

    A struct, because one is made for every call, and structs are faster to make and encode than dicts. None means
    absent.
    """

    kind: ClassVar[str]

    message_id: Any = None
    timestamp: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    context: Any = None
    integrations: Any = None

    def complete(self, stamp: tuple[str, str], defaults: Defaults) -> list[object]:
        """Check the arguments, and add what is missing.

        Correct values are neither inspected by a call nor written again: either costs time.

        Args:
            stamp: the time of the call and a fresh id, for an event without its own.
            defaults: `context` and `integrations` for every event of the client; the event's own are merged over them.

        Returns:
            The caller's mappings, whose content is checked when it is encoded.

        Raises:
            InvalidEvent: names the field, the value and what is expected.
        """
        now, fresh_id = stamp
        self.message_id = fresh_id if self.message_id is None else _message_id("message_id", self.message_id)
        self.timestamp = now if self.timestamp is None else iso(self.timestamp)
        user_id: Any = self.user_id
        if type(user_id) is not str or not user_id:
            self._check_who()
        elif self.anonymous_id is not None:
            self.anonymous_id = _identity("anonymous_id", self.anonymous_id)
        given = [self.check()]
        if self.context is None:
            self.context = defaults.encoded_context
        else:
            own = mapping("context", self.context)
            given.append(own)
            self.context = {**defaults.context, **own}
            if "library" in own:
                self.context["library"] = _library(own["library"])
        if self.integrations is None:
            self.integrations = defaults.encoded_integrations
        else:
            own = mapping("integrations", self.integrations)
            given.append(own)
            self.integrations = {**defaults.integrations, **own}
        return given

    def _check_who(self) -> None:
        """Check the ids of an event whose user id is not a str."""
        if self.user_id is not None:
            self.user_id = _identity("user_id", self.user_id)
        if self.anonymous_id is not None:
            self.anonymous_id = _identity("anonymous_id", self.anonymous_id)
        elif self.user_id is None:
            self.check()  # faults of the event itself are reported first
            raise InvalidEvent(f"{self.kind}: pass user_id or anonymous_id")

    def check(self) -> object:
        """Check the fields that only this type has. Return its mapping."""
        raise NotImplementedError


class Track(WireEvent, tag="track", gc=False):
    """An action that a user performed."""

    kind = "track"

    event: Any = None
    properties: Any = None

    def check(self) -> object:
        # The most frequent type: see `complete`.
        name, given = self.event, self.properties
        if type(name) is not str or not name:
            self.event = _name("event", name)
        if type(given) is not dict:
            self.properties = given = _mapping("properties", given)
        return given  # pyright: ignore[reportUnknownVariableType]


class Identify(WireEvent, tag="identify", gc=False):
    """Traits of a user."""

    kind = "identify"

    traits: Any = None

    def check(self) -> object:
        self.traits = given = _mapping("traits", self.traits)
        return given


class Group(WireEvent, tag="group", gc=False):
    """A group that a user belongs to."""

    kind = "group"

    group_id: Any = None
    traits: Any = None

    def check(self) -> object:
        self.group_id = _identity("group_id", self.group_id)
        self.traits = given = _mapping("traits", self.traits)
        return given


class Alias(WireEvent, tag="alias", gc=False):
    """Two ids of one user."""

    kind = "alias"

    previous_id: Any = None

    def check(self) -> object:
        self.user_id = _identity("user_id", self.user_id)
        self.previous_id = _identity("previous_id", self.previous_id)
        return {}


class Screen(WireEvent, tag="screen", gc=False):
    """A view of an app's screen."""

    kind = "screen"

    name: Any = None
    category: Any = None
    properties: Any = None

    def check(self) -> object:
        if self.name is not None:
            self.name = _name("name", self.name)
        if self.category is not None:
            self.category = _name("category", self.category)
        self.properties = given = _mapping("properties", self.properties)
        return given


class Page(Screen, tag="page", gc=False):
    """A page view."""

    kind = "page"

    def check(self) -> object:
        given = super().check()
        if self.category is not None:  # only the page call makes it a property too (reference library: the same)
            self.properties = {**mapping("properties", given), "category": self.category}
        return given


def _library(given: object) -> Mapping[Any, Any]:
    """Merge our name and version over the caller's `context.library`."""
    return LIBRARY if given is None else {**mapping("context.library", given), **LIBRARY}


def _identity(field: str, value: object) -> str:
    """Check an id: a non-empty str; an int or a UUID becomes its text, because many databases have such keys."""
    if type(value) is str and value:
        return value
    plain = _scalar(value)
    kind = type(plain)
    try:
        if kind is int or kind is UUID or (kind is str and plain):
            return str(plain)
    except ValueError:  # an int of over 4,300 digits
        pass
    raise InvalidEvent(f"{field} must be a non-empty str or an int, got {describe(value)}")


def _name(field: str, value: object) -> str:
    """Check a name: a non-empty str."""
    if type(value) is str and value:
        return value
    plain = _scalar(value)
    if type(plain) is str and plain:
        return plain
    raise InvalidEvent(f"{field} must be a non-empty str, got {describe(value)}")


def _message_id(field: str, value: object) -> str:
    plain = _scalar(value)
    if type(plain) in {str, UUID}:
        plain_text = coerce.text(str(plain))
        if 0 < len(plain_text) <= MAX_MESSAGE_ID:
            return plain_text
    raise InvalidEvent(f"{field} must be a str of 1 to {MAX_MESSAGE_ID} characters, got {describe(value)}")


def _scalar(value: object) -> object:
    """Convert a value to a str, an int or a UUID, as it is sent, if possible; else return it."""
    try:
        return coerce.scalar(value)
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return None


def mapping(field: str, value: object) -> dict[Any, Any]:
    """Return a mapping as a dict to merge, not to change: the caller's own, or one read from a mapping."""
    if type(value) is dict:
        return value  # pyright: ignore[reportUnknownVariableType]
    given = _mapping(field, value)
    try:
        pairs = coerce.pairs(given)
        out = dict(pairs)
    except Exception as exc:
        raise InvalidEvent(f"{field}: {coerce.type_name(value)} cannot be read: {coerce.type_name(exc)}") from exc
    if len(out) != len(pairs):
        raise InvalidEvent(f"{field}: {coerce.type_name(value)} has the same key twice")
    return out


def _mapping(field: str, value: object) -> Mapping[Any, Any]:
    """Check a mapping; None is an empty one. Its content is read when it is encoded."""
    if type(value) is dict:
        return value  # pyright: ignore[reportUnknownVariableType]
    if value is None:
        return {}
    try:
        if coerce.is_mapping(value):
            return value
    except Exception:  # noqa: BLE001, S110 - isinstance asks the object, which may raise anything
        pass
    raise InvalidEvent(f"{field} must be a mapping (a dict), got {describe(value)}")


def whole(event: object, stamp: tuple[str, str], defaults: Defaults) -> Event:
    """Copy a whole wire event, as `send` takes it; its id, timestamp and extra keys are kept.

    It must be valid by the rules of `spec`, which are the collector's, too; only an unreadable timestamp is refused
    here but not there, because here its caller can correct it.

    Args:
        event: a mapping with `type` and camelCase keys.
        stamp: a time and an id, for an event without.
        defaults: `context` and `integrations` for every event of the client; the event's own win, `library` included.
            An event with an id was made elsewhere, and does not get our `library`.

    Raises:
        InvalidEvent: naming the field, what came and what is expected.
    """
    if event is None:
        raise InvalidEvent("an event must be a mapping (a dict), got None")
    out = {**mapping("an event", event)}
    kind = out["type"] = _kind(out.get("type"))
    for key in out.keys() & _CHECKS.keys():
        value = None if out[key] is None else _CHECKS[key](key, out[key])
        if value is None:
            del out[key]
        else:
            out[key] = value
    if kind == "track" and not out.get("event"):
        raise InvalidEvent("track: event is needed")
    if "userId" not in out and "anonymousId" not in out:
        raise InvalidEvent(f"{kind}: pass userId or anonymousId")
    now, fresh_id = stamp
    out.setdefault("timestamp", now)
    own = mapping("context", out.get("context"))
    out["context"] = {**defaults.context, **own}
    if "messageId" in out and "library" not in own:
        out["context"].pop("library", None)
    out.setdefault("messageId", fresh_id)
    out["integrations"] = {**defaults.integrations, **mapping("integrations", out.get("integrations"))}
    return out


def _kind(value: object) -> str:
    plain_text = str.__str__(cast("str", value)) if issubclass(type(value), str) else ""
    if plain_text in TYPES:
        return plain_text
    raise InvalidEvent(f"type must be one of {', '.join(TYPES)}, got {describe(value)}")


def _is_empty(value: object) -> bool:
    return issubclass(type(value), str) and not str.__str__(cast("str", value))


def _id(field: str, value: object) -> str | None:
    """An id of a whole event: a number is its text, and an empty text is as good as none."""
    if _is_empty(value):
        return None
    if issubclass(type(value), float | Decimal) and isfinite(cast("float", value)):
        return write(value if type(value) is Decimal else float(cast("float", value))).decode()
    return _identity(field, value)


def _own_message_id(field: str, value: object) -> str | None:
    return None if _is_empty(value) else _message_id(field, value)


def _label(field: str, value: object) -> object:
    """A name that may be empty: some clients write that, and the API keeps it."""
    return "" if type(value) is str and not value else _name(field, value)


def _kept_time(field: str, value: object) -> str:
    """Keep a time given as text unchanged, if it is valid."""
    canonical = iso(value, field)
    return str.__str__(cast("str", value)) if issubclass(type(value), str) else canonical


_CHECKS: dict[str, Callable[[str, object], object]] = {
    **dict.fromkeys(TEXTS, _label),
    **dict.fromkeys(IDS, _id),
    **dict.fromkeys(OBJECTS, _mapping),
    "type": lambda _, kind: kind,
    "messageId": _own_message_id,
    "timestamp": _kept_time,
}
"""The fields of a wire event that are checked; null means absent."""


def describe(value: object) -> str:
    """Describe a value for a message: its type and its size, never its content, which may be a secret."""
    if value is None:
        return "None"
    kind = type(value)
    if kind is str:
        length = len(cast("str", value))
        return f"a str of {length:,} characters" if length else "an empty str"
    return coerce.type_name(value)
