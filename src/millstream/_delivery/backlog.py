"""The backlog: what is in the spool and not in memory. Others left it there, or there was no room for it.

accept ──▶ keep: on disk, in the call ──▶ room in memory?  yes ──▶ mailbox
                                                           no  ──▶ later ─┐
the lanes of the dead ──▶ adopt ──────────────────────────────────────────┴─▶ the backlog ──▶ read ──▶ the engine
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from .._clock import file_time
from .._core.log import Place, Stretch, joined
from .._core.outcome import Outcome
from .._core.receipt import Receipt, Waiter
from ..errors import Abandoned, RateLimitExpired, RetriesExhausted
from ..log import Spool

if TYPE_CHECKING:
    from .worker import Worker

__all__ = ["Backlog"]

UNDELIVERED = (Abandoned, RetriesExhausted, RateLimitExpired)
"""Why an event can fail that no host has refused."""

GRACE = 0.1
"""Seconds from a client's start until it takes over what others have left: destinations that are registered first get
it, too."""

CHUNK = 1 << 20
"""Bytes that are read back at a time."""


class Backlog:
    """The events of one client that are on disk alone, in the order in which they are read back.

    `keep` and `later` are called in any thread, the rest by the worker alone.

    Args:
        worker: takes part in its turns, from `start` on.
        spool: where the events are.
        max_age: seconds after which an event that cannot be delivered is not kept any longer.
        sync: has the spool forced to disk, where that does not block the worker.
        home: the driver, for the receipts of events that another process recorded.
    """

    def __init__(
        self, worker: Worker, spool: Spool, max_age: float, sync: Callable[[Callable[[], object]], object], home: Waiter
    ) -> None:
        self.spool = spool
        self.sync_requested = False
        """Whether the worker knows that the spool must be forced to disk."""
        self._worker = worker
        self._ledger = worker.ledger
        self._home = home
        self._max_age = max_age
        self._sync = sync
        self._waiting: deque[tuple[Stretch, int, bool]] = deque()  # events, their epoch, whether we recorded them
        self._own = 0
        # Their receipts, as long as a caller has a use for them.
        self._receipts: weakref.WeakValueDictionary[int, Receipt] = weakref.WeakValueDictionary()
        self._adoption: Iterator[Stretch] | None = None
        self._begins_at: float | None = None  # when the adoption does
        self._closed = False
        self._copies: dict[Receipt, _CopiesOf] = {}  # events of which further destinations have copies
        worker.steps.append(self._read_back)
        worker.after_settling.append(self._after_settling)

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._adoption is not None or self._begins_at is not None

    @property
    def behind(self) -> bool:
        """Whether events of ours are waiting here: what is recorded now has to queue up behind them."""
        return self._own > 0

    def keep(self, receipt: Receipt) -> bool:
        """Write an event down. False: it is in memory alone, and somebody has been told why."""
        receipt._place = self.spool.append(receipt.data)
        return receipt._place is not None

    def later(self, receipt: Receipt) -> Callable[[], None]:
        """What the worker has to do about an event that is written down, and has no room in memory."""
        place, remembered = cast("Place", receipt._place), weakref.ref(receipt)

        def queue_up() -> None:
            self._ledger.enter_on_disk(1)
            if self._closed:
                self._ledger.leave(1, self._ledger.epoch)
                return
            known = remembered()
            if known is not None:
                known._epoch = self._ledger.epoch
                self._receipts[place.start] = known
            self._add(Stretch.of(place), own=True)

        return queue_up

    def start(self) -> None:
        """Take over what other processes have left, in a moment, or when a caller waits for it."""
        self._begins_at = self._worker.clock() + GRACE

    def _begin(self) -> None:
        if self._begins_at is not None:
            self._begins_at, self._adoption = None, self.spool.adopt()

    def adopt(self, enough: Callable[[], bool]) -> bool:
        """Take over what dead processes have left, until it is enough for now. Returns whether there is more."""
        while self._adoption is not None:
            stretch = next(self._adoption, None)
            if stretch is None:
                self._adoption = None
                return False
            self._ledger.adopt(stretch.count)
            self._ledger.enter_on_disk(stretch.count)
            self._add(stretch, own=False)
            if enough():
                return True
        return False

    def adopt_all(self) -> None:
        """Take over everything that was left before now: a caller waits for all of it."""
        self._begin()
        worker = self._worker
        self.adopt(lambda: worker.closing and worker.clock() >= worker.deadline)

    def _read_back(self) -> bool:
        """Bring events into memory, as far as a channel can do with more. Returns whether there is more to adopt."""
        worker = self._worker
        if worker.finished:
            return False
        now = worker.clock()
        if self._begins_at is not None and self._begins_at <= now:
            self._begin()
        until = now + worker.pace.slice
        more = self.adopt(lambda: worker.clock() >= until)
        while self.due:
            worker.route(self.read())
            worker.flush_all()  # these have waited long enough
        return more

    @property
    def due(self) -> bool:
        """Whether there is something on disk alone that a channel can do with."""
        worker = self._worker
        engine = worker.channels[0].engine
        if worker.finished or not (self.readable and engine.hungry):
            return False
        return not (worker.plugins.stalled or engine.at_rest)

    def due_at(self, now: float) -> float | None:
        """Return when the spool must be forced to disk again, or its adoption begins. What is due now is done."""
        due = self.spool.due_at()
        if due is not None and due <= now:
            self.sync_requested = False
            self._sync(self.spool.sync_now)
            due = None
        return min((moment for moment in (due, self._begins_at) if moment is not None), default=None)

    def _after_settling(self) -> None:
        """Fail batches that rest and have been kept for long enough; end flushes that would wait for the others."""
        channel = self._worker.channels[0]
        engine = channel.engine
        for batch, error in engine.rested():
            if self.too_old(cast("list[Receipt]", batch.items)):
                engine.fail(batch, error)
                channel.settle(self._worker.settled)
        if engine.at_rest:
            self._ledger.give_up()

    def keep_undelivered(self, receipts: list[Receipt], outcome: Outcome) -> list[Receipt]:
        """At the close of the client, leave undelivered events to the next start. Returns those that end here."""
        if not isinstance(outcome.error, UNDELIVERED):
            return receipts
        kept, rest = self.part(receipts)
        if kept:
            error = Abandoned(spooled=True)
            error.__cause__ = outcome.error
            self._ledger.settle(kept, Outcome(error, outcome.attempts))
            if not self._ledger.exposed:  # all are safe: the next start may find a better host
                self._worker.close_now()
        return rest

    @property
    def readable(self) -> bool:
        """Whether `read` has something to return, and memory has room for it."""
        return bool(self._waiting) and min(self._ledger.room()) > 0

    def read(self) -> list[Receipt]:
        """Take the next events out of the backlog, into memory."""
        stretch, epoch, own = self._waiting.popleft()
        events, size = self._ledger.room()
        records, rest = self.spool.read(stretch, events, min(size, CHUNK))
        if rest is not None:
            self._waiting.appendleft((rest, epoch, own))
        else:
            self._own -= own
        receipts = [self._receipt(place, data, own) for place, data in records]
        self._ledger.read_back(receipts, epoch)
        lost = stretch.count - len(receipts) - (rest.count if rest is not None else 0)
        if lost:
            self._ledger.lose(lost, epoch)
        return receipts

    def too_old(self, receipts: Sequence[Receipt]) -> bool:
        """Whether these have been kept for long enough."""
        places = [r._place for r in receipts if r._place is not None]
        return bool(places) and file_time() - self.spool.written_at(places[-1]) > self._max_age

    @staticmethod
    def part(receipts: Sequence[Receipt]) -> tuple[list[Receipt], list[Receipt]]:
        """Those that are written down, and those that are not."""
        kept = [r for r in receipts if r._place is not None]
        return kept, [r for r in receipts if r._place is None]

    def forget(self, receipts: Sequence[Receipt]) -> None:
        """Note that these have their outcome: they leave the spool, unless copies of them are on their way."""
        if self._copies:
            receipts = [receipt for receipt in receipts if not self._is_on_its_way(receipt)]
        places = [r._place for r in receipts if r._place is not None]
        if places:
            self.spool.settle(places)

    def _is_on_its_way(self, receipt: Receipt) -> bool:
        copies = self._copies.get(receipt)
        if copies is not None:
            copies.settled = True
        return copies is not None

    def copy_made(self, receipt: Receipt) -> None:
        """Keep an event on disk until a further destination has it, too."""
        self._copies.setdefault(receipt, _CopiesOf()).number += 1

    def copy_ended(self, receipt: Receipt, outcome: Outcome) -> None:
        """Note what became of a copy. At the close, the next start has the undelivered ones."""
        copies = self._copies[receipt]
        copies.number -= 1
        copies.undelivered |= self._worker.closing and isinstance(outcome.error, UNDELIVERED)
        if not copies.number:
            del self._copies[receipt]
            if copies.settled and not copies.undelivered:
                self.forget([receipt])

    def close(self) -> None:
        """What is left stays in the spool, for whoever opens it next."""
        self._closed = True
        for stretch, epoch, _ in self._waiting:
            self._ledger.leave(stretch.count, epoch)
        self._waiting.clear()
        self._adoption = self._begins_at = None
        self._own = 0
        for receipt in list(self._receipts.values()):
            self._ledger.reject(receipt, Outcome(Abandoned(spooled=True)))
        self.spool.release()

    def _add(self, stretch: Stretch, *, own: bool) -> None:
        epoch = self._ledger.epoch
        if self._waiting:
            last, its_epoch, _ = self._waiting[-1]
            both = joined(last, stretch) if its_epoch == epoch else None
            if both is not None:
                self._waiting[-1] = both, epoch, own
                return
        self._waiting.append((stretch, epoch, own))
        self._own += own

    def _receipt(self, place: Place, data: bytes, own: bool) -> Receipt:
        known = self._receipts.pop(place.start, None) if own else None
        if known is not None:
            return known
        head = _head(data)
        return Receipt(data, head.type, head.message_id, self._home, bool(head.integrations), _place=place)


class _CopiesOf(msgspec.Struct):
    """The copies of one event that are on their way."""

    number: int = 0
    settled: bool = False
    undelivered: bool = False


class _Head(msgspec.Struct, rename="camel"):
    """What a receipt knows of its event."""

    type: str
    message_id: str
    integrations: dict[str, object] = {}


_head = msgspec.json.Decoder(_Head).decode
