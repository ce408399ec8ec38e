"""Transformations: the application's functions of events, each in a process of its own, which can be killed."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO

from millstream._public import Self, publish
from millstream.errors import SettingsError

from .frames import Failed, Frames, Outcome, Transformed, decode, frame

__all__ = ["Failed", "Outcome", "Transformation", "Transformed"]

_SPEC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
CHUNK = 1 << 16


class Transformation:
    """Runs a function `(event) -> event | None | list` in a process of its own. For one thread.

    The process outlives a call, and is started again when it had to be killed. It is no sandbox: the function may do
    what its user may, files and network included.

    Args:
        spec: `module:function`.
        deadline: seconds for one event; then the process is killed, and the event has failed.
        memory: bytes of address space for the process; 0 sets no limit. macOS does not enforce it.
        cpu: seconds of processor time after which the process is replaced.
        start_timeout: seconds for the process to start, and to import the module.
        folder: where the module is looked for first.

    Raises:
        SettingsError: an argument cannot be used.
    """

    def __init__(
        self,
        spec: str,
        *,
        deadline: float = 1.0,
        memory: int = 1 << 30,
        cpu: int = 3600,
        start_timeout: float = 30.0,
        folder: str | Path = "",
    ) -> None:
        if not _SPEC.fullmatch(spec):
            raise SettingsError(f"transform must be written as module:function, got {spec!r}")
        for name, value in (("deadline", deadline), ("cpu", cpu), ("start_timeout", start_timeout)):
            if value <= 0:
                raise SettingsError(f"{name} of transform {spec!r} must be over 0, got {value!r}")
        self.spec = spec
        self.kills = 0
        """How often the process was killed, because an event took too long."""
        self._deadline = deadline
        self._start_timeout = start_timeout
        self._arguments = [sys.executable, "-m", f"{__package__}.transform_worker", spec]
        self._arguments += [str(memory), str(cpu), str(folder)]
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The id of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, and import the module.

        Raises:
            SettingsError: that is not possible, or takes too long; the message has the exception and its line.
        """
        if self._process is None:
            process = _Process(self._arguments)
            try:
                outcome = process.outcome(monotonic() + self._start_timeout)
            except TimeoutError:
                problem = f"the module was not imported within {self._start_timeout:g} s"
            except EOFError:
                problem = f"its process ended: {process.ending()}"
            else:
                problem = outcome.reason if isinstance(outcome, Failed) else ""
            if problem:
                process.kill()
                raise SettingsError(f"transform {self.spec!r} cannot be used: {problem}")
            self._process = process

    def run(self, events: Sequence[bytes]) -> list[Outcome]:
        """Run the function for each of these events, and return what became of each, in their order.

        An event for which the function takes too long has failed, and so has one with which the process has ended
        twice; the events behind it are run in a fresh process.

        Raises:
            SettingsError: the process cannot be started again.
        """
        outcomes: list[Outcome] = []
        ended_at = -1
        while len(outcomes) < len(events):
            self.start()
            process = self._process
            assert process is not None  # noqa: S101 - start() has made it, or raised
            try:
                for outcome in process.exchange(events[len(outcomes) :], self._deadline):
                    outcomes.append(outcome)  # noqa: PERF402 - what came before an exception counts
            except TimeoutError:
                self.kills += 1
                self._stop()
                outcomes.append(Failed(f"the transformation took longer than {self._deadline:g} s, and was killed"))
            except (EOFError, ValueError) as exc:
                ending = process.ending() if isinstance(exc, EOFError) else str(exc)
                self._stop()
                # It may have ended for what came before, such as memory that filled up: one more try, in a fresh one.
                if ended_at == len(outcomes):
                    outcomes.append(Failed(f"the process of the transformation ended: {ending}"))
                else:
                    ended_at = len(outcomes)
        return outcomes

    def close(self) -> None:
        """End the process."""
        self._stop()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()


class _Process:
    """A process with the function, and the two pipes to it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._popen = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)  # noqa: S603
        self.pid = self._popen.pid
        self._stdin, self._stdout = _pipe(self._popen.stdin), _pipe(self._popen.stdout)
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._frames = Frames()
        self._come: list[Outcome] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    def outcome(self, until: float) -> Outcome:
        """Return the next outcome.

        Raises:
            TimeoutError: it did not come in time.
            EOFError: the process has ended.
            ValueError: what came is no outcome.
        """
        while not self._come:
            self._wait(until)
        return self._come.pop(0)

    def exchange(self, events: Sequence[bytes], deadline: float) -> Generator[Outcome, None, None]:
        """Send events, and yield the outcome of each as it comes; the time for one begins when the last one came.

        Raises:
            TimeoutError: the next outcome did not come in time.
            EOFError: the process has ended.
            ValueError: what came is no outcome.
        """
        left = memoryview(b"".join(map(frame, events)))
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        writing = True
        for _ in events:
            until = monotonic() + deadline
            while not self._come:
                if self._wait(until):
                    left = self._write(left)
                if writing and not left:
                    self._selector.unregister(self._stdin)
                    writing = False
            yield self._come.pop(0)
        if writing:
            raise ValueError("the process answers what it was not asked")

    def ending(self) -> str:
        """Say how the process has ended."""
        try:
            status = self._popen.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return f"exit code {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"

    def kill(self) -> None:
        """End the process, whatever it does, and release the pipes."""
        self._popen.kill()
        self._popen.wait()
        self._selector.close()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def _wait(self, until: float) -> bool:
        """Wait until something can be read or written; read what there is. Return whether something can be written."""
        ready = self._selector.select(max(0.0, until - monotonic()))
        if not ready:
            raise TimeoutError
        for key, _ in ready:
            if key.fd == self._stdout:
                data = os.read(self._stdout, CHUNK)
                if not data:
                    raise EOFError
                self._come += map(decode, self._frames.feed(data))
        return any(key.fd == self._stdin for key, _ in ready)

    def _write(self, data: memoryview) -> memoryview:
        try:
            return data[os.write(self._stdin, data[:CHUNK]) :]
        except BrokenPipeError:
            return data[:0]  # it has ended: what it has written is still read
        except BlockingIOError:
            return data


def _pipe(file: IO[bytes] | None) -> int:
    assert file is not None  # noqa: S101 - both were asked for
    return file.fileno()


publish("millstream.router.transform", Transformation)
