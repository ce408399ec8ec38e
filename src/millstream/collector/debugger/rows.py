"""Rows of the live list, and the filter."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..feed import Entry

SHOWN = 200
"""Characters of a name or an id in a row; the event itself has all of them."""


class Row(msgspec.Struct, omit_defaults=True):
    """A row of the list. `at` is in milliseconds since the epoch, `event` the whole event where requested.

    `name` is a track event's `event`, a page's or screen's category and name, a group's `groupId`, an alias's
    `previousId`; `traits` those of identify. Missing members are omitted.
    """

    id: int
    at: int
    kind: str
    type: str = ""
    name: str = ""
    traits: str = ""
    user: str = ""
    anonymous: str = ""
    source: str = ""
    reason: str = ""
    event: Raw | UnsetType = UNSET


class _Shape(msgspec.Struct, gc=False, rename="camel"):
    """The members that a row shows. Rejected events may have any value in them."""

    type: Any = None
    event: Any = None
    name: Any = None
    category: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    group_id: Any = None
    previous_id: Any = None
    traits: Any = None


_any = msgspec.json.Decoder(dict[str, Any])
_shape = msgspec.json.Decoder(_Shape)
_NOTHING = _Shape()


def row_of(entry: Entry, *, whole: bool = False) -> Row:
    """Make an entry's row; with its event, if `whole` and every reader can parse it."""
    shape = _shape_of(entry.line) if entry.line and entry.kind not in {"refused", "empty"} else _NOTHING
    return Row(
        id=entry.id,
        at=int(entry.at * 1000),
        kind=entry.kind,
        type=_text(shape.type),
        name=_name(shape),
        traits=_traits(shape),
        user=_text(shape.user_id),
        anonymous=_text(shape.anonymous_id),
        source=entry.source,
        reason=entry.reason,
        event=Raw(entry.line) if whole and _is_readable(entry.line) else UNSET,
    )


def _shape_of(line: bytes) -> _Shape:
    try:
        return _shape.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return _NOTHING


def _is_readable(line: bytes) -> bool:
    """Whether a message with this line can be parsed by its reader."""
    try:
        _any.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _name(shape: _Shape) -> str:
    match shape.type:
        case "group":
            return _text(shape.group_id)
        case "alias":
            return _text(shape.previous_id)
        case "page" | "screen":
            parts = (_text(shape.category), _text(shape.name))
            return " · ".join(part for part in parts if part)
        case _:
            return _text(shape.event)


def _traits(shape: _Shape) -> str:
    traits: object = shape.traits
    if shape.type != "identify" or not isinstance(traits, dict):
        return ""
    members = cast("dict[str, object]", traits).items()
    return _text(", ".join(f"{name}: {_text(value)}" for name, value in islice(members, SHOWN)))


def _text(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


class RowFilter:
    """Selects rows; without arguments, all.

    Args:
        kinds: outcomes, any of these.
        types: event types, any of these.
        sources: sources, any of these.
        name: is contained in the row's `name`; here and below, case is ignored.
        user: is contained in `userId` or `anonymousId`.
        text: is contained in the event's JSON, or is its reason.
    """

    def __init__(
        self,
        *,
        kinds: Iterable[str] = (),
        types: Iterable[str] = (),
        sources: Iterable[str] = (),
        name: str = "",
        user: str = "",
        text: str = "",
    ) -> None:
        self._kinds = frozenset(kinds)
        self._types = frozenset(types)
        self._sources = frozenset(sources)
        self._name = name.casefold()
        self._user = user.casefold()
        self._text = text.casefold()
        # How JSON may write the text: unchanged, with quotes and backslashes escaped, and with non-ASCII escaped.
        ways = (json.dumps(text, ensure_ascii=only_ascii)[1:-1].casefold() for only_ascii in (False, True))
        self._needles = {self._text, *ways}

    def keep(self, entry: Entry, *, whole: bool = False) -> Row | None:
        """Return the entry's row, or None if the filter excludes it."""
        if (self._kinds and entry.kind not in self._kinds) or (self._sources and entry.source not in self._sources):
            return None
        if self._text and not self._has_text(entry):
            return None
        row = row_of(entry, whole=whole)
        wanted = (
            (not self._types or row.type in self._types)
            and (not self._name or self._name in row.name.casefold())
            and (not self._user or self._user in row.user.casefold() or self._user in row.anonymous.casefold())
        )
        return row if wanted else None

    def _has_text(self, entry: Entry) -> bool:
        if self._text in entry.reason:
            return True
        line = entry.line.decode(errors="replace").casefold()
        return any(needle in line for needle in self._needles)
