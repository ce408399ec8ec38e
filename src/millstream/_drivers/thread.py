"""The thread driver: the inline driver's loop on a worker of its own, with a mailbox before it."""

from __future__ import annotations

import threading
from _thread import RLock  # see worker.py
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from .._core.policy import Policy
from .._core.receipt import Receipt
from .courier import Command
from .inline import InlineDriver, nothing
from .senders import Senders
from .threads import start_thread
from .worker import LINGER, NEVER

__all__ = ["ThreadDriver"]

AWAKE = NEVER + 1
"""The worker looks into the mailbox before it sleeps: nobody has to ring."""


class ThreadDriver(InlineDriver):
    """Delivers on a daemon thread, which starts with the first event.

    Requests are sent by at most `max_in_flight` others, so that a slow one holds up nothing but its own batch.
    Where no thread can be started (at the end of a process, say) it does what the inline driver does.
    """

    LINGER = LINGER

    def __init__(self, *, policy: Policy, **rest: Any) -> None:
        super().__init__(policy=policy, **rest)
        self._senders = Senders(policy.max_in_flight + (self._tokens is not None))
        self._starting = RLock()  # a signal handler may call in while a thread is being started
        self._bell: SimpleQueue[None] = SimpleQueue()  # which the worker sleeps by
        self._running = False
        self._threadless = False

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event; the first one starts the worker."""
        mailbox = self._mailbox
        mailbox.put(receipt)
        if mailbox.qsize() >= self._rouse_at:
            self._rouse()

    def hurry(self) -> None:
        """Have the worker send at once what there is, if there is a worker."""
        if self._running:
            self._tell(self._hurry)

    def _wake(self) -> None:
        self._mailbox.put(nothing)
        self._rouse()

    def _nudge(self) -> None:
        # Without a worker, whoever has something to say is the worker.
        if not self._running:
            super()._nudge()
        elif self._rouse_at != AWAKE:
            self._ring()

    def _rouse(self) -> None:
        """See that there is a worker, and that it is awake."""
        if self._running:
            self._ring()
        else:
            self._start()

    def _ring(self) -> None:
        # One ring is enough, so others need not: until the worker gets the interpreter, which takes 5 ms in a burst,
        # they come by 1,000 times. Nothing can cut in between the two (CPython lets in threads and signal handlers
        # after calls): the number that was written down is never taken back without a ring.
        self._rouse_at = AWAKE
        self._bell.put(None)
        if not self._running:  # any more
            self._rouse_at = 0

    def _start(self) -> None:
        with self._starting:
            if self._running:
                return
            if not (self._finished or self._threadless):
                self._rouse_at = AWAKE
                self._running = True  # first, so that whoever calls in from here on leaves it to the new thread
                try:
                    start_thread("millstream-worker", self._run)
                except RuntimeError:
                    self._running = False
                    self._threadless = True
                    self._rouse_at = 0
                    self._engine.never_linger()
                except BaseException:  # a signal's, in the middle of it: whether there is a thread, it knows best
                    self._running = False
                    self._rouse_at = 0
                    self._bell.put(None)
                    raise
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
                while True:
                    self._running = True  # again: whoever started us may have been interrupted, and not know it
                    until = self._guarded_turn()
                    if self._finished:
                        break
                    self._sleep(until)
            finally:
                self._loop_thread = None
                self._running = False
                self._rouse_at = 0  # last: see `_ring`
        # A call may have put its event after our last look, and have left it to us because we were running.
        self._nudge()

    def _sleep(self, until: float | None) -> None:
        """Until it is time, or somebody rings: for a command, or for so many events that they are worth it.

        No ring is lost. Callers put their mail first and look then, at `_rouse_at`; the worker sets that first and
        looks then, at the mailbox. Whichever of the two is second sees the other.
        """
        self._rouse_at = self._enough()
        try:
            if self._mailbox.empty():
                self._bell.get(timeout=None if until is None else max(0.0, until - self._clock()))
            while True:
                self._bell.get_nowait()
        except Empty:
            pass
        self._rouse_at = AWAKE

    def _dispatch(self, job: Callable[[], Command]) -> bool:
        def do() -> Command:
            report = job()
            return lambda: self._hand_in(report)

        try:
            return self._senders.start(do)
        except RuntimeError:
            return super()._dispatch(job)

    def _hand_in(self, report: Command) -> None:
        self._mailbox.put(report)
        if self._running and self._rouse_at != AWAKE:
            self._ring()
