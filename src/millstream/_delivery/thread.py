"""The thread runtime: the worker's turns run on a daemon thread, and requests are sent by a few others."""

from __future__ import annotations

import threading
from _thread import RLock  # see worker.py
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue

from .._clock import monotonic
from .._core.receipt import Receipt
from .inline import InlineRuntime, nothing
from .process.greenlets import start_thread
from .senders import Senders
from .transport import Command
from .worker import NEVER, Worker

__all__ = ["LINGER", "ThreadRuntime"]

LINGER = 0.005
"""Seconds that a batch which `flush_at` has made due is given to grow. In a burst a batch carries hundreds of events
then, and not fifteen: a request costs as much as fifty events. Next to a request's way it is nothing."""

AWAKE = NEVER + 1
"""The worker looks into the mailbox before it sleeps: no caller has to wake it."""


class ThreadRuntime:
    """Starts its thread with the first event. Where none can be started, turns run on the threads that call.

    Args:
        senders: requests that are sent at the same time, at most: a slow one holds up nothing but its own batch.
    """

    linger = LINGER
    slice = 0.05
    yields = False
    worker: Worker

    def __init__(self, senders: int) -> None:
        self._inline = InlineRuntime()
        self._senders = Senders(senders, monotonic)
        self._starting = RLock()  # a signal handler may call in while a thread is being started
        self._wakes: SimpleQueue[None] = SimpleQueue()  # the worker sleeps until there is something in it
        self._wake_at = 0  # events in the mailbox that are worth a turn
        self._running = False
        self._threadless = False

    def bind(self, worker: Worker) -> None:
        """Run the turns of this worker."""
        self.worker = worker
        self._inline.bind(worker)
        self._mailbox = worker.mailbox

    # -- the callers' side ------------------------------------------------------------------------------

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event; the first one starts the thread."""
        mailbox = self._mailbox
        mailbox.put(receipt)
        if mailbox.qsize() >= self._wake_at:
            self._rouse()

    def post(self, command: Command) -> None:
        """Have the worker do something."""
        self._mailbox.put(command)
        self.notify()

    def notify(self) -> None:
        """Have the mail read: by the worker's thread if there is one, else by this one."""
        if not self._running:
            self._inline.notify()
        elif self._wake_at != AWAKE:
            self._wake_thread()

    def wake(self) -> None:
        """Have the worker look around, and start its thread if there is none."""
        self._mailbox.put(nothing)
        self._rouse()

    def runs(self) -> bool:
        """Whether turns run without a caller: once the thread has started."""
        return self._running

    def wait_for(self, event: threading.Event, deadline: float | None) -> None:
        """Wait for the event until `deadline`."""
        if self._running:
            event.wait(None if deadline is None else max(0.0, deadline - self.worker.clock()))
        else:
            self._inline.wait_for(event, deadline)

    def _rouse(self) -> None:
        if self._running:
            self._wake_thread()
        else:
            self._start()

    def _wake_thread(self) -> None:
        # Once is enough, so others need not: until the worker gets the interpreter, which takes 5 ms in a burst,
        # they come by 1,000 times. Nothing can cut in between the two (CPython lets in threads and signal handlers
        # after calls): the number that was written down is never taken back without a wake-up.
        self._wake_at = AWAKE
        self._wakes.put(None)
        if not self._running:  # any more
            self._wake_at = 0

    def _start(self) -> None:
        with self._starting:
            if self._running:
                return
            if not (self.worker.finished or self._threadless):
                self._wake_at = AWAKE
                self._running = True  # first: what calls in from here on leaves it to the new thread
                try:
                    start_thread("millstream-worker", self._run)
                except RuntimeError:
                    self._running = False
                    self._threadless = True
                    self._wake_at = 0
                    for channel in self.worker.channels:
                        channel.engine.never_linger()
                except BaseException:  # a signal's, in the middle of it: whether there is a thread, it knows best
                    self._running = False
                    self._wake_at = 0
                    self._wakes.put(None)
                    raise
        self.notify()

    # -- the worker's side ------------------------------------------------------------------------------

    def _run(self) -> None:
        inline, worker = self._inline, self.worker
        with inline.turning, inline.turn_here():
            try:
                while True:
                    self._running = True  # again: the thread that started us may have been interrupted, and not know
                    until = worker.guarded_turn()
                    if worker.finished:
                        break
                    self._sleep(until)
            finally:
                self._running = False
                self._wake_at = 0  # last: see `_wake_thread`
        # A call may have put its event after our last look, and have left it to us because we were running.
        self.notify()

    def _sleep(self, until: float | None) -> None:
        """Sleep until `until`, a command, or as many events as are worth it.

        No wake-up is lost. Callers put their mail first and look then, at `_wake_at`; the worker sets that first and
        looks then, at the mailbox. The second of the two sees the other.
        """
        self._wake_at = self.worker.enough()
        try:
            if self._mailbox.empty():
                self._wakes.get(timeout=None if until is None else max(0.0, until - self.worker.clock()))
            while True:
                self._wakes.get_nowait()
        except Empty:
            pass
        self._wake_at = AWAKE

    def in_turn(self) -> bool:
        """Whether the calling thread runs a turn: it must not wait for what a turn brings."""
        return self._inline.in_turn()

    def turn_here(self) -> AbstractContextManager[None]:
        """Around what runs on the calling thread as a turn does."""
        return self._inline.turn_here()

    def run(self, job: Callable[[], Command], deadline: float) -> bool:
        """Run a job on a sender's thread, and have the worker do what it returns. False: none is free."""

        def run() -> Command:
            report = job()
            return lambda: self._hand_in(report)

        try:
            return self._senders.start(run, deadline)
        except RuntimeError:
            return self._inline.run(job, deadline)

    def _hand_in(self, report: Command) -> None:
        self._mailbox.put(report)
        if self._running and self._wake_at != AWAKE:
            self._wake_thread()

    def allow_senders(self, more: int) -> None:
        """Let more requests be sent at the same time: those of another destination."""
        self._senders.allow(more)

    def abandoned_senders(self) -> int:
        """Return how many threads are held by requests that did not end in time."""
        return self._senders.abandoned()

    def sync(self, sync: Callable[[], object]) -> None:
        """Force the spool to disk."""
        sync()
