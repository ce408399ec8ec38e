"""Processes that are waited for with a deadline, and stopped whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

ROOT = Path(__file__).parents[2]
START_SECONDS = 20
STOP_SECONDS = 30
GRACE_SECONDS = 5
"""For a child that is no longer needed."""
TAIL_LINES = 15


class DemoError(Exception):
    """The demo cannot go on. The message is for the person who watches."""


class Child:
    """`python -m …`, with its output in a file. As a context manager it leaves no process behind."""

    def __init__(self, name: str, *command: str, log: Path, **environment: str) -> None:
        self._name = name
        self._command = [sys.executable, "-m", *command]
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also when somebody presses Ctrl-C a second time. It does nothing to a process that is gone.
            self._process.kill()
            self._process.wait()

    def start(self, *, until: str) -> str:
        """Start, and wait until the child has printed what the pattern `until` describes; return its group."""
        with self._log.open("wb") as output, _held_back():
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**_neutral(), **self._environment},
                # Ctrl-C is for the demo alone: stopped all at once, the collector might go before the shop.
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            code = self._process.poll()
            if found := re.search(until, self._output()):
                return found[1]
            if code is not None:
                raise self.error(f"did not start (exit code {code})")
            time.sleep(0.02)
        raise self.error(f"was not ready after {START_SECONDS} s")

    def stop(self, *, codes: tuple[int, ...] = (0,)) -> None:
        """Ask the child to stop, and wait until it has done what it does at its end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise self.error(f"did not stop within {STOP_SECONDS} s") from None
        if code not in codes:
            raise self.error(f"failed (exit code {code})")

    def error(self, what: str) -> DemoError:
        """What went wrong with the child, and its last words about it."""
        tail = self._output().splitlines()[-TAIL_LINES:] or ["(nothing)"]
        return DemoError(
            "\n".join([f"the {self._name} {what}. The end of {self._log}:", *(f"  | {line}" for line in tail)])
        )

    def _output(self) -> str:
        return self._log.read_text("utf-8", "replace")


@contextmanager
def interruptible() -> Iterator[None]:
    """Let every signal that asks for an end be a KeyboardInterrupt, so that `with` blocks are left in order."""
    with _handled_by(_interrupt):
        yield


@contextmanager
def _held_back() -> Iterator[None]:
    """Let such signals wait: in the middle of a start they would leave a child that nobody knows."""
    came: list[int] = []
    with _handled_by(lambda number, _: came.append(number)):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _neutral() -> dict[str, str]:
    """The environment, less what would change the programs under the demo's hands."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MILLSTREAM_", "UVICORN_", "WEB_CONCURRENCY"))}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
