"""Whole events from a stream: JSON lines without end, or one JSON document."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from uuid import UUID, uuid5

import msgspec

from millstream._core.encoding import decode
from millstream.errors import InvalidEvent
from millstream.types import Event

__all__ = ["Item", "items"]

MAX_DOCUMENT = 64 << 20
"""Bytes of one line, or of a document that is not in lines: it is in memory as a whole."""
_IDS = UUID("c8d1b3a8-5a0c-4b71-9f5e-0d6a2f6f9b43")
"""The namespace of the ids that are made here. It must never change: an import that is run again relies on it."""


@dataclass(frozen=True)
class Item:
    """One event of a stream, or what is wrong in its place.

    `number` is that of its line (or, in a document, its own); `end` is how many bytes have been read with it.
    """

    number: int
    end: int
    event: Event | None = None
    fault: str = ""
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.number:,}"


def items(stream: BinaryIO, *, skip: int = 0) -> Iterator[Item]:
    """The events of a stream, in order. A line holds an event, a list of them, or a batch (`{"batch": […]}`).

    If the first line is only the beginning of something, the whole stream is taken for one document.

    Args:
        stream: bytes in UTF-8.
        skip: lines (of a document: events) to leave out.
    """
    number = end = 0
    while data := stream.readline(MAX_DOCUMENT):
        number, end = number + 1, end + len(data)
        if number <= skip and number > 1:
            continue
        text = data.removeprefix(BOM_UTF8).strip() if number == 1 else data.strip()
        try:
            events = list(_events(text)) if text else []
        except InvalidEvent as exc:
            if number == 1 and "truncated" in str(exc) and (rest := stream.read(MAX_DOCUMENT)):
                yield from _document(text + b"\n" + rest, whole=len(rest) < MAX_DOCUMENT, skip=skip)
                return
            events, fault = [], str(exc)
            yield Item(number, end, fault=fault)
        if number > skip:
            for index, event in enumerate(events):
                yield _item(event, f"{number}.{index}", number=number, end=end)


def _document(text: bytes, *, whole: bool, skip: int) -> Iterator[Item]:
    if not whole:
        raise InvalidEvent(
            f"the first line is no JSON, and as one document the input is over {MAX_DOCUMENT >> 20} MiB: "
            "make it lines, for instance with `jq -c '.[]'`"
        )
    for number, event in enumerate(_events(text), 1):
        if number > skip:
            yield _item(event, str(number), number=number, end=len(text), unit="event")


def _item(value: object, place: str, **where: Any) -> Item:
    if not isinstance(value, dict):
        return Item(**where, fault="an event is a JSON object, and this is none")
    return Item(**where, event=_with_id(cast("Event", value), place))


def _events(text: bytes) -> Iterator[object]:
    try:
        value: Any = decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidEvent(f"this is no JSON: {exc}") from exc
    if isinstance(value, dict):
        value = cast("Event", value).get("batch", [value])
    if not isinstance(value, list):
        raise InvalidEvent("this is JSON, but neither an event nor a list of events")
    yield from cast("list[object]", value)


def _with_id(event: Event, place: str) -> Event:
    """An event that says when it happened, but has no id, gets one that the same line makes again.

    So an import that is run twice brings no second events. Without a timestamp it happens now, every time anew.
    """
    if event.get("messageId") or not event.get("timestamp"):
        return event
    content = msgspec.json.encode(event).decode()
    return {**event, "messageId": str(uuid5(_IDS, f"{place}:{content}"))}
