"""The thread driver: the inline driver's loop on a worker of its own, with a mailbox before it."""

from __future__ import annotations

import threading
from _thread import RLock  # see worker.py
from collections.abc import Callable
from queue import Empty
from typing import Any

from .._core.engine import Policy
from .._core.receipt import Receipt
from .inline import InlineDriver, nothing
from .senders import Senders
from .worker import Command, Mail

__all__ = ["ThreadDriver"]


class ThreadDriver(InlineDriver):
    """Delivers on a daemon thread, which starts with the first event.

    Requests are sent by at most `max_in_flight` others, so that a slow one holds up nothing but its own batch.
    Where no thread can be started (at the end of a process, say) it does what the inline driver does.
    """

    def __init__(self, *, policy: Policy, **rest: Any) -> None:
        super().__init__(policy=policy, **rest)
        self._senders = Senders(policy.max_in_flight + (self._tokens is not None))
        self._starting = RLock()  # a signal handler may call in while a thread is being started
        self._running = False
        self._threadless = False

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event; the first one starts the worker."""
        self._mailbox.put(receipt)
        if not self._running:
            self._start()

    def hurry(self) -> None:
        """Have the worker send at once what there is, if there is a worker."""
        if self._running:
            self._tell(self._hurry)

    def _wake(self) -> None:
        self._mailbox.put(nothing)
        if not self._running:
            self._start()

    def _nudge(self) -> None:
        # The worker waits on the mailbox itself. Without a worker, whoever has something to say is the worker.
        if not self._running:
            super()._nudge()

    def _start(self) -> None:
        with self._starting:
            if self._running:
                return
            if not (self._finished or self._threadless):
                self._running = True  # first, so that whoever calls in from here on leaves it to the new thread
                try:
                    threading.Thread(target=self._run, name="penstock-worker", daemon=True).start()
                except RuntimeError:
                    self._running = False
                    self._threadless = True
        self._nudge()

    def _block(self, event: threading.Event, deadline: float | None) -> None:
        if self._running:
            event.wait(None if deadline is None else max(0.0, deadline - self._clock()))
        else:
            super()._block(event, deadline)

    def _run(self) -> None:
        with self._pumping:
            self._loop_thread = threading.get_ident()
            try:
                until = self._guarded_turn(None)
                while not self._finished:
                    until = self._guarded_turn(self._receive(until))
            finally:
                self._loop_thread = None
                self._running = False
        # A call may have put its event after our last look, and have left it to us because we were running.
        self._nudge()

    def _receive(self, until: float | None) -> Mail | None:
        """The next piece of mail; None when it is `until` and there is none."""
        try:
            return self._mailbox.get(timeout=None if until is None else max(0.0, until - self._clock()))
        except Empty:
            return None

    def _dispatch(self, job: Callable[[], Command]) -> bool:
        def do() -> Command:
            report = job()
            return lambda: self._mailbox.put(report)

        try:
            return self._senders.start(do)
        except RuntimeError:
            return super()._dispatch(job)
