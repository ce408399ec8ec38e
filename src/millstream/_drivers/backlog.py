"""The backlog: what is in the spool and not in memory. Others left it there, or there was no room for it.

accept ──▶ keep: on disk, in the call ──▶ room in memory?  yes ──▶ mailbox
                                                           no  ──▶ later ─┐
the lanes of the dead ──▶ adopt ──────────────────────────────────────────┴─▶ the backlog ──▶ read ──▶ the engine
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import msgspec

from .._clock import file_time
from .._core.ledger import Ledger
from .._core.log import Place, Stretch, joined
from .._core.pipeline import SEGMENT
from .._core.receipt import Home, Outcome, Receipt
from ..errors import Abandoned
from ..log import Spool

__all__ = ["Backlog"]

CHUNK = 1 << 20
"""Bytes that are read back at a time."""


class Backlog:
    """The events of one client that are on disk alone, in the order in which they are read back.

    `keep` and `later` are called in any thread, the rest by the worker alone.

    Args:
        spool: where they are.
        ledger: counts them; told of all that come here and of all that leave.
        home: the driver, for the receipts of events that nobody here has recorded.
        max_age: seconds after which an event that cannot be delivered is not kept any longer.
    """

    def __init__(self, spool: Spool, ledger: Ledger, home: Home, max_age: float) -> None:
        self.spool = spool
        self._ledger = ledger
        self._home = home
        self._max_age = max_age
        self._waiting: deque[tuple[Stretch, int, bool]] = deque()  # events, their epoch, whether we recorded them
        self._own = 0
        # Their receipts, as long as somebody has a use for them.
        self._receipts: weakref.WeakValueDictionary[int, Receipt] = weakref.WeakValueDictionary()
        self._adoption: Iterator[Stretch] | None = None
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._adoption is not None

    @property
    def behind(self) -> bool:
        """Whether events of ours are waiting here: what is recorded now has to queue up behind them."""
        return self._own > 0

    def keep(self, receipt: Receipt) -> bool:
        """Write an event down. False: it is in memory alone, and somebody has been told why."""
        receipt._place = self.spool.append(receipt.data)  # noqa: SLF001 - the ledger's friend
        return receipt._place is not None  # noqa: SLF001

    def later(self, receipt: Receipt) -> Callable[[], None]:
        """What the worker has to do about an event that is written down, and has no room in memory."""
        place, remembered = cast("Place", receipt._place), weakref.ref(receipt)  # noqa: SLF001

        def queue_up() -> None:
            self._ledger.enter_on_disk(1)
            if self._closed:
                self._ledger.leave(1, self._ledger.epoch)
                return
            known = remembered()
            if known is not None:
                self._receipts[place.start] = known
            self._add(Stretch.of(place), own=True)

        return queue_up

    def start(self) -> None:
        """From now on `adopt` finds something to do."""
        self._adoption = self.spool.adopt()

    def adopt(self, enough: Callable[[], bool]) -> bool:
        """Take over what dead processes have left, until it is enough for now. Returns whether there is more."""
        while self._adoption is not None:
            stretch = next(self._adoption, None)
            if stretch is None:
                self._adoption = None
                return False
            self._ledger.accept_on_disk(stretch.count)
            self._ledger.enter_on_disk(stretch.count)
            self._add(stretch, own=False)
            if enough():
                return True
        return False

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
        places = [r._place for r in receipts if r._place is not None]  # noqa: SLF001
        return bool(places) and file_time() - self.spool.written_at(places[-1]) > self._max_age

    @staticmethod
    def part(receipts: Sequence[Receipt]) -> tuple[list[Receipt], list[Receipt]]:
        """Those that are written down, and those that are not."""
        kept = [r for r in receipts if r._place is not None]  # noqa: SLF001
        return kept, [r for r in receipts if r._place is None]  # noqa: SLF001

    def forget(self, receipts: Sequence[Receipt]) -> None:
        """These have their outcome."""
        places = [r._place for r in receipts if r._place is not None]  # noqa: SLF001
        if places:
            self.spool.settle(places)

    def close(self) -> None:
        """What is left stays in the spool, for whoever opens it next."""
        self._closed = True
        for stretch, epoch, _ in self._waiting:
            self._ledger.leave(stretch.count, epoch)
        self._waiting.clear()
        self._adoption = None
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
        elsewhere = head.integrations.get(SEGMENT) is False
        return Receipt(data, head.type, head.message_id, self._home, elsewhere, _place=place)


class _Head(msgspec.Struct, rename="camel"):
    """What a receipt knows of its event."""

    type: str
    message_id: str
    integrations: dict[str, object] = {}


_head = msgspec.json.Decoder(_Head).decode
