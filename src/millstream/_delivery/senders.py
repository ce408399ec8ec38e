"""Sender threads: started when there is something to send, ended when idle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from .._logging import logger
from ..types import Clock
from .process.greenlets import start_thread

__all__ = ["Senders"]

LINGER = 0.5
"""Seconds that an idle sender waits before it ends."""

MAX_ABANDONED = 32
"""Threads that may hang in requests and be replaced."""

Job = Callable[[], Callable[[], object]]
"""Does the work, and returns what reports it, which is called when the thread is free again."""


class Senders:
    """At most `limit` daemon threads, besides abandoned ones: those in a job whose deadline has passed.

    An abandoned thread whose job returns is used again, or ends without work.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()  # between the worker and its senders; never held while user code runs
        self._threads = 0
        self._free = 0
        self._deadlines: dict[Job, float] = {}  # of running jobs
        self._logged = False

    def allow(self, more: int) -> None:
        """Let there be more threads: another destination sends, too."""
        self._limit += more

    def abandoned(self) -> int:
        """The number of threads in a job past its deadline. Without the lock: a signal handler may ask."""
        now = self._clock()
        return sum(deadline <= now for deadline in list(self._deadlines.values()))

    def start(self, job: Job, deadline: float) -> bool:
        """Start a job. False: every thread is busy, and too many are abandoned.

        Raises:
            RuntimeError: no thread can be started (as at the end of a process).
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
                "a request did not end in time: its thread is abandoned, and a new one replaces it "
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
                self._free += 1  # before the report: the worker may respond to it with the next job
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
        return self._jobs.get()  # a job was queued at the last moment
