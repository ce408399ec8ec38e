"""The receipt of an event: its bytes, and its outcome."""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import copy
from typing import Any, NoReturn, Protocol

import msgspec

from .._public import publish
from .context import Context
from .outcome import Outcome
from .record import Place

__all__ = ["Receipt", "SpooledReceipt", "Waiter"]


class Waiter(Protocol):
    """The driver of an event, which can wait for it."""

    def wait(self, receipt: Receipt, timeout: float | None) -> None: ...

    def awaited(self, receipt: Receipt) -> Generator[Any, None, None]: ...

    def watch(self, receipt: Receipt, watcher: Callable[[Receipt], object]) -> None: ...


# A struct, because one is made for every call, and structs are fast to make. Not tracked by the garbage collector
# (gc=False), so that a hundred thousand waiting events cost it nothing; so a receipt must never be part of a cycle, and
# `wait` raises a copy of the error, which keeps the frames of waiting callers out of the receipt's reach.
class Receipt(msgspec.Struct, eq=False, gc=False):
    """The result of every event call: waits for, and reports, the outcome of its event."""

    data: bytes
    kind: str
    message_id: str
    _driver: Waiter
    _integrations: bool = False  # whether the event has integrations
    _outcome: Outcome | None = None
    _epoch: int = 0
    _context: Context | None = None  # the one that plugins used, if any
    _place: Place | None = None  # its place in the spool
    _watcher: Callable[[Receipt], object] | None = None  # the first one, set before other code had the receipt

    def __copy__(self) -> NoReturn:
        raise TypeError("a receipt cannot be copied: a copy would never have an outcome; share the receipt")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a receipt cannot be pickled: it is settled in this process; pass on its message_id")

    def __repr__(self) -> str:
        state = "pending" if self._outcome is None else self._outcome.kind
        return f"<Receipt {self.kind} {self.message_id} {state}>"

    @property
    def outcome(self) -> Outcome | None:
        """The outcome; None while pending."""
        return self._outcome

    def done(self) -> bool:
        """Whether the event has an outcome."""
        return self._outcome is not None

    def wait(self, timeout: float | None = None) -> Context:
        """Wait for the outcome, and send at once what it depends on.

        Args:
            timeout: seconds to wait; None waits until the retry rules have decided.

        Returns:
            The event's Context, if it was delivered.

        Raises:
            DeliveryError: the event was not delivered; see `millstream.errors`.
            TimeoutError: no outcome yet. The event is still in delivery.
            MillstreamError: called on the client's own worker (from a callback, listener or plugin), which
                would wait for itself.
        """
        if self._outcome is None:
            self._driver.wait(self, timeout)
        return self._result()

    def __await__(self) -> Generator[Any, None, Context]:
        if self._outcome is None:
            yield from self._driver.awaited(self)
        return self._result()

    def add_done_callback(self, fn: Callable[[Receipt], object]) -> None:
        """Call `fn(receipt)` once there is an outcome: now, if there is one already."""
        self._driver.watch(self, fn)

    def context(self) -> Context:
        """The event and its progress: the Context that its plugins used, or else a new one."""
        context = self._context or Context(self.data, self.message_id)
        if self._outcome is not None:
            context._settle(self._outcome.attempts, self._outcome.error)
        return context

    def _move(self, driver: Waiter) -> None:
        """Assign the event to another driver."""
        self._driver = driver

    def _note_delivery(self, destination: str, outcome: Outcome) -> None:
        """Record the outcome at a destination in the event's context."""
        if self._context is None:
            self._context = Context(self.data, self.message_id)
        self._context.deliveries[destination] = outcome

    def _result(self) -> Context:
        if self._outcome is None:
            raise TimeoutError(f"no outcome yet for {self.kind} {self.message_id}; it is still being delivered")
        if self._outcome.error is not None:
            error = copy(self._outcome.error)
            error.__cause__ = self._outcome.error.__cause__
            raise error
        return self.context()


class SpooledReceipt(Receipt, eq=False, gc=True, weakref=True):
    """The receipt of an event that may be only on disk: then it lives as long as user code holds it.

    Weak references and gc=False exclude each other.
    """


publish("millstream", Receipt)
