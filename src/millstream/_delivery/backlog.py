"""The backlog: events in the spool that are not in memory, left by other processes or for lack of room.

accept ──▶ keep: on disk, in the call ──▶ room in memory?  yes ──▶ mailbox
                                                           no  ──▶ later ─┐
orphaned lanes ─────────▶ adopt ──────────────────────────────────────────┴─▶ the backlog ──▶ read ──▶ the engine
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from .._clock import file_time
from .._core.outcome import Outcome
from .._core.receipt import Receipt, Waiter
from .._core.record import Place, Stretch, joined
from ..errors import Abandoned, RateLimitExpired, RetriesExhausted
from ..spool import Spool

if TYPE_CHECKING:
    from .worker import Worker

__all__ = ["Backlog"]

UNDELIVERED = (Abandoned, RetriesExhausted, RateLimitExpired)
"""The reason of a failure without an HTTP answer."""

GRACE = 0.1
"""Seconds from a client's start to the adoption of other processes' events: time to register destinations, which get
them, too."""

CHUNK = 1 << 20
"""Bytes read back at a time."""


class Backlog:
    """The events of a client that are only on disk, in the order in which they are read back.

    `keep` and `later` are thread-safe, the rest is the worker's.

    Args:
        worker: takes part in its turns, from `start` on.
        spool: stores the events.
        max_age: seconds after which an undeliverable event is dropped.
        sync: requests an fsync of the spool, without blocking the worker.
        home: the driver, for the receipts of events that another process recorded.
    """

    def __init__(
        self, worker: Worker, spool: Spool, max_age: float, sync: Callable[[Callable[[], object]], object], home: Waiter
    ) -> None:
        self.spool = spool
        self.sync_requested = False
        """Whether the worker knows that an fsync of the spool is due."""
        self._worker = worker
        self._ledger = worker.ledger
        self._home = home
        self._max_age = max_age
        self._sync = sync
        self._waiting: deque[tuple[Stretch, int, bool]] = deque()  # events, epoch, whether recorded here
        self._own = 0
        # Their receipts, as long as callers hold them.
        self._receipts: weakref.WeakValueDictionary[int, Receipt] = weakref.WeakValueDictionary()
        self._adoption: Iterator[Stretch] | None = None
        self._begins_at: float | None = None  # time of the adoption
        self._closed = False
        self._copies: dict[Receipt, _CopiesOf] = {}  # events of which further destinations have copies
        self._noted: dict[str, list[Receipt]] = {}  # what single channels have settled since it was last written down
        worker.steps.append(self._read_back)
        worker.after_settling.append(self._after_settling)

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._adoption is not None or self._begins_at is not None

    @property
    def behind(self) -> bool:
        """Whether events of this process wait here: later ones must queue up behind them."""
        return self._own > 0

    def keep(self, receipt: Receipt) -> bool:
        """Write an event to the spool. False: it failed, which was reported; the event is only in memory."""
        receipt._place = self.spool.append(receipt.data)
        return receipt._place is not None

    def later(self, receipt: Receipt) -> Callable[[], None]:
        """Return the worker's command for an event that is in the spool, and has no room in memory."""
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
        """Adopt the events that other processes left: soon, or when a caller waits for them."""
        self._begins_at = self._worker.clock() + GRACE

    def _begin(self) -> None:
        if self._begins_at is not None:
            self._begins_at, self._adoption = None, self.spool.adopt()

    def adopt(self, enough: Callable[[], bool]) -> bool:
        """Adopt lanes of exited processes until there are enough events. Return whether there are more."""
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
        """Adopt all events left before now: a caller waits for them."""
        self._begin()
        worker = self._worker
        self.adopt(lambda: worker.closing and worker.clock() >= worker.deadline)

    def _read_back(self) -> bool:
        """Read events into memory, as many as the channels can use. Return whether there are more to adopt."""
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
            worker.flush_all()  # these events have waited long enough
        return more

    @property
    def due(self) -> bool:
        """Whether there are events only on disk that a channel can use."""
        worker = self._worker
        engine = worker.channels[0].engine
        if worker.finished or not (self.readable and engine.hungry):
            return False
        return not (worker.plugins.stalled or engine.at_rest)

    def due_at(self, now: float) -> float | None:
        """Return when the next fsync, or the adoption, is due. Work that is due now is done."""
        due = self.spool.due_at()
        if due is not None and due <= now:
            self.sync_requested = False
            self._sync(self.spool.sync_now)
            due = None
        return min((moment for moment in (due, self._begins_at) if moment is not None), default=None)

    def _after_settling(self) -> None:
        """Fail resting batches that are too old; complete flushes that would wait for other resting ones."""
        channel = self._worker.channels[0]
        engine = channel.engine
        for batch, error in engine.rested():
            if self.too_old(cast("list[Receipt]", batch.items)):
                engine.fail(batch, error)
                channel.settle(self._worker.settled)
        if engine.at_rest:
            self._ledger.complete_flushes()
        if self._noted:
            self._note_channels()

    def keep_undelivered(self, receipts: list[Receipt], outcome: Outcome) -> list[Receipt]:
        """At the close of the client, leave undelivered events in the spool. Return those that end here."""
        if not isinstance(outcome.error, UNDELIVERED):
            return receipts
        kept, rest = self.part(receipts)
        if kept:
            error = Abandoned(spooled=True)
            error.__cause__ = outcome.error
            self._ledger.settle(kept, Outcome(error, outcome.attempts))
            if not self._ledger.exposed:  # all are on disk: the next start may have another host
                self._worker.close_now()
        return rest

    @property
    def readable(self) -> bool:
        """Whether `read` has events, and memory has room for them."""
        return bool(self._waiting) and min(self._ledger.room()) > 0

    def read(self) -> list[Receipt]:
        """Read the next events of the backlog into memory."""
        stretch, epoch, own = self._waiting.popleft()
        events, size = self._ledger.room()
        records, rest = self.spool.read(stretch, events, min(size, CHUNK))
        if rest is not None:
            self._waiting.appendleft((rest, epoch, own))
        else:
            self._own -= own
        receipts = [self._receipt(place, data, own) for place, data in records]
        if any(self.settled_by(receipt) for receipt in receipts):
            self._worker.choosing = True
        self._ledger.read_back(receipts, epoch)
        lost = stretch.count - len(receipts) - (rest.count if rest is not None else 0)
        if lost:
            self._ledger.lose(lost, epoch)
        return receipts

    def too_old(self, receipts: Sequence[Receipt]) -> bool:
        """Whether these events are too old to keep."""
        places = [r._place for r in receipts if r._place is not None]
        return bool(places) and file_time() - self.spool.written_at(places[-1]) > self._max_age

    @staticmethod
    def part(receipts: Sequence[Receipt]) -> tuple[list[Receipt], list[Receipt]]:
        """Separate events on disk from the others."""
        kept = [r for r in receipts if r._place is not None]
        return kept, [r for r in receipts if r._place is None]

    def forget(self, receipts: Sequence[Receipt]) -> None:
        """Remove settled events from the spool, unless copies of them are pending."""
        if self._copies:
            receipts = [receipt for receipt in receipts if not self._is_on_its_way(receipt)]
        places = [r._place for r in receipts if r._place is not None]
        if places:
            self.spool.settle(places)

    def _is_on_its_way(self, receipt: Receipt) -> bool:
        copies = self._copies.get(receipt)
        if copies is not None:
            copies.settled = True
            self._noted.setdefault(self._worker.channels[0].name, []).append(receipt)
        return copies is not None

    def _note_channels(self) -> None:
        """Write down which channels have settled events that others have not: after a crash only those get them."""
        noted, self._noted = self._noted, {}
        for channel, receipts in noted.items():
            places = [r._place for r in receipts if r in self._copies and r._place is not None]
            if places:
                self.spool.note_channel(places, channel)

    def settled_by(self, receipt: Receipt) -> frozenset[str]:
        """Return the channels that had settled an event when the process that recorded it died."""
        return frozenset() if receipt._place is None else self.spool.settled_by(receipt._place)

    def copy_made(self, receipt: Receipt) -> None:
        """Keep an event on disk until a further destination has it."""
        self._copies.setdefault(receipt, _CopiesOf()).number += 1

    def copy_ended(self, receipt: Receipt, channel: str, outcome: Outcome) -> None:
        """Note what became of a channel's copy. At the close, the next start has the undelivered ones."""
        copies = self._copies[receipt]
        copies.number -= 1
        if self._worker.closing and isinstance(outcome.error, UNDELIVERED):
            copies.undelivered = True
        else:
            self._noted.setdefault(channel, []).append(receipt)
        if not copies.number:
            del self._copies[receipt]
            if copies.settled and not copies.undelivered:
                self.forget([receipt])

    def close(self) -> None:
        """Close the spool; remaining events stay in it for the next process."""
        self._closed = True
        self._note_channels()
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
    """The pending copies of an event."""

    number: int = 0
    settled: bool = False
    undelivered: bool = False


class _Head(msgspec.Struct, rename="camel"):
    """The members of an event that its receipt needs."""

    type: str
    message_id: str
    integrations: dict[str, object] = {}


_head = msgspec.json.Decoder(_Head).decode
