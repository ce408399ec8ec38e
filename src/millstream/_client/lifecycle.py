"""The life cycle of a client in a process: it starts, in a forked child again; it ends at exit or on SIGTERM.

`_delivery/process` has the hooks.
"""

from __future__ import annotations

import sys
from _thread import RLock  # see _delivery/worker.py
from collections.abc import Callable
from typing import Any, cast

from .._clock import monotonic
from .._core.receipt import Receipt
from .._delivery import process
from .._delivery.driver import Driver
from .._delivery.process import fork_hooks
from .._delivery.process.final_delivery import FinalDelivery
from .._logging import Summary, to_stderr, warn
from ..errors import ClientClosed
from ..settings import Settings
from ..types import Stats

__all__ = ["Lifecycle"]

ENDING = "the process is ending"
POOL_CHILD = (
    "events are recorded in a daemon process of multiprocessing (such as those of a Pool), which is terminated without "
    "delivering them: call pool.close() and pool.join(), or use flush_on_return on the task, or set spool"
)


class Lifecycle:
    """Makes a client's driver on first use, and takes part in the end of the process.

    Args:
        settings: the client's.
        make_driver: makes a driver; it must not refer to the client, which would keep it alive.
        summary: counts for the last line.
    """

    driver: Driver
    """The client's driver; in a forked child one that starts on first use."""

    def __init__(self, settings: Settings, make_driver: Callable[[], Driver], summary: Summary) -> None:
        self.closed = False
        """Whether new events need special treatment."""
        self._settings = settings
        self._make_driver = make_driver
        self._summary = summary
        self._begun = False
        self._gated = False  # closed by the end of the process, not by the application
        self._exit_left: float | None = None  # seconds left for events after the end of the process; None: not ended
        self._beginning = RLock()
        self._parents: Driver | None = None
        self.driver = cast("Driver", _BeginsWhenUsed(self))
        if not (self._is_in_pool_child() or fork_hooks.is_spawned()):
            self.begin()

    # -- it begins --------------------------------------------------------------------------------------

    def begin(self) -> Driver:
        """Return the driver of this process. Made once, by the first caller."""
        with self._beginning:
            if not self._begun:
                if self._is_in_pool_child():
                    warn(POOL_CHILD)
                self._renew()
                self.driver.start()
        return self.driver

    def _renew(self) -> FinalDelivery:
        """Make a driver, for this process or for an event after its end."""
        settings = self._settings
        driver = self._make_driver()
        shared = settings.http_client is not None
        final = FinalDelivery(driver, self._summary, settings.exit_timeout, shared_http=shared)
        self.driver, self._begun = driver, True
        process.watch(self, final, handle_sigterm=settings.handle_sigterm and not settings.disable)
        return final

    def _is_in_pool_child(self) -> bool:
        """Whether events may be lost with this process: then it starts with the first event, which logs a warning."""
        return self._settings.spool is None and not self._settings.disable and fork_hooks.is_daemon()

    def after_fork(self) -> None:
        """Start over in a forked child: the parent still owns its events, its worker and its connections."""
        if self._begun:
            self.driver.orphan()
            self._parents = self.driver  # kept: closing its connections would reach into the parent's event loop
            self._begun = False
            self.driver = cast("Driver", _BeginsWhenUsed(self))
        self._summary.start_over()
        self._beginning = RLock()  # the parent's may be locked forever
        if self._gated and self._exit_left is None:
            self.closed = self._gated = False

    def stats(self) -> Stats:
        """Return the counters, without a driver being made for them."""
        return self.driver.stats() if self._begun else Stats()

    @property
    def state(self) -> str:
        """Whether events that come now are accepted, in a word."""
        if self._gated:
            return "ending"
        if self.closed:
            return "closed"
        return "disabled" if self._settings.disable else "open"

    # -- it ends ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Accept no more events: the application closes the client."""
        self.closed = True

    def has_closed(self) -> None:
        """Unregister from the process hooks: everything has been delivered."""
        process.closed(self)

    def at_gate(self) -> None:
        """Send later calls to the gate."""
        if not self.closed:
            self.closed = self._gated = True

    def after_end(self, left: float) -> None:
        """Deliver later events in their calls, as long as there is time."""
        self.at_gate()
        if self._gated:
            self._exit_left = left

    def submit_late(self, receipt: Receipt, submit: Callable[[], object], refuse: Callable[[], object]) -> None:
        """Submit an event that was recorded after the close, or at the end of the process.

        Args:
            receipt: the event's receipt.
            submit: submits it as usual.
            refuse: refuses it, because the application closed the client.
        """
        if not self._gated:
            refuse()
        elif sys.is_finalizing():
            self._summary.mute()
            self._reject(receipt)
            if self._exit_left is not None:  # the first of them
                self._exit_left = None
                self._summary.final_line(write=to_stderr)
        else:
            admitted = process.gate.admit(monotonic() + self._settings.exit_timeout)
            if admitted or self._settings.spool is not None:
                self._submit_after_end(receipt, submit, refuse, in_time=admitted)
            else:
                self._reject(receipt)

    def _reject(self, receipt: Receipt) -> None:
        self.driver.reject(receipt, ClientClosed(ENDING))
        self._summary.count("event", f"not accepted: {ENDING}", 1, monotonic())

    def _submit_after_end(
        self, receipt: Receipt, submit: Callable[[], object], refuse: Callable[[], object], *, in_time: bool
    ) -> None:
        """Deliver an event in its call, or leave it in the spool."""
        with self._beginning:
            left, began = self._exit_left if in_time else 0.0, monotonic()
            if left is None or (not left and self._settings.spool is None):
                if left is not None:
                    self._exit_left = None
                    timeout = self._settings.exit_timeout
                    warn(f"later events are not delivered: exit_timeout={timeout:g} s is used up")
                refuse()
                return
            final = self._renew()
            receipt._move(self.driver)
            self.driver.avoid_loop()
            self.closed = False
            try:
                submit()
            finally:
                self.closed = True
                final.mute()
                final.close(monotonic() - self._settings.exit_timeout + left)
                if left:
                    final.report(warn)
                self._exit_left = max(0.0, left - (monotonic() - began))


class _BeginsWhenUsed:
    """A driver that is made on first use: most forked children never use theirs."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lifecycle.begin(), name)
