"""A lane: one writer's log in a spool, the lock of its owner, and the notes of settled records.

    <source>-<random>/              made under a name with a dot before it, locked, then renamed
        owner.json                  locked (flock) by the running owner (lock.py)
        00000000000000000000.jsonl  a segment
        00000000000000000000.done   its settled records

The owner of the lock may read the records, note settled ones, and delete segments.
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
"""Bytes examined at a time: about a millisecond, so that an event loop is not blocked."""
LARGE = 1 << 20
"""Bytes from which an active segment whose records are all settled is deleted instead of continued."""


class Left(NamedTuple):
    """The result of scanning a part of a lane: unsettled events, corrupt pieces, or an error."""

    segment: Segment
    stretches: list[Stretch]
    corrupt: list[tuple[Place, bytes]]
    error: OSError | None = None


class Lane:
    """A lane that this process owns: made by it, or adopted from an exited owner.

    `append` is thread-safe; the rest is the worker's.
    """

    def __init__(self, directory: Path, lock: int, log: SegmentWriter | None) -> None:
        self.directory = directory
        self.log = log
        self._lock = lock
        self._segments: list[Segment] = []  # of an adopted lane: scanned segments that are not settled
        self._complete = True  # whether the whole lane was scanned
        self._channels: dict[Segment, dict[str, Ranges]] = {}  # when adopted: settled by single channels
        self._unnoted: dict[Segment, list[Place]] = {}  # notes that could not be written yet
        self._guard = RLock() if log is None else log.lock

    @classmethod
    def make(cls, spool: Path, source: str, *, force: bool) -> Lane:
        """Make a lane of our own. With `force`, its name and its owner are synced to disk.

        Raises:
            OSError: it cannot be made.
        """
        make_directory(spool)
        name = f"{source}-{secrets.token_hex(8)}"
        hidden = spool / f".{name}"  # hidden until it is locked, so that no process adopts it
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
        """Append a record.

        Raises:
            OSError: it could not be written.
        """
        assert self.log is not None  # noqa: S101 - nobody writes into an adopted lane
        start = self.log.append(record + b"\n")
        return Place(self, start, start + len(record) + 1)

    def sync(self) -> None:
        """Sync it to disk (fsync). Raises OSError."""
        if self.log is not None:
            self.log.sync()

    # -- what the dead have left ----------------------------------------------------------------------

    def look_through(self) -> Iterator[Left]:
        """Yield the unsettled events of an exited owner in parts, the oldest first; or why a segment cannot be read.

        Until this ends the lane is not settled, whatever its events found so far.

        Raises:
            OSError: the segments cannot be listed.
        """
        self._complete = False
        for segment in segments_in(self.directory):
            self._segments.append(segment)
            segment.busy += 1  # not deleted before its end, even if all events found so far are settled
            error = None
            for left in self._parts(segment):
                error = left.error
                yield left
            if error is None:
                segment.busy -= 1  # if interrupted it is never deleted: its content is unknown
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
        """Return the next records of a stretch, within one segment, and the rest of the stretch.

        Raises:
            OSError: they cannot be read; later ones are in `beyond(stretch)`.
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
        """Return the part of a stretch after its first segment, after reading this many records."""
        with self._guard:
            bases = [segment.base for segment in self._known() if stretch.start < segment.base < stretch.end]
        return Stretch(self, min(bases), stretch.end, stretch.count - read) if bases else None

    def settle(self, places: Sequence[Place], *, tidy: bool = False) -> None:
        """Note settled records, and delete segments that are no longer needed.

        With `tidy`, also the active segment, if it is settled: when disk space is short.

        Raises:
            OSError: the note could not be written: it is retried with the next ones.
        """
        with self._guard:
            segments = sorted(self._known(), key=lambda segment: segment.base)
        bases = [segment.base for segment in segments]
        shares: dict[int, list[Place]] = {}
        for place in places:
            shares.setdefault(bisect_right(bases, place.start) - 1, []).append(place)
        shares.pop(-1, None)  # of a deleted segment
        for index, mine in shares.items():
            segments[index].settled += len(mine)
        over = self._sweep(tidy)
        for index, mine in shares.items():
            if segments[index] not in over:
                self._note(segments[index], mine)

    def note_channel(self, places: Sequence[Place], channel: str) -> None:
        """Note records that one channel has settled, and others have not.

        Raises:
            OSError: the note could not be written: after a crash the channel sends them again.
        """
        shares: dict[Segment, list[Place]] = {}
        for place in places:
            segment = self._segment_of(place.start)
            if segment is not None:
                shares.setdefault(segment, []).append(place)
        for segment, mine in shares.items():
            _append(segment.path.with_suffix(DONE), note(mine, channel))

    def settled_by(self, place: Place) -> frozenset[str]:
        """Return the channels that had settled a record when its owner exited."""
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
        """Whether a segment is settled for good."""
        log = self.log
        if log is not None and segment is log.active and _is_idle(segment):
            if not tidy and log.position - segment.base < LARGE:
                return False
            log.rotate()  # before the last check: a signal handler may append
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
        """Whether all its records are settled."""
        with self._guard:
            return self._complete and all(_is_idle(segment) for segment in list(self._known()))

    def release(self) -> None:
        """Release the lane: delete it if settled, or leave it to the next process.

        Raises:
            OSError: it cannot be deleted, or a note not be written; it is released in any case.
        """
        try:
            with self._guard:  # no append between the check and the end
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
        """Release the lock and the files without a change, in a forked child."""
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
    """Whether all its records are settled, and it is not in use."""
    return not segment.busy and segment.settled >= segment.written


def _lengthen(stretches: list[Stretch], more: Stretch) -> None:
    both = joined(stretches[-1], more) if stretches else None
    if both is None:
        stretches.append(more)
    else:
        stretches[-1] = both


def open_records(segment: Segment) -> Iterator[tuple[int, bytes]]:
    """Return the unsettled records of a segment, with their positions.

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
    """Yield the records of a segment between two positions (None: its end), a megabyte in memory at a time.

    Longer ones are not records: they are yielded in pieces.
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
    """Return the length that later data cannot extend."""
    cut = 1 + max(data.rfind(b"\n"), data.rfind(b"\0"))
    return len(data) if not cut and len(data) >= CHUNK else cut


def _delete(segment: Segment) -> None:
    """Delete records before notes: notes alone mean nothing, records alone would be sent again."""
    segment.path.unlink(missing_ok=True)
    segment.path.with_suffix(DONE).unlink(missing_ok=True)


def _clear(directory: Path) -> None:
    """Delete a lane without segments. If it has some, they stay, and are adopted.

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
