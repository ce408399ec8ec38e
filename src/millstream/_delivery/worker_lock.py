"""The worker lock: its holder may touch the worker's state. It is released while a plugin's hook runs."""

from __future__ import annotations

import threading

__all__ = ["Superseded", "WorkerLock"]


class Superseded(BaseException):
    """Raised in a worker that returns from a hook after another thread has taken over."""


class WorkerLock:
    """Lets a thread take over from a worker that hangs in a plugin's hook.

    During a hook the worker touches only the plugin's state: there, and only there, it can be superseded. A worker that
    hangs elsewhere (in a callback, in a listener) may be in the middle of settling events, and keeps the lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0  # the number of take-overs

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def take_over(self, timeout: float) -> bool:
        """Acquire the lock for good: the worker that released it is Superseded. False: it was not released in time."""
        taken = self._lock.acquire(timeout=timeout)
        if taken:
            self._holder += 1
        return taken

    def release(self) -> int:
        """Release the lock until `reacquire` is called with the returned number."""
        holder = self._holder
        self._lock.release()
        return holder

    def reacquire(self, holder: int) -> None:
        """Acquire the lock again.

        Raises:
            Superseded: another thread has taken over. Touch nothing any more.
        """
        self._lock.acquire()
        if self._holder != holder:
            raise Superseded
