"""A lane: one writer's log in a spool, the lock that says whether it lives, and the notes of what is done with.

    <source>-<random>/              made under a name with a dot before it, locked, then renamed
        owner.json                  locked (flock) by the owner for as long as it lives; says who that is, for people
        00000000000000000000.jsonl  a segment
        00000000000000000000.done   which of its records are done with

The lock is the truth: the kernel lets go of it when the process dies, however it dies. A process number says nothing
in a container, where everybody is number 1.
"""

from __future__ import annotations

import os
import secrets
import socket
from _thread import RLock  # see segments.py
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from .._core.log import Place, Ranges, Stretch, joined, note, notes, records, valid
from .._version import __version__
from .segments import Log, Segment, segments_in

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None

__all__ = ["FORMAT", "HAS_LOCKS", "OWNER", "Lane", "Left", "Owner", "open_records", "owner_of", "take_lock"]

FORMAT = 1
OWNER = "owner.json"
DONE = ".done"
HAS_LOCKS = fcntl is not None
SEGMENT_BYTES = 8 << 20
CHUNK = 1 << 20
LARGE = 1 << 20
"""Bytes from which a segment that is written to, and all done with, is deleted rather than gone on with."""


class Owner(msgspec.Struct):
    """Who made a lane."""

    format: int
    host: str = ""
    pid: int = 0
    started: str = ""
    penstock: str = ""


def owner_of(directory: Path) -> Owner | None:
    """What a lane says of its owner; None if it cannot be read."""
    try:
        return msgspec.json.decode((directory / OWNER).read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError, ValueError):  # a DecodeError is no ValueError in older releases
        return None


def take_lock(directory: Path) -> int | None:
    """The lock of a lane whose owner is dead, as a descriptor; None if it lives, or somebody else was faster."""
    path = directory / OWNER
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(path.stat(), os.fstat(file)):  # else it was deleted by whoever had the lock before
            return file
    except OSError:
        pass
    os.close(file)
    return None


class Left(NamedTuple):
    """What was found in one segment of a lane: events that are not done with, and pieces that are no events."""

    segment: Segment
    stretches: list[Stretch]
    corrupt: list[tuple[Place, bytes]]


