"""Threads that send: made when there is something to send, gone when there is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from .._logging import logger
from ..types import Clock
from .process.greenlets import start_thread

__all__ = ["Senders"]

LINGER = 0.5
"""Seconds that a sender waits for more before it ends."""

MAX_ABANDONED = 32
"""Threads that may be held by requests which do not end: others take their places."""

Job = Callable[[], Callable[[], object]]
"""Does the work, and returns what reports it: called when the thread counts as free again."""


class Senders:
    """At most `limit` daemon threads, and those that are abandoned: in a job whose deadline has passed.

    An abandoned thread that comes back is one of the others again, and ends if there is nothing to do for it.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()  # between the worker and its senders; no user code runs under it
        self._threads = 0
        self._free = 0
        self._deadlines: dict[Job, float] = {}  # of the jobs in hand
        self._logged = False

    def allow(self, more: int) -> None:
        """Let there be more threads: another destination sends, too."""
        self._limit += more

    def abandoned(self) -> int:
        """How many threads are in a job whose deadline has passed. Without the lock: a signal handler may ask."""
        now = self._clock()
        return sum(deadline <= now for deadline in list(self._deadlines.values()))

    def start(self, job: Job, deadline: float) -> bool:
        """Have a job done. False: every thread is busy, and too many are abandoned.

        Raises:
            RuntimeError: there is no thread to be had (as at the end of a process).
        """
        abandoned = self.abandoned()
        with self._lock:
            free = bool(self._free)
            if not free and self._threads >= self._limit + min(abandoned, MAX_ABANDONED):
                return False
            self._deadlines[job] = deadline
            if free:
                self._free -= 1
                self._jobs.put(job)
            else:
                self._threads += 1
        if abandoned and not self._logged:
            self._logged = True
            logger.warning(
                "a request did not end in time: its thread is abandoned, and another takes its place "
                "(at most %d times; stats().abandoned_senders counts them)",
                MAX_ABANDONED,
            )
        if free:
            return True
        try:
            start_thread("millstream-sender", lambda: self._run(job))
        except RuntimeError:
            with self._lock:
                self._threads -= 1
                del self._deadlines[job]
            raise
        return True

    def _run(self, job: Job | None) -> None:
        while job is not None:
            report = job()
            with self._lock:
                del self._deadlines[job]
                self._free += 1  # before the report: the worker may answer it with the next job
            report()
            del report
            job = self._next()

    def _next(self) -> Job | None:
        try:
            return self._jobs.get(timeout=LINGER)
        except Empty:
            pass
        with self._lock:
            if self._free:
                self._free -= 1
                self._threads -= 1
                return None
        return self._jobs.get()  # a job was put for us at the last moment
