"""The spool: a directory of lanes. Events are written to our own lane, and lanes of exited processes are adopted."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from _thread import RLock  # see segments.py
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from .._clock import file_time, monotonic
from .._core.record import Place, Stretch, valid
from ..errors import SettingsError, SpoolError
from ..log.files import entries, open_file
from ..log.quarantine import Quarantine
from ..log.segments import SUFFIX, Segment, segments_in
from .lane import Lane, Left
from .lock import HAS_LOCKS, OWNER, owner_of, release_lock, take_lock

__all__ = ["Spool", "source_of"]

AGAIN = 1.0
"""Seconds until a failed lane is made again, or a full spool is checked again."""
QUIET = 60.0
"""Seconds for which a recurring problem is reported only once."""
IN_MEMORY = "events are in memory alone"
NOT_FORCED = "events are written, but not forced to the disk"
HALF_MADE = 60.0
"""Seconds after which a lane without a name counts as abandoned: making one is almost instant."""
HOPELESS = {errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENXIO}
"""Permanent errors of a file. Others may pass: too few descriptors, a missing permission."""


class Spool:
    """Stores the events of one client on disk.

    `append` is for any thread, and for signal handlers and `__del__`; the rest but `sync_now` is the worker's. Disk
    errors are never raised: they are passed to `report`, once, and the event is only in memory.

    Args:
        directory: the spool, made with the first event; several processes may share it.
        source: a fingerprint of the write key. Only lanes of the same source are adopted.
        max_bytes: size limit of the directory. Writes of other processes are counted now and then.
        sync: seconds between two fsyncs; 0 syncs every append, None never syncs.
        report: called with each problem.

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
        self.directory = directory.absolute()  # the process may change its directory later
        self.corrupt = 0
        self._quarantine = Quarantine(self.directory)
        self._source = source
        self._max_bytes = max_bytes
        self._sync = sync
        self._report = report
        self._lock = RLock()
        self._lane: Lane | None = None
        self._lanes: list[Lane] = []  # all that this process owns, adopted ones included
        self._off = ""  # why events are not written
        self._again = 0.0  # when to retry
        self._quiet = 0.0  # until when nothing is reported
        self._used = 0
        self._closed = False

    @property
    def state(self) -> str:
        """`on`, or `off: ` and the reason."""
        return f"off: {self._off}" if self._off else "on"

    # -- writing --------------------------------------------------------------------------------------

    def append(self, record: bytes) -> Place | None:
        """Write an event. None: it is not on disk."""
        if self._closed or (self._again and monotonic() < self._again):
            return None
        size = len(record) + 1
        try:
            lane = self._lane or self._make_lane()
            if self._used + size > self._max_bytes and self._is_full(size):
                return None
            place = lane.append(record)
        except OSError as exc:
            if not self._closed:  # else the call and the close were concurrent
                self._fail(IN_MEMORY, exc.strerror or str(exc), exc)
            return None
        self._used += size  # not exact across threads; the next check corrects it
        if (self._sync != 0.0 or self._force(lane)) and self._off:
            self._off = ""
        return place

    def due_at(self) -> float | None:
        """When the next fsync is due (by monotonic); None if all is synced."""
        lane = self._lane
        since = None if lane is None or lane.log is None or not self._sync else lane.log.dirty_since
        return None if since is None else since + (self._sync or 0.0)

    def sync_now(self) -> None:
        """Sync written events to disk (fsync). Thread-safe."""
        for lane in list(self._lanes):
            self._force(lane)

    def _force(self, lane: Lane) -> bool:
        try:
            lane.sync()
        except OSError as exc:
            self._fail(NOT_FORCED, exc.strerror or str(exc), exc)
            return False
        return True

    def _make_lane(self) -> Lane:
        with self._lock:
            if self._lane is None:
                try:
                    lane = Lane.make(self.directory, self._source, force=self._sync is not None)
                except OSError:
                    self._again = monotonic() + AGAIN
                    raise
                self._again = 0.0
                self._lanes.append(lane)
                if self._lane is None:  # else a signal handler made one, and this one stays empty
                    self._lane = lane
                    self._used = size_of(self.directory)
            return self._lane

    def _is_full(self, more: int) -> bool:
        """Whether the spool is still full after a new check."""
        self._used = size_of(self.directory)
        if self._used + more <= self._max_bytes:
            self._again = 0.0
            return False
        self._again = monotonic() + AGAIN
        self._fail(IN_MEMORY, f"the spool holds {self._used:,} bytes, of spool_max_bytes={self._max_bytes:,}", None)
        return True

    def _fail(self, what: str, why: str, cause: BaseException | None) -> None:
        """Record that events are less safe than they should be, and report it."""
        was_on, self._off = not self._off, why
        if was_on:
            self._tell(f"{what}: {self.directory}: {why}", cause)

    def _tell(self, what: str, cause: BaseException | None, *, always: bool = False) -> None:
        now = monotonic()
        if always or now >= self._quiet:
            if not always:
                self._quiet = now + QUIET
            error = SpoolError(what)
            error.__cause__ = None if cause is None else cause.with_traceback(None)
            self._report(error)

    # -- what the dead have left ------------------------------------------------------------------------

    def adopt(self) -> Iterator[Stretch]:
        """Adopt the lanes of exited processes: yield their unsettled events, the oldest first."""
        for directory in self._lanes_here():
            if not self._is_ours(directory):
                continue
            if directory.name.startswith("."):
                self._clear_half_made(directory)
                continue
            lane = self._take(directory)
            if lane is not None:
                yield from self._adopt(lane)

    def _is_ours(self, lane: Path) -> bool:
        """Whether this is a directory. Entries that no client made are moved to quarantine, also those in it.

        A pipe would block, and a symbolic link would be followed.
        """
        try:
            is_lane = stat.S_ISDIR(lane.lstat().st_mode)
            inside = entries(lane) if is_lane else []
            strangers = [path for path in inside if not stat.S_ISREG(path.lstat().st_mode)]
        except OSError:  # another process has deleted it, or the next step reports the error
            return True
        if not is_lane:
            strangers = [lane]
        for path in strangers:
            self._move_stranger(path, lane)
        return is_lane

    def _move_stranger(self, path: Path, lane: Path) -> None:
        self.corrupt += 1
        became = "is in quarantine"
        try:
            self._quarantine.move(path, lane.name if path == lane else f"{lane.name}-{path.name}")
        except OSError as exc:
            became = f"cannot be put in quarantine: {exc.strerror or exc}"
        self._tell(f"{path} is not a regular file, and {became}", None, always=True)

    def _take(self, directory: Path) -> Lane | None:
        """Return the lane there, if its owner has exited and this release can read it."""
        try:
            lock = self._lock_of(directory)
        except OSError as exc:
            self._tell(f"{directory} cannot be taken over: {exc.strerror or exc}", exc, always=True)
            return None
        if lock is None:
            return None
        owner = owner_of(directory)
        if owner is not None and not owner.known:
            release_lock(lock)
            self._tell(f"{directory} is left alone: its format is none that this release knows", None, always=True)
            return None
        lane = Lane(directory, lock, None)
        self._lanes.append(lane)
        return lane

    @staticmethod
    def _lock_of(directory: Path) -> int | None:
        try:
            return take_lock(directory)
        except FileNotFoundError:
            if segments_in(directory):  # the owner file was deleted, and not the events
                os.close(open_file(directory / OWNER, os.O_WRONLY | os.O_CREAT))
                return take_lock(directory)
        try:
            directory.rmdir()  # the process that was to delete it has exited
        except OSError:
            pass
        return None

    def _clear_half_made(self, directory: Path) -> None:
        """Delete a lane whose maker exited before it had a name: it is empty."""
        try:
            if file_time() - directory.stat().st_mtime > HALF_MADE:
                (directory / OWNER).unlink(missing_ok=True)
                directory.rmdir()
        except OSError:
            pass

    def _lanes_here(self) -> list[Path]:
        """List the lanes of our source, the oldest first; and, with a dot before their names, unfinished ones."""
        ours = (f"{self._source}-", f".{self._source}-")
        try:
            found = [path for path in self.directory.iterdir() if path.name.startswith(ours)]
        except (
            FileNotFoundError,
            NotADirectoryError,
        ):  # no events yet; an append reports errors
            return []
        except OSError as exc:
            self._tell(f"{self.directory} cannot be read: {exc.strerror or exc}", exc, always=True)
            return []
        return sorted(found, key=_changed_at)

    def _adopt(self, lane: Lane) -> Iterator[Stretch]:
        corrupt, trouble = 0, ""
        try:
            for left in lane.look_through():
                if left.error is not None:
                    self._give_up(lane, left.segment, left.error)
                if left.corrupt:
                    corrupt += len(left.corrupt)
                    trouble = self._put_in_quarantine(lane, left) or trouble
                yield from left.stretches
            if lane.empty():
                self._let_go(lane)
        except OSError as exc:
            self._tell(f"{lane.directory} cannot be read: {exc.strerror or exc}", exc, always=True)
        finally:
            if corrupt:
                became = f"cannot be put in quarantine: {trouble}" if trouble else "are in quarantine"
                self._tell(f"{corrupt} pieces of {lane.directory} are no events, and {became}", None, always=True)

    def _give_up(self, lane: Lane, segment: Segment, error: OSError) -> None:
        """Handle a segment that cannot be read to its end: events found in it are delivered."""
        self.corrupt += 1
        what = f"{segment.path} cannot be read: {error.strerror or error}; "
        if error.errno not in HOPELESS or segment.written:
            what += "it is left alone, for another start"
        else:
            try:
                self._quarantine.move(segment.path, f"{lane.directory.name}-{segment.path.name}")
                what += "it is in quarantine"
            except OSError as exc:
                what += f"it cannot be put in quarantine: {exc.strerror or exc}"
        self._tell(what, error, always=True)

    def _put_in_quarantine(self, lane: Lane, left: Left) -> str:
        """Move corrupt pieces to quarantine, for people to inspect. Return the error, if any."""
        self.corrupt += len(left.corrupt)
        try:
            name = f"{lane.directory.name}-{left.segment.base:020d}.bin"
            self._quarantine.put(name, [piece for _, piece in left.corrupt])
            lane.settle([place for place, _ in left.corrupt])
        except OSError as exc:
            return exc.strerror or str(exc)
        return ""

    # -- what there is, and what is done with -----------------------------------------------------------

    def read(
        self, stretch: Stretch, max_events: int, max_bytes: int
    ) -> tuple[list[tuple[Place, bytes]], Stretch | None]:
        """Return the first records of a stretch, and the rest of it. Unreadable ones are skipped."""
        lane, cause = cast("Lane", stretch.lane), None
        fine: list[tuple[Place, bytes]] = []
        rest: Stretch | None = stretch
        while rest is not None and not fine:
            try:
                found, after = lane.read(rest, max_events, max_bytes)
            except OSError as exc:
                found, after, cause = [], lane.beyond(rest), exc
            rest = after
            fine = [(place, record) for place, record in found if valid(record)]
        missing = stretch.count - len(fine) - (rest.count if rest else 0)
        if missing:
            self.corrupt += missing
            why = "" if cause is None else f": {cause.strerror or cause}"
            self._tell(f"{missing} events in {lane.directory} cannot be read any more{why}", cause, always=True)
        return fine, rest

    def settle(self, places: Sequence[Place]) -> None:
        """Settle these events: they leave the spool."""
        if self._closed:  # another process may own the lanes now
            return
        for lane, mine in _by_lane(places).items():
            try:
                lane.settle(mine, tidy=bool(self._off))
            except OSError as exc:
                self._tell(f"what is delivered cannot be noted in {lane.directory}: {exc.strerror or exc}", exc)
            if lane.log is None and lane.empty():
                self._let_go(lane)

    def note_channel(self, places: Sequence[Place], channel: str) -> None:
        """Note events that one channel has settled, and others have not."""
        for lane, mine in _by_lane(places).items():
            try:
                lane.note_channel(mine, channel)
            except OSError as exc:
                self._tell(f"what {channel} has had cannot be noted in {lane.directory}: {exc.strerror or exc}", exc)

    def settled_by(self, place: Place) -> frozenset[str]:
        """Return the channels that had settled an event when the process that recorded it exited."""
        return cast("Lane", place.lane).settled_by(place)

    def written_at(self, place: Place) -> float:
        """When its segment was last written to (by file_time)."""
        return cast("Lane", place.lane).written_at(place)

    # -- the end ----------------------------------------------------------------------------------------

    def release(self) -> None:
        """Close the spool. Unsettled events stay for the next start."""
        self._closed = True
        if self._sync is not None:
            self.sync_now()
        for lane in list(self._lanes):
            self._let_go(lane)
        self._lane = None

    def orphan(self) -> None:
        """Release everything in a forked child: it belongs to the parent, whose locks our copies must not outlive."""
        self._closed = True
        for lane in self._lanes:
            lane.abandon()

    def _let_go(self, lane: Lane) -> None:
        if lane in self._lanes:
            self._lanes.remove(lane)
        try:
            lane.release()
        except OSError as exc:
            self._tell(f"{lane.directory} cannot be cleared: {exc.strerror or exc}", exc)


def _by_lane(places: Sequence[Place]) -> dict[Lane, list[Place]]:
    found: dict[Lane, list[Place]] = {}
    for place in places:
        found.setdefault(cast("Lane", place.lane), []).append(place)
    return found


def source_of(write_key: str) -> str:
    """Return a write key's fingerprint, which names lanes without revealing the key."""
    return hashlib.sha256(write_key.encode()).hexdigest()[:12]


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # deleted since, or reported soon
        return 0.0


def size_of(directory: Path) -> int:
    """Return the bytes of all segments in a spool."""
    size = 0
    for lane, _, names in os.walk(directory):  # skips directories deleted by another process
        for name in names:
            if name.endswith(SUFFIX):
                with suppress(OSError):  # deleted, too
                    size += os.lstat(f"{lane}/{name}").st_size
    return size
