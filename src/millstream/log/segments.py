"""Segments: files that are only ever appended to. Together they are one log, and a position is a place in it."""

from __future__ import annotations

import errno
import os
import re
from _thread import RLock  # threading's is another under gevent, and there a signal handler may come between its steps
from collections.abc import Callable
from pathlib import Path

from .._clock import monotonic
from .files import entries, force_data, force_directory, open_file

__all__ = ["SUFFIX", "Segment", "SegmentWriter", "segments_in"]

SUFFIX = ".jsonl"
_NAME = re.compile(r"(\d{20})" + re.escape(SUFFIX))


class Segment:
    """One file of a log.

    `written` and `settled` count its records, for those who want to know when nobody needs it any more.
    """

    __slots__ = ("base", "busy", "file", "forced", "path", "settled", "writes", "written")

    def __init__(self, path: Path, base: int, file: int = -1) -> None:
        self.path = path
        self.base = base
        self.file = file  # its descriptor, while it is written to
        self.busy = 0  # who uses it now
        self.writes = 0
        self.forced = 0  # how many of the writes are on the disk itself
        self.written = 0
        self.settled = 0

    @property
    def dirty(self) -> bool:
        """Whether there is something in it that is not on the disk itself."""
        return self.forced < self.writes


def segments_in(directory: Path, prefix: str = "") -> list[Segment]:
    """The segments in a directory, the oldest first; none, if there is no such directory.

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
    """Appends to segments. One process has one, and any number of its threads use it.

    `append` may be interrupted by a signal handler, or by `__del__`, that appends as well. So a place in the log and
    the segment for it are taken in one step, between whose bytecodes nothing is called (a call is where such a handler
    cuts in), and the record is then written to that very place, whoever else has written before or after it meanwhile.
    A record is always in the segment with the highest base that is not above its position.

    Args:
        directory: where the segments are, or will be; it exists.
        segment_bytes: bytes after which the next segment is begun.
        prefix: what their names begin with.
        start: the position of the first byte.
    """

    def __init__(self, directory: Path, *, segment_bytes: int, prefix: str = "", start: int = 0) -> None:
        self.directory = directory
        self.lock = RLock()
        self.dirty_since: float | None = None
        self._prefix = prefix
        self._segment_bytes = segment_bytes
        self._position = start
        self._none = Segment(directory, start - segment_bytes)  # stands for a segment that is full
        self._current = self._none
        self._newest = start - 1  # the base of the newest segment that was begun
        self._closed = False
        self.segments: list[Segment] = []  # until somebody deletes them
        self._open: list[Segment] = []  # those with a descriptor

    @classmethod
    def reopen(
        cls, directory: Path, *, segment_bytes: int, prefix: str = "", durable: int = 0, written: int = 0
    ) -> SegmentWriter:
        """Go on with the log in a directory: for its one owner. A last line without an end is cut off.

        All that is there is forced to the disk, because a writer that was killed may not have done so.

        Args:
            directory: where the segments are; it exists.
            segment_bytes: bytes after which the next segment is begun.
            prefix: what their names begin with.
            durable: where that begins which may not be on the disk itself.
            written: a position before which nothing is written any more, so that a loss of power reuses none.

        Raises:
            OSError: the directory cannot be read, or the line not be cut off.
        """
        existing = segments_in(directory, prefix)
        end = existing[-1].base + _mended(existing[-1].path) if existing else 0
        if existing and existing[-1].base == end:
            existing.pop().path.unlink()  # nothing was written to it, and the next one may have its name
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
        """The segment that is written to; None, if the next record begins one."""
        return None if self._current is self._none else self._current

    @property
    def position(self) -> int:
        """Where the next record will be."""
        return self._position

    def append(self, data: bytes, count: int = 1) -> int:
        """Write whole lines. Returns the position of the first, once they are written.

        Raises:
            OSError: they could not be written, or not all of it; nothing of it will be read.
        """
        size = len(data)
        with self.lock:
            # One step. Whoever cuts in after it finds the place taken, and the segment in use.
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
        """Force all that has been appended to the disk itself. May be called while others append, or sync too.

        Raises:
            OSError: it could not be; what is written is as dirty as before.
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
        """Delete a segment, also the one that is written to, unless somebody is at it. Returns whether it is gone.

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
        """Delete the oldest segments, of which the log has more than it should; never the one that is written to.

        Args:
            max_bytes: bytes that all segments together may have, whoever still needs them.
            written_after: a segment that was last written to before this moment (file_time) is too old.
            held: the position from which on age deletes nothing.
            losing: called before a segment is deleted that has something from `held` on.

        Returns:
            Those that are gone.

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
        """Take back all that was appended from there on. For whoever alone appends, and does it in one thread.

        Raises:
            OSError: it is still there.
        """
        with self.lock:
            active = self.active
            # Only ever shorter: a file that another process has cut already would get a hole.
            if active is not None and os.fstat(active.file).st_size > position - active.base:
                os.ftruncate(active.file, position - active.base)
            self._position = position

    def leave_damaged(self) -> bool:
        """Begin another segment with the next record, if another process has deleted, moved or cut the one in use.

        Appended to it, records would be in no file, or behind a hole. For a process that alone appends, in one thread.

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
        """Begin another segment with the next record."""
        with self.lock:
            before, self._current = self._current, self._none
            self._retire(before)

    def close(self) -> None:
        """Let go of the files: of one that somebody is at, when he is done. Nothing more is appended."""
        with self.lock:
            self._closed = True
            self.rotate()
            for segment in list(self._open):
                self._retire(segment)

    def abandon(self) -> None:
        """Let go of the files in a forked child, where the lock may be held by a thread that does not exist."""
        self._closed = True
        opened, self._open, self._current = self._open, [], self._none
        for segment in opened:
            file, segment.file = segment.file, -1
            if file >= 0:
                os.close(file)

    def _begin(self, start: int, full: Segment) -> Segment:
        """Begin a segment with the record at this position, which has no room in the one that was taken for it."""
        if self._closed:
            raise OSError(errno.EBADF, "the log is closed")
        path = self.directory / f"{self._prefix}{start:020d}{SUFFIX}"
        file = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        segment = Segment(path, start, file)
        self.segments.append(segment)
        self._open.append(segment)
        segment.busy += 1
        full.busy -= 1
        if self._newest < start:  # else whoever cut in has begun a later one, and this one is for our record alone
            self._newest = start
            self._current = segment
        self._retire(full)
        return segment

    def _retire(self, segment: Segment) -> None:
        """Let go of a file, unless somebody is at it or will be. What is dirty is synced before."""
        if segment.busy or segment is self._current:
            return
        if segment.dirty and not self._closed and len(self._open) < _MANY:
            return
        file, segment.file = segment.file, -1  # in one step: nobody closes it twice
        if file >= 0:
            self._open.remove(segment)
            os.close(file)


_MANY = 8
"""Dirty files that are kept open, so that `sync` can reach them. Whoever never syncs does not keep them for ever."""


def _write(file: int, data: bytes, offset: int) -> None:
    """One write; more only where the system took a part of it, to learn why. What was taken is then made blank."""
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
            pass  # readers find that it is no record
        raise


def _mended(path: Path) -> int:
    """Cut off a last line that has no end. Returns the size that is left."""
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
