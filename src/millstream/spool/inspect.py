"""Inspection of a spool, without changes: of a running process, of an exited one, or a copy from another machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._core.record import valid
from ..log.segments import Segment, segments_in
from .lane import open_records
from .lock import OWNER, Owner, owner_of, release_lock, take_lock

__all__ = ["LaneInfo", "events", "lanes"]


@dataclass(frozen=True)
class LaneInfo:
    """A lane as it is now. Sizes in bytes, times in seconds (time.time)."""

    path: Path
    source: str
    """The fingerprint of the write key of its events."""
    owner: Owner | None
    """Its owner; None if unknown."""
    alive: bool
    """Whether its owner is running, on this machine."""
    events: int
    """Unsettled events."""
    corrupt: int
    """Corrupt pieces, and segments that cannot be read to their end."""
    size: int
    segments: int
    oldest: float | None
    """When its first segment was begun or last written to; None without segments."""
    newest: float | None

    @property
    def known(self) -> bool:
        """Whether this release can read its format."""
        return self.owner is None or self.owner.known


def lanes(directory: Path) -> list[LaneInfo]:
    """Return the lanes of a spool, the oldest first.

    Raises:
        OSError: the directory cannot be read.
    """
    found = [_look_at(path) for path in directory.iterdir() if _is_lane(path)]
    return sorted(found, key=lambda lane: (lane.oldest or 0.0, lane.path.name))


def events(directory: Path) -> Iterator[bytes]:
    """Yield the unsettled events of a spool, or of one lane: one JSON object each, the oldest lane first.

    Raises:
        OSError: the directory cannot be read.
    """
    paths = [directory] if _is_lane(directory) else [lane.path for lane in lanes(directory)]
    for path in paths:
        for segment in _segments(path):
            try:
                for _, record in open_records(segment):
                    if valid(record):
                        yield record
            except OSError:  # settled since; or counted in `LaneInfo.corrupt`
                continue


def _is_lane(path: Path) -> bool:
    """Whether this is a lane, not one being made or another directory."""
    if path.name.startswith(".") or not path.is_dir():
        return False
    return (path / OWNER).is_file() or bool(segments_in(path))


def _segments(path: Path) -> list[Segment]:
    try:
        return segments_in(path)
    except OSError:
        return []


def _look_at(path: Path) -> LaneInfo:
    segments = _segments(path)
    counts: Counter[bool] = Counter()
    stats: list[os.stat_result] = []
    for segment in segments:
        try:
            stats.append(segment.path.stat())
            for _, record in open_records(segment):
                counts[valid(record)] += 1
        except FileNotFoundError:  # settled since
            continue
        except OSError:
            counts[False] += 1
    return LaneInfo(
        path=path,
        source=path.name.rpartition("-")[0],
        owner=owner_of(path),
        alive=_is_alive(path),
        events=counts[True],
        corrupt=counts[False],
        size=sum(stat.st_size for stat in stats),
        segments=len(stats),
        oldest=min((stat.st_mtime for stat in stats), default=None),
        newest=max((stat.st_mtime for stat in stats), default=None),
    )


def _is_alive(path: Path) -> bool:
    try:
        lock = take_lock(path, to_look=True)
    except OSError:
        return False
    if lock is None:
        return True
    release_lock(lock)
    return False
