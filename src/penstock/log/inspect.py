"""What is in a spool, for people: read, and never changed. Of a living process, of a dead one, or of a dead machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._core.log import valid
from .lane import FORMAT, Owner, open_records, owner_of, take_lock
from .segments import segments_in

__all__ = ["LaneInfo", "events", "lanes"]


@dataclass(frozen=True)
class LaneInfo:
    """One lane, as it is now. Sizes in bytes, times in seconds (time.time)."""

    path: Path
    source: str
    """The fingerprint of the write key that its events were recorded with."""
    owner: Owner | None
    """Who made it; None if that cannot be read."""
    alive: bool
    """Whether the process that has it lives, on this machine."""
    events: int
    """Those that are not done with."""
    corrupt: int
    """Pieces that are no events."""
    size: int
    segments: int
    oldest: float | None
    """When its first segment was begun or last written to; None if there is none."""
    newest: float | None

    @property
    def known(self) -> bool:
        """Whether its format is one that this release reads."""
        return self.owner is not None and self.owner.format == FORMAT


def lanes(directory: Path) -> list[LaneInfo]:
    """The lanes of a spool, the oldest first.

    Raises:
        OSError: the directory cannot be read.
    """
    found = [_look_at(path) for path in directory.iterdir() if _is_lane(path)]
    return sorted(found, key=lambda lane: (lane.oldest or 0.0, lane.path.name))


def events(directory: Path) -> Iterator[bytes]:
    """The events of a spool, or of one lane, that are not done with: one JSON object each, the oldest lane first.

    Raises:
        OSError: the directory cannot be read.
    """
    paths = [directory] if _is_lane(directory) else [lane.path for lane in lanes(directory)]
    for path in paths:
        for segment in segments_in(path):
            for _, record in open_records(segment):
                if valid(record):
                    yield record


def _is_lane(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and "-" in path.name and path.name != "aside"


def _look_at(path: Path) -> LaneInfo:
    segments = segments_in(path)
    counts = {True: 0, False: 0}
    for segment in segments:
        try:
            for _, record in open_records(segment):
                counts[valid(record)] += 1
        except OSError:
            counts[False] += 1
    stats = [segment.path.stat() for segment in segments]
    return LaneInfo(
        path=path,
        source=path.name.rpartition("-")[0],
        owner=owner_of(path),
        alive=_is_alive(path),
        events=counts[True],
        corrupt=counts[False],
        size=sum(stat.st_size for stat in stats),
        segments=len(segments),
        oldest=min((stat.st_mtime for stat in stats), default=None),
        newest=max((stat.st_mtime for stat in stats), default=None),
    )


def _is_alive(path: Path) -> bool:
    lock = take_lock(path)
    if lock is None:
        return owner_of(path) is not None
    os.close(lock)
    return False
