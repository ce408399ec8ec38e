"""An event's fields, decoded as far as a mapping needs them: property values stay as they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec
from msgspec import Raw

from .._core.events.timestamps import epoch_ms
from .base import Event

__all__ = [
    "NO_FIELDS",
    "Fields",
    "encode",
    "epoch_ms",
    "fields_of",
    "indexes",
    "object_in",
    "objects_in",
    "renamed",
    "section",
    "value_of",
]

NO_FIELDS: Mapping[str, Any] = {}

encode = msgspec.json.Encoder().encode


class Fields(msgspec.Struct, rename="camel", gc=False):
    """One event. Null is as good as absent; an id may be a number."""

    type: str
    message_id: str = ""
    timestamp: str = ""
    user_id: str | int | float | None = None
    anonymous_id: str | int | float | None = None
    group_id: str | int | float | None = None
    previous_id: str | int | float | None = None
    event: str | None = None
    name: str | None = None
    properties: dict[str, Raw] | None = None
    traits: dict[str, Raw] | None = None
    context: dict[str, Any] | None = None

    @property
    def user(self) -> str:
        """The user's id as text; empty if there is none."""
        return self.user_id if type(self.user_id) is str else text_of(self.user_id)

    @property
    def anonymous(self) -> str:
        """The anonymous id as text; empty if there is none."""
        return self.anonymous_id if type(self.anonymous_id) is str else text_of(self.anonymous_id)

    @property
    def title(self) -> str:
        """What Segment calls the event at its destinations: its name, and `Viewed …` for a page or a screen."""
        return self.event or "" if self.type == "track" else f"Viewed {self.name or ''}"


fields_of_bytes = msgspec.json.Decoder(Fields).decode


def fields_of(event: Event) -> Fields:
    """Return the fields of an event."""
    return fields_of_bytes(event.data)


def text_of(value: str | float | None) -> str:
    """Return an id as text: a number as it is written in JSON."""
    return "" if value is None else value if isinstance(value, str) else encode(value).decode()


def section(context: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return one object of a context; an empty one if there is none, or something else."""
    value = context.get(name)
    return cast("Mapping[str, Any]", value) if type(value) is dict else NO_FIELDS


def value_of(properties: Mapping[str, Raw], name: str) -> Any:
    """Return a property's value, decoded; None if there is none."""
    raw = properties.get(name)
    return None if raw is None else msgspec.json.decode(raw)


def renamed(source: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a source holds under other names.

    `names`: of each field the name that it gets, the names, or the names of the fields in the object that it is.
    """
    found: dict[str, Any] = {}
    for field, value in source.items():
        name = names.get(field)
        if name is None:
            continue
        if type(name) is str:
            found[name] = value
        elif type(name) is tuple:
            found.update(dict.fromkeys(cast("tuple[str, ...]", name), value))
        elif type(value) is dict:
            found.update(renamed(cast("dict[str, Any]", value), name))
    return found


def object_in(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object that an answer holds; None if it holds none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else None


def objects_in(listed: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list; none if it is no list."""
    among = cast("Iterable[Any]", listed) if isinstance(listed, list) else ()
    return [cast("Mapping[str, Any]", each) for each in among if isinstance(each, dict)]


def indexes(listed: Any, count: int) -> set[int]:
    """Return the numbers in an answer's list that are indexes of parts."""
    among = cast("Iterable[Any]", listed) if isinstance(listed, list) else ()
    return {index for index in among if type(index) is int and 0 <= index < count}
