"""Copies: events in a channel that is not the client's first. Each is sent in parts, whose worst outcome is the copy's.

event ──▶ copy ──▶ parts ──▶ the engine ──▶ outcomes of parts ──▶ the worst is the copy's ──▶ ctx.deliveries
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from .._core.ledger import Ledger
from .._core.outcome import DELIVERED, Outcome
from .._core.receipt import Receipt
from .._core.routing import options
from ..destinations.base import Destination, Event, Part, parts_of
from ..errors import DeliveryError, Dropped, QueueFull, TransportError

if TYPE_CHECKING:
    from .._core.delivery.batcher import Item
    from .backlog import Backlog

__all__ = ["Copies"]

WORST_LAST = ("delivered", "dropped", "failed", "kept")
"""Outcomes from worst to best, for the parts of an event; "kept" first, so that a part on disk is sent."""


class Copy(Struct, eq=False):
    """An event for one destination."""

    receipt: Receipt
    size: int
    epoch: int
    decides: bool
    """Whether its outcome is the event's: no channel before this one takes the event."""
    parts: int = 0
    """Parts without an outcome."""
    outcome: Outcome = DELIVERED
    """The worst outcome of its parts so far."""


class CopyPart(Part, gc=True):
    """A part, with its copy."""

    copy: Copy | None = None


class Copies:
    """The copies of a channel. A full channel drops its own copy of an event, and no other.

    Args:
        destination: makes parts of events.
        ledger: makes flushes wait for copies.
        max_events: pending copies, at most.
        max_bytes: their bytes, at most.
    """

    def __init__(self, destination: Destination, ledger: Ledger, max_events: int, max_bytes: int) -> None:
        self.counts = {"delivered": 0, "failed": 0, "dropped": 0}
        self.pending = 0
        self.backlog: Backlog | None = None
        """Keeps events on disk until their copies are settled, where there is a spool."""
        self._bytes = 0
        self._destination = destination
        self._ledger = ledger
        self._max_events = max_events
        self._max_bytes = max_bytes

    def make(
        self, receipt: Receipt, *, decides: bool, settled: Callable[[list[Receipt], Outcome], object]
    ) -> list[Item]:
        """Return the parts of an event. One without parts, or without room, is settled now."""
        if self.backlog is not None:
            self.backlog.copy_made(receipt)
        copy = Copy(receipt, len(receipt.data), self._ledger.copy_entered(), decides)
        self.pending += 1
        self._bytes += copy.size
        prepared = self._prepared(copy)
        if isinstance(prepared, Outcome):
            copy.outcome = prepared
            self._end(copy, settled)
            return []
        copy.parts = len(prepared)
        return [CopyPart(part.data, part.key, copy) for part in prepared]

    def _prepared(self, copy: Copy) -> Sequence[Part] | Outcome:
        if self.pending > self._max_events or (self._bytes > self._max_bytes and self.pending > 1):
            return Outcome(QueueFull(f"the queue of {self._destination.name}"))
        event = Event(copy.receipt.data)
        try:
            made = parts_of(self._destination, event, options(self._destination, event.integrations), time.time())
        except Exception as exc:  # noqa: BLE001 - a destination may be the application's own
            return Outcome(TransportError(f"{self._destination.name}.prepare raised {type(exc).__name__}: {exc}"))
        if isinstance(made, DeliveryError):
            return Outcome(made)
        return made or Outcome(Dropped(f"{self._destination.name} skips this event"))

    def settle(
        self, items: Sequence[Item], outcome: Outcome, settled: Callable[[list[Receipt], Outcome], object]
    ) -> None:
        """Record the outcome of parts; the last one settles the copy."""
        for item in items:
            copy = cast("Copy", cast("CopyPart", item).copy)
            if WORST_LAST.index(outcome.kind) >= WORST_LAST.index(copy.outcome.kind):
                copy.outcome = outcome
            copy.parts -= 1
            if not copy.parts:
                self._end(copy, settled)

    def _end(self, copy: Copy, settled: Callable[[list[Receipt], Outcome], object]) -> None:
        self.pending -= 1
        self._bytes -= copy.size
        outcome, receipt = copy.outcome, copy.receipt
        self.counts["failed" if outcome.kind == "kept" else outcome.kind] += 1
        receipt._note_delivery(self._destination.name, outcome)
        if copy.decides:
            settled([receipt], outcome)
        if self.backlog is not None:
            self.backlog.copy_ended(receipt, self._destination.name, outcome)
        self._ledger.copy_ended(copy.epoch)
