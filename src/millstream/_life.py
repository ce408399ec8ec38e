"""A client's life in a process: it begins, in a forked child again; it ends with the process, or by a signal.

`_drivers/process.py` says when.
"""

from __future__ import annotations

import sys
from _thread import RLock  # see _drivers/worker.py
from time import monotonic
from typing import TYPE_CHECKING

from ._calls import EventCalls
from ._core.receipt import Receipt
from ._drivers import children, process
from ._drivers.final import FinalDelivery
from ._drivers.inline import InlineDriver
from ._log import to_stderr, warn
from .errors import ClientClosed
from .settings import Settings
from .types import Callback

__all__ = ["Life"]

ENDING = "the process is ending"
POOL_CHILD = (
    "events are recorded in a daemon process of multiprocessing (such as those of a Pool), which is terminated without "
    "delivering them: call pool.close() and pool.join(), or use flush_on_return on the task, or set spool"
)


class _BeginsWhenUsed:
    """A client's driver while it has none. In a forked child it gets one when it is used: most children never do.

    A `__getattr__` would do as well, but with one every attribute of the client takes ten times as long to look up.
    """

    def __get__(self, client: Life, kind: type[Life]) -> InlineDriver:
        return client._begin()  # noqa: SLF001 - this is a part of it


class Life(EventCalls):
    """Base of the clients: has a driver when it is used, and takes part in the end of the process."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._gated = False  # closed by the end of the process, and not by the application
        self._exit_left: float | None = None  # seconds that events which come after the end may take; None: no end yet
        self._beginning = RLock()

    # -- it begins --------------------------------------------------------------------------------------

    def _make_driver(self) -> InlineDriver:
        raise NotImplementedError

    def _begin(self) -> InlineDriver:
        """Return the driver of this process. Made once, by the first caller."""
        with self._beginning:
            driver = vars(self).get("_driver")
            if driver is None:
                if self._waits_in_pool_child():
                    warn(POOL_CHILD)
                driver = self._renew()[0]
                driver.start()
        return driver

    def _renew(self) -> tuple[InlineDriver, FinalDelivery]:
        """Make a driver, for this process or for an event that comes after its end."""
        settings = self._settings
        driver = self._make_driver()
        final = FinalDelivery(
            driver, self._summary, settings.exit_timeout, shared_http=settings.http_client is not None
        )
        self._driver = driver
        process.watch(self, final, handle_sigterm=settings.handle_sigterm and not settings.disable)
        return driver, final

    def _waits_in_pool_child(self) -> bool:
        """Whether its events may be lost with this process: then it begins with its first event, which is warned of."""
        return self._settings.spool is None and not self._settings.disable and children.is_daemon()

    if not TYPE_CHECKING:  # to a type checker it is an attribute like any other
        _driver = _BeginsWhenUsed()

    def _after_fork(self) -> None:
        """In a forked child: the parent still owns its events, its worker and its connections."""
        driver = vars(self).pop("_driver", None)
        if driver is not None:
            driver.orphan()
            self._parents = driver  # kept: to let go of its connections would reach into the parent's event loop
        self._summary.start_over()
        self._beginning = RLock()  # the parent's may be locked for ever
        if self._gated and self._exit_left is None:
            self._closed = self._gated = False

    # -- it ends ----------------------------------------------------------------------------------------

    def _at_gate(self) -> None:
        """Have calls that come from now on ask the gate."""
        if not self._closed:
            self._closed = self._gated = True

    def _after_end(self, left: float) -> None:
        """From here on what still comes is delivered in its call, as long as there is time."""
        self._at_gate()
        if self._gated:
            self._exit_left = left

    def _submit_late(self, receipt: Receipt, callback: Callback | None) -> None:
        """Submit an event that comes when the client is closed, or when the process ends."""
        if not self._gated:
            super()._submit_late(receipt, callback)
            return
        if sys.is_finalizing():
            self._summary.hush()
            self._refuse(receipt)
            if self._exit_left is not None:  # the first of them
                self._exit_left = None
                self._summary.last_words(write=to_stderr)
            return
        admitted = process.gate.admit(monotonic() + self._settings.exit_timeout)
        if admitted or self._settings.spool is not None:
            self._submit_after_end(receipt, callback, in_time=admitted)
        else:
            self._refuse(receipt)

    def _refuse(self, receipt: Receipt) -> None:
        self._driver.reject(receipt, ClientClosed(ENDING))
        self._summary.count(f"event not accepted: {ENDING}", 1, monotonic())

    def _submit_after_end(self, receipt: Receipt, callback: Callback | None, *, in_time: bool) -> None:
        """Deliver an event in its call, or leave it in the spool."""
        with self._beginning:
            left, began = self._exit_left if in_time else 0.0, monotonic()
            if left is None or (not left and self._settings.spool is None):
                if left is not None:
                    self._exit_left = None
                    timeout = self._settings.exit_timeout
                    warn(f"events that come now are not delivered: exit_timeout={timeout:g} s is used up")
                super()._submit_late(receipt, callback)
                return
            driver, final = self._renew()
            driver.avoid_loop()
            receipt.move(driver)
            self._closed = False
            try:
                self._submit(receipt, callback)
            finally:
                self._closed = True
                final.hush()
                final.close(monotonic() - self._settings.exit_timeout + left)
                if left:
                    final.report(warn)
                self._exit_left = max(0.0, left - (monotonic() - began))
