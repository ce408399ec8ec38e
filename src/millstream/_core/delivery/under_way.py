"""The batches that are under way: in flight, waiting for another attempt, or halved, and what they leave room for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .actions import Send
from .batcher import Batch, Batcher
from .policy import Policy

__all__ = ["UnderWay"]


class UnderWay:
    """Which batches hold a slot, and which keys they hold where events are sent in order.

    Args:
        policy: says how many slots there are, and whether order is kept.
    """

    def __init__(self, policy: Policy) -> None:
        self.sent: dict[Batch, Send] = {}
        """In flight."""
        self.waiting: dict[Batch, float] = {}
        """Backing off or limited, and when they may go."""
        self.halves: deque[Batch] = deque()
        """Cut already, in order, waiting for a slot."""
        self._ordered = policy.ordered
        self._max_in_flight = policy.max_in_flight
        self._max_unsettled = max(policy.max_unsettled, policy.max_in_flight)

    def __bool__(self) -> bool:
        return bool(self.sent or self.waiting or self.halves)

    def __iter__(self) -> Iterator[Batch]:
        yield from (*self.sent, *self.waiting, *self.halves)

    @property
    def may_send(self) -> bool:
        """Whether one more request may be in flight."""
        return len(self.sent) < self._max_in_flight

    @property
    def slot_free(self) -> bool:
        """Whether another batch may come under way."""
        return self.may_send and len(self.sent) + len(self.waiting) < self._max_unsettled

    def take_waiting(self, now: float) -> Batch | None:
        """Take the first batch whose time for another attempt has come."""
        for batch, due in self.waiting.items():
            if due <= now:
                del self.waiting[batch]
                return batch
        return None

    def take_next(self, queue: Batcher, now: float) -> Batch | None:
        """Take the next batch that may go for the first time: a half, else one that is due in the queue."""
        held = self._held()
        half = next((batch for batch in self.halves if batch.key not in held), None)
        if half is not None:
            self.halves.remove(half)
            return half
        held |= self._halved()
        due_at = queue.due_at(now, held)
        return queue.cut(now, held) if due_at is not None and due_at <= now else None

    def next_due(self, queue: Batcher, now: float) -> float | None:
        """Return when `take_next` will have a batch."""
        held, halved = self._held(), self._halved()
        if any(batch.key not in held for batch in self.halves):
            return now
        return queue.due_at(now, held | halved)

    def clear(self) -> None:
        """Forget all of them."""
        for emptied in (self.sent, self.waiting, self.halves):
            emptied.clear()

    def _held(self) -> set[str]:
        """Keys of which nothing may be sent until a batch has its outcome."""
        return {batch.key for batch in (*self.sent, *self.waiting)} if self._ordered else set()

    def _halved(self) -> set[str]:
        return {batch.key for batch in self.halves} if self._ordered else set()
