"""The inline runtime: the worker's turns run on the calling thread, where no other can be started."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .._core.receipt import Receipt
from .transport import Command
from .worker import Worker, earliest

__all__ = ["InlineRuntime", "nothing"]

PAUSE = 0.05
"""Seconds between two checks of a waiting thread whether another thread still runs turns."""


class InlineRuntime:
    """Runs turns in a call that makes a batch due, and while a caller waits.

    So `submit` may take as long as a request.
    """

    linger = 0.0
    slice = 0.05
    yields = False
    worker: Worker

    def __init__(self) -> None:
        self.turning = threading.Lock()
        """Held while a thread runs turns."""
        self._thread: int | None = None  # the thread that runs a turn

    def bind(self, worker: Worker) -> None:
        """Run the turns of this worker."""
        self.worker = worker

    # -- the callers' side ------------------------------------------------------------------------------

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event."""
        self.worker.mailbox.put(receipt)
        self.notify()

    def post(self, command: Command) -> None:
        """Post a command to the worker."""
        self.worker.mailbox.put(command)
        self.notify()

    def notify(self) -> None:
        """Run a turn that reads the mailbox, if it is worth one."""
        while not self.worker.mailbox.empty() and self.turning.acquire(blocking=False):
            try:
                self.take_turn()
            finally:
                self.turning.release()

    def wake(self) -> None:
        """Wake the worker, also if it has not started yet."""
        self.post(nothing)

    def runs(self) -> bool:
        """Whether turns run by themselves: no."""
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
        """Whether the calling thread runs a turn: it must not wait for a turn's result."""
        return self._thread == threading.get_ident()

    @contextmanager
    def turn_here(self) -> Generator[None, None, None]:
        """A context in which this thread counts as running a turn."""
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None

    def take_turn(self) -> float | None:
        """Run one turn on the calling thread. Return when the next one is due."""
        self._thread = threading.get_ident()
        try:
            return self.worker.turn()
        finally:
            self._thread = None

    def run(self, job: Callable[[], Command], deadline: float) -> bool:  # noqa: ARG002 - where there are threads
        """Run a job, and then the command that it returns."""
        job()()
        return True

    def abandoned_senders(self) -> int:
        """Return 0: requests hold no threads here."""
        return 0

    def sync(self, sync: Callable[[], object]) -> None:
        """Run an fsync of the spool."""
        sync()


def nothing() -> None:
    """Do nothing: a command that only wakes the worker."""
