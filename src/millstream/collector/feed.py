"""The feed: the last events received and counts of them, in memory, bounded, shared by all watchers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec

from .events import Accepted, Kept, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

Kind: TypeAlias = Literal["stored", "duplicate", "rejected", "refused", "empty"]
"""The outcome of an event. The last two are for requests: refused as a whole, or without events."""

SECONDS = 300
"""Seconds for which there are counts per second."""
MAX_SOURCES = 1000
"""A limit on sources: where no write keys are configured, clients can make up any number."""
_OVERHEAD = 200
"""Bytes of memory that an event takes beside its line."""


class Entry(NamedTuple):
    """A received event: its number, outcome, source, time (seconds since the epoch) and JSON.

    `reason` is a code, for one that was not stored; `line` is empty where the event cannot be shown. For a request
    it is the answer.
    """

    id: int
    kind: Kind
    source: str
    at: float
    line: bytes
    reason: str = ""
    position: int | None = None
    """Where it is in the log, if it is there."""


Events: TypeAlias = Kept | Sequence[Accepted | Rejection]
"""Events of one request: stored ones, or others."""


class _Group(msgspec.Struct, frozen=True, gc=False):
    """Events of one request, numbered from `first` on."""

    first: int
    kind: Kind
    source: str
    at: float
    events: Events
    count: int
    bytes: int
    position: int | None = None

    def entries(self, after: int) -> Iterator[Entry]:
        first = max(self.first, after + 1)
        skipped = first - self.first
        if isinstance(self.events, Kept):
            position = self.position
            for number, line in enumerate(self.events.lines(), self.first):
                if number >= first:
                    yield Entry(number, self.kind, self.source, self.at, line, position=position)
                if position is not None:
                    position += len(line) + 1
            return
        for number, event in enumerate(islice(self.events, skipped, None), first):
            reason = event.reason if isinstance(event, Rejection) else ""
            yield Entry(number, self.kind, self.source, self.at, event.line, reason)


class Feed:
    """Remembers the last events received, with their outcomes.

    Publishing notifies no watcher: watchers poll `entries`, and a slow one finds that events are gone. Not thread-safe:
    publish and watch on the event loop.

    Args:
        size: the number of events to remember, at least.
        max_bytes: bytes of memory, roughly; limits `size` where events are large.
    """

    def __init__(self, size: int = 10_000, *, max_bytes: int = 64 << 20) -> None:
        self.size = size
        self.max_bytes = max_bytes
        self.last = 0
        """The number of the latest event; the first was 1."""
        self.closed = False
        self.tally = Tally()
        self._groups: deque[_Group] = deque()
        self._held = 0
        self._bytes = 0

    def publish(self, kind: Kind, events: Events, source: str, at: datetime, position: int | None = None) -> None:
        """Remember the events of one request. The sequence is not copied: do not change it afterwards.

        Args:
            kind: the outcome of all of them.
            events: in their order.
            source: the name of the write key, never the key itself.
            at: the time of receipt.
            position: of the first of them in the log.
        """
        count = len(events)
        if not count:
            return
        moment = at.timestamp()
        size = len(events.text) if isinstance(events, Kept) else sum(len(event.line) + _OVERHEAD for event in events)
        self._groups.append(_Group(self.last + 1, kind, source, moment, events, count, size, position))
        self.last += count
        self._held += count
        self._bytes += size
        self.tally.add(kind, events, source, moment)
        while len(self._groups) > 1 and (
            self._bytes > self.max_bytes or self._held - self._groups[0].count >= self.size
        ):
            oldest = self._groups.popleft()
            self._held -= oldest.count
            self._bytes -= oldest.bytes

    def refuse(self, reason: str, message: str, source: str, at: datetime) -> None:
        """Remember a refused request, by its answer.

        Not by its body, which may hold a write key.
        """
        self.answer("refused", reason, {"success": False, "code": reason, "message": message}, source, at)

    def answer(self, kind: Kind, reason: str, answer: dict[str, Any], source: str, at: datetime) -> None:
        """Remember a request without events to show, by its answer."""
        self.publish(kind, [Rejection(0, reason, msgspec.json.encode(answer))], source, at)

    def close(self) -> None:
        """End the streams of all watchers, so that a server can stop. Safe in a signal handler."""
        self.closed = True

    @property
    def first(self) -> int:
        """The number of the oldest remembered event; `last + 1` without one."""
        return self._groups[0].first if self._groups else self.last + 1

    def entries(self, after: int) -> Iterator[Entry]:
        """Yield the events after this number, oldest first. Publish nothing while you iterate."""
        newer: list[_Group] = []
        for group in reversed(self._groups):
            if group.first + group.count <= after + 1:
                break
            newer.append(group)
        for group in reversed(newer):
            yield from group.entries(after)

    def get(self, number: int) -> Entry | None:
        """Return the event with this number, if it is still remembered."""
        return next((entry for entry in self.entries(number - 1) if entry.id == number), None)


class Tally:
    """Counts of events: since the start, by type and by source, and in each of the last seconds."""

    def __init__(self) -> None:
        self.kinds: dict[Kind, int] = {}
        self.types: Counter[str] = Counter()
        self._sources: dict[str, dict[Kind, int]] = {}  # the most recent source last
        self._seconds: dict[int, dict[Kind, int]] = {}

    def add(self, kind: Kind, events: Events, source: str, at: float) -> None:
        count, second = len(events), int(at)
        if isinstance(events, Kept):
            for each, number in events.types.items():
                self.types[each] += number
        of_source = self._sources[source] = self._sources.pop(source, {})
        in_second = self._seconds.get(second) or self._begin(second)
        for counts in (self.kinds, of_source, in_second):
            counts[kind] = counts.get(kind, 0) + count
        if len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]

    def snapshot(self, since: int, *, sources: int = 50) -> dict[str, Any]:
        """The counts as they are sent: the seconds from `since` on, and the most recent `sources`."""
        latest = list(reversed(self._sources.items()))[:sources]
        return {
            "kinds": self.kinds,
            "types": self.types,
            "sources": [{"source": source, **counts} for source, counts in latest],
            "seconds": [{"at": second, **counts} for second, counts in self._seconds.items() if second >= since],
        }

    def _begin(self, second: int) -> dict[Kind, int]:
        if len(self._seconds) >= SECONDS:
            self._seconds = {each: counts for each, counts in self._seconds.items() if each > second - SECONDS}
        counts = self._seconds[second] = {}
        return counts
