"""The spool: a directory of lanes. Events are written into our own, and what the dead have left is adopted."""

from __future__ import annotations

import hashlib
import os
import time
from _thread import RLock  # see segments.py
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from .._core.log import Place, Stretch, valid
from ..errors import SettingsError, SpoolError
from .aside import put_aside
from .lane import FORMAT, HAS_LOCKS, OWNER, Lane, Left, owner_of, take_lock
from .segments import SUFFIX

__all__ = ["Spool", "source_of"]

AGAIN = 1.0
"""Seconds until it is tried again to make a lane, where that has failed, or to see whether a full spool still is."""
QUIET = 60.0
"""Seconds for which a trouble is not told again that comes and goes."""


HALF_MADE = 60.0
"""Seconds after which a lane without a name can only be a dead one's: making one takes less than a millisecond."""


class Spool:
    """Where one client writes its events down.

    `append` is for any thread, and for signal handlers and `__del__` that cut in; the rest is for the worker, but for
    `sync_now`. No method raises what the disk does: it is told to `report`, once, and the event is in memory alone.

    Args:
        directory: the spool, made with the first event; several processes may share it.
        source: a fingerprint of the write key. Only lanes of the same source are adopted.
        max_bytes: bytes that the directory may hold. What other processes write is counted now and then.
        sync: seconds after which records are forced to the disk itself; 0 is in every append, None is never.
        report: told of each trouble.

    Raises:
        SettingsError: this system has no file locks.
    """

    def __init__(
        self,
        directory: Path,
        *,
        source: str,
        max_bytes: int,
        sync: float | None,
        report: Callable[[SpoolError], object],
    ) -> None:
        if not HAS_LOCKS:
            raise SettingsError("spool needs file locks (flock), which this system does not have")
        self.directory = directory
        self.corrupt = 0
        self._source = source
        self._max_bytes = max_bytes
        self._sync = sync
        self._report = report
        self._lock = RLock()
        self._lane: Lane | None = None
        self._lanes: list[Lane] = []  # all that are ours, the adopted ones included
        self._off = ""  # why events are not written down
        self._again = 0.0  # when it is worth trying again
        self._quiet = 0.0  # until when nothing is told
        self._used = 0
        self._closed = False

    @property
    def state(self) -> str:
        """`on`, or `off: ` and why."""
        return f"off: {self._off}" if self._off else "on"

    # -- writing --------------------------------------------------------------------------------------

    def append(self, record: bytes) -> Place | None:
        """Write an event down. None: it is not on disk."""
        if self._closed or (self._again and time.monotonic() < self._again):
            return None
        size = len(record) + 1
        try:
            lane = self._lane or self._make_lane()
            if self._used + size > self._max_bytes and self._is_full(size):
                return None
            place = lane.append(record)
            if self._sync == 0.0:
                lane.sync()
        except OSError as exc:
            self._fail(f"{exc.strerror or exc}", exc)
            return None
        self._used += size  # not exact where threads meet; the next look corrects it
        if self._off:
            self._off = ""
        return place

    def due_at(self) -> float | None:
        """When what is written is to be forced to disk (by time.monotonic); None if nothing is."""
        lane = self._lane
        since = None if lane is None or lane.log is None or not self._sync else lane.log.dirty_since
        return None if since is None else since + (self._sync or 0.0)

    def sync_now(self) -> None:
        """Force what is written to the disk itself. In any thread."""
        for lane in list(self._lanes):
            try:
                lane.sync()
            except OSError as exc:
                self._fail(f"{exc.strerror or exc}", exc)

    def _make_lane(self) -> Lane:
        with self._lock:
            if self._lane is None:
                try:
                    lane = Lane.make(self.directory, self._source)
                except OSError:
                    self._again = time.monotonic() + AGAIN
                    raise
                self._again = 0.0
                self._lanes.append(lane)
                if self._lane is None:  # else a signal handler was here meanwhile, and this one stays empty
                    self._lane = lane
                    self._used = size_of(self.directory)
            return self._lane

    def _is_full(self, more: int) -> bool:
        """Whether there is still no room, now that somebody has looked."""
        self._used = size_of(self.directory)
        if self._used + more <= self._max_bytes:
            self._again = 0.0
            return False
        self._again = time.monotonic() + AGAIN
        self._fail(f"the spool holds {self._used:,} bytes, of spool_max_bytes={self._max_bytes:,}", None)
        return True

    def _fail(self, why: str, cause: BaseException | None) -> None:
        """Events are in memory alone from now on."""
        was_on, self._off = not self._off, why
        if was_on:
            self._tell(f"events are in memory alone: {self.directory}: {why}", cause)

    def _tell(self, what: str, cause: BaseException | None, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now >= self._quiet:
            if not always:
                self._quiet = now + QUIET
            error = SpoolError(what)
            error.__cause__ = None if cause is None else cause.with_traceback(None)
            self._report(error)

    # -- what the dead have left ------------------------------------------------------------------------

    def adopt(self) -> Iterator[Stretch]:
        """Take over the lanes of dead processes: all that is in them and not done with, the oldest first."""
        for directory in self._lanes_here(f".{self._source}-"):
            self._clear_half_made(directory)
        for directory in self._lanes_here(f"{self._source}-"):
            lock = take_lock(directory)
            if lock is None:
                continue
            owner = owner_of(directory)
            if owner is None or owner.format != FORMAT:
                os.close(lock)
                said = "cannot be read" if owner is None else f"has format {owner.format}"
                self._tell(f"{directory} is left alone: its {OWNER} {said}", None, always=True)
                continue
            lane = Lane(directory, lock, None)
            self._lanes.append(lane)
            yield from self._adopt(lane)

    def _clear_half_made(self, directory: Path) -> None:
        """A lane whose maker died before it had a name: nothing can be in it."""
        try:
            if time.time() - directory.stat().st_mtime > HALF_MADE:
                (directory / OWNER).unlink(missing_ok=True)
                directory.rmdir()
        except OSError:
            pass

    def _lanes_here(self, prefix: str) -> list[Path]:
        try:
            found = [path for path in self.directory.iterdir() if path.name.startswith(prefix)]
            return sorted(found, key=lambda path: path.stat().st_mtime)
        except FileNotFoundError:
            return []
        except OSError as exc:
            self._tell(f"{self.directory} cannot be read: {exc.strerror or exc}", exc, always=True)
            return []

    def _adopt(self, lane: Lane) -> Iterator[Stretch]:
        for left in lane.look_through():
            if isinstance(left, OSError):
                self._give_up(lane, left)
            else:
                if left.corrupt:
                    self._set_aside(lane, left)
                yield from left.stretches
        if lane.empty():
            self._let_go(lane)

    def _give_up(self, lane: Lane, error: OSError) -> None:
        """A file that cannot be read at all."""
        self.corrupt += 1
        path = Path(os.fsdecode(error.filename))
        what = f"{path} cannot be read ({error.strerror}), and "
        try:
            (self.directory / "aside").mkdir(exist_ok=True)
            path.rename(self.directory / "aside" / f"{lane.directory.name}-{path.name}")
            what += f"has been moved to {self.directory}/aside"
        except OSError as exc:
            what += f"not be moved aside ({exc.strerror})"
        self._tell(what, error, always=True)

    def _set_aside(self, lane: Lane, left: Left) -> None:
        count = len(left.corrupt)
        self.corrupt += count
        what = f"{count} pieces of {left.segment.path} are no events, and "
        try:
            for _, piece in left.corrupt:
                put_aside(self.directory, f"{lane.directory.name}-{left.segment.base:020d}", piece)
            lane.settle([place for place, _ in left.corrupt])
            what += f"have been moved to {self.directory}/aside"
        except OSError as exc:
            what += f"cannot be moved aside ({exc.strerror})"
        self._tell(what, None, always=True)

    # -- what there is, and what is done with -----------------------------------------------------------

    def read(
        self, stretch: Stretch, max_events: int, max_bytes: int
    ) -> tuple[list[tuple[Place, bytes]], Stretch | None]:
        """The first records of a stretch, and what is left of it. Those that can no longer be read are left out."""
        lane = cast("Lane", stretch.lane)
        try:
            found, rest = lane.read(stretch, max_events, max_bytes)
        except OSError as exc:
            self.corrupt += stretch.count
            self._tell(
                f"{stretch.count} events in {lane.directory} cannot be read: {exc.strerror or exc}", exc, always=True
            )
            return [], None
        fine = [(place, record) for place, record in found if valid(record)]
        missing = stretch.count - len(fine) - (rest.count if rest else 0)
        if missing:
            self.corrupt += missing
            self._tell(f"{missing} events in {lane.directory} cannot be read any more", None, always=True)
        return fine, rest

    def settle(self, places: Sequence[Place]) -> None:
        """These events are done with."""
        by_lane: dict[Lane, list[Place]] = {}
        for place in places:
            by_lane.setdefault(cast("Lane", place.lane), []).append(place)
        for lane, mine in by_lane.items():
            try:
                lane.settle(mine, tidy=bool(self._off))
            except OSError as exc:
                self._tell(f"what is delivered cannot be noted in {lane.directory}: {exc.strerror or exc}", exc)
            if lane.log is None and lane.empty():
                self._let_go(lane)

    def written_at(self, place: Place) -> float:
        """When its segment was last written to (by time.time)."""
        return cast("Lane", place.lane).written_at(place)

    # -- the end ----------------------------------------------------------------------------------------

    def release(self) -> None:
        """Nothing more will be written. What is not done with stays, for the next start."""
        self._closed = True
        for lane in list(self._lanes):
            self._let_go(lane)
        self._lane = None

    def orphan(self) -> None:
        """This is a forked child: everything here is the parent's, and our copies of its locks must not outlive it."""
        self._closed = True
        for lane in self._lanes:
            lane.abandon()

    def _let_go(self, lane: Lane) -> None:
        self._lanes.remove(lane)
        try:
            lane.release()
        except OSError as exc:
            lane.abandon()
            self._tell(f"{lane.directory} cannot be cleared: {exc.strerror or exc}", exc)


def source_of(write_key: str) -> str:
    """A write key's fingerprint: lanes are named by it, and nobody learns the key."""
    return hashlib.sha256(write_key.encode()).hexdigest()[:12]


def size_of(directory: Path) -> int:
    """Bytes of all segments in a spool."""
    size = 0
    for path in directory.glob(f"*/*{SUFFIX}"):
        try:
            size += path.stat().st_size
        except OSError:  # deleted meanwhile
            continue
    return size
