"""Segments: append-only files. Together they form one log, and a position is an offset in it."""

from __future__ import annotations

import errno
import os
import re
from _thread import RLock  # gevent replaces threading's by one that signal handlers can interrupt
from collections.abc import Callable
from pathlib import Path

from .._clock import monotonic
from .files import entries, force_data, force_directory, open_file

__all__ = ["SUFFIX", "Segment", "SegmentWriter", "segments_in"]

SUFFIX = ".jsonl"
_NAME = re.compile(r"(\d{20})" + re.escape(SUFFIX))


class Segment:
    """A file of a log.

    `written` and `settled` count its records, to know when it can be deleted.
    """

    __slots__ = ("base", "busy", "file", "forced", "path", "settled", "writes", "written")

    def __init__(self, path: Path, base: int, file: int = -1) -> None:
        self.path = path
        self.base = base
        self.file = file  # its descriptor, while it is active
        self.busy = 0  # number of current users
        self.writes = 0
        self.forced = 0  # number of writes that are synced to disk
        self.written = 0
        self.settled = 0

    @property
    def dirty(self) -> bool:
        """Whether it has writes that are not synced to disk."""
        return self.forced < self.writes


def segments_in(directory: Path, prefix: str = "") -> list[Segment]:
    """List the segments in a directory, the oldest first; none if it does not exist.

    Raises:
        OSError: it cannot be read.
    """
    found = [
        Segment(path, int(match[1]))
        for path in entries(directory)
        if path.name.startswith(prefix) and (match := _NAME.fullmatch(path.name.removeprefix(prefix)))
    ]
    return sorted(found, key=lambda segment: segment.base)


