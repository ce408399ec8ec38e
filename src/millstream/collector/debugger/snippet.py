"""Snippets: an event as the Python call, or the body of a request, that makes such an event."""

from __future__ import annotations

from typing import Any, cast

import msgspec

WIDTH = 76
"""Characters on a line, where lines can be broken."""
_INDENT = "    "

_FIRST = {
    "track": "event",
    "page": "name",
    "screen": "name",
    "identify": "userId",
    "group": "groupId",
    "alias": "userId",
}
"""The positional argument of each call."""
_REST = {
    "track": {"userId": "user_id", "anonymousId": "anonymous_id", "properties": "properties"},
    "page": {
        "category": "category", "userId": "user_id", "anonymousId": "anonymous_id", "properties": "properties",
    },
    "screen": {
        "category": "category", "userId": "user_id", "anonymousId": "anonymous_id", "properties": "properties",
    },
    "identify": {"anonymousId": "anonymous_id", "traits": "traits"},
    "group": {"userId": "user_id", "anonymousId": "anonymous_id", "traits": "traits"},
    "alias": {"previousId": "previous_id"},
}  # fmt: skip
_EVERY = {"context": "context", "integrations": "integrations"}
_STAMPED = {
    "type", "messageId", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "sourceId", "version", "_metadata",
}  # fmt: skip
"""Members that the call sets by itself: the new event has its own id and time."""


def body_of(line: bytes) -> str:
    """Return the body of a request that sends an event like it, on one line; empty if there is none.

    Times and ids that the receiver gives are left out; numbers stay as they were written.
    """
    try:
        event = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        kept = {name: value for name, value in event.items() if name not in _STAMPED}
        return msgspec.json.format(msgspec.json.encode(kept), indent=-1).decode()
    except (msgspec.DecodeError, RecursionError):
        return ""


class _Number(str):
    """A JSON number that is not an integer, as it was written: Python reads it the same way."""

    __slots__ = ()


_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=_Number)


def call_of(line: bytes) -> str:
    """Return the call, formatted; empty for an invalid event.

    The time and the ids that a call sets by itself are left out, and so is the library. Members without an argument
    are named in a comment.
    """
    try:
        return _call(_decoder.decode(line))
    except (msgspec.DecodeError, RecursionError):
        return ""


def _call(event: dict[str, Any]) -> str:
    kind = event.pop("type", None)
    if not isinstance(kind, str) or kind not in _FIRST:
        return ""
    event = {name: value for name, value in event.items() if name not in _STAMPED and value is not None}
    _without_what_the_call_adds(kind, event)
    first = event.pop(_FIRST[kind], None)
    arguments = [] if first is None else [_literal(first, 1)]
    for name, argument in {**_REST[kind], **_EVERY}.items():
        if name in event and (value := event.pop(name)) != {}:
            arguments.append(f"{argument}={_literal(value, 1, len(argument) + 1)}")
    note = f"# not said by this call: {', '.join(map(_visible, event))}\n" if event else ""
    return f"{note}analytics.{kind}{_enclosed('(', arguments, ')', 0, len(kind) + 10)}"


def _without_what_the_call_adds(kind: str, event: dict[str, Any]) -> None:
    if isinstance(event.get("context"), dict):
        event["context"].pop("library", None)
    properties = event.get("properties")
    if kind == "page" and "category" in event and isinstance(properties, dict):
        members = cast("dict[str, Any]", properties)
        if members.get("category") == event["category"]:
            del members["category"]


def _literal(value: object, depth: int, before: int = 0) -> str:
    """Write a value in Python. `before` is the width already used on its first line."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        return f'"{_visible(value)}"'
    if isinstance(value, dict):
        members = cast("dict[str, object]", value).items()
        items = [f'"{_visible(name)}": {_literal(item, depth + 1, len(name) + 4)}' for name, item in members]
        return _enclosed("{", items, "}", depth, before)
    if isinstance(value, list):
        items = [_literal(item, depth + 1) for item in cast("list[object]", value)]
        return _enclosed("[", items, "]", depth, before)
    return repr(value)


def _enclosed(opening: str, items: list[str], closing: str, depth: int, before: int) -> str:
    """Join on one line if that is short enough, else one item per line."""
    flat = ", ".join(items)
    if "\n" not in flat and len(_INDENT) * depth + before + len(flat) + 2 <= WIDTH:
        return opening + flat + closing
    inner, outer = _INDENT * (depth + 1), _INDENT * depth
    return f"{opening}\n" + "".join(f"{inner}{item},\n" for item in items) + outer + closing


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _visible(text: str) -> str:
    """Escape invisible and bidirectional characters, for text between double quotes."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(_ESCAPES.get(char) or (char if char.isprintable() else _escape(ord(char))) for char in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
