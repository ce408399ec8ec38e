"""SIGTERM: deliver as at the end of the process, and then end by the signal, as if nothing had handled it.

Python runs a handler on the main thread, between two steps of whatever is there. That may be `track()` with a lock in
hand that the worker needs, or the very event loop that has to deliver. So the handler only starts a thread, which
delivers and then kills. Until the gate closes (ending.py) the program goes on, as if the signal had come later.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..._clock import monotonic
from .fork_hooks import of_multiprocessing

__all__ = ["Sigterm"]

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT
GRACE = 1.0
"""Seconds after its time is up that an exit hook leaves to the thread that ends the process by the signal."""


class Sigterm:
    """The handler, one for all clients. It is only ever put over the default.

    A handler that the application installs later has the signal to itself. If it calls ours, that sends what there is
    to send, and leaves the rest to the application. Children of multiprocessing have none of ours: their parent
    terminates them with a lock in hand that they wait for, and waits for them without limit.

    Args:
        flush: has all clients deliver what they have; called in a thread.
        end: the same for the last time; in a thread, or where none can be started in the handler.
    """

    def __init__(self, flush: Callable[[], object], end: Callable[[], object]) -> None:
        self.at_exit = False
        """Whether the exit hook delivers."""
        self.delivers = False
        """Whether a thread delivers, and ends the process by the signal."""
        self._flush = flush
        self._end = end
        self._wanted: set[int] = set()
        self._pid = 0  # where it is installed
        self._came = False
        self._sigint: Any = None  # its handler before the signal came
        self._masks: dict[int, set[int | signal.Signals]] = {}  # of threads that fork, as they were before

    def want(self, who: int) -> None:
        """Install it, if it can be: on the main thread of the main interpreter, and over the default alone."""
        self._wanted.add(who)
        if self.at_exit or of_multiprocessing():
            return
        if _on_main_thread() and signal.getsignal(SIGTERM) == signal.SIG_DFL and not _caught_by_others():
            try:
                signal.signal(SIGTERM, self._handle)
            except ValueError:  # a subinterpreter, whose main thread is not the one
                return
            self._pid = os.getpid()

    def replace(self, who: int, by: int) -> None:
        """Keep it installed for another's sake, if it is for this one's."""
        if who in self._wanted:
            self._wanted.add(by)
            self._wanted.discard(who)

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
        self._remove()
        if self._came and self._sigint is not None and _on_main_thread():
            signal.signal(SIGINT, self._sigint)
        self._wanted.clear()
        self.at_exit = self.delivers = self._came = False
        self.let_through()
        self._masks.clear()

    def wait(self, until: float) -> None:
        """Wait for the thread that ends the process; if it does not in time, the exit hook goes on without it."""
        until += GRACE
        while self.delivers and monotonic() < until:
            time.sleep(0.01)

    def end(self) -> None:
        """All has been delivered that could be, and the process ends: by the signal, if it has come."""
        if self._came:
            _die()
        self._remove()

    def _remove(self) -> None:
        if self._is_ours() and _on_main_thread():
            signal.signal(SIGTERM, signal.SIG_DFL)

    def _is_ours(self) -> bool:
        return signal.getsignal(SIGTERM) == self._handle

    def _handle(self, _number: int, _frame: object) -> None:
        if self._is_ours():
            self._handle_last()
        elif not self.at_exit:
            try:
                # Not threading.Thread: that waits until the thread runs, and a handler must not (gevent refuses to).
                _thread.start_new_thread(self._flush, ())
            except RuntimeError:  # at the end of the process, which delivers, or where no thread can be had
                pass

    def _handle_last(self) -> None:
        self._came = True
        signal.signal(SIGTERM, signal.SIG_DFL)  # a second one ends the process at once, and so does Ctrl-C
        self._sigint = signal.getsignal(SIGINT)
        if self._sigint not in (signal.SIG_IGN, signal.SIG_DFL, None):
            signal.signal(SIGINT, signal.SIG_DFL)
        if self._pid != os.getpid():  # a child that has not come to restore the default
            _die()
        if self.at_exit:
            return
        self.delivers = True
        try:
            _thread.start_new_thread(self._end_and_die, ())
        except RuntimeError:
            self._end_and_die()

    def _end_and_die(self) -> None:
        try:
            self._end()
        finally:
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
