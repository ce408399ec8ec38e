"""The log in a directory: appended to by one process, in groups, and read by any number of others.

events-<position>.jsonl   segments, each named by the position of its first byte
watermark                 how far readers may go (watermark.py)
readers/                  how far they have come (holds.py)
collector.lock            locked by the process that appends
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import time

from .._clock import monotonic
from .._core.record import Position
from ..errors import SettingsError
from .base import Done
from .commit import Committer
from .file_reader import PREFIX, FileReader, records_after
from .holds import Holds
from .segments import Segment, SegmentWriter
from .watermark import boot, read_watermark, watermark_file

__all__ = ["LOCK", "FileLog"]

_log = logging.getLogger("millstream")

LOCK = "collector.lock"
TIDY = 60.0
"""Seconds after which retention looks again, where no new segment has begun."""


class FileLog:
    """Appends records to segments in a directory, and tells readers how far they may go.

    Args:
        directory: made if it is missing; no other process may append to it at the same time.
        segment_bytes: when a segment has so many, the next one is begun.
        max_bytes: the oldest segments are deleted when all together have more, also under a reader; None is never.
        max_age: seconds after which a segment is deleted that has nothing younger, and nothing that a reader holds;
            None is never.
        sync_interval: seconds after which what was written is forced to the disk; 0 is before it is reported as kept.
            With more, a loss of power costs what came since; the death of this process still costs nothing.
        on_write: called with the seconds that each write took, in the thread that writes.

    Raises:
        SettingsError: the directory cannot be used.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        segment_bytes: int = 64 << 20,
        max_bytes: int | None = None,
        max_age: float | None = None,
        sync_interval: float = 0.0,
        on_write: Callable[[float], object] = lambda _: None,
    ) -> None:
        self.path = Path(directory)
        self._max_bytes, self._max_age, self._sync_interval = max_bytes, max_age, sync_interval
        self._on_write = on_write
        try:
            with ExitStack() as on_failure:
                self._lock = _locked(self.path)
                on_failure.callback(os.close, self._lock)
                known = read_watermark(self.path)
                self._segments = SegmentWriter.reopen(
                    self.path,
                    segment_bytes=segment_bytes,
                    prefix=PREFIX,
                    durable=known.durable if known is not None else 0,
                    written=known.written if known is not None else 0,
                )
                self._watermark = watermark_file(self.path)
                on_failure.callback(self._watermark.close)
                self._durable = self._segments.position
                self._watermark.write(self._durable, self._durable, boot())
                on_failure.pop_all()
        except OSError as error:
            raise SettingsError(f"cannot store events in {self.path}: {error.strerror}") from error
        self._holds = Holds(self.path)
        self._torn_at: int | None = None
        self._count = -1  # of segments, when retention last looked
        now = monotonic()
        self._tidy_at, self._rotate_at = now, now + (max_age or 0.0) / 8
        self._to_sync: asyncio.TimerHandle | None = None
        self._committer = Committer(self._write, self._durable)
        self._tidy(now)

    # -- on the event loop ------------------------------------------------------------------------------

    def append(self, lines: bytes, done: Done) -> None:
        """Append records, and call `done` with their position when they are on the disk."""
        if self._lock < 0:
            done(OSError(errno.EBADF, "the log is closed"))
        else:
            self._committer.commit(lines, partial(self._written, done) if self._sync_interval else done)

    def soon(self, job: Callable[[], object]) -> None:
        """Do something else with the disk, in the thread that writes, after what is under way."""
        if self._lock >= 0:
            self._committer.soon(job)

    def partitions(self) -> Sequence[str]:
        """A directory is one sequence."""
        return ("0",)

    def reader(self, partition: str = "0") -> FileReader:
        """Return a reader. Another process makes one of the directory: `FileReader(directory)`."""
        if partition != "0":
            raise ValueError(f"partition must be '0', not {partition!r}: a directory is one sequence")
        return FileReader(self.path)

    def close(self) -> None:
        """Write what is under way, and release the directory."""
        if self._to_sync is not None:
            self._to_sync.cancel()
        self._committer.close()
        if self._lock >= 0:
            self._sync_late()
        self._segments.close()
        self._watermark.close()
        self._holds.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _written(self, done: Done, outcome: Position | BaseException) -> None:
        if self._to_sync is None:
            self._to_sync = asyncio.get_running_loop().call_later(self._sync_interval, self._sync_soon)
        done(outcome)

    def _sync_soon(self) -> None:
        self._to_sync = None
        self._committer.soon(self._sync_late)

    # -- in the committer's thread ----------------------------------------------------------------------

    def _write(self, data: bytes) -> Position:
        """Append a group of records. Returns the position of the first."""
        began = monotonic()
        self._mend()
        self._check_place()
        start = self._segments.position
        try:
            if data:
                self._segments.append(data)
            if not self._sync_interval:
                self._segments.sync()
        except OSError:
            self._torn_at = start
            self._mend()
            raise
        if not self._sync_interval:
            self._durable = self._segments.position
        self._publish()
        self._on_write(monotonic() - began)
        self._tidy(began)
        return start

    def _publish(self) -> None:
        """Tell readers how far they may go."""
        try:
            self._watermark.write(self._durable, self._segments.position, boot())
        except OSError as error:
            _log.warning("readers of %s cannot be told of new events: %s", self.path, error)

    def _check_place(self) -> None:
        """Write where readers look: not into a file, or a directory, that another process has removed or cut.

        A removed directory is made again, and locked; a segment is followed by a new one.
        """
        try:
            in_place = os.path.samestat(os.fstat(self._lock), (self.path / LOCK).stat())
        except FileNotFoundError:
            in_place = False
        if not in_place:
            lock, self._lock = self._lock, _locked(self.path)
            os.close(lock)
            _log.warning("the directory %s was removed or emptied by another process: it was made again", self.path)
        if not self._watermark.in_place():
            self._watermark.close()
            self._watermark = watermark_file(self.path)
        if self._segments.leave_damaged():
            _log.warning("a file of events in %s was removed or cut by another process: a new one was begun", self.path)

    def _mend(self) -> None:
        """Cut off what a failed write, or one that could not be synced, has left: it was reported as not kept.

        If even that fails, nothing is appended until it succeeds.
        """
        if self._torn_at is not None:
            self._segments.cut(self._torn_at)
            self._torn_at = None

    def _sync_late(self) -> None:
        position = self._segments.position
        try:
            self._segments.sync()
        except OSError as error:
            _log.warning("events in %s are written, but could not be forced to the disk: %s", self.path, error)
            return
        if position != self._durable:
            self._durable = position
            self._publish()

    # -- retention ----------------------------------------------------------------------------------------

    def _tidy(self, now: float) -> None:
        """Keep the directory as small as it should be: after each new segment, and once a minute."""
        if self._max_bytes is None and self._max_age is None:
            return
        if now < self._tidy_at and len(self._segments.segments) == self._count:
            return
        self._tidy_at = now + TIDY
        if self._max_age is not None and now > self._rotate_at:
            self._rotate_at = now + self._max_age / 8  # else a file that never fills up would never be deleted
            self._segments.rotate()
        try:
            held = self._holds.positions()
            self._segments.retain(
                max_bytes=self._max_bytes,
                written_after=None if self._max_age is None else time() - self._max_age,
                held=min(held.values(), default=None),
                losing=partial(self._lose, held),
            )
        except OSError as error:
            _log.warning("old events in %s cannot be deleted: %s", self.path, error)
        self._count = len(self._segments.segments)

    def _lose(self, held: dict[str, Position], segment: Segment) -> None:
        """Count and report what readers lose with a segment: there are more bytes than there may be."""
        for route, position in held.items():
            records = records_after(segment.path, position - segment.base)
            if records:
                self._holds.lose(route, records)
                _log.warning(
                    "%s had yet to read %d events in %s, which were deleted: the directory may have %d bytes. "
                    "Allow more, or look why it is slow.",
                    route,
                    records,
                    segment.path,
                    self._max_bytes,
                )


def _locked(directory: Path) -> int:
    """A descriptor that keeps other writers out of a directory, which is made if it is missing.

    The kernel releases the lock when the process dies, however it dies.
    """
    import fcntl  # noqa: PLC0415 (Windows has none, and needs none for tests in memory)

    directory.mkdir(parents=True, exist_ok=True)
    file = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise SettingsError(f"{directory} is in use by another collector: choose another directory") from error
    except OSError:
        os.close(file)
        raise
    return file
