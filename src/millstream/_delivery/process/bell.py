"""A signal that nobody has heard is rung again."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Bell"]

PAUSE = 0.05
"""Seconds between two rings, and before the first."""


class Bell:
    """Listens for a signal, and sends it to the main thread until that has heard it.

    Python's handlers run between two steps of the main thread. A signal that comes after its last look, when it is
    about to wait in C, is noted, and heard only when something ends the wait. A process without a handler dies
    at once. Who ends a pool of multiprocessing holds the lock that the children wait for, and waits for the children
    without limit: that took for ever in 1 of some hundred runs on a busy machine.

    What listens is a thread: the signal itself writes to a pipe (`signal.set_wakeup_fd`). Where asyncio has its own,
    there is no bell, and no need for one.

    Args:
        number: the signal.
        heard: whether it has been, or is not to be.
        lock: held while it is rung, so that `heard` does not change meanwhile.
    """

    def __init__(self, number: int, heard: Callable[[], bool], lock: Any) -> None:
        self._number, self._heard, self._lock = number, heard, lock
        self._main = threading.main_thread().ident or 0
        self._listens_in = 0
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        before = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        if before >= 0:
            signal.set_wakeup_fd(before)
            return
        try:
            _thread.start_new_thread(self._listen, ())
            self._listens_in = os.getpid()
        except RuntimeError:  # at the end of the process there can be no thread
            signal.set_wakeup_fd(-1)

    def remove(self) -> None:
        """Listen no more. On the main thread."""
        before = signal.set_wakeup_fd(-1)
        if before not in {self._mouth, -1}:  # somebody has taken the place
            signal.set_wakeup_fd(before)
        os.close(self._mouth)  # which ends the thread
        if self._listens_in != os.getpid():  # there is none, or it is in the process that this one was forked from
            os.close(self._ear)

    def _listen(self) -> None:
        while came := os.read(self._ear, 100):
            while self._number in came and not self._ring():
                pass
        os.close(self._ear)

    def _ring(self) -> bool:
        time.sleep(PAUSE)
        with self._lock:
            heard = self._heard()
            if not heard:
                signal.pthread_kill(self._main, self._number)
            return heard