class SegmentWriter:
    """Appends to segments, from any thread of the one process that owns the log.

    `append` may be interrupted by a signal handler, or by `__del__`, that appends as well. So a position and its
    segment are reserved in one step, between whose bytecodes nothing is called (such a handler runs at calls), and the
    record is then written to that position, whatever was written before or after it. A record is always in the segment
    with the highest base that is not above its position.

    Args:
        directory: the directory of the segments; it exists.
        segment_bytes: size at which the next segment is begun.
        prefix: the prefix of their names.
        start: the position of the first byte.
    """

    def __init__(self, directory: Path, *, segment_bytes: int, prefix: str = "", start: int = 0) -> None:
        self.directory = directory
        self.lock = RLock()
        self.dirty_since: float | None = None
        self._prefix = prefix
        self._segment_bytes = segment_bytes
        self._position = start
        self._none = Segment(directory, start - segment_bytes)  # stands for a full segment
        self._current = self._none
        self._newest = start - 1  # the base of the newest segment
        self._closed = False
        self.segments: list[Segment] = []  # until deleted
        self._open: list[Segment] = []  # those with a descriptor

    @classmethod
    def reopen(
        cls, directory: Path, *, segment_bytes: int, prefix: str = "", durable: int = 0, written: int = 0
    ) -> SegmentWriter:
        """Continue the log in a directory, as its one owner. An incomplete last line is cut off.

        Existing data is synced to disk, because a killed writer may not have done so.

        Args:
            directory: the directory of the segments; it exists.
            segment_bytes: size at which the next segment is begun.
            prefix: the prefix of their names.
            durable: the position up to which data is synced to disk.
            written: a position before which nothing is written any more, so that a loss of power reuses none.

        Raises:
            OSError: the directory cannot be read, or the line not be cut off.
        """
        existing = segments_in(directory, prefix)
        end = existing[-1].base + _mended(existing[-1].path) if existing else 0
        if existing and existing[-1].base == end:
            existing.pop().path.unlink()  # empty, and the next one may have its name
        ends = [segment.base for segment in existing[1:]] + [end]
        for segment, its_end in zip(existing, ends, strict=False):
            if its_end > durable:
                _force_path(segment.path)
        if existing:
            force_directory(directory)
        log = cls(directory, segment_bytes=segment_bytes, prefix=prefix, start=max(end, written))
        log.segments = existing
        return log

    @property
    def active(self) -> Segment | None:
        """The active segment; None if the next record begins one."""
        return None if self._current is self._none else self._current

    @property
    def position(self) -> int:
        """The position of the next record."""
        return self._position

    def append(self, data: bytes, count: int = 1) -> int:
        """Write whole lines. Return the position of the first, once they are written.

        Raises:
            OSError: they could not be written completely; none of them will be read.
        """
        size = len(data)
        with self.lock:
            # One step. An interrupting call finds the position taken, and the segment in use.
            start = self._position
            segment = self._current
            self._position = start + size
            segment.busy += 1
            try:
                if start - segment.base >= self._segment_bytes:
                    segment = self._begin(start, segment)
                _write(segment.file, data, start - segment.base)
                segment.written += count
                segment.writes += 1
                if self.dirty_since is None:
                    self.dirty_since = monotonic()
            finally:
                segment.busy -= 1
                if segment is not self._current:
                    self._retire(segment)
        return start

    def sync(self) -> None:
        """Sync all appended data to disk (fsync). Concurrent appends and syncs are allowed.

        Raises:
            OSError: it failed; the data is still not synced.
        """
        with self.lock:
            since, self.dirty_since = self.dirty_since, None
            dirty = [segment for segment in self._open if segment.dirty]
            for segment in dirty:
                segment.busy += 1
        try:
            for segment in dirty:
                writes = segment.writes
                force_data(segment.file)
                if not segment.forced:
                    force_directory(self.directory)
                segment.forced = writes
        except OSError:
            self.dirty_since = since or monotonic()
            raise
        finally:
            with self.lock:
                for segment in dirty:
                    segment.busy -= 1
                    self._retire(segment)

    def drop(self, segment: Segment) -> bool:
        """Delete a segment, also the active one, unless it is in use. Return whether it is gone.

        Raises:
            OSError: it cannot be deleted.
        """
        with self.lock:
            if segment is self._current:
                self.rotate()
            if segment.busy:
                return False
            self.segments.remove(segment)
            segment.forced = segment.writes
            self._retire(segment)
        segment.path.unlink(missing_ok=True)
        return True

    def retain(
        self,
        *,
        max_bytes: int | None = None,
        written_after: float | None = None,
        held: int | None = None,
        losing: Callable[[Segment], object] = lambda _: None,
    ) -> list[Segment]:
        """Delete the oldest segments beyond the retention limits; never the active one.

        Args:
            max_bytes: total bytes of all segments, whatever readers still need.
            written_after: segments last written to before this time (file_time) are too old.
            held: the position from which on age deletes nothing.
            losing: called before a segment is deleted that has data from `held` on.

        Returns:
            The deleted segments.

        Raises:
            OSError: one of them cannot be deleted.
        """
        with self.lock:
            gone: list[Segment] = []
            stats: dict[Segment, os.stat_result] = {}
            for segment in list(self.segments):
                try:
                    stats[segment] = segment.path.stat()
                except FileNotFoundError:  # deleted by another process
                    if segment is not self.active and self.drop(segment):
                        gone.append(segment)
            size = sum(stat.st_size for stat in stats.values())
            for segment, stat in stats.items():
                if segment is self.active:
                    break
                too_many = max_bytes is not None and size > max_bytes
                too_old = written_after is not None and stat.st_mtime < written_after
                is_held = held is not None and segment.base + stat.st_size > held
                if not too_many and (is_held or not too_old):
                    break
                if is_held and not segment.busy:
                    losing(segment)
                if self.drop(segment):
                    size -= stat.st_size
                    gone.append(segment)
            return gone

    def cut(self, position: int) -> None:
        """Take back all data appended from there on. For a single appending thread.

        Raises:
            OSError: it is still there.
        """
        with self.lock:
            active = self.active
            # Only shorten: a file that another process has cut would get a hole.
            if active is not None and os.fstat(active.file).st_size > position - active.base:
                os.ftruncate(active.file, position - active.base)
            self._position = position

    def leave_damaged(self) -> bool:
        """Begin a new segment with the next record, if another process has deleted, moved or cut the active one.

        Otherwise records would be in no file, or behind a hole. For a single appending thread.

        Returns:
            Whether that was so.

        Raises:
            OSError: the directory cannot be searched.
        """
        with self.lock:
            active = self.active
            if active is None:
                return False
            ours = os.fstat(active.file)
            try:
                named = active.path.stat()
            except FileNotFoundError:
                named = None
            if named is not None and os.path.samestat(named, ours) and ours.st_size == self._position - active.base:
                return False
            self.rotate()
            return True

    def rotate(self) -> None:
        """Begin a new segment with the next record."""
        with self.lock:
            before, self._current = self._current, self._none
            self._retire(before)

    def close(self) -> None:
        """Close the files; one in use is closed by its user. Append nothing afterwards."""
        with self.lock:
            self._closed = True
            self.rotate()
            for segment in list(self._open):
                self._retire(segment)

    def abandon(self) -> None:
        """Close the files in a forked child, where the lock may be held by a thread that does not exist."""
        self._closed = True
        opened, self._open, self._current = self._open, [], self._none
        for segment in opened:
            file, segment.file = segment.file, -1
            if file >= 0:
                os.close(file)

    def _begin(self, start: int, full: Segment) -> Segment:
        """Begin a segment with the record at this position, which does not fit into the reserved one."""
        if self._closed:
            raise OSError(errno.EBADF, "the log is closed")
        path = self.directory / f"{self._prefix}{start:020d}{SUFFIX}"
        file = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        segment = Segment(path, start, file)
        self.segments.append(segment)
        self._open.append(segment)
        segment.busy += 1
        full.busy -= 1
        if self._newest < start:  # else an interrupting call has begun a later one
            self._newest = start
            self._current = segment
        self._retire(full)
        return segment

    def _retire(self, segment: Segment) -> None:
        """Close a file, unless it is in use. Unsynced data is synced before."""
        if segment.busy or segment is self._current:
            return
        if segment.dirty and not self._closed and len(self._open) < _MANY:
            return
        file, segment.file = segment.file, -1  # in one step, so that it is closed once
        if file >= 0:
            self._open.remove(segment)
            os.close(file)


_MANY = 8
"""Unsynced files that are kept open for `sync`. A limit for processes that never sync."""


def _write(file: int, data: bytes, offset: int) -> None:
    """Write once; again only after a partial write, to learn the error. A partial write is then blanked."""
    done = os.pwrite(file, data, offset)
    if done == len(data):
        return
    try:
        while done < len(data):
            done += os.pwrite(file, memoryview(data)[done:], offset + done)
    except OSError:
        try:
            os.pwrite(file, b"\n" * done, offset)
        except OSError:
            pass  # readers skip it
        raise


def _mended(path: Path) -> int:
    """Cut off an incomplete last line. Return the remaining size."""
    with os.fdopen(open_file(path, os.O_RDWR), "r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - (1 << 16))
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            file.truncate(end)
        return end


def _force_path(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        force_data(file)
    finally:
        os.close(file)
