"""A lane: one writer's log in a spool, the lock that says whether it lives, and the notes of what is done with.

    <source>-<random>/              made under a name with a dot before it, locked, then renamed
        owner.json                  locked (flock) by the owner for as long as it lives (lock.py)
        00000000000000000000.jsonl  a segment
        00000000000000000000.done   which of its records are done with

Who has the lock may read the records, note what is done with, and delete what nobody needs any more.
"""

from __future__ import annotations

import errno
import os
import secrets
from _thread import RLock  # see segments.py
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .._core.cursor import Ranges, channel_notes, note, notes
from .._core.record import Place, Stretch, joined, records, valid
from ..log.files import DIRECTORY_MODE, entries, force_directory, make_directory, open_file, read_file
from ..log.segments import Segment, SegmentWriter, segments_in
from .lock import OWNER, close_lock, new_lock, release_lock

__all__ = ["Lane", "Left", "open_records"]

DONE = ".done"
SEGMENT_BYTES = 8 << 20
CHUNK = 1 << 20
PART = 64 << 10
"""Bytes that are looked through at a time: under a millisecond or two, for who has an event loop to run as well."""
LARGE = 1 << 20
"""Bytes from which a segment that is written to, and all done with, is deleted rather than gone on with."""


class Left(NamedTuple):
    """What was found in a part of a lane: events that are not done with, pieces that are no events, or an error."""

    segment: Segment
    stretches: list[Stretch]
    corrupt: list[tuple[Place, bytes]]
    error: OSError | None = None


