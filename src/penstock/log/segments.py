"""Segments: files that are only ever appended to. Together they are one log, and a position is a place in it."""

from __future__ import annotations

import os
import re
import time
from _thread import RLock  # threading's is another under gevent, and there a signal handler may come between its steps
from pathlib import Path

__all__ = ["SUFFIX", "Log", "Segment", "segments_in"]

SUFFIX = ".jsonl"
_NAME = re.compile(r"(\d{20})" + re.escape(SUFFIX))


class Segment:
    """One file of a log.

    `written` and `settled` count its records, for those who want to know when nobody needs it any more.
    """

    __slots__ = ("base", "busy", "dirty", "file", "path", "settled", "written")

    def __init__(self, path: Path, base: int, file: int = -1) -> None:
        self.path = path
        self.base = base
        self.file = file  # its descriptor, while it is written to
        self.busy = 0  # who uses the descriptor now
        self.dirty = False
        self.written = 0
        self.settled = 0


def segments_in(directory: Path, prefix: str = "") -> list[Segment]:
    """The segments in a directory, the oldest first."""
    found = [
        Segment(path, int(match[1]))
        for path in directory.glob(f"{prefix}*{SUFFIX}")
        if (match := _NAME.fullmatch(path.name.removeprefix(prefix)))
    ]
    return sorted(found, key=lambda segment: segment.base)


class Log:
    """Appends to segments. One process has one, and any number of its threads use it.

    `append` may be interrupted by a signal handler, or by `__del__`, that appends as well. So a place in the log is
    taken in one step, between whose bytecodes nothing is called (a call is where such a handler cuts in), and the
    record is then written to that very place, whoever else has written before or after it meanwhile.

    Args:
        directory: where the segments are, or will be; it exists.
        segment_bytes: bytes after which the next segment is begun.
        prefix: what their names begin with.
        start: the position of the first byte.
    """

    def __init__(self, directory: Path, *, segment_bytes: int, prefix: str = "", start: int = 0) -> None:
        self.directory = directory
        self.active: Segment | None = None
        self.lock = RLock()
        self.dirty_since: float | None = None
        self._prefix = prefix
        self._segment_bytes = segment_bytes
        self._position = start
        self.segments: list[Segment] = []  # until somebody deletes them
        self._open: list[Segment] = []  # those with a descriptor

    @classmethod
    def reopen(cls, directory: Path, *, segment_bytes: int, prefix: str = "") -> Log:
        """Go on with the log in a directory. For its one owner: a last line without an end is cut off.

        Raises:
            OSError: the directory cannot be read, or the line not be cut off.
        """
        existing = segments_in(directory, prefix)
        start = existing[-1].base + _mended(existing[-1].path) if existing else 0
        if existing and existing[-1].base == start:
            existing.pop().path.unlink()  # nothing was written to it, and the next one has its name
        log = cls(directory, segment_bytes=segment_bytes, prefix=prefix, start=start)
        log.segments = existing
        return log

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
            start = self._position
            self._position = start + size  # from here on the place is ours
            segment = self._segment_for(start)
            segment.busy += 1
            segment.written += count
            try:
                _write(segment.file, data, start - segment.base)
                if not segment.dirty:
                    segment.dirty = True
                    self.dirty_since = self.dirty_since or time.monotonic()
            except OSError:
                segment.written -= count
                raise
            finally:
                segment.busy -= 1
                if segment is not self.active:
                    self._retire(segment)
        return start

    def sync(self) -> None:
        """Force all that has been appended to the disk itself. May be called while others append.

        Raises:
            OSError: it could not be; what is written is as dirty as before.
        """
        with self.lock:
            since, self.dirty_since = self.dirty_since, None
            dirty = [segment for segment in self._open if segment.dirty]
            for segment in dirty:
                segment.busy += 1
                segment.dirty = False
        try:
            for segment in dirty:
                _datasync(segment.file)
        except OSError:
            with self.lock:
                for segment in dirty:
                    segment.dirty = True
                self.dirty_since = since
            raise
        finally:
            with self.lock:
                for segment in dirty:
                    segment.busy -= 1
                    if segment is not self.active:
                        self._retire(segment)

    def drop(self, segment: Segment) -> bool:
        """Delete a segment, also the one that is written to, unless somebody is at it. Returns whether it is gone.

        Raises:
            OSError: it cannot be deleted.
        """
        with self.lock:
            if segment.busy:
                return False
            self.segments.remove(segment)
            if segment is self.active:
                self.active = None
            segment.dirty = False
            if segment in self._open:
                self._retire(segment)
        segment.path.unlink(missing_ok=True)
        return True

    def retain(self, *, max_bytes: int | None = None, written_after: float | None = None) -> list[Segment]:
        """Delete the oldest segments, of which the log has more than it should; never the one that is written to.

        Args:
            max_bytes: bytes that all segments together may have.
            written_after: a segment that was last written to before this moment (time.time) is too old.

        Returns:
            Those that are gone.

        Raises:
            OSError: one of them cannot be deleted.
        """
        with self.lock:
            old = [segment for segment in self.segments if segment is not self.active]
            stats = {segment: segment.path.stat() for segment in old}
            active = [] if self.active is None else [self.active.path.stat().st_size]
            size = sum(active) + sum(stat.st_size for stat in stats.values())
            gone: list[Segment] = []
            for segment, stat in stats.items():
                too_many = max_bytes is not None and size > max_bytes
                too_old = written_after is not None and stat.st_mtime < written_after
                if not (too_many or too_old):
                    break
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
            if active is not None:
                os.ftruncate(active.file, position - active.base)
            self._position = position

    def rotate(self) -> None:
        """Begin another segment with the next record."""
        with self.lock:
            before, self.active = self.active, None
            if before is not None:
                self._retire(before)

    def close(self) -> None:
        """Let go of the files. In a forked child too, where the lock may be held by a thread that does not exist."""
        opened, self._open, self.active = self._open, [], None
        for segment in opened:
            os.close(segment.file)
            segment.file = -1

    def _segment_for(self, start: int) -> Segment:
        """The segment that the record at this position belongs to."""
        active = self.active
        if active is not None and active.base <= start < active.base + self._segment_bytes:
            return active
        path = self.directory / f"{self._prefix}{start:020d}{SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        segment = Segment(path, start, file)
        self._open.append(segment)
        self.segments.append(segment)
        # A handler that cut in before may have begun the next one: this one is then for our record alone.
        before = self.active
        if before is None or before.base < start:
            self.active = segment
            if before is not None:
                self._retire(before)
        return segment

    def _retire(self, segment: Segment) -> None:
        """Nothing more goes in there: let go of the file, unless somebody is at it. What is dirty is synced before."""
        if segment.busy or segment.file < 0 or (segment.dirty and len(self._open) < _MANY):
            return
        self._open.remove(segment)
        file, segment.file = segment.file, -1
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
    with path.open("r+b") as file:
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


def _datasync(file: int) -> None:
    getattr(os, "fdatasync", os.fsync)(file)  # macOS has no fdatasync
