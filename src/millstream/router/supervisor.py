"""A supervisor: keeps one process running, and ends with it. The router runs beside the collector in this way.

The child's standard input is a pipe that nothing is written to: when it is closed, the parent is gone, whatever ended
it, and the child ends in good order.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from .._clock import monotonic
from .._public import publish

__all__ = ["Supervisor", "when_orphaned"]

_log = logging.getLogger("millstream")

PAUSES = 0.5, 30.0
"""Seconds before a process is started again: after its first end, and at most."""
STEADY = 60.0
"""Seconds that a process has to run for its end to count as the first again."""
STOP_SECONDS = 20.0


class Supervisor:
    """Runs `python -m millstream` with these arguments, and again when it ends.

    Args:
        name: of the process, for the log.
        arguments: of the command line.
    """

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self._name = name
        self._command = [sys.executable, "-m", "millstream", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"millstream-{name}", daemon=True)
        self.restarts = 0

    def start(self) -> None:
        """Start the process, and the thread that watches it."""
        self._thread.start()

    def signal(self, number: int) -> None:
        """Send the process a signal, if it runs. May be called in a signal handler."""
        process = self._process
        if process is not None and process.poll() is None:
            with suppress(OSError):
                process.send_signal(number)

    def stop(self) -> None:
        """Ask the process to end, and wait until it has; after a while, kill it."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is None:
            return
        with suppress(OSError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _log.warning("the %s did not end within %g s, and is killed", self._name, STOP_SECONDS)
            process.kill()
            process.wait()

    def _run(self) -> None:
        pause, longest = PAUSES
        while not self._stopping.is_set():
            begun = monotonic()
            code = self._once()
            if self._stopping.is_set():
                return
            if monotonic() - begun > STEADY:
                pause = PAUSES[0]
            _log.error("the %s has ended (%s); it is started again in %g s", self._name, _told(code), pause)
            self.restarts += 1
            self._stopping.wait(pause)
            pause = min(2 * pause, longest)

    def _once(self) -> int | None:
        """Run the process to its end. Returns its exit code; None if it could not be started."""
        with self._lock:
            if self._stopping.is_set():
                return None
            try:
                # A session of its own: a Ctrl-C is for the parent, which stops the child when it is time.
                process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
            except OSError as error:
                _log.error("the %s cannot be started: %s", self._name, error)
                return None
            self._process = process
        code = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        return code


def when_orphaned(end: Callable[[], object]) -> None:
    """Call `end`, on another thread, when the process that supervises this one is gone."""

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 1024):  # not by sys.stdin: its lock, held here, is an error at the end of the interpreter
                pass
        end()

    threading.Thread(target=watch, name="millstream-orphaned", daemon=True).start()


def _told(code: int | None) -> str:
    if code is None:
        return "it could not be started"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


publish("millstream.router", Supervisor)
