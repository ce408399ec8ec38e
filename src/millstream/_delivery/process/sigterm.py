"""SIGTERM: deliver as at exit, and then end by the signal, as without a handler.

Python runs a handler on the main thread, between two steps of any code. That may be `track()` holding a lock that the
worker needs, or the very event loop that delivers. So the handler only starts a thread, which delivers and then kills
the process. Until the gate closes (ending.py) the program goes on, as if the signal had come later.
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
"""Seconds that an exit hook waits for the thread that ends the process, beyond its time."""


class Sigterm:
    """The handler, one for all clients. It only replaces the default.

    A handler that the application installs later gets the signal alone. If it calls ours, that delivers pending events,
    and leaves the rest to the application. Children of multiprocessing get no handler: their parent terminates them
    while holding a lock that they wait for, and waits for them without limit.

    Args:
        flush: delivers all clients' events; called in a thread.
        end: the same for the last time; in a thread, or if none can be started, in the handler.
    """

    def __init__(self, flush: Callable[[], object], end: Callable[[], object]) -> None:
        self.at_exit = False
        """Whether the exit hook delivers."""
        self.delivers = False
        """Whether a thread delivers, and ends the process by the signal."""
        self._flush = flush
        self._end = end
        self._wanted: set[int] = set()
        self._pid = 0  # the process where it is installed
        self._came = False
        self._sigint: Any = None  # its handler before the signal came
        self._masks: dict[int, set[int | signal.Signals]] = {}  # of threads that fork, before the fork

    def want(self, who: int) -> None:
        """Install it, if possible: on the main thread of the main interpreter, and only over the default."""
        self._wanted.add(who)
        if self.at_exit or of_multiprocessing():
            return
        if _on_main_thread() and signal.getsignal(SIGTERM) == signal.SIG_DFL and not _caught_by_others():
            try:
                signal.signal(SIGTERM, self._handle)
            except ValueError:  # a subinterpreter, which has no main thread of its own
                return
            self._pid = os.getpid()

    def replace(self, who: int, by: int) -> None:
        """Keep it installed for another client, if it is for this one."""
        if who in self._wanted:
            self._wanted.add(by)
            self._wanted.discard(who)

    def release(self, who: int) -> None:
        """Unregister a client. Without any, the default is restored."""
        self._wanted.discard(who)
        if not self._wanted:
            self._remove()

    def before_fork(self) -> None:
        """Block the signal: a child loses one that arrives in its first moments, and its parent waits."""
        if self._is_ours():
            self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {SIGTERM})

    def let_through(self) -> None:
        """Unblock the signal."""
        mask = self._masks.pop(threading.get_ident(), None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def after_fork(self) -> None:
        """In a forked child: restore the default, until a client is used there."""
        self._remove()
        if self._came and self._sigint is not None and _on_main_thread():
            signal.signal(SIGINT, self._sigint)
        self._wanted.clear()
        self.at_exit = self.delivers = self._came = False
        self.let_through()
        self._masks.clear()

    def wait(self, until: float) -> None:
        """Wait for the thread that ends the process; after a timeout, the exit hook goes on without it."""
        until += GRACE
        while self.delivers and monotonic() < until:
            time.sleep(0.01)

    def end(self) -> None:
        """End the process by the signal, if it was received; all events are delivered that could be."""
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
                # Not threading.Thread, which waits until the thread runs: a handler must not (gevent refuses to).
                _thread.start_new_thread(self._flush, ())
            except RuntimeError:  # at exit, which delivers, or where no thread can be started
                pass

    def _handle_last(self) -> None:
        self._came = True
        signal.signal(SIGTERM, signal.SIG_DFL)  # a second one ends the process at once, and so does Ctrl-C
        self._sigint = signal.getsignal(SIGINT)
        if self._sigint not in (signal.SIG_IGN, signal.SIG_DFL, None):
            signal.signal(SIGINT, signal.SIG_DFL)
        if self._pid != os.getpid():  # a child that has not yet restored the default
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
    """Whether other code handles the signal, unknown to Python: a server that embeds Python."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:  # not Linux
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (SIGTERM - 1) & 1)


def _die() -> None:
    """End by the signal, as by default."""
    os.kill(os.getpid(), SIGTERM)
    os._exit(128 + SIGTERM)  # the first process of a container ignores it: its parent sees the same status
