"""Reads events from a stream: JSON Lines of any length, or JSON documents."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, BinaryIO, cast
from uuid import UUID, uuid5

import msgspec

from millstream._core.events.encode import decode
from millstream.errors import InvalidEvent
from millstream.types import Event

__all__ = ["Line", "items"]

MAX_DOCUMENT = 64 << 20
"""Bytes of a line, or of a document that is not in lines, which must fit into memory."""
_IDS = UUID("c8d1b3a8-5a0c-4b71-9f5e-0d6a2f6f9b43")
"""The namespace of the ids made here. It must never change: repeated imports rely on it."""


@dataclass(frozen=True)
class Line:
    """An event of a stream, or the fault in its place.

    `number` is the line's (in a document, the event's); `end` is the number of bytes read up to here.
    """

    number: int
    end: int
    event: Event | None = None
    fault: str = ""
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.number:,}"


def items(stream: BinaryIO, *, skip: int = 0) -> Iterator[Line]:
    """Yield the events of a stream, in order. A line holds an event, a list of them, or a batch (`{"batch": […]}`).

    If the first line is incomplete JSON, and no whole line follows, the stream is parsed as JSON documents, whatever
    their line breaks. Empty lines are counted and skipped.

    Args:
        stream: bytes in UTF-8.
        skip: lines (in documents: events) to skip.

    Raises:
        OSError: the stream cannot be read.
    """
    lines = iter(partial(stream.readline, MAX_DOCUMENT), b"")
    first = _until_text(lines)
    if first and _fault(first[-1]).endswith("truncated"):
        second = _until_text(lines)
        if not second or _fault(second[-1]):
            yield from _documents(b"".join((*first, *second, stream.read(MAX_DOCUMENT))), skip)
            return
        first += second
    yield from _lines(chain(first, lines), skip)


def _until_text(lines: Iterator[bytes]) -> list[bytes]:
    """Return the next lines, down to the first that is not empty."""
    found: list[bytes] = []
    for line in lines:
        found.append(line)
        if _stripped(line):
            break
    return found


def _fault(line: bytes) -> str:
    """Return why a line is not JSON; empty if it is."""
    try:
        decode(_stripped(line))
    except (msgspec.DecodeError, RecursionError) as exc:
        return str(exc)
    return ""


def _stripped(line: bytes) -> bytes:
    return line.removeprefix(BOM_UTF8).strip()


def _lines(lines: Iterable[bytes], skip: int) -> Iterator[Line]:
    end = 0
    for number, line in enumerate(lines, 1):
        end += len(line)
        text = _stripped(line)
        if not text or number <= skip:
            continue
        try:
            for index, event in enumerate(_events(text)):
                yield _item(event, f"{number}.{index}", number=number, end=end)
        except InvalidEvent as exc:
            yield Line(number, end, fault=str(exc))


def _documents(data: bytes, skip: int) -> Iterator[Line]:
    end = len(data)
    if end > MAX_DOCUMENT:
        yield Line(1, end, fault=f"a JSON document over {MAX_DOCUMENT >> 20} MiB: {_REMEDY}")
        return
    number = 0
    for text in _values(data):
        try:
            for event in _events(text):
                number += 1
                if number > skip:
                    yield _item(event, str(number), number=number, end=end, unit="event")
        except InvalidEvent as exc:
            number += 1
            if number > skip:
                yield Line(number, end, fault=str(exc), unit="event")


_REMEDY = "convert it to JSON Lines, for instance with `jq -c '.[]'`"
_value = json.JSONDecoder(parse_int=float).raw_decode
"""Finds the end of a value, which msgspec cannot. It accepts numbers of any length."""
_something = re.compile(r"\S").search


def _values(data: bytes) -> Iterator[bytes]:
    """Yield the JSON values of a text; invalid JSON is one piece with everything after it."""
    text = _stripped(data).decode("utf-8", "surrogateescape")
    end = 0
    while begun := _something(text, end):
        start = begun.start()
        try:
            _, end = _value(text, start)
        except (ValueError, RecursionError):
            end = len(text)
        yield text[start:end].encode("utf-8", "surrogateescape")


def _item(value: object, place: str, **where: Any) -> Line:
    if not isinstance(value, dict):
        return Line(**where, fault="not a JSON object, as an event must be")
    return Line(**where, event=_with_id(cast("Event", value), place))


def _events(text: bytes) -> Iterator[object]:
    try:
        value: Any = decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidEvent(f"not JSON: {exc}") from exc
    if isinstance(value, dict):
        value = cast("Event", value).get("batch", [value])
    if not isinstance(value, list):
        raise InvalidEvent("neither an event nor a list of events")
    yield from cast("list[object]", value)


def _with_id(event: Event, place: str) -> Event:
    """Give an event with a timestamp but without an id a stable id, made from its line.

    So a repeated import makes no duplicates. An event without a timestamp happens now, each time.
    """
    if event.get("messageId") or not event.get("timestamp"):
        return event
    content = msgspec.json.encode(event).decode()
    return {**event, "messageId": str(uuid5(_IDS, f"{place}:{content}"))}
