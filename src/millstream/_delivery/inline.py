"""The inline runtime: the worker's turns run on the thread that calls. For where there can be no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .._core.receipt import Receipt
from .transport import Command
from .worker import Worker, earliest

__all__ = ["InlineRuntime", "nothing"]

PAUSE = 0.05
"""Seconds between two looks of a thread that waits, at whether another thread is still running turns."""


class InlineRuntime:
    """Runs turns at a call that makes a batch due, and while a caller waits.

    `submit` then takes as long as the network does.
    """

    linger = 0.0
    slice = 0.05
    yields = False
    worker: Worker

    def __init__(self) -> None:
        self.turning = threading.Lock()
        """Held by the thread that runs turns."""
        self._thread: int | None = None  # the thread that runs a turn now

    def bind(self, worker: Worker) -> None:
        """Run the turns of this worker."""
        self.worker = worker

    # -- the callers' side ------------------------------------------------------------------------------

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event."""
        self.worker.mailbox.put(receipt)
        self.notify()

    def post(self, command: Command) -> None:
        """Have the worker do something."""
        self.worker.mailbox.put(command)
        self.notify()

    def notify(self) -> None:
        """Have the mail read."""
        while not self.worker.mailbox.empty() and self.turning.acquire(blocking=False):
            try:
                self.take_turn()
            finally:
                self.turning.release()

    def wake(self) -> None:
        """Have the worker look around, also if it has not started yet."""
        self.post(nothing)

    def runs(self) -> bool:
        """Whether turns run without a caller: they do not."""
        return False

    def wait_for(self, event: threading.Event, deadline: float | None) -> None:
        """Wait for the event until `deadline`, and run turns, if no other thread does."""
        clock = self.worker.clock
        while not event.is_set():
            now = clock()
            if deadline is not None and now >= deadline:
                return
            until = deadline
            if self.turning.acquire(blocking=False):
                try:
                    until = earliest(self.take_turn(), deadline)
                finally:
                    self.turning.release()
            pause = PAUSE if until is None else until - clock()
            event.wait(min(max(pause, 0.0), PAUSE))

    # -- the worker's side ------------------------------------------------------------------------------

    def in_turn(self) -> bool:
        """Whether the calling thread runs a turn: it must not wait for what a turn brings."""
        return self._thread == threading.get_ident()

    @contextmanager
    def turn_here(self) -> Generator[None, None, None]:
        """Around what runs on the calling thread as a turn does."""
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None

    def take_turn(self) -> float | None:
        """Run one turn on the calling thread. Return when the next is due."""
        self._thread = threading.get_ident()
        try:
            return self.worker.turn()
        finally:
            self._thread = None

    def run(self, job: Callable[[], Command], deadline: float) -> bool:  # noqa: ARG002 - where there are threads
        """Run a job, and do what it returns."""
        job()()
        return True

    def abandoned_senders(self) -> int:
        """Return how many threads are held by requests that did not end in time: there are none."""
        return 0

    def sync(self, sync: Callable[[], object]) -> None:
        """Force the spool to disk."""
        sync()


def nothing() -> None:
    """Do nothing: a command that only wakes the worker."""
