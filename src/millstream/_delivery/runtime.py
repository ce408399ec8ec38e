"""The protocol of runtimes: run the worker's turns, wake the worker, and wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from .._core.receipt import Receipt
from .transport import Command
from .worker import Pace, Worker

__all__ = ["Runtime"]


class Runtime(Pace, Protocol):
    """The driver's side of a runtime. The three runtimes are in `inline`, `thread` and `event_loop`."""

    linger: float
    """The linger: seconds for which a batch that `flush_at` made due waits for more events, if a turn follows."""

    def bind(self, worker: Worker) -> None: ...

    def submit(self, receipt: Receipt) -> None: ...

    def post(self, command: Command) -> None: ...

    def wake(self) -> None: ...

    def runs(self) -> bool: ...

    def wait_for(self, event: threading.Event, deadline: float | None) -> None: ...

    def in_turn(self) -> bool: ...

    def turn_here(self) -> AbstractContextManager[None]: ...

    def abandoned_senders(self) -> int: ...

    def sync(self, sync: Callable[[], object]) -> None: ...
