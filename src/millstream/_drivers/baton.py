"""The baton: whoever has it may touch a worker's state. The worker lays it aside while it runs a plugin's hook."""

from __future__ import annotations

import threading

__all__ = ["Baton", "Relieved"]


class Relieved(BaseException):
    """Raised in a worker that comes back from a hook and finds that another thread has taken its place."""


class Baton:
    """Lets a thread take over from a worker that a plugin's hook does not let go of.

    While a hook runs, the worker is in nobody's data but the plugin's: there, and only there, it can be relieved. One
    that hangs elsewhere (in a callback, in a listener) may be in the middle of a settlement, and keeps its place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenure = 0

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def take(self, timeout: float) -> bool:
        """Take over: whoever laid the baton aside gets it back only to be Relieved. False: nobody has laid it aside."""
        taken = self._lock.acquire(timeout=timeout)
        if taken:
            self._tenure += 1
        return taken

    def lay_aside(self) -> int:
        """Leave the baton free to be taken, until `take_back` with the number that this returns."""
        tenure = self._tenure
        self._lock.release()
        return tenure

    def take_back(self, tenure: int) -> None:
        """Have it again.

        Raises:
            Relieved: it has been taken. From there on, touch nothing.
        """
        self._lock.acquire()
        if self._tenure != tenure:
            raise Relieved
