"""A thread that is started in advance for exit: from Python 3.12 on none can be started any more by then.

Without it the main thread would run all that may hang (name look-ups, above all), without a time limit.
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
    """A job of the thread."""

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
        """Return its result, or raise its exception; None on timeout."""
        self._done.wait(timeout)
        if self._raised is not None:
            raise self._raised
        return self._result[0] if self._result else None


class ExitThread:
    """At most one daemon thread, with at most one job at a time."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[ExitJob[object] | None] = SimpleQueue()
        self._there = False

    def prepare(self) -> None:
        """Start the thread, if later it would be too late."""
        if TOO_LATE and not self._there:
            self._start()

    def do(self, what: Callable[[], T]) -> ExitJob[T] | None:
        """Run a job. None: no thread can be started."""
        if not self._there:
            self._start()
        if not self._there:
            return None
        job: ExitJob[T] = ExitJob(what)
        self._jobs.put(job)  # type: ignore[arg-type]
        return job

    def dismiss(self) -> None:
        """End the thread after its current job."""
        if self._there:
            self._there = False
            self._jobs.put(None)

    def _start(self) -> None:
        jobs = self._jobs  # not self: the thread would keep it alive
        self._there = True  # first: a signal handler may come here as well
        try:
            start_thread("millstream-exit", lambda: _run(jobs))
        except RuntimeError:
            self._there = False


def _run(jobs: SimpleQueue[ExitJob[object] | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
