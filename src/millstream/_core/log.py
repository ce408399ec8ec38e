"""The log's format: what a record is, where it is, and which records are done with.

A log is a sequence of bytes that only ever grows; a *position* is a place in it. A record is a line of JSON: it holds
no raw newline and no NUL. Readers split at both: room that was reserved and never written (its writer was killed, or
the disk was full) reads as NULs, and so never runs into the record after it.

What is done with is noted beside the log, as ranges of positions, a line each: `start end`. A note that was only half
written is ignored: what it spoke of is sent again.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

__all__ = ["Place", "Ranges", "Stretch", "joined", "note", "notes", "records", "valid"]


class Place(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Where one record is: in which lane, from which position to which (its newline included)."""

    lane: object
    start: int
    end: int


class Stretch(msgspec.Struct, frozen=True, eq=False):
    """Records that follow one another in a lane, with nothing between them that is done with."""

    lane: object
    start: int
    end: int
    count: int

    @classmethod
    def of(cls, place: Place) -> Stretch:
        """One record as a stretch."""
        return cls(place.lane, place.start, place.end, 1)


def joined(first: Stretch, second: Stretch) -> Stretch | None:
    """Both in one, if the second begins where the first ends."""
    if first.lane is not second.lane or first.end != second.start:
        return None
    return Stretch(first.lane, first.start, second.end, first.count + second.count)


_PIECE = re.compile(rb"[^\n\0]+")


def records(data: bytes, base: int) -> Iterator[tuple[int, bytes]]:
    """What is between the newlines and NULs of a part of the log that begins at `base`; each with its position."""
    for match in _PIECE.finditer(data):
        yield base + match.start(), match[0]


class _Event(msgspec.Struct):
    """What an event has, at least."""

    type: str
    messageId: str  # noqa: N815 - the wire's
    integrations: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Event).decode


def valid(record: bytes) -> bool:
    """Whether a record is an event.

    All of it is looked at: one broken byte, sent on, would make the receiver refuse a whole batch.
    """
    try:
        _decode(record)
        record.decode()
    except (msgspec.DecodeError, ValueError, RecursionError):  # a DecodeError is no ValueError in older releases
        return False
    return True


class Ranges:
    """A set of positions, as ranges that neither overlap nor touch."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def add(self, start: int, end: int) -> None:
        """From `start` to before `end`."""
        if self._ends and start == self._ends[-1] and end > start:  # as it mostly is
            self._ends[-1] = end
            return
        first = bisect_left(self._ends, start)  # the first that does not end before this begins
        after = bisect_right(self._starts, end)  # the first that begins after this has ended
        if first < after:
            start, end = min(start, self._starts[first]), max(end, self._ends[after - 1])
        self._starts[first:after] = [start]
        self._ends[first:after] = [end]

    def __contains__(self, position: int) -> bool:
        before = bisect_right(self._starts, position) - 1
        return before >= 0 and position < self._ends[before]


def note(places: Sequence[Place]) -> bytes:
    """The lines that say that these are done with.

    The first byte is a newline, so that a line before it that was only half written spoils nothing.
    """
    ranges = Ranges((place.start, place.end) for place in places)
    return b"\n" + b"".join([b"%d %d\n" % pair for pair in ranges])


def notes(data: bytes) -> Ranges:
    """What is done with, by the lines of a file; a line that is none, or has no end, is passed over."""
    ranges = Ranges()
    for line in data.split(b"\n")[:-1]:
        match = _NOTE.fullmatch(line)
        if match is not None and int(match[1]) < int(match[2]):
            ranges.add(int(match[1]), int(match[2]))
    return ranges


_NOTE = re.compile(rb"(\d{1,20}) (\d{1,20})")
