"""The cursor: which positions of a log are settled, as it is stored and as it grows.

A cursor is one position, below which all is settled, and ranges above it that are settled, too. It is stored as a line
with a checksum. What is settled in a lane of the spool is noted as ranges, a line each: `start end`, or
`start end channel` while other channels have yet to settle it. A line that was
only half written is ignored in both: what it spoke of is sent again.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote, unquote
from zlib import crc32

import msgspec

from .record import Place, Position, Record

__all__ = [
    "Cursor",
    "Mark",
    "Progress",
    "Ranges",
    "channel_notes",
    "decode_cursor",
    "encode_cursor",
    "note",
    "notes",
    "sealed",
    "unsealed",
]


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A settled record, by which a cursor is recognized as one of this log: positions can be reused after a loss."""

    start: Position
    end: Position
    id: str
    checksum: int

    @classmethod
    def of(cls, record: Record) -> Mark:
        """Return the mark of a record."""
        return cls(record.start, record.end, _id_of(record.data), crc32(record.data))

    def matches(self, record: Record) -> bool:
        """Return whether this is the record that was marked."""
        return record.end == self.end and crc32(record.data) == self.checksum


class Cursor(msgspec.Struct, frozen=True, gc=False):
    """Settled positions of one route and partition: all below `low`, and the ranges in `done`.

    `mark` is a settled record below `low`, if one is known.
    """

    low: Position
    done: tuple[tuple[Position, Position], ...] = ()
    mark: Mark | None = None


class Progress:
    """What is settled of one partition, as it grows. `cursor` is what is stored of it.

    Args:
        cursor: where to go on.
    """

    def __init__(self, cursor: Cursor) -> None:
        self.low = cursor.low
        self._done = Ranges(cursor.done)
        self._mark = cursor.mark
        self._newest: Record | None = None

    def __contains__(self, position: Position) -> bool:
        """Return whether this position is settled."""
        return position < self.low or position in self._done

    @property
    def cursor(self) -> Cursor:
        """The cursor to store."""
        if self._newest is not None:
            self._mark, self._newest = Mark.of(self._newest), None
        return Cursor(self.low, tuple(self._done), self._mark)

    def settle(self, record: Record) -> None:
        """Note that a record has its outcome."""
        self.skip(record.start, record.end)
        known = self._newest or self._mark
        if record.end <= self.low and (known is None or record.end > known.end):
            self._newest = record

    def skip(self, start: Position, end: Position) -> None:
        """Note that there is nothing to send between two positions: a read found no record there."""
        if start > self.low:
            self._done.add(start, end)
            return
        self.low = self._done.pop_through(max(self.low, end))


_ID = re.compile(rb'"messageId":\s*"([^"\\]{1,200})"')


def _id_of(record: bytes) -> str:
    found = _ID.search(record)
    return found[1].decode(errors="replace") if found else ""


_cursor = msgspec.json.Decoder(tuple[int, Cursor])


def encode_cursor(cursor: Cursor, revision: int) -> bytes:
    """Return the line that says this."""
    return sealed(msgspec.json.encode((revision, cursor)))


def decode_cursor(line: bytes) -> tuple[Cursor, int] | None:
    """Return what a line says, without its end; None if it is damaged."""
    text = unsealed(line)
    if text is None:
        return None
    try:
        revision, cursor = _cursor.decode(text)
    except (msgspec.DecodeError, ValueError):
        return None
    return cursor, revision


def sealed(text: bytes) -> bytes:
    """Return a line of this text with a checksum before it."""
    return b"%08x %s\n" % (crc32(text), text)


def unsealed(line: bytes) -> bytes | None:
    """Return the text of a line, with or without its end; None if its checksum is another's."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return text if checksum == b"%08x" % crc32(text) else None


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

    def pop_through(self, position: int) -> int:
        """Remove the ranges that begin at or before a position. Returns the end of the last, or the position."""
        count = bisect_right(self._starts, position)
        if count:
            position = max(position, self._ends[count - 1])
            del self._starts[:count], self._ends[:count]
        return position

    def __contains__(self, position: int) -> bool:
        before = bisect_right(self._starts, position) - 1
        return before >= 0 and position < self._ends[before]


def note(places: Sequence[Place], channel: str = "") -> bytes:
    """The lines that say that these are settled: by one channel, or by all.

    The first byte is a newline, so that a line before it that was only half written spoils nothing.
    """
    ranges = Ranges((place.start, place.end) for place in places)
    end = b" " + quote(channel, safe="").encode() if channel else b""
    return b"\n" + b"".join([b"%d %d%s\n" % (*pair, end) for pair in ranges])


def notes(data: bytes) -> Ranges:
    """What all channels have settled, by the lines of a file; a line that is none, or has no end, is passed over."""
    ranges = Ranges()
    for line in data.split(b"\n")[:-1]:
        match = _NOTE.fullmatch(line)
        if match is not None and int(match[1]) < int(match[2]):
            ranges.add(int(match[1]), int(match[2]))
    return ranges


def channel_notes(data: bytes) -> dict[str, Ranges]:
    """What each channel has settled that others have not, by the lines of a file."""
    settled: dict[str, Ranges] = {}
    for line in data.split(b"\n")[:-1]:
        match = _CHANNEL_NOTE.fullmatch(line)
        if match is not None and int(match[1]) < int(match[2]):
            settled.setdefault(unquote(match[3].decode()), Ranges()).add(int(match[1]), int(match[2]))
    return settled


_NOTE = re.compile(rb"(\d{1,20}) (\d{1,20})")
_CHANNEL_NOTE = re.compile(rb"(\d{1,20}) (\d{1,20}) ([!-~]+)")
