"""The ledger: every accepted event is entered once and settled once, and nowhere else.

    accepted == delivered + failed + dropped + pending      at every moment

The calling threads accept, the worker takes over and settles. What both touch is the counters, under a lock
that the client gives: a re-entrant one, because a signal handler may call `track()` while `track()` runs. So nothing
is called between the reading and the writing of a counter: a call is where such a handler, or a `__del__`, cuts in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple, Protocol

from .receipt import Outcome, Receipt
from .ticket import Ticket, exposed

__all__ = ["COUNTED", "COUNTED_ON_DISK", "Ledger", "Totals"]

Watcher = Callable[[Receipt], object]
COUNTED, COUNTED_ON_DISK = -1, -2
"""A receipt's epoch from its call until the worker has entered it."""


class Lock(AbstractContextManager[Any], Protocol):
    """A re-entrant lock."""

    def acquire(self) -> bool: ...

    def release(self) -> None: ...


class Totals(NamedTuple):
    """The counters at one moment."""

    accepted: int
    delivered: int
    failed: int
    dropped: int
    spooled: int
    queue_bytes: int

    @property
    def pending(self) -> int:
        return self.accepted - self.delivered - self.failed - self.dropped


class Ledger:
    """The one door through which an event gets its outcome."""

    def __init__(
        self,
        lock: Lock,
        announce: Callable[[Sequence[Receipt], Outcome], object],
        max_events: int,
        max_bytes: int,
        forget: Callable[[Sequence[Receipt]], object] | None = None,
    ) -> None:
        self._lock = lock
        self._announce = announce
        self._forget = forget
        self._max_events = max_events
        self._max_bytes = max_bytes
        # All events that were accepted; those in memory, which are pending and not on disk alone; and their bytes.
        self._counts = (0, 0, 0)
        self._ended = {"delivered": 0, "failed": 0, "dropped": 0}
        self._spooled = 0
        self._watchers: dict[Receipt, list[Watcher]] = {}
        # Only the worker touches what follows.
        self._epoch = 1
        self._inside = 0
        self._exposed = 0  # the part of them that is in no spool
        self._tickets: list[Ticket] = []
        self._copies: Counter[int] = Counter()  # of events that go to several destinations, by epoch
        self._reported = {"delivered": 0, "failed": 0, "dropped": 0}  # what flushes have counted so far

    @property
    def epoch(self) -> int:
        """What is entered now belongs to this one: flushes wait for all epochs before their own."""
        return self._epoch

    @property
    def exposed(self) -> int:
        """How many that have no outcome are in no spool, as far as the worker knows."""
        return self._exposed

    # -- the caller's side ------------------------------------------------------------------------

    def accept(self, receipt: Receipt) -> str | None:
        """Count an event in. Returns the bound that it would go over, and then counts nothing.

        An empty queue takes any event.
        """
        size, lock, new = len(receipt.data), self._lock, None
        try:  # by hand: `with` takes twice as long, in every call
            lock.acquire()
            accepted, events, used = self._counts
            size += used
            full = events >= self._max_events or (size > self._max_bytes and events > 0)
            if not full:
                new = (accepted + 1, events + 1, size)
                self._counts = new
                receipt._epoch = COUNTED
        except BaseException:  # a signal handler's: it cuts in where something is called, and so in `acquire` or behind
            if self._counts is new:
                receipt._epoch = COUNTED
            with suppress(RuntimeError):
                lock.release()
            raise
        lock.release()
        if not full:
            return None
        if events >= self._max_events:
            return f"max_queue_events={self._max_events:,}"
        return f"max_queue_bytes={self._max_bytes:,}"

    def room(self) -> tuple[int, int]:
        """How many events, and how many bytes of them, memory has room for."""
        now = self.totals()
        return self._max_events - (now.pending - now.spooled), self._max_bytes - now.queue_bytes

    def accept_on_disk(self, receipt: Receipt) -> None:
        """Count an event in that is on disk alone."""
        with self._lock:
            accepted, events, used = self._counts
            self._counts = (accepted + 1, events, used)
            self._spooled += 1
            receipt._epoch = COUNTED_ON_DISK

    def adopt(self, count: int) -> None:
        """Count events in that another process has left on disk."""
        with self._lock:
            self._change(accepted=count)
            self._spooled += count

    def settle_at_once(self, receipt: Receipt, outcome: Outcome) -> None:
        """Count an event in and give it its outcome, in one step: the worker never has it."""
        kind = outcome.kind
        with self._lock:
            accepted, events, used = self._counts
            self._counts = (accepted + 1, events, used)
            self._ended[kind] += 1
            receipt._outcome = outcome
        try:
            self._tell_watchers([receipt])
        finally:
            self._announce([receipt], outcome)

    def reject(self, receipt: Receipt, outcome: Outcome) -> None:
        """Settle an event that was never accepted: its receipt says why, and no counter knows of it."""
        receipt._outcome = outcome
        self._tell_watchers([receipt])

    def watch_first(self, receipt: Receipt, watcher: Watcher) -> None:
        """The same as `watch`, for a receipt that nobody else has yet. It costs the garbage collector nothing.

        A receipt that may come to be on disk alone is forgotten then, unless somebody waits for it (see `watch`).
        """
        if self._forget is None:
            receipt._watcher = watcher
        else:
            self.watch(receipt, watcher)

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
            accepted, _, used = self._counts
            return Totals(accepted, **self._ended, spooled=self._spooled, queue_bytes=used)

    def let_go(self) -> None:
        """At the end of the process: if this thread holds the lock, a signal has cut it off, and it does not come back.

        That can only be on Python 3.10, where a handler may come between any two steps, and raise.
        """
        with suppress(RuntimeError):
            while True:
                self._lock.release()

    # -- the worker's side ------------------------------------------------------------------------

    def enter(self, receipts: Sequence[Receipt]) -> None:
        """The worker has taken these over: from here on a flush waits for them."""
        epoch = self._epoch
        self._inside += len(receipts)
        for receipt in receipts:
            receipt._epoch = epoch
        self._exposed += self._in_no_spool(receipts)

    def enter_on_disk(self, count: int) -> None:
        """The same for events that are on disk alone."""
        self._inside += count

    def read_back(self, receipts: Sequence[Receipt], epoch: int) -> None:
        """These were on disk alone, entered in that epoch, and are in memory from here on."""
        count, size = len(receipts), sum([len(r.data) for r in receipts])
        with self._lock:
            self._spooled -= count
            self._change(events=count, used=size)
        for receipt in receipts:
            receipt._epoch = epoch

    def lose(self, count: int, epoch: int) -> None:
        """So many were on disk alone, entered in that epoch, and cannot be read: they have failed."""
        with self._lock:
            self._spooled -= count
            self._ended["failed"] += count
        self._count_off(count, epoch, "failed")

    def leave(self, count: int, epoch: int) -> None:
        """So many, entered in that epoch, stay on disk alone, for whoever opens the spool next."""
        self._count_off(count, epoch, "kept")

    def replace(self, receipt: Receipt, data: bytes) -> None:
        """Plugins have made something else of the event: from here on these are its bytes."""
        growth = len(data) - len(receipt.data)
        with self._lock:
            self._change(used=growth)
            receipt.data = data

    def open(self, ticket: Ticket) -> None:
        """Start to wait for everything entered so far; what comes later belongs to the next epoch."""
        now = self.totals()
        ticket.epoch = self._epoch
        ticket.remaining, ticket.exposed = self._inside, self._exposed
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

    def copy_entered(self) -> int:
        """Have flushes wait for a copy of an event, too: returns its epoch, for `copy_ended`."""
        self._copies[self._epoch] += 1
        return self._epoch

    def copy_ended(self, epoch: int) -> None:
        """A copy has its outcome."""
        self._copies[epoch] -= 1
        if not self._copies[epoch]:
            del self._copies[epoch]
            self._complete()

    def _change(self, accepted: int = 0, events: int = 0, used: int = 0) -> None:
        before = self._counts
        self._counts = (before[0] + accepted, before[1] + events, before[2] + used)

    # -- the one door -----------------------------------------------------------------------------

    def settle(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        """Give these events their outcome: counters, receipts, callbacks, listeners, flushes, in this order.

        All that is counted is counted before the application's code runs, which may raise, or hang.
        """
        count, size, kind = len(receipts), sum([len(r.data) for r in receipts]), outcome.kind
        with self._lock:
            self._change(events=-count, used=-size)
            if kind == "kept":
                self._spooled += count
            else:
                self._ended[kind] += count
        if self._forget is not None and kind != "kept":
            self._forget(receipts)
        for receipt in receipts:
            receipt._outcome = outcome
        if receipts and receipts[0]._epoch > 0:
            self._inside -= count
            self._exposed -= self._in_no_spool(receipts)
            if self._tickets:
                self._count(receipts, outcome)
        try:
            self._tell_watchers(receipts)
        finally:
            try:
                self._announce(receipts, outcome)
            finally:
                self._complete()

    def _tell_watchers(self, receipts: Sequence[Receipt]) -> None:
        raised: BaseException | None = None  # by one of them, on the main thread: the others are called all the same
        for receipt in receipts:
            watcher = receipt._watcher
            if watcher is None and not self._watchers:
                continue
            receipt._watcher = None
            try:
                if watcher is not None:
                    watcher(receipt)
                _run_all(self._watchers.pop(receipt, None), receipt)
            except BaseException as exc:  # noqa: BLE001
                raised = exc
        if raised is not None:
            raise raised

    def _count(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        newest = self._tickets[-1].epoch
        self._report(len([r for r in receipts if r._epoch <= newest]), outcome.kind)
        for ticket in self._tickets:
            ticket.count(receipts, outcome)

    def _count_off(self, count: int, epoch: int, kind: str) -> None:
        """So many of that epoch, which have no receipts, have ended."""
        self._inside -= count
        tickets = [ticket for ticket in self._tickets if epoch <= ticket.epoch]
        if tickets:
            self._report(count, kind)
        for ticket in tickets:
            ticket.count_off(count, kind)
        self._complete()

    def _in_no_spool(self, receipts: Sequence[Receipt]) -> int:
        return len(receipts) if self._forget is None else exposed(receipts)

    def _report(self, count: int, kind: str) -> None:
        if kind != "kept":
            self._reported[kind] += count

    def _complete(self) -> None:
        oldest = min(self._copies, default=self._epoch)
        for ticket in [t for t in self._tickets if t.remaining == 0 and oldest > t.epoch]:
            self._tickets.remove(ticket)
            ticket.on_done()


def _run_all(watchers: list[Watcher] | None, receipt: Receipt) -> None:
    while watchers:
        try:
            watcher = watchers.pop(0)
        except IndexError:  # the other thread took the last one
            return
        watcher(receipt)
