"""The thread runtime: the worker's turns run on a daemon thread, and requests on a few sender threads."""

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
"""The linger: seconds for which a batch that `flush_at` made due waits for more events. A request costs as much as many
events, and in a burst many more arrive; compared to a request the delay is small."""

AWAKE = NEVER + 1
"""The worker checks the mailbox before it sleeps: no caller needs to wake it."""


class ThreadRuntime:
    """Starts its thread with the first event. If none can be started, turns run on the calling threads.

    Args:
        senders: concurrent requests, at most: a slow one delays only its own batch.
    """

    linger = LINGER
    slice = 0.05
    yields = False
    worker: Worker

    def __init__(self, senders: int) -> None:
        self._inline = InlineRuntime()
        self._senders = Senders(senders, monotonic)
        self._starting = RLock()  # a signal handler may call in while a thread is being started
        self._wakes: SimpleQueue[None] = SimpleQueue()  # the worker sleeps until it holds something
        self._wake_at = 0  # number of events in the mailbox that is worth a turn
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
            self._wake_or_start()

    def post(self, command: Command) -> None:
        """Post a command to the worker."""
        self._mailbox.put(command)
        self.notify()

    def notify(self) -> None:
        """Have the mailbox read: by the worker's thread if there is one, else by this one."""
        if not self._running:
            self._inline.notify()
        elif self._wake_at != AWAKE:
            self._wake_thread()

    def wake(self) -> None:
        """Wake the worker, and start its thread if necessary."""
        self._mailbox.put(nothing)
        self._wake_or_start()

    def runs(self) -> bool:
        """Whether turns run by themselves: once the thread has started."""
        return self._running

    def wait_for(self, event: threading.Event, deadline: float | None) -> None:
        """Wait for the event until `deadline`."""
        if self._running:
            event.wait(None if deadline is None else max(0.0, deadline - self.worker.clock()))
        else:
            self._inline.wait_for(event, deadline)

    def _wake_or_start(self) -> None:
        if self._running:
            self._wake_thread()
        else:
            self._start()

    def _wake_thread(self) -> None:
        # One wake-up is enough: until the worker gets the interpreter, many more callers pass here. No other code runs
        # between the two steps (CPython switches threads and runs signal handlers after calls), so the number is never
        # reset without a wake-up.
        self._wake_at = AWAKE
        self._wakes.put(None)
        if not self._running:  # ended
            self._wake_at = 0

    def _start(self) -> None:
        with self._starting:
            if self._running:
                return
            if not (self.worker.finished or self._threadless):
                self._wake_at = AWAKE
                self._running = True  # first: calls from here on leave the work to the new thread
                try:
                    start_thread("millstream-worker", self._run)
                except RuntimeError:
                    self._running = False
                    self._threadless = True
                    self._wake_at = 0
                    for channel in self.worker.channels:
                        channel.engine.never_linger()
                except BaseException:  # a signal handler's, during the start
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
                    self._running = True  # again: the starting thread may have been interrupted before it set this
                    until = worker.guarded_turn()
                    if worker.finished:
                        break
                    self._sleep(until)
            finally:
                self._running = False
                self._wake_at = 0  # last: see `_wake_thread`
        # A call may have put its event after the last check, and left it to this thread because it was running.
        self.notify()

    def _sleep(self, until: float | None) -> None:
        """Sleep until `until`, a command, or enough events.

        No wake-up is lost: callers put their mail and then read `_wake_at`; the worker sets `_wake_at` and then reads
        the mailbox. The second of the two sees the other.
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
        """Whether the calling thread runs a turn: it must not wait for a turn's result."""
        return self._inline.in_turn()

    def turn_here(self) -> AbstractContextManager[None]:
        """Return a context in which this thread counts as running a turn."""
        return self._inline.turn_here()

    def run(self, job: Callable[[], Command], deadline: float) -> bool:
        """Run a job on a sender thread, and then its command on the worker. False: none is free."""

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
        """Return the number of threads in requests that did not end in time."""
        return self._senders.abandoned()

    def sync(self, sync: Callable[[], object]) -> None:
        """Run an fsync of the spool."""
        sync()
