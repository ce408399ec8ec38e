"""An event on one line of the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

import msgspec
from rich.text import Text

from millstream.types import Event

from .output import printable

__all__ = ["one_line"]

_COLOURS = {
    "track": "green",
    "identify": "blue",
    "page": "magenta",
    "screen": "magenta",
    "group": "cyan",
    "alias": "cyan",
}
_DIM = "bright_black"
_encode = msgspec.json.Encoder(decimal_format="number").encode


def one_line(event: Event, *, at: float | None = None, verdict: Text | None = None, width: int | None = None) -> Text:
    """Format time, type, name, user and details of an event.

    Args:
        event: as on the wire; any of its fields may be missing or wrong.
        at: when it was received, in seconds since the epoch; by default, its timestamp is shown.
        verdict: its outcome, if worth showing.
        width: the line's width in characters.
    """
    kind = _text(event.get("type"))
    line = Text(no_wrap=True)
    line.append(f"{_time(event.get('timestamp'), at):<8}  ", _DIM)
    if event:
        line.append(f"{kind:<8}  ", _COLOURS.get(kind, ""))
        line.append(f"{_what(event):<22}  ", "bold")
        user = _text(event.get("userId")) or _text(event.get("anonymousId"))
        line.append(f"{user:<14}  ")
    if verdict:
        line.append_text(verdict).append("  ")
    if details := _details(event):
        line.append(details, _DIM)
    line.rstrip()
    if width is not None:
        line.truncate(width, overflow="ellipsis")
    return line


def _time(timestamp: object, at: float | None) -> str:
    """The time of day in the local time zone."""
    try:
        if at is not None:
            return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}"
        return f"{datetime.fromisoformat(str(timestamp).replace('Z', '+00:00')).astimezone():%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


def _what(event: Event) -> str:
    match event.get("type"):
        case "track":
            return _text(event.get("event"))
        case "page" | "screen":
            return " ".join(filter(None, (_text(event.get("category")), _text(event.get("name")))))
        case "group":
            return _text(event.get("groupId"))
        case "alias":
            return f"{_text(event.get('previousId'))} →"
        case _:
            return ""


def _details(event: Event) -> str:
    """Properties or traits as JSON, without the outer braces."""
    details: Any = event.get("properties") or event.get("traits")
    if not isinstance(details, dict):
        return ""
    return ", ".join(f"{_text(name)}: {_json(value)}" for name, value in cast("Event", details).items())


def _json(value: Any) -> str:
    return printable(_encode(value).decode())


def _text(value: object) -> str:
    return "" if value is None else printable(str(value))
