"""A receipt: one event's bytes on their way, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import copy
from typing import Any, NoReturn, Protocol

import msgspec

from .._public import publish
from .context import Context
from .log import Place
from .outcome import Outcome

__all__ = ["Receipt", "SpooledReceipt", "Waiter"]


class Waiter(Protocol):
    """The driver that an event was handed to. It alone knows how to wait."""

    def wait(self, receipt: Receipt, timeout: float | None) -> None: ...

    def awaited(self, receipt: Receipt) -> Generator[Any, None, None]: ...

    def watch(self, receipt: Receipt, watcher: Callable[[Receipt], object]) -> None: ...


# A struct, because one is made for every call: 70 ns against 160 for a class with slots. Unknown to the
# garbage collector (gc=False), so that a hundred thousand waiting events cost it nothing; therefore a
# receipt must never be part of a cycle, and `wait` raises a copy of the error, which keeps the frames
# of whoever waits out of the receipt's reach.
class Receipt(msgspec.Struct, eq=False, gc=False):
    """What every event call returns: the way to learn what became of that one event."""

    data: bytes
    kind: str
    message_id: str
    _driver: Waiter
    _integrations: bool = False  # whether the event says anything of where it goes
    _outcome: Outcome | None = None
    _epoch: int = 0
    _context: Context | None = None  # the one that plugins had in hand, if any
    _place: Place | None = None  # where it is in the spool
    _watcher: Callable[[Receipt], object] | None = None  # the one that was there before anybody else had the receipt

    def __copy__(self) -> NoReturn:
        raise TypeError("a receipt cannot be copied: a copy would never have an outcome; share the receipt")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a receipt cannot be pickled: it is settled in this process; pass on its message_id")

    def __repr__(self) -> str:
        state = "pending" if self._outcome is None else self._outcome.kind
        return f"<Receipt {self.kind} {self.message_id} {state}>"

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not."""
        return self._outcome

    def done(self) -> bool:
        """Whether the event has its outcome."""
        return self._outcome is not None

    def wait(self, timeout: float | None = None) -> Context:
        """Wait for the outcome, and send at once what has to be sent for it.

        Args:
            timeout: seconds to wait; None waits until the retry rules have decided.

        Returns:
            The event's Context, if it was delivered.

        Raises:
            DeliveryError: why it was not; see `millstream.errors`.
            TimeoutError: there is no outcome yet. The event is still on its way.
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
        """Call `fn(receipt)` once, when there is an outcome: now, if there is one already."""
        self._driver.watch(self, fn)

    def context(self) -> Context:
        """The event and how far it came: the Context that its plugins had, or else a fresh one."""
        context = self._context or Context(self.data, self.message_id)
        if self._outcome is not None:
            context._settle(self._outcome.attempts, self._outcome.error)
        return context

    def _move(self, driver: Waiter) -> None:
        """Another driver has the event from here on."""
        self._driver = driver

    def _note_delivery(self, destination: str, outcome: Outcome) -> None:
        """Note in the event's context what became of it at a destination."""
        if self._context is None:
            self._context = Context(self.data, self.message_id)
        self._context.deliveries[destination] = outcome

    def _result(self) -> Context:
        if self._outcome is None:
            raise TimeoutError(f"no outcome yet for {self.kind} {self.message_id}; it is still on its way")
        if self._outcome.error is not None:
            error = copy(self._outcome.error)
            error.__cause__ = self._outcome.error.__cause__
            raise error
        return self.context()


class SpooledReceipt(Receipt, eq=False, gc=True, weakref=True):
    """The receipt of an event that may come to be on disk alone: then it lives as long as somebody holds it.

    Weak references and gc=False do not go together.
    """


publish("millstream", Receipt)