class Lane:
    """One lane that is ours: because we made it, or because its owner is dead and we have its lock.

    Its own records come in through `append`, in any thread; all else is for the worker.
    """

    def __init__(self, directory: Path, lock: int, log: SegmentWriter | None) -> None:
        self.directory = directory
        self.log = log
        self._lock = lock
        self._segments: list[Segment] = []  # of an adopted lane: those that were looked at, and are not done with
        self._complete = True  # whether all of it was looked through
        self._channels: dict[Segment, dict[str, Ranges]] = {}  # of an adopted lane: what single channels have settled
        self._unnoted: dict[Segment, list[Place]] = {}  # where the disk did not take it
        self._guard = RLock() if log is None else log.lock

    @classmethod
    def make(cls, spool: Path, source: str, *, force: bool) -> Lane:
        """A lane of our own. With `force`, its name and its owner are on the disk itself.

        Raises:
            OSError: it cannot be made.
        """
        make_directory(spool)
        name = f"{source}-{secrets.token_hex(8)}"
        hidden = spool / f".{name}"  # until it is locked nobody is to take it for a dead one's
        hidden.mkdir(DIRECTORY_MODE)
        lock = -1
        try:
            lock = new_lock(hidden)
            if force:
                os.fsync(lock)
                force_directory(hidden)
            hidden.rename(spool / name)
            if force:
                force_directory(spool)
                force_directory(spool.parent)
        except OSError:
            _clear(hidden)
            release_lock(lock)
            raise
        return cls(spool / name, lock, SegmentWriter(spool / name, segment_bytes=SEGMENT_BYTES))

    def append(self, record: bytes) -> Place:
        """Write one record down.

        Raises:
            OSError: it could not be.
        """
        assert self.log is not None  # noqa: S101 - nobody writes into an adopted lane
        start = self.log.append(record + b"\n")
        return Place(self, start, start + len(record) + 1)

    def sync(self) -> None:
        """Force it to the disk itself. Raises OSError."""
        if self.log is not None:
            self.log.sync()

    # -- what the dead have left ----------------------------------------------------------------------

    def look_through(self) -> Iterator[Left]:
        """What a dead owner has left, a part at a time, the oldest first; or why a segment cannot be read.

        Until this is at its end, the lane is not done with, whatever becomes of what was found so far.

        Raises:
            OSError: nobody can tell which segments there are.
        """
        self._complete = False
        for segment in segments_in(self.directory):
            self._segments.append(segment)
            segment.busy += 1  # not to be deleted before its end, though all that was found so far is done with
            error = None
            for left in self._parts(segment):
                error = left.error
                yield left
            if error is None:
                segment.busy -= 1  # else it is not deleted at all: nobody knows what is in there
        self._complete = True

    def _parts(self, segment: Segment) -> Iterator[Left]:
        left, size = Left(segment, [], []), 0
        try:
            channels = channel_notes(_notes_of(segment))
            if channels:
                self._channels[segment] = channels
            for start, record in open_records(segment):
                segment.written += 1
                place = Place(self, start, start + len(record) + 1)
                if valid(record):
                    _lengthen(left.stretches, Stretch.of(place))
                else:
                    left.corrupt.append((place, record))
                size += len(record)
                if size >= PART:
                    yield left
                    left, size = Left(segment, [], []), 0
        except OSError as exc:
            yield left._replace(error=exc)
        else:
            yield left

    def written_at(self, place: Place) -> float:
        """When its segment was last written to; 0 if it is gone."""
        segment = self._segment_of(place.start)
        try:
            return 0.0 if segment is None else segment.path.stat().st_mtime
        except OSError:
            return 0.0

    # -- what there is, and what is done with -----------------------------------------------------------

    def read(
        self, stretch: Stretch, max_events: int, max_bytes: int
    ) -> tuple[list[tuple[Place, bytes]], Stretch | None]:
        """The next records of a stretch, as far as they are in one segment, and what is left of it.

        Raises:
            OSError: they cannot be read; those after the segment are in `beyond(stretch)`.
        """
        segment = self._segment_of(stretch.start)
        found: list[tuple[Place, bytes]] = []
        if segment is None:
            return found, self.beyond(stretch)
        size = 0
        for start, record in _read(segment, stretch.start, stretch.end):
            end = start + len(record) + 1
            found.append((Place(self, start, end), record))
            size += len(record)
            if size >= max_bytes or len(found) >= max_events:
                left = stretch.count - len(found)
                return found, Stretch(self, end, stretch.end, left) if left > 0 else None
        return found, self.beyond(stretch, len(found))

    def beyond(self, stretch: Stretch, read: int = 0) -> Stretch | None:
        """What is left of a stretch after the segment that it begins in, of which so many were read."""
        with self._guard:
            bases = [segment.base for segment in self._known() if stretch.start < segment.base < stretch.end]
        return Stretch(self, min(bases), stretch.end, stretch.count - read) if bases else None

    def settle(self, places: Sequence[Place], *, tidy: bool = False) -> None:
        """Note that these are done with, and delete what nobody needs any more.

        With `tidy`, also the segment that is written to, if all in it is done with: where room on the disk is short.

        Raises:
            OSError: it could not be noted: it is with the next ones, and done with all the same.
        """
        with self._guard:
            segments = sorted(self._known(), key=lambda segment: segment.base)
        bases = [segment.base for segment in segments]
        shares: dict[int, list[Place]] = {}
        for place in places:
            shares.setdefault(bisect_right(bases, place.start) - 1, []).append(place)
        shares.pop(-1, None)  # of a segment that is gone
        for index, mine in shares.items():
            segments[index].settled += len(mine)
        over = self._sweep(tidy)
        for index, mine in shares.items():
            if segments[index] not in over:
                self._note(segments[index], mine)

    def note_channel(self, places: Sequence[Place], channel: str) -> None:
        """Note that one channel has settled these, and others have not.

        Raises:
            OSError: it could not be noted: after a crash the channel is sent them again.
        """
        shares: dict[Segment, list[Place]] = {}
        for place in places:
            segment = self._segment_of(place.start)
            if segment is not None:
                shares.setdefault(segment, []).append(place)
        for segment, mine in shares.items():
            _append(segment.path.with_suffix(DONE), note(mine, channel))

    def settled_by(self, place: Place) -> frozenset[str]:
        """Return the channels that had settled this when its owner died."""
        segment = self._segment_of(place.start) if self._channels else None
        channels = self._channels.get(segment, {}) if segment is not None else {}
        return frozenset(name for name, ranges in channels.items() if place.start in ranges)

    def _sweep(self, tidy: bool) -> list[Segment]:
        """Delete the segments that are done with. Which?"""
        with self._guard:
            over = [segment for segment in list(self._known()) if self._is_over(segment, tidy)]
        for segment in over:
            if self.log is not None:
                self.log.drop(segment)
            else:
                self._segments.remove(segment)
            _delete(segment)
            self._unnoted.pop(segment, None)
            self._channels.pop(segment, None)
        return over

    def _is_over(self, segment: Segment, tidy: bool) -> bool:
        """Whether a segment is done with, now and for ever."""
        log = self.log
        if log is not None and segment is log.active and _is_idle(segment):
            if not tidy and log.position - segment.base < LARGE:
                return False
            log.rotate()  # before the last look: a signal handler may cut in
        return _is_idle(segment)

    def _note(self, segment: Segment, places: Sequence[Place]) -> None:
        all_of_them = [*self._unnoted.pop(segment, []), *places]
        try:
            _append(segment.path.with_suffix(DONE), note(all_of_them))
        except OSError:
            self._unnoted[segment] = all_of_them
            raise

    def _segment_of(self, position: int) -> Segment | None:
        with self._guard:
            found = [segment for segment in self._known() if segment.base <= position]
        return max(found, key=lambda segment: segment.base, default=None)

    def _known(self) -> list[Segment]:
        return self._segments if self.log is None else self.log.segments

    def empty(self) -> bool:
        """Whether all its records are done with."""
        with self._guard:
            return self._complete and all(_is_idle(segment) for segment in list(self._known()))

    def release(self) -> None:
        """Let go: of a lane that is done with nothing stays, the others are for whoever starts next.

        Raises:
            OSError: it cannot be deleted, or not all be noted that is done with; it is let go of all the same.
        """
        try:
            with self._guard:  # nobody appends between the look and the end
                over = self.empty()
                if self.log is not None:
                    self.log.close()
            if over:
                self._delete()
            for segment in list(self._unnoted):
                self._note(segment, [])
        finally:
            lock, self._lock = self._lock, -1
            release_lock(lock)

    def abandon(self) -> None:
        """Let go of the lock and the files, and touch nothing: this is a forked child."""
        if self.log is not None:
            self.log.abandon()
        lock, self._lock = self._lock, -1
        close_lock(lock)

    def _delete(self) -> None:
        for segment in list(self._known()):
            _delete(segment)
        self._unnoted.clear()
        _clear(self.directory)


