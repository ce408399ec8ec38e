"""Threads that send: made when there is something to send, gone when there is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from .process.greenlets import start_thread

__all__ = ["Senders"]

LINGER = 0.5
"""Seconds that a sender waits for more before it ends."""

Job = Callable[[], Callable[[], object]]
"""Does the work, and returns what reports it: called when the thread counts as free again."""


class Senders:
    """At most `limit` daemon threads. A job that never returns costs its thread, and no other."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()  # between the worker and its senders; no user code runs under it
        self._threads = 0
        self._free = 0

    def start(self, job: Job) -> bool:
        """Have a job done. False: every thread is busy with one that does not come back.

        Raises:
            RuntimeError: there is no thread to be had (as at the end of a process).
        """
        with self._lock:
            if self._free:
                self._free -= 1
                self._jobs.put(job)
                return True
            if self._threads >= self._limit:
                return False
            self._threads += 1
        try:
            start_thread("millstream-sender", lambda: self._run(job))
        except RuntimeError:
            with self._lock:
                self._threads -= 1
            raise
        return True

    def _run(self, job: Job | None) -> None:
        while job is not None:
            report = job()
            with self._lock:
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
