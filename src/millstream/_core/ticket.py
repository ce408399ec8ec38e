"""A pending flush: the events it waits for, and their outcomes so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..errors import Abandoned
from ..types import FlushResult
from .outcome import Outcome
from .receipt import Receipt

__all__ = ["Ticket", "exposed"]


class Ticket:
    """A pending `flush` or `close`: complete when everything entered before it is settled."""

    def __init__(self, on_done: Callable[[], object]) -> None:
        self.on_done = on_done
        self.epoch = 0
        self.remaining = 0
        self.exposed = 0  # those in no spool
        self.counts = {"delivered": 0, "failed": 0, "dropped": 0, "kept": 0}
        self.unsent: list[bytes] = []

    def count(self, receipts: Sequence[Receipt], outcome: Outcome) -> None:
        mine = [r for r in receipts if 0 < r._epoch <= self.epoch]
        self.exposed -= exposed(mine)
        self.count_off(len(mine), outcome.kind)
        if isinstance(outcome.error, Abandoned) and outcome.kind == "failed":
            self.unsent.extend(r.data for r in mine)

    def count_off(self, number: int, kind: str) -> None:
        """Count events as ended."""
        self.remaining -= number
        self.counts[kind] += number

    def result(self) -> FlushResult:
        """The outcomes so far."""
        counts = dict(self.counts)
        kept = counts.pop("kept")
        unsent = [msgspec.json.decode(data) for data in self.unsent]
        return FlushResult(
            **counts, pending=self.remaining + kept, spooled=self.remaining - self.exposed + kept, unsent=unsent
        )


def exposed(receipts: Sequence[Receipt]) -> int:
    """Count the receipts that are in no spool."""
    return len([r for r in receipts if r._place is None])