def _is_idle(segment: Segment) -> bool:
    """Whether all its records are done with, and nobody is at it."""
    return not segment.busy and segment.settled >= segment.written


def _lengthen(stretches: list[Stretch], more: Stretch) -> None:
    both = joined(stretches[-1], more) if stretches else None
    if both is None:
        stretches.append(more)
    else:
        stretches[-1] = both


def open_records(segment: Segment) -> Iterator[tuple[int, bytes]]:
    """The records of a segment that are not done with, and their positions.

    Raises:
        OSError: it cannot be read.
    """
    done = notes(_notes_of(segment))
    for start, record in _read(segment, segment.base, None):
        if start not in done:
            yield start, record


def _notes_of(segment: Segment) -> bytes:
    try:
        return read_file(segment.path.with_suffix(DONE))
    except OSError:
        return b""


def _read(segment: Segment, start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """The records of a segment from a position to another (None: its end), a megabyte in memory at a time.

    What is longer than that is no record: it comes in pieces.
    """
    with os.fdopen(open_file(segment.path, os.O_RDONLY), "rb") as file:
        file.seek(start - segment.base)
        position = start  # of the data
        data, more = b"", True
        while more:
            size = CHUNK if end is None else min(CHUNK, end - position - len(data))
            new = file.read(size)
            more = bool(new)
            data += new
            cut = _whole(data) if more else len(data)
            yield from records(data[:cut], position)
            data, position = data[cut:], position + cut


def _whole(data: bytes) -> int:
    """How much of it is certain not to go on in what comes after it."""
    cut = 1 + max(data.rfind(b"\n"), data.rfind(b"\0"))
    return len(data) if not cut and len(data) >= CHUNK else cut


def _delete(segment: Segment) -> None:
    """The records first: notes without records say nothing, records without notes would be sent again."""
    segment.path.unlink(missing_ok=True)
    segment.path.with_suffix(DONE).unlink(missing_ok=True)


def _clear(directory: Path) -> None:
    """Delete a lane that has no segments. If it has some all the same, they stay, and are adopted.

    Raises:
        OSError: it cannot be deleted.
    """
    for path in entries(directory):
        if path.name.endswith(DONE):
            path.unlink(missing_ok=True)
    (directory / OWNER).unlink(missing_ok=True)
    try:
        directory.rmdir()
    except FileNotFoundError:
        pass


def _append(path: Path, data: bytes) -> None:
    file = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)
