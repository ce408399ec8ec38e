"""Batching: the queue of waiting events, and the batches cut from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import accumulate, islice, takewhile
from typing import Protocol, cast

from ...errors import Abandoned, DeliveryError, TransportError
from ...spec import MAX_EVENT_BYTES

__all__ = ["Batch", "Batcher", "Item"]

PATIENCE = 8
"""Refusals in a row, beyond those that lead to one bad event, before a bisection ends."""


class Item(Protocol):
    """The part of an event that batching uses: its bytes."""

    @property
    def data(self) -> bytes: ...


class KeyedItem(Item, Protocol):
    """An event that shares a batch with those of its key only."""

    @property
    def key(self) -> str: ...


class OrderedItem(Item, Protocol):
    """An event that shares a batch with those of its queue only, and is sent in order with them."""

    @property
    def queue(self) -> str: ...


class Batch:
    """Events sent together, and the history of their attempts."""

    __slots__ = (
        "attempts",
        "attempts_before",
        "began",
        "bisection",
        "failures",
        "first_failure",
        "items",
        "key",
        "last",
        "limited",
        "reauthorized",
        "resting",
    )

    def __init__(self, items: list[Item], key: str = "") -> None:
        self.items = items
        self.key = key  # that its events share
        self.attempts = 0  # all of them: sent as X-Retry-Count
        self.began: float | None = None  # when it was first sent
        self.failures = 0  # those that count against max_retries
        self.first_failure: float | None = None  # start of max_total_backoff_duration
        self.last: DeliveryError | None = None  # the error of its last attempt
        self.limited = False  # whether it waits because the server asked for it
        self.resting = False  # whether it waits because its retries are exhausted
        self.attempts_before = 0  # attempts before its last rest
        self.reauthorized = False  # whether it was retried with a fresh token
        self.bisection: Bisection | None = None  # the search that it is part of

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches in the same order, each with the history of this one."""
        middle = len(self.items) // 2
        return self.part(self.items[:middle]), self.part(self.items[middle:])

    def part(self, items: list[Item]) -> Batch:
        """Return a batch of some of these events, with the history of this one."""
        part = Batch(items, self.key)
        part.attempts, part.failures = self.attempts, self.failures
        part.first_failure, part.reauthorized = self.first_failure, self.reauthorized
        part.attempts_before, part.last = self.attempts_before, self.last
        part.bisection, part.began = self.bisection, self.began
        return part

    def worth_splitting(self) -> bool:
        """Note that the server refused what the batch holds. Return whether its halves are worth a request each."""
        if self.bisection is None:
            self.bisection = Bisection(len(self.items).bit_length() + PATIENCE)
        self.bisection.refusals += 1
        return len(self.items) > 1 and self.bisection.refusals <= self.bisection.limit

    def accepted(self) -> None:
        """Note that the server accepted a part: earlier refusals were about bad events, not the host."""
        if self.bisection is not None:
            self.bisection.refusals = 0

    def abandoned(self, *, under_way: bool) -> Abandoned:
        """Make the error for a close at its deadline, with the last error as its cause."""
        error = Abandoned()
        error.__cause__ = self.last
        if under_way and self.last is None:
            error.__cause__ = TransportError("no answer yet")
            error.__cause__.__cause__ = TimeoutError("the client closed first")
        return error

    def rest(self) -> None:
        """Reset the retries, which are exhausted: the batch is kept and rests."""
        self.resting = True
        self.attempts_before = self.attempts
        self.failures, self.first_failure, self.reauthorized = 0, None, False


@dataclass
class Bisection:
    """A search for the events that a server refuses, in the halves of the batch that it refused.

    One bad event among n is found after about log2(n) refusals. A host that refuses every event would be asked
    twice for each: when more refusals follow each other than a single bad event explains, the halves that are refused
    from there on fail as they are.
    """

    limit: int
    refusals: int = 0  # since the last success


