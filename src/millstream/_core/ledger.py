"""The ledger: counts every accepted event, and settles it exactly once.

    accepted == delivered + failed + dropped + pending      always

Calling threads accept events, the worker enters and settles them. Both change the counters, under a lock that the
client passes: a re-entrant one, because a signal handler may call `track()` while `track()` runs. Between reading and
writing a counter nothing is called: a call is where such a handler, or a `__del__`, can interrupt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple, Protocol

from .outcome import Outcome
from .receipt import Receipt
from .ticket import Ticket, exposed

__all__ = ["COUNTED", "COUNTED_ON_DISK", "Ledger", "Totals"]

Watcher = Callable[[Receipt], object]
COUNTED, COUNTED_ON_DISK = -1, -2
"""A receipt's epoch before the worker has entered it."""


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
    """Settles events: the only place where an event gets its outcome."""

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
        # Accepted events; pending ones in memory (not only on disk); and the bytes of those.
        self._counts = (0, 0, 0)
        self._ended = {"delivered": 0, "failed": 0, "dropped": 0}
        self._spooled = 0
        self._watchers: dict[Receipt, list[Watcher]] = {}
        # Only the worker accesses what follows.
        self._epoch = 1
        self._inside = 0
        self._exposed = 0  # entered events that are in no spool
        self._tickets: list[Ticket] = []
        self._copies: Counter[int] = Counter()  # copies of events for several destinations, by epoch
        self._reported = {"delivered": 0, "failed": 0, "dropped": 0}  # counted by flushes so far

    @property
    def epoch(self) -> int:
        """The current epoch: flushes wait for all epochs before their own."""
        return self._epoch

    @property
    def exposed(self) -> int:
        """The number of pending events that are in no spool, as far as the worker knows."""
        return self._exposed

    # -- the caller's side ------------------------------------------------------------------------

    def accept(self, receipt: Receipt) -> str | None:
        """Accept an event. Return the limit that it would exceed, and then count nothing.

        An empty queue accepts an event of any size.
        """
        size, lock, new = len(receipt.data), self._lock, None
        try:  # explicitly: `with` is slower, in every call
            lock.acquire()
            accepted, events, used = self._counts
            size += used
            full = events >= self._max_events or (size > self._max_bytes and events > 0)
            if not full:
                new = (accepted + 1, events + 1, size)
                self._counts = new
                receipt._epoch = COUNTED
        except BaseException:  # a signal handler's: it can interrupt calls, and so `acquire`
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
        """Return the number of events, and of their bytes, that memory has room for."""
        now = self.totals()
        return self._max_events - (now.pending - now.spooled), self._max_bytes - now.queue_bytes

    def accept_on_disk(self, receipt: Receipt) -> None:
        """Accept an event that is only on disk."""
        with self._lock:
            accepted, events, used = self._counts
            self._counts = (accepted + 1, events, used)
            self._spooled += 1
            receipt._epoch = COUNTED_ON_DISK

    def adopt(self, count: int) -> None:
        """Accept events that another process left on disk."""
        with self._lock:
            self._change(accepted=count)
            self._spooled += count

    def settle_at_once(self, receipt: Receipt, outcome: Outcome) -> None:
        """Accept and settle an event in one step: the worker never has it."""
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
        """Settle an event that was never accepted: its receipt says why, and no counter includes it."""
        receipt._outcome = outcome
        self._tell_watchers([receipt])

    def watch_first(self, receipt: Receipt, watcher: Watcher) -> None:
        """Like `watch`, for a receipt that no other code has yet. It costs the garbage collector nothing.

        A receipt whose event is only on disk is forgotten then, unless a caller waits for it (see `watch`).
        """
        if self._forget is None:
            receipt._watcher = watcher
        else:
            self.watch(receipt, watcher)

    def watch(self, receipt: Receipt, watcher: Watcher) -> None:
        """Call `watcher(receipt)` once, when the receipt is settled: now, if it is.

        This and `settle` may run in two threads at once. The thread that pops a watcher off the list runs it, and
        `list.pop` is atomic: each runs exactly once.
        """
        watchers = self._watchers.setdefault(receipt, [])
        watchers.append(watcher)
        if receipt._outcome is not None:
            self._watchers.pop(receipt, None)
            _run_all(watchers, receipt)

    def totals(self) -> Totals:
        """Return the counters at one moment."""
        with self._lock:
            accepted, _, used = self._counts
            return Totals(accepted, **self._ended, spooled=self._spooled, queue_bytes=used)

    def release_lock(self) -> None:
        """At exit, release a lock that this thread holds since a signal interrupted it.

        Only on Python 3.10, where a handler may run between any two steps, and raise.
        """
        with suppress(RuntimeError):
            while True:
                self._lock.release()

    # -- the worker's side ------------------------------------------------------------------------

    def enter(self, receipts: Sequence[Receipt]) -> None:
        """Enter accepted events: from here on flushes wait for them."""
        epoch = self._epoch
        self._inside += len(receipts)
        for receipt in receipts:
            receipt._epoch = epoch
        self._exposed += self._in_no_spool(receipts)

    def enter_on_disk(self, count: int) -> None:
        """Enter events that are only on disk."""
        self._inside += count

    def read_back(self, receipts: Sequence[Receipt], epoch: int) -> None:
        """Record that events, entered in that epoch, were read back from disk into memory."""
        count, size = len(receipts), sum([len(r.data) for r in receipts])
        with self._lock:
            self._spooled -= count
            self._change(events=count, used=size)
        for receipt in receipts:
            receipt._epoch = epoch

    def lose(self, count: int, epoch: int) -> None:
        """Fail events, entered in that epoch, that were only on disk and cannot be read."""
        with self._lock:
            self._spooled -= count
            self._ended["failed"] += count
        self._count_off(count, epoch, "failed")

    def leave(self, count: int, epoch: int) -> None:
        """Leave events, entered in that epoch, on disk, for the next process that opens the spool."""
        self._count_off(count, epoch, "kept")

    def replace(self, receipt: Receipt, data: bytes) -> None:
        """Replace the event's bytes after plugins changed it."""
        growth = len(data) - len(receipt.data)
        with self._lock:
            self._change(used=growth)
            receipt.data = data

    def open(self, ticket: Ticket) -> None:
        """Start a flush: it waits for all events entered so far; later ones belong to the next epoch."""
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
        """Cancel a flush whose caller has gone: its counts go to the next one."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)

    def complete_flushes(self) -> None:
        """Complete all pending flushes with their counts so far: nothing more is settled before the close."""
        tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            ticket.on_done()

    def copy_entered(self) -> int:
        """Make flushes wait for a copy of an event, too; return its epoch, for `copy_ended`."""
        self._copies[self._epoch] += 1
        return self._epoch

    def copy_ended(self, epoch: int) -> None:
        """Record that a copy is settled."""
        self._copies[epoch] -= 1
        if not self._copies[epoch]:
            del self._copies[epoch]
            self._complete()

    def _change(self, accepted: int = 0, events: int = 0, used: int = 0) -> None:
        before = self._counts
        self._counts = (before[0] + accepted, before[1] + events, before[2] + used)

    # -- the one door -----------------------------------------------------------------------------

    def settle(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        """Settle events: counters, receipts, callbacks, listeners, flushes, in this order.

        Counters are updated before the application's code runs, which may raise, or hang.
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
        raised: BaseException | None = None  # by application code on the main thread: the rest is called all the same
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
        """Count events without receipts, of that epoch, as ended."""
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
        except IndexError:  # another thread took the last one
            return
        watcher(receipt)
