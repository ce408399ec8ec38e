"""Runs the pipeline's dialogs in the worker's thread: calls hooks, hands over for delivery, reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._core.context import Context
from .._core.pipeline import Call, Deliver, Delivered, Dialog, Report, Timeline, Together, process
from .._core.receipt import Outcome, Receipt
from ..emitter import Emitter
from ..errors import DropEvent, PluginError
from ..types import ErrorEvent

__all__ = ["Runner"]


@dataclass
class _Walk:
    """One event under way: its dialog, and the outcome of its delivery, whichever of the two is first."""

    receipt: Receipt
    dialog: Dialog
    outcome: Outcome | None = None
    waiting: bool = False


class Runner:
    """Takes events through the plugins.

    Args:
        emitter: who is told of plugins that fail where their failure stops nothing.
        deliver: hands an event, with the bytes that the plugins made of it, to the engine.
        settle: gives an event its outcome.
    """

    def __init__(
        self,
        emitter: Emitter,
        deliver: Callable[[Receipt, bytes], object],
        settle: Callable[[Receipt, Outcome], object],
    ) -> None:
        self.timeline = Timeline()
        self._emitter = emitter
        self._deliver = deliver
        self._settle = settle
        self._walks: dict[Receipt, _Walk] = {}
        self._running: tuple[str, float] | None = None

    def start(self, receipt: Receipt) -> None:
        """Begin an event's way."""
        context = Context(receipt.data, receipt.message_id)
        receipt.attach(context)
        self._advance(_Walk(receipt, process(context, receipt.kind, self.timeline)))

    def delivered(self, receipt: Receipt, outcome: Outcome) -> bool:
        """The delivery has its outcome. Returns whether that is for a dialog to deal with."""
        walk = self._walks.pop(receipt, None)
        if walk is None:
            return False
        walk.outcome = outcome
        if walk.waiting:
            self._advance(walk, outcome)
        return True

    @property
    def busy(self) -> bool:
        """Whether any event has a dialog that is not over."""
        return bool(self._walks)

    def running(self) -> tuple[str, float] | None:
        """The hook that runs now (`plugin.hook`), and for how many seconds."""
        now = self._running
        return None if now is None else (now[0], time.monotonic() - now[1])

    def _advance(self, walk: _Walk, value: Any = None) -> None:
        """Run a dialog until it is over, or has to wait for its delivery."""
        raised: BaseException | None = None
        while True:
            try:
                step = walk.dialog.send(value) if raised is None else walk.dialog.throw(raised)
            except StopIteration as stop:
                self._over(walk, stop.value)
                return
            value, raised = None, None
            match step:
                case Call():
                    value, raised = self._call(step)
                case Together(calls):
                    value = [self._call(call)[1] for call in calls]
                case Deliver(data):
                    self._hand_over(walk, data)
                case Delivered():
                    if walk.outcome is None:
                        walk.waiting = True
                        return
                    value = walk.outcome
                case Report(error, context):
                    self._report(error, context)

    def _call(self, call: Call) -> tuple[Any, BaseException | None]:
        self._running = f"{call.plugin.name}.{call.hook}", time.monotonic()
        try:
            return getattr(call.plugin, call.hook)(call.context), None
        except (Exception, DropEvent) as exc:  # noqa: BLE001 - a plugin may raise anything
            return None, exc
        finally:
            self._running = None

    def _hand_over(self, walk: _Walk, data: bytes) -> None:
        self._walks[walk.receipt] = walk
        self._deliver(walk.receipt, data)

    def _over(self, walk: _Walk, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._walks.pop(walk.receipt, None)
            self._settle(walk.receipt, outcome)
        elif walk.outcome is not None:  # delivered before the dialog was over
            self._settle(walk.receipt, walk.outcome)
        else:  # from here on delivery alone decides
            self._walks.pop(walk.receipt, None)

    def _report(self, error: PluginError, context: Context) -> None:
        context.log("error", str(error))
        self._emitter.report(ErrorEvent("plugin", error, context))
