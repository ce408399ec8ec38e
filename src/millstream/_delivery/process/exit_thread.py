"""A thread that is kept ready for the end of the process, where from Python 3.12 on no other can be started any more.

Without it the main thread would have to do all that may hang (looking up a host's name, above all) itself, and nothing
could call it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from .greenlets import TOO_LATE, start_thread

__all__ = ["ExitThread"]

T = TypeVar("T")


class ExitJob(Generic[T]):
    """Something that the thread does."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._do = do
        self._done = threading.Event()
        self._result: list[T] = []
        self._raised: Exception | None = None

    def run(self) -> None:
        try:
            self._result.append(self._do())
        except Exception as exc:  # noqa: BLE001 - raised to the caller that waits; the thread has more to do
            self._raised = exc
        finally:
            self._done.set()

    def result(self, timeout: float) -> T | None:
        """Return what came of it, or raise what it raised; None if that takes too long."""
        self._done.wait(timeout)
        if self._raised is not None:
            raise self._raised
        return self._result[0] if self._result else None


class ExitThread:
    """At most one daemon thread, for at most one job at a time."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[ExitJob[object] | None] = SimpleQueue()
        self._there = False

    def prepare(self) -> None:
        """Start the thread, if later it would be too late."""
        if TOO_LATE and not self._there:
            self._start()

    def do(self, what: Callable[[], T]) -> ExitJob[T] | None:
        """Have something done. None: there is no thread to be had."""
        if not self._there:
            self._start()
        if not self._there:
            return None
        job: ExitJob[T] = ExitJob(what)
        self._jobs.put(job)  # type: ignore[arg-type]
        return job

    def dismiss(self) -> None:
        """The thread ends when it has done what it was given."""
        if self._there:
            self._there = False
            self._jobs.put(None)

    def _start(self) -> None:
        jobs = self._jobs  # not ourselves: the thread would keep us
        self._there = True  # first: a signal handler may come here as well
        try:
            start_thread("millstream-exit", lambda: _run(jobs))
        except RuntimeError:
            self._there = False


def _run(jobs: SimpleQueue[ExitJob[object] | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
