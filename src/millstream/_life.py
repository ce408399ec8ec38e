"""A client's life in a process: it begins, in a forked child anew; it ends with the process, or by a signal.

`_drivers/process.py` says when.
"""

from __future__ import annotations

from _thread import RLock  # see _drivers/worker.py
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._calls import EventCalls
from ._clock import monotonic
from ._core.receipt import Receipt
from ._drivers import process
from ._drivers.inline import InlineDriver
from ._log import Summary, logger
from .settings import Settings
from .types import Callback, FlushResult

__all__ = ["Life"]

ADVICE = "; a longer exit_timeout gives them more time, and a spool keeps them for the next start"


class _BeginsWhenUsed:
    """A client's driver while it has none. In a forked child it gets one when it is used: most children never do.

    A `__getattr__` would do as well, but with one every attribute of the client takes ten times as long to look up
    (0.5 µs a call, Python 3.11).
    """

    def __get__(self, client: Life, kind: type[Life]) -> InlineDriver:
        return client._begin()  # noqa: SLF001 - this is a part of it


class Life(EventCalls):
    """Base of the clients: has a driver when it is used, and sees to what is left when there will be no more use."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._exit_left: float | None = None  # seconds that events which come after the end may take; None: no end yet
        self._beginning = RLock()

    # -- it begins --------------------------------------------------------------------------------------

    def _make_driver(self) -> InlineDriver:
        raise NotImplementedError

    def _begin(self) -> InlineDriver:
        """A driver, for this process or for an event that comes after its end. Made once, whoever asks first."""
        with self._beginning:
            driver = vars(self).get("_driver")
            if driver is None:
                self._driver = driver = self._make_driver()
                process.watch(self, handle_sigterm=self._settings.handle_sigterm and not self._settings.disable)
                driver.start()
        return driver

    if not TYPE_CHECKING:  # to a type checker it is an attribute like any other
        _driver = _BeginsWhenUsed()

    def _after_fork(self) -> None:
        """In a forked child: the parent still owns its events, its worker and its connections."""
        driver = vars(self).pop("_driver", None)
        if driver is not None:
            driver.orphan()
            self._parents = driver  # kept: to let go of its connections would reach into the parent's event loop
        self._summary = Summary()
        self._beginning = RLock()  # the parent's may be locked for ever

    # -- it ends ----------------------------------------------------------------------------------------

    def _begin_exit(self) -> None:
        driver = self._unfinished()
        if driver is not None:
            driver.let_go()
            driver.begin_close(self._settings.exit_timeout)

    def _at_exit(self, began: float) -> None:
        """Deliver what is left, and from here on what still comes in its call, as long as there is time."""
        deadline = began + self._settings.exit_timeout
        if not self._closed:
            self._closed, self._exit_left = True, 0.0
        self._see_out(lambda driver: driver.close(max(0.0, deadline - monotonic())))
        if self._exit_left is not None:
            self._exit_left = max(0.0, deadline - monotonic())

    def _submit_late(self, receipt: Receipt, callback: Callback | None) -> None:
        """An event that comes when the client is closed: after the end of the process it is delivered in its call."""
        with self._beginning:
            left, began = self._exit_left, monotonic()
            if left is None:
                super()._submit_late(receipt, callback)
                return
            if not left and self._settings.spool is None:
                self._exit_left = None
                timeout = self._settings.exit_timeout
                logger.warning("events that come now are not delivered: exit_timeout=%g s is used up", timeout)
                super()._submit_late(receipt, callback)
                return
            vars(self).pop("_driver", None)
            self._closed = False
            try:
                receipt.move(self._driver)
                self._submit(receipt, callback)
            finally:
                self._closed = True
                self._see_out(lambda driver: driver.close(left), silently=not left)
                self._exit_left = max(0.0, left - (monotonic() - began))

    def _hurry(self) -> None:
        driver = self._unfinished()
        if driver is not None:
            driver.hurry()

    def _at_signal(self, began: float, *, last: bool) -> None:
        """Deliver what is there, while the program goes on; `last`: and give up what cannot be delivered."""

        def flush(driver: InlineDriver) -> FlushResult:
            result = driver.flush(max(0.0, began + self._settings.exit_timeout - monotonic()))
            if not (last and result.pending):
                return result
            self._closed, self._exit_left = True, 0.0
            return driver.close(0.0)

        self._see_out(flush)

    def _interrupted(self, by: BaseException) -> None:
        """Somebody does not want to wait for the end."""
        driver = self._unfinished()
        left = 0 if driver is None else driver.exposed()
        why = f"the end of the process was interrupted ({type(by).__name__})"
        self._summary.last_words(f"{_events(left)} not delivered: {why}" if left else "")

    def _see_out(self, how: Callable[[InlineDriver], FlushResult], *, silently: bool = False) -> None:
        """Deliver in this way, and say in one line what could not be."""
        driver, left = self._unfinished(), 0
        self._summary.hush()
        if driver is not None:
            result = how(driver)
            left = len(result.unsent) + result.pending - result.spooled
        if not silently:
            timeout = f"exit_timeout={self._settings.exit_timeout:g} s"
            self._summary.last_words(f"{_events(left)} not delivered within {timeout}" if left else "", ADVICE)

    def _unfinished(self) -> InlineDriver | None:
        """The driver, if there is one, and it has something to deliver."""
        driver = vars(self).get("_driver")
        return driver if driver is not None and driver.stats().pending else None


def _events(number: int) -> str:
    return "1 event was" if number == 1 else f"{number:,} events were"
