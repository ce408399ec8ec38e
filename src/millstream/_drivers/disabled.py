"""The driver of a disabled client: everything succeeds, nothing is queued or sent."""

from __future__ import annotations

from .._core.receipt import Outcome, Receipt
from .inline import InlineDriver

__all__ = ["DisabledDriver"]


class DisabledDriver(InlineDriver):
    """Settles every event in the call itself, as delivered by no request."""

    def accept(self, receipt: Receipt) -> None:
        """Count an event in, delivered."""
        self._ledger.settle_at_once(receipt, Outcome())

    def accept_if_room(self, receipt: Receipt) -> None:
        """Count an event in, delivered: there is always room."""
        self.accept(receipt)