class Lane:
    """One lane that is ours: because we made it, or because its owner is dead and we have its lock.

    Its own records come in through `append`, in any thread; all else is for the worker.
    """

    def __init__(self, directory: Path, lock: int, log: Log | None) -> None:
        self.directory = directory
        self.log = log
        self._lock = lock
        self._segments: list[Segment] = []  # of an adopted lane: those that were looked through, and are not done with
        self._complete = True  # whether all of it was looked through
        self._unnoted: dict[Path, list[Place]] = {}  # where the disk did not take it
        self._guard = RLock() if log is None else log.lock

    @classmethod
    def make(cls, spool: Path, source: str) -> Lane:
        """A lane of our own.

        Raises:
            OSError: it cannot be made.
        """
        spool.mkdir(parents=True, exist_ok=True)
        name = f"{source}-{secrets.token_hex(8)}"
        hidden = spool / f".{name}"  # until it is locked nobody is to take it for a dead one's
        hidden.mkdir()
        lock = os.open(hidden / OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(lock, _who_we_are())
            hidden.rename(spool / name)
        except OSError:
            os.close(lock)
            raise
        return cls(spool / name, lock, Log(spool / name, segment_bytes=SEGMENT_BYTES))

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

    def look_through(self) -> Iterator[Left | OSError]:
        """What a dead owner has left, a segment at a time, the oldest first; or why a segment cannot be read.

        Until this is at its end, the lane is not done with, whatever becomes of what was found so far.
        """
        self._complete = False
        whole = True
        for segment in segments_in(self.directory):
            left = Left(segment, [], [])
            try:
                self._look_through(left)
            except OSError as exc:
                whole = False
                exc.filename = os.fspath(segment.path)
                yield exc
            else:
                self._segments.append(segment)
                yield left
        self._complete = whole

    def _look_through(self, left: Left) -> None:
        for start, record in open_records(left.segment):
            left.segment.written += 1
            place = Place(self, start, start + len(record) + 1)
            if not valid(record):
                left.corrupt.append((place, record))
                continue
            stretch = Stretch.of(place)
            both = joined(left.stretches[-1], stretch) if left.stretches else None
            if both is None:
                left.stretches.append(stretch)
            else:
                left.stretches[-1] = both

    def written_at(self, place: Place) -> float:
        """When its segment was last written to; 0 if it is gone."""
        try:
            return self._segment_of(place.start).path.stat().st_mtime
        except OSError:
            return 0.0

    # -- what there is, and what is done with -----------------------------------------------------------

    def read(
        self, stretch: Stretch, max_events: int, max_bytes: int
    ) -> tuple[list[tuple[Place, bytes]], Stretch | None]:
        """The first records of a stretch, at least one, and what is left of it.

        Raises:
            OSError: they cannot be read.
        """
        segment = self._segment_of(stretch.start)
        found: list[tuple[Place, bytes]] = []
        size, end = 0, stretch.start
        for start, record in _read(segment, stretch.start, stretch.end):
            end = start + len(record) + 1
            found.append((Place(self, start, end), record))
            size += len(record)
            if size >= max_bytes or len(found) >= max_events:
                break
        else:
            after = [each for each in segments_in(self.directory) if stretch.start < each.base < stretch.end]
            if not after:
                return found, None
            end = after[0].base
        left = stretch.count - len(found)
        return found, Stretch(self, end, stretch.end, left) if left > 0 else None

    def settle(self, places: Sequence[Place], *, tidy: bool = False) -> None:
        """Note that these are done with, and delete what nobody needs any more.

        With `tidy`, also the segment that is written to, if all in it is done with: where room on the disk is short.

        Raises:
            OSError: it could not be noted: it is with the next ones, and done with all the same.
        """
        by_segment: dict[Path, tuple[Segment, list[Place]]] = {}
        for place in places:
            segment = self._segment_of(place.start)
            by_segment.setdefault(segment.path, (segment, []))[1].append(place)
        for segment, mine in by_segment.values():
            segment.settled += len(mine)
        over = self._sweep(tidy)
        for segment, mine in by_segment.values():
            if segment not in over:
                self._note(segment, mine)

    def _sweep(self, tidy: bool) -> list[Segment]:
        """Delete the segments that are done with. Which?"""
        over: list[Segment] = []
        with self._guard:  # so that nobody is in the middle of an append to one
            for segment in list(self._known()):
                if segment.settled >= segment.written and self._may_go(segment, tidy):
                    over.append(segment)
                    if self.log is None:
                        self._segments.remove(segment)
                    else:
                        self.log.drop(segment)
        for segment in over:
            _delete(segment)
            self._unnoted.pop(segment.path, None)
        return over

    def _may_go(self, segment: Segment, tidy: bool) -> bool:
        active = self.log is not None and segment is self.log.active
        return not segment.busy and (tidy or not active or segment.path.stat().st_size >= LARGE)

    def _note(self, segment: Segment, places: Sequence[Place]) -> None:
        all_of_them = [*self._unnoted.pop(segment.path, []), *places]
        try:
            _append(segment.path.with_suffix(DONE), note(all_of_them))
        except OSError:
            self._unnoted[segment.path] = all_of_them
            raise

    def _segment_of(self, position: int) -> Segment:
        with self._guard:
            found = [s for s in self._known() if s.base <= position]
        return max(found, key=lambda segment: segment.base)

    def _known(self) -> list[Segment]:
        return self._segments if self.log is None else self.log.segments

    def empty(self) -> bool:
        """Whether all its records are done with."""
        with self._guard:
            return self._complete and all(segment.settled >= segment.written for segment in self._known())

    def release(self) -> None:
        """Let go: of a lane that is done with nothing stays, the others are for whoever starts next."""
        over = self.empty()
        if self.log is not None:
            self.log.close()
        if over:
            self._delete()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the lock and the files, and touch nothing: this is a forked child, or the end."""
        if self.log is not None:
            self.log.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _delete(self) -> None:
        for segment in segments_in(self.directory):
            _delete(segment)
        for path in self.directory.iterdir():
            path.unlink(missing_ok=True)
        self.directory.rmdir()


def open_records(segment: Segment) -> Iterator[tuple[int, bytes]]:
    """The records of a segment that are not done with, and their positions.

    Raises:
        OSError: it cannot be read.
    """
    try:
        done = notes(segment.path.with_suffix(DONE).read_bytes())
    except OSError:
        done = Ranges()
    for start, record in _read(segment, segment.base, None):
        if start not in done:
            yield start, record


def _who_we_are() -> bytes:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    who = Owner(FORMAT, socket.gethostname(), os.getpid(), now, __version__)
    return msgspec.json.encode(who) + b"\n"


def _read(segment: Segment, start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """The records of a segment from a position to another (None: its end), a megabyte in memory at a time."""
    with segment.path.open("rb") as file:
        position, rest = start, b""
        file.seek(start - segment.base)
        while end is None or position + len(rest) < end:
            most = CHUNK if end is None else min(CHUNK, end - position - len(rest))
            data = file.read(most)
            data, whole = rest + data, not data
            cut = len(data) if whole else 1 + max(data.rfind(b"\n"), data.rfind(b"\0"))
            yield from records(data[:cut], position)
            position, rest = position + cut, data[cut:]
            if whole:
                return
        yield from records(rest, position)


def _delete(segment: Segment) -> None:
    """The records first: notes without records say nothing, records without notes would be sent again."""
    segment.path.unlink(missing_ok=True)
    segment.path.with_suffix(DONE).unlink(missing_ok=True)


def _append(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        os.write(file, data)
    finally:
        os.close(file)
