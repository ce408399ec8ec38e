"""Where events are kept: a directory with a log of JSON lines, or memory."""

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
    """Keeps events, as lines. One event loop uses it."""

    def append(self, text: bytes, done: Done) -> None:
        """Keep this, and call `done` when it is kept, and all that came before; or with the error why none of it is.

        `text` is whole lines, each with its end. Without text, only wait. `done` may be called at once; later ones are
        called on the event loop, and an error is told to all whom it concerns before anything else comes.
        """

    def put_aside(self, lines: Sequence[bytes]) -> None:
        """Show people, if they care to look, what was not kept: each line is a JSON object."""

    def recent(self, since: datetime) -> Iterator[tuple[str, str]]:
        """The sources and messageIds of what has been received since then, the latest file first."""
        ...

    def close(self) -> None:
        """Let go. Nothing is under way any more."""


_any = msgspec.json.Decoder(dict[str, Any])


class Memory:
    """Keeps events in a list, for tests: `events`, as Python's values."""

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
    """Keeps events in a directory: files `events-<position>.jsonl`, one after the other, only ever appended to.

    What `append` has returned from is on the disk, and survives a loss of power.

    Args:
        directory: made if it is missing; no other collector may use it at the same time.
        segment_bytes: when a file has so many, the next one is begun.
        max_bytes: the oldest files are deleted when all together have more; None is never.
        max_age: seconds after which a file is deleted that has nothing younger; None is never.
        sync_interval: seconds after which what was written is forced to the disk; 0 is before `append` returns. With
            more, a loss of power costs what came since; the death of this process still costs nothing.

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
            raise SettingsError(f"cannot keep events in {self.path}: {error.strerror}") from error
        self.rejects = Rejects(self.path)
        self._torn_at: int | None = None
        self._files = -1  # of the log, when it was last tidied up
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
        """Write where readers look: not into a file, or a directory, that another process has removed or cut.

        A removed directory is made again, and locked; a file is followed by a new one.
        """
        try:
            in_place = os.path.samestat(os.fstat(self._lock), (self.path / LOCK).stat())
        except FileNotFoundError:
            in_place = False
        if not in_place:
            lock, self._lock = self._lock, _locked(self.path)
            os.close(lock)
            _log.warning("the directory %s was removed or emptied by another process: it is used anew", self.path)
        if self._log.leave_damaged():
            _log.warning("a file of events in %s was removed or cut by another process: a new one follows", self.path)

    def _mend(self) -> None:
        """Cut off what a failed write, or one that could not be synced, has left: it was promised to nobody.

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
        """Keep the directory as small as it should be: after each new file, and once a minute."""
        if self._max_bytes is None and self._max_age is None:
            return
        if now < self._tidy_at and len(self._log.segments) == self._files:
            return
        self._tidy_at = now + 60
        if self._max_age is not None and now > self._rotate_at:
            self._rotate_at = now + self._max_age / 8  # else a file that never fills up would never grow old
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
            except (msgspec.DecodeError, RecursionError):  # not ours, then
                continue
            if event.received_at >= earliest and event.message_id:
                yield event.source_id, event.message_id


def _locked(directory: Path) -> int:
    """A descriptor that keeps other collectors out of a directory, which is made if it is missing.

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
