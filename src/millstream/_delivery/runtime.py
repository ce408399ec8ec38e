"""A runtime: where the worker's turns run, and how callers wake it and wait for it."""

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
    """What a driver needs of it. See `inline`, `thread` and `event_loop`, which are three."""

    linger: float
    """Seconds that a batch which `flush_at` has made due is given to grow, where a turn comes back for it."""

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
