"""Reading a log's directory, from any process, also while another one appends to it."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .._clock import monotonic
from .._core.record import Position, Record, records, valid
from .holds import Holds
from .quarantine import Quarantine
from .segments import Segment, segments_in
from .watermark import read_watermark

__all__ = ["PREFIX", "FileReader", "records_after"]

PREFIX = "events-"
"""Beginning of the names of the collector's segments."""
CHUNK = 256 << 10
"""Bytes that are read at once."""
LONGEST = 1 << 20
"""Bytes from which a line is no record."""
PAUSES = 0.001, 0.05
"""Seconds between two looks at the watermark: at first, and at most."""
TRIES = 10
"""Attempts to open segments, where another process deletes one after the other."""


class FileReader:
    """Reads the log in a directory. For one thread.

    Args:
        directory: the log's; it may be made later.
        prefix: what the names of its segments begin with.
        unsynced: read also what would survive the death of its writer, and not a loss of power: for a look at what
            there is. A cursor must not go by it.
        is_record: whether a line is one.
        quarantine: where lines are put that are no records.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        prefix: str = PREFIX,
        unsynced: bool = False,
        is_record: Callable[[bytes], bool] = valid,
        quarantine: Quarantine | None = None,
    ) -> None:
        self.path = Path(directory)
        self.corrupt = 0
        self.missing = 0
        self._prefix = prefix
        self._unsynced = unsynced
        self._is_record = is_record
        self._quarantine = quarantine
        self._holds = Holds(self.path)
        self._counted = 0  # below this position, what is corrupt or missing has been counted
        self._segments: list[Segment] = []
        self._open: Segment | None = None

    # -- where there is something -----------------------------------------------------------------------

    def first(self) -> Position:
        """Return the position of the oldest record; where the next one will be, if there is none."""
        self._look()
        return self._segments[0].base if self._segments else self.durable()

    def durable(self) -> Position:
        """Return the end of what survives a loss of power: nothing is read from there on.

        Without a watermark, or with one that was written before the machine was started, that is all there is.
        """
        mark = read_watermark(self.path)
        if mark is not None and mark.current:
            return mark.written if self._unsynced else mark.durable
        self._look()
        end = _end_of(self._segments[-1]) if self._segments else 0
        return end if mark is None else max(end, mark.durable)

    def checkpoint(self, position: Position) -> Position:
        """Return the first position of the segment that this one is in; of the oldest, if it is before that."""
        self._look()
        bases = [segment.base for segment in self._segments]
        return bases[max(0, bisect_right(bases, position) - 1)] if bases else min(position, self.durable())

    def segments(self) -> list[Segment]:
        """Return the segments, the oldest first. What else is in the directory is none of them."""
        self._look()
        return list(self._segments)

    def where(self, position: Position) -> tuple[Segment, int]:
        """Return the segment that a position is in, of those that were read last, and its offset there."""
        segment, _ = self._segment_at(position)
        assert segment is not None  # noqa: S101 - something was read
        return segment, position - segment.base

    def wait(self, start: Position, until: float) -> bool:
        """Wait for something to read at `start`, until a moment (time.monotonic). Returns whether there is.

        It looks at the watermark again and again: no notification crosses processes that needs no connection.
        """
        pause, longest = PAUSES
        while self.durable() <= start:
            left = until - monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, longest)
        return True

    # -- reading ------------------------------------------------------------------------------------------

    def read(self, start: Position, max_events: int, max_bytes: int) -> tuple[Sequence[Record], Position]:
        """Return the next records, and where to read on: see `Reader.read`."""
        limit = self.durable()
        found: list[Record] = []
        if self._open is not None and not os.fstat(self._open.file).st_nlink:
            self._close_segment()  # deleted, and perhaps followed by another of its name
        at = start
        for _ in range(TRIES):
            try:
                at = self._fill(found, at, start, limit, max_events, max_bytes)
                break
            except FileNotFoundError:  # deleted meanwhile
                at = found[-1].end if found else start
                if found:
                    break
                self._segments = []
        return (found, found[-1].end) if found else (found, at)

    def _fill(
        self, found: list[Record], at: Position, covered: Position, limit: Position, max_events: int, max_bytes: int
    ) -> Position:
        """Append records to `found`, of which the first covers all from `covered` on. Returns where this has ended."""
        size, looked = 0, False
        while at < limit:
            segment, beyond = self._segment_at(at)
            if segment is not None:
                at = self._skip_missing(at, min(segment.base, limit))
                ended = beyond is not None and beyond <= limit
                for start, end, piece in self._pieces(segment, at, beyond if ended and beyond else limit, ended=ended):
                    at = end
                    if not self._is_record(piece):
                        self._count_corrupt(start, end, piece)
                        continue
                    found.append(Record(covered, end, piece))
                    covered = end
                    size += len(piece)
                    if size >= max_bytes or len(found) >= max_events:
                        return at
            if beyond is not None:
                at = self._skip_missing(at, min(beyond, limit))
            elif looked:
                break
            else:
                self._look()  # another segment may have begun
                looked = True
        return at

    def _segment_at(self, at: Position) -> tuple[Segment | None, Position | None]:
        """Return the segment that a position is in, or the first one after it, and the base of the one after that.

        Of the segments that are known; the list is made anew at the end of the last one.
        """
        index = max(0, bisect_right(self._segments, at, key=lambda segment: segment.base) - 1)
        following = self._segments[index : index + 2]
        return (following[0] if following else None, following[1].base if len(following) > 1 else None)

    def _pieces(
        self, segment: Segment, at: Position, stop: Position, *, ended: bool
    ) -> Iterator[tuple[Position, Position, bytes]]:
        """What is between the newlines and NULs of a segment, each with where it begins and ends."""
        file = self._file(segment)
        position = at  # of the rest
        rest = b""
        while True:
            offset = position + len(rest) - segment.base
            data = os.pread(file, min(CHUNK, stop - segment.base - offset), offset)
            rest += data
            cut = _whole(rest)
            if not data and ended:
                cut = len(rest)  # a torn end
            elif not cut and len(rest) > LONGEST:
                end = segment.base + _line_end(file, offset + len(data), stop - segment.base)
                yield position, end, rest[:LONGEST]
                position = end
                rest = b""
                continue
            for start, piece in records(rest[:cut], position):
                yield start, min(start + len(piece) + 1, position + cut), piece
            rest = rest[cut:]
            position += cut
            if not data:
                return

    def _skip_missing(self, at: Position, to: Position) -> Position:
        """Go on behind positions that the log does not have, or no longer."""
        if to > at:
            if at >= self._counted:
                self.missing += to - at
                self._counted = to
            return to
        return at

    def _count_corrupt(self, start: Position, end: Position, piece: bytes) -> None:
        if start < self._counted:
            return
        self._counted = end
        self.corrupt += 1
        if self._quarantine is not None:
            self._quarantine.keep_once(f"{self._prefix}{start:020d}.bin", piece)

    def _look(self) -> None:
        self._segments = [each for each in segments_in(self.path, self._prefix) if each.path.is_file()]

    def _file(self, segment: Segment) -> int:
        """The descriptor of a segment. One is kept open: reads follow one another."""
        known = self._open
        if known is not None and known.path == segment.path:
            return known.file
        self._close_segment()
        # A symbolic link is followed: an operator may have moved old segments to another disk.
        self._open = Segment(segment.path, segment.base, os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC))
        return self._open.file

    # -- what retention asks ------------------------------------------------------------------------------

    def hold(self, route: str, position: Position) -> None:
        """Have retention keep what is there from a position on. Raises OSError."""
        self._holds.hold(route, position)

    def held(self, route: str) -> Position | None:
        """Return the position that a route holds; None if it holds nothing."""
        return self._holds.held(route)

    def release(self, route: str) -> None:
        """Forget a route. Raises OSError."""
        self._holds.release(route)

    def lost(self, route: str) -> int:
        """Return how many records retention has deleted that the route had yet to read."""
        return self._holds.lost(route)

    def close(self) -> None:
        """Release the files. Holds stay."""
        self._close_segment()
        self._holds.close()

    def _close_segment(self) -> None:
        segment, self._open = self._open, None
        if segment is not None:
            os.close(segment.file)


def records_after(path: Path, offset: int) -> int:
    """Return how many lines of a file begin at or after an offset. Raises OSError."""
    count = 0
    with path.open("rb") as file:
        file.seek(max(0, offset))
        while data := file.read(CHUNK):
            count += data.count(b"\n")
    return count


def _whole(data: bytes) -> int:
    """Return how many bytes there are up to the last newline or NUL."""
    return 1 + max(data.rfind(b"\n"), data.rfind(b"\0"))


def _line_end(file: int, offset: int, stop: int) -> int:
    """Return the offset after the first newline or NUL from an offset on; `stop` if there is none before."""
    while data := os.pread(file, min(CHUNK, stop - offset), offset):
        ends = [end for end in (data.find(b"\n"), data.find(b"\0")) if end >= 0]
        if ends:
            return offset + min(ends) + 1
        offset += len(data)
    return offset


def _end_of(segment: Segment) -> Position:
    """Where the last whole line of a segment ends."""
    with segment.path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - CHUNK)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                return segment.base + begin + newline + 1
            end = begin
    return segment.base
