"""Stores events: in a directory with a log of JSON lines, or in memory."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import Any, Protocol

import msgspec

from millstream._public import publish
from millstream.errors import SettingsError
from millstream.log import PREFIX, Log, segments_in

from .clock_skew import json_of
from .commit import Committer, Done
from .rejects import Rejects
from .timing import Timing

_log = logging.getLogger("millstream")

LOCK = "collector.lock"


class Store(Protocol):
    """Stores events, as lines. For one event loop."""

    def append(self, text: bytes, done: Done) -> None:
        """Store `text`; call `done` when it and all earlier text is durable, or with the error if none of it is stored.

        `text` is whole lines, each with its end; empty only waits. `done` may be called at once; later calls are
        on the event loop, and an error reaches every request concerned before a new one is taken.
        """

    def put_aside(self, lines: Sequence[bytes]) -> None:
        """Write rejected events to `rejected.log`: each line is a JSON object."""

    def recent(self, since: datetime) -> Iterator[tuple[str, str]]:
        """Yield the sources and messageIds of events received since then, the latest file first."""
        ...

    def close(self) -> None:
        """Release the directory. Nothing may be in progress."""


_any = msgspec.json.Decoder(dict[str, Any])


class Memory:
    """Stores events in a list, for tests: `events`, decoded."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def append(self, text: bytes, done: Done) -> None:
        try:
            events = _any.decode_lines(text)
        except msgspec.DecodeError as error:
            done(error)
            return
        self.events += events
        done(None)

    def put_aside(self, lines: Sequence[bytes]) -> None:
        pass

    def recent(self, since: datetime) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        yield from ()

    def close(self) -> None:
        pass


class Files:
    """Stores events in a directory: append-only files `events-<position>.jsonl`, one after the other.

    Events are on the disk, and survive a loss of power, when `append` calls `done`.

    Args:
        directory: made if it is missing; locked against other collectors.
        segment_bytes: size at which the next file is begun.
        max_bytes: total size above which the oldest files are deleted; None is unlimited.
        max_age: seconds after which a file is deleted, counted from its last event; None is unlimited.
        sync_interval: seconds between two fsyncs; 0 syncs each write before `done`. Above 0, a loss of power costs
            the events since the last fsync; the death of this process costs nothing.

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
    ) -> None:
        self.path = Path(directory)
        self.timing = Timing()
        self._max_bytes, self._max_age, self._sync_interval = max_bytes, max_age, sync_interval
        try:
            with ExitStack() as on_failure:
                self._lock = _locked(self.path)
                on_failure.callback(os.close, self._lock)
                self._log = Log.reopen(self.path, segment_bytes=segment_bytes, prefix=PREFIX)
                on_failure.pop_all()
        except OSError as error:
            raise SettingsError(f"cannot store events in {self.path}: {error.strerror}") from error
        self.rejects = Rejects(self.path)
        self._torn_at: int | None = None
        self._files = -1  # of the log, at the last retention run
        now = monotonic()
        self._tidy_at, self._rotate_at = now, now + (max_age or 0.0) / 8
        self._to_sync: asyncio.TimerHandle | None = None
        self._committer = Committer(self._write)
        self._tidy(now)

    # -- on the event loop ------------------------------------------------------------------------------

    def append(self, text: bytes, done: Done) -> None:
        if self._lock < 0:
            done(OSError(errno.EBADF, "the store is closed"))
        else:
            self._committer.commit(text, partial(self._written, done) if self._sync_interval else done)

    def put_aside(self, lines: Sequence[bytes]) -> None:
        if self._lock >= 0 and self.rejects.offer(lines):
            self._committer.soon(partial(self.rejects.write, lines))

    def recent(self, since: datetime) -> Iterator[tuple[str, str]]:
        for segment in reversed(segments_in(self.path, PREFIX)):
            try:
                if segment.path.stat().st_mtime < since.timestamp():
                    break
                yield from _ids_in(segment.path, since)
            except FileNotFoundError:  # deleted by another process
                continue

    def close(self) -> None:
        if self._to_sync is not None:
            self._to_sync.cancel()
        self._committer.close()
        self._sync_late()
        self._log.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _written(self, done: Done, error: BaseException | None) -> None:
        if self._to_sync is None:
            self._to_sync = asyncio.get_running_loop().call_later(self._sync_interval, self._sync_soon)
        done(error)

    def _sync_soon(self) -> None:
        self._to_sync = None
        self._committer.soon(self._sync_late)

    # -- in the committer's thread ----------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        began = monotonic()
        self._mend()
        self._check_place()
        start = self._log.position
        try:
            if data:
                self._log.append(data)
            if not self._sync_interval:
                self._log.sync()
        except OSError:
            self._torn_at = start
            self._mend()
            raise
        self.timing.add(monotonic() - began)
        self._tidy(began)

    def _check_place(self) -> None:
        """Check that the next write goes where readers look: another process may have removed or cut the files.

        A removed directory is made again, and locked; after a damaged file a new one is begun.
        """
        try:
            in_place = os.path.samestat(os.fstat(self._lock), (self.path / LOCK).stat())
        except FileNotFoundError:
            in_place = False
        if not in_place:
            lock, self._lock = self._lock, _locked(self.path)
            os.close(lock)
            _log.warning("the directory %s was removed or emptied by another process: it was made again", self.path)
        if self._log.leave_damaged():
            _log.warning("a file of events in %s was removed or cut by another process: a new one was begun", self.path)

    def _mend(self) -> None:
        """Cut off the rest of a write that failed or could not be synced: no client was promised it.

        If even that fails, nothing is appended until it succeeds.
        """
        if self._torn_at is not None:
            self._log.cut(self._torn_at)
            self._torn_at = None

    def _sync_late(self) -> None:
        try:
            self._log.sync()
        except OSError as error:
            _log.warning("events in %s are written, but could not be forced to the disk: %s", self.path, error)

    def _tidy(self, now: float) -> None:
        """Apply retention: after each new file, and once a minute."""
        if self._max_bytes is None and self._max_age is None:
            return
        if now < self._tidy_at and len(self._log.segments) == self._files:
            return
        self._tidy_at = now + 60
        if self._max_age is not None and now > self._rotate_at:
            self._rotate_at = now + self._max_age / 8  # else a file that never fills up would never be deleted
            self._log.rotate()
        try:
            self._log.retain(
                max_bytes=self._max_bytes,
                written_after=None if self._max_age is None else time() - self._max_age,
            )
        except OSError as error:
            _log.warning("old events in %s cannot be deleted: %s", self.path, error)
        self._files = len(self._log.segments)


class _Ids(msgspec.Struct, gc=False, rename="camel"):
    message_id: str = ""
    source_id: str = ""
    received_at: str = ""


_ids = msgspec.json.Decoder(_Ids)


def _ids_in(path: Path, since: datetime) -> Iterator[tuple[str, str]]:
    earliest = json_of(since)[1:-1].decode()
    with path.open("rb") as file:
        for line in file:
            try:
                event = _ids.decode(line.lstrip(b"\0"))
            except (msgspec.DecodeError, RecursionError):  # not a line of ours
                continue
            if event.received_at >= earliest and event.message_id:
                yield event.source_id, event.message_id


def _locked(directory: Path) -> int:
    """Lock a directory, which is made if missing, against other collectors; return the lock's descriptor.

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


publish("millstream.collector", Files, Memory, Store)