class Batcher:
    """A queue that knows when a batch is due, and cuts the largest one that fits.

    `flush_at` starts a flush, it does not limit a batch: a backlog is sent in as few requests as the limits allow.
    Events with different keys never share a batch: a batch takes all events of the key that has waited longest.

    Args:
        flush_at: events that make a batch due; as many as fill one (`max_events`) always do.
        flush_interval: seconds after which the oldest event makes it due.
        linger: seconds for which a batch that is due by its number waits for more events: a request costs as much as
            many events, and in a burst many more arrive within the linger.
        max_events: events in a batch, at most.
        max_bytes: bytes of a request body, at most.
        overhead: bytes of a request body that are not events.
        keyed: whether events have a `key`.
        ordered: whether they have a `queue`, which then is the key that counts.
    """

    def __init__(
        self,
        *,
        flush_at: int,
        flush_interval: float,
        max_events: int,
        max_bytes: int,
        overhead: int,
        linger: float = 0.0,
        keyed: bool = False,
        ordered: bool = False,
    ) -> None:
        self._flush_at = min(flush_at, max_events)
        self._interval = flush_interval
        self.linger = linger
        self._max_events = max_events
        self._room = max_bytes - overhead + 1  # the last event needs no comma
        self._key_of = _queue_of if ordered else _key_of if keyed else None
        # A key that leaves something behind its cut goes to the end, so that none waits indefinitely behind a busy one.
        # Its rest may then be cut one interval late, if ever there is so little to send.
        self._queues: dict[str, _Queue] = {}
        self._full: set[str] = set()  # keys that fill a batch
        self._forced: dict[str, int] = {}  # of each key, how many of its events are due
        self._length = 0
        self._bytes = 0
        self._due_since: float | None = None  # since when enough events wait for a batch

    def __len__(self) -> int:
        return self._length

    @property
    def full(self) -> bool:
        """Whether a largest batch could be filled."""
        return bool(self._full)

    def missing(self) -> int | None:
        """The number of events after which a batch is due, at least one; fewer, if their bytes might suffice.

        None for a batch that lingers: it is due soon, even if it is full before.
        """
        if self._due_since is not None:
            return None
        by_bytes = (self._room - self._bytes) // (MAX_EVENT_BYTES + 1)
        return max(1, min(self._flush_at - self._length, by_bytes))

    def put(self, items: Sequence[Item], now: float) -> None:
        """Add events at the end."""
        if self._key_of is not None:
            alike: dict[str, list[Item]] = {}
            for item in items:
                alike.setdefault(self._key_of(item), []).append(item)
            for key, those in alike.items():
                self._put(key, those, now)
        else:
            self._put("", items, now)
        self._length += len(items)
        if self._due_since is None and self._length >= self._flush_at:
            self._due_since = now

    def _put(self, key: str, items: Sequence[Item], now: float) -> None:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        size = sum([len(item.data) for item in items]) + len(items)
        queue.put(items, size, now)
        self._bytes += size
        if len(queue.items) >= self._max_events or queue.size >= self._room:
            self._full.add(key)

    def force(self) -> None:
        """Make all events in the queue due; not later ones."""
        self._forced = {key: len(queue.items) for key, queue in self._queues.items()}

    def due_at(self, now: float, held: AbstractSet[str] = frozenset()) -> float | None:
        """When the next batch is due: `now` if it is, None for an empty queue. None is cut of the keys in `held`."""
        key = self._first(held)
        if key is None:
            return None
        if not (self._full <= held and self._forced.keys() <= held):
            return now
        due = self._queues[key].since + self._interval
        if self._due_since is not None:
            due = min(due, self._due_since + self.linger)
        return max(now, due)

    def _first(self, held: AbstractSet[str]) -> str | None:
        """The key that has waited longest, of those that are not held."""
        return next((key for key in self._queues if key not in held), None) if self._length else None

    def cut(self, now: float, held: AbstractSet[str] = frozenset()) -> Batch:
        """Cut the largest batch that fits, of the key that has waited longest: at least one event."""
        key = self._first(held)
        assert key is not None  # noqa: S101 - only what is due is cut
        queue = self._queues[key]
        items, size = queue.cut(self._max_events, self._room)
        self._length -= len(items)
        self._bytes -= size
        if len(self._queues) > 1 or not queue.items:
            del self._queues[key]
            if queue.items:
                self._queues[key] = queue
        if len(queue.items) < self._max_events and queue.size < self._room:
            self._full.discard(key)
        if (forced := self._forced.pop(key, 0) - len(items)) > 0:
            self._forced[key] = forced
        self._due_since = now if self._length >= self._flush_at else None
        return Batch(items, key)

    def clear(self) -> list[Item]:
        """Remove and return all events."""
        items = [item for queue in self._queues.values() for item in queue.items]
        self._queues, self._full, self._forced = {}, set(), {}
        self._length, self._bytes, self._due_since = 0, 0, None
        return items


def _key_of(item: Item) -> str:
    return cast("KeyedItem", item).key


def _queue_of(item: Item) -> str:
    return cast("OrderedItem", item).queue


class _Queue:
    """The events of one key, in order.

    Positions count all events ever put. An arrival is the position after events put together, with the time: the
    age of the oldest is known, and no event carries a time.
    """

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.size = 0
        self._cut = 0
        self._put = 0
        self._arrivals: deque[tuple[int, float]] = deque()

    @property
    def since(self) -> float:
        """When the oldest event was put."""
        return self._arrivals[0][1]

    def put(self, items: Sequence[Item], size: int, now: float) -> None:
        """Add events at the end."""
        self.items.extend(items)
        self.size += size
        self._put += len(items)
        self._arrivals.append((self._put, now))

    def cut(self, max_events: int, room: int) -> tuple[list[Item], int]:
        """Take events from the front: as many as there is room for, at least one. Return them, and their bytes."""
        items = self.items
        sizes = (len(item.data) + 1 for item in islice(items, max_events))
        ends = list(takewhile(room.__ge__, accumulate(sizes)))
        count, size = (len(ends), ends[-1]) if ends else (1, len(items[0].data) + 1)
        self.size -= size
        self._cut += count
        while self._arrivals and self._arrivals[0][0] <= self._cut:
            self._arrivals.popleft()
        return [items.popleft() for _ in range(count)], size
