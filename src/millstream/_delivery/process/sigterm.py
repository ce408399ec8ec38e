"""SIGTERM: flush as at the end of the process, and then end by it, as if nobody had handled it.

Python runs a handler on the main thread, between two steps of whatever is there. That may be `track()` with a lock in
hand that the worker needs, or the very event loop that is to deliver: whoever waits here may wait for himself. So the
handler only starts a thread, which flushes and then kills. Meanwhile the program goes on, as if the signal had come a
little later.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .bell import Bell
from .fork_hooks import of_multiprocessing

__all__ = ["Sigterm"]

SIGTERM = signal.SIGTERM


class Flush(Protocol):
    def __call__(self, *, last: bool) -> object: ...


class Sigterm:
    """The handler, one for all clients. It is only ever put over the default.

    Whoever installs another one later has the signal for himself. If he calls ours from there, it sends what there is
    to send, and leaves the rest to him.

    Args:
        flush: has all clients deliver what they have, and `last` says whether it is the last time; called in a thread.
        end: the same for the last time, where there can be no thread.
    """

    def __init__(self, flush: Flush, end: Callable[[], object]) -> None:
        self.ending = False
        """Whether the process is at its end already, and delivers."""
        self._flush = flush
        self._end = end
        self._wanted: set[int] = set()
        self._pid = 0  # where it is installed
        self._came = False
        self._bell: Bell | None = None
        self._lock = _thread.RLock()  # a second signal may come to the handler while that has it
        self._masks: dict[int, set[int | signal.Signals]] = {}  # of threads that fork, as they were before

    def want(self, who: int) -> None:
        """Install it, if it can be: on the main thread of the main interpreter, and over the default alone."""
        self._wanted.add(who)
        if self.ending:
            return
        if _on_main_thread() and signal.getsignal(SIGTERM) == signal.SIG_DFL and not _caught_by_others():
            try:
                signal.signal(SIGTERM, self._handle)
            except ValueError:  # a subinterpreter, whose main thread is not the one
                return
            self._pid = os.getpid()
            if of_multiprocessing() and self._bell is None:
                self._bell = Bell(SIGTERM, lambda: self._came or not self._is_ours(), self._lock)

    def release(self, who: int) -> None:
        """One client less. Without any, the default is restored."""
        self._wanted.discard(who)
        if not self._wanted:
            self._remove()

    def before_fork(self) -> None:
        """Hold the signal back: Python forgets one that comes to a child in its first moments, and its parent waits."""
        if self._is_ours():
            self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {SIGTERM})

    def let_through(self) -> None:
        """What was held back comes now."""
        mask = self._masks.pop(threading.get_ident(), None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def after_fork(self) -> None:
        """In a forked child: the default, until a client is used there."""
        self._lock = _thread.RLock()
        self._remove()
        self._wanted.clear()
        self.ending = self._came = False
        self.let_through()
        self._masks.clear()

    def end(self) -> None:
        """All has been delivered that could be, and the process ends: by the signal, if it has come."""
        if self._came:
            _die()
        self._remove()

    def _remove(self) -> None:
        if self._is_ours() and _on_main_thread():
            signal.signal(SIGTERM, signal.SIG_DFL)
            if self._bell is not None:
                self._bell.remove()
                self._bell = None

    def _is_ours(self) -> bool:
        return signal.getsignal(SIGTERM) == self._handle

    def _handle(self, _number: int, _frame: object) -> None:
        last = self._is_ours()
        if last:
            with self._lock:  # else the bell rings once more, and that is a second one
                self._came = True
                signal.signal(SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
            if self._pid != os.getpid():  # a child that has not come to restore the default
                _die()
        if self.ending:
            return
        try:
            # Not threading.Thread: that waits until the thread runs, and here nobody may wait (gevent refuses to).
            _thread.start_new_thread(self._see_out, (last,))
        except RuntimeError:
            if last:
                self._end()
                _die()

    def _see_out(self, last: bool) -> None:
        try:
            self._flush(last=last)
        finally:
            if last and not self.ending:  # else the main thread has come to its end meanwhile, and delivers the rest
                _die()


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _caught_by_others() -> bool:
    """Whether something handles the signal of which Python does not know: a server that Python is embedded in."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:  # not Linux
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (SIGTERM - 1) & 1)


def _die() -> None:
    """End by the signal, as the default would have it."""
    os.kill(os.getpid(), SIGTERM)
    os._exit(128 + SIGTERM)  # the first process of a container is immune to it: what its parent would have seen
