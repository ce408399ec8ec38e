"""Plugins for tests: they do as they are told, and remember."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Context

PATIENCE = 30.0


class Probe:
    """A plugin without a base class. Its hooks call `does(ctx)` and remember the events that they saw."""

    def __init__(
        self, stage: str, name: str = "", does: Callable[[Context], Any] = lambda ctx: None, **more: Any
    ) -> None:
        self.name = name or stage
        self.type = stage
        self.seen: list[dict[str, Any]] = []
        self._does = does
        for attribute, value in more.items():
            setattr(self, attribute, value)

    def track(self, ctx: Context) -> Any:
        self.seen.append(ctx.event)
        return self._does(ctx)

    identify = page = screen = group = alias = track


class Hang:
    """A hook that hangs until the test is over."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.left = threading.Event()
        self._gate = threading.Event()

    def __call__(self, ctx: Context) -> None:
        self.entered.set()
        self._gate.wait(60)
        self.left.set()

    def release(self) -> None:
        self._gate.set()


@pytest.fixture
def hang() -> Any:
    """A hook that hangs until `release`, and at the end of the test in any case."""
    hook = Hang()
    yield hook
    hook.release()


@pytest.fixture
def probe() -> type[Probe]:
    """Makes plugins: `probe("before", does=lambda ctx: …)`."""
    return Probe
