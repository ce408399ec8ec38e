"""The ledger: every accepted event is entered once and settled once, and nowhere else.

    accepted == delivered + failed + dropped + pending      at every moment

The calling threads accept, the worker takes over and settles. What both touch is the counters, under a lock
that the client gives: a re-entrant one, because a signal handler may call `track()` while `track()` runs. So nothing
is called between the reading and the writing of a counter: a call is where such a handler, or a `__del__`, cuts in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import msgspec

from ..errors import Abandoned
from ..types import FlushResult
from .receipt import Outcome, Receipt

__all__ = ["Ledger", "Ticket", "Totals"]

Watcher = Callable[[Receipt], object]


class Totals(NamedTuple):
    """The counters at one moment."""

    accepted: int
    delivered: int
    failed: int
    dropped: int
    queue_bytes: int

    @property
    def pending(self) -> int:
        return self.accepted - self.delivered - self.failed - self.dropped


class Ticket:
    """One `flush` or `close` that waits: complete when everything entered before it is settled."""

    def __init__(self, on_done: Callable[[], object]) -> None:
        self.on_done = on_done
        self.epoch = 0
        self.remaining = 0
        self.counts = {"delivered": 0, "failed": 0, "dropped": 0}
        self.unsent: list[bytes] = []

    def count(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        mine = [r for r in receipts if 0 < r._epoch <= self.epoch]
        self.remaining -= len(mine)
        self.counts[outcome.kind] += len(mine)
        if isinstance(outcome.error, Abandoned) and not outcome.error.spooled:
            self.unsent.extend(r.data for r in mine)

    def result(self) -> FlushResult:
        """What became of them, so far."""
        unsent = [msgspec.json.decode(data) for data in self.unsent]
        return FlushResult(**self.counts, pending=self.remaining, unsent=unsent)


class Ledger:
    """The one door through which an event gets its outcome."""

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        announce: Callable[[Sequence[Receipt], Outcome], object],
        max_events: int,
        max_bytes: int,
    ) -> None:
        self._lock = lock
        self._announce = announce
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._accepted = self._delivered = self._failed = self._dropped = self._bytes = 0
        self._watchers: dict[Receipt, list[Watcher]] = {}
        # Only the worker touches what follows.
        self._epoch = 1
        self._inside = 0
        self._tickets: list[Ticket] = []
        self._reported = {"delivered": 0, "failed": 0, "dropped": 0}  # what flushes have counted so far

    # -- the caller's side ------------------------------------------------------------------------

    def accept(self, receipt: Receipt, *, over: bool = True) -> str | None:
        """Count an event in. Returns the bound that it goes over, if it does; an empty queue takes any event.

        One that goes over is counted all the same, to be settled as dropped; or not at all, unless `over`.
        """
        size = len(receipt.data)
        with self._lock:
            pending = self._accepted - self._delivered - self._failed - self._dropped
            size = self._bytes + size
            full = pending >= self._max_events or (pending > 0 and size > self._max_bytes)
            if over or not full:
                self._accepted += 1
                self._bytes = size
        if not full:
            return None
        if pending >= self._max_events:
            return f"max_queue_events={self._max_events:,}"
        return f"max_queue_bytes={self._max_bytes:,}"

    def reject(self, receipt: Receipt, outcome: Outcome) -> None:
        """Settle an event that was never accepted: its receipt says why, and no counter knows of it."""
        receipt._outcome = outcome
        _run_all(self._watchers.pop(receipt, None), receipt)

    def watch(self, receipt: Receipt, watcher: Watcher) -> None:
        """Call `watcher(receipt)` once, when the receipt has its outcome: now, if it has.

        Two threads may be here and in `settle` at once. Whoever pops a watcher off the list runs it, and
        `list.pop` is atomic: so each runs once, and none is forgotten.
        """
        watchers = self._watchers.setdefault(receipt, [])
        watchers.append(watcher)
        if receipt._outcome is not None:
            self._watchers.pop(receipt, None)
            _run_all(watchers, receipt)

    def totals(self) -> Totals:
        """All counters, of one and the same moment."""
        with self._lock:
            return Totals(self._accepted, self._delivered, self._failed, self._dropped, self._bytes)

    # -- the worker's side ------------------------------------------------------------------------

    def enter(self, receipts: Sequence[Receipt]) -> None:
        """The worker has taken these over: from here on a flush waits for them."""
        epoch = self._epoch
        self._inside += len(receipts)
        for receipt in receipts:
            receipt._epoch = epoch

    def replace(self, receipt: Receipt, data: bytes) -> None:
        """Plugins have made something else of the event: from here on these are its bytes."""
        growth = len(data) - len(receipt.data)
        with self._lock:
            self._bytes += growth
            receipt.data = data

    def open(self, ticket: Ticket) -> None:
        """Start to wait for everything entered so far; what comes later belongs to the next epoch."""
        now = self.totals()
        ticket.epoch = self._epoch
        ticket.remaining = self._inside
        for kind, reported in self._reported.items():
            self._reported[kind] = getattr(now, kind)
            ticket.counts[kind] = self._reported[kind] - reported
        self._epoch += 1
        self._tickets.append(ticket)
        self._complete()

    def withdraw(self, ticket: Ticket) -> None:
        """Whoever waited has gone: what this flush has not counted is for the next to count."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)

    def give_up(self) -> None:
        """Nothing more will be settled before the close: whoever waits is told how far it came."""
        tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            ticket.on_done()

    # -- the one door -----------------------------------------------------------------------------

    def settle(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        """Give these events their outcome: counters, receipts, callbacks, listeners, flushes, in this order."""
        count, size, kind = len(receipts), sum([len(r.data) for r in receipts]), outcome.kind
        with self._lock:
            self._bytes -= size
            if kind == "delivered":
                self._delivered += count
            elif kind == "dropped":
                self._dropped += count
            else:
                self._failed += count
        for receipt in receipts:
            receipt._outcome = outcome
        if self._watchers:
            for receipt in receipts:
                _run_all(self._watchers.pop(receipt, None), receipt)
        self._announce(receipts, outcome)
        if receipts and receipts[0]._epoch:  # else refused at the call: the worker never had it
            self._inside -= count
            if self._tickets:
                self._count(receipts, outcome)

    def _count(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        newest = self._tickets[-1].epoch
        self._reported[outcome.kind] += len([r for r in receipts if r._epoch <= newest])
        for ticket in self._tickets:
            ticket.count(receipts, outcome)
        self._complete()

    def _complete(self) -> None:
        for ticket in [t for t in self._tickets if t.remaining == 0]:
            self._tickets.remove(ticket)
            ticket.on_done()


def _run_all(watchers: list[Watcher] | None, receipt: Receipt) -> None:
    while watchers:
        try:
            watcher = watchers.pop(0)
        except IndexError:  # the other thread took the last one
            return
        watcher(receipt)
