"""Runs the pipeline on an event loop: awaits hooks, and keeps the order of events.

    call order ──▶ │ hooks of many events, concurrently │ ──▶ the handoff: call order again ──▶ engine

Hooks of different events run concurrently (a slow look-up must not block the next one), but an event is handed to the
engine only after all events recorded before it, except those that are dropped. So with plugins that await, too,
requests carry events in the order of the calls.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from .._clock import monotonic
from .._core.context import Context
from .._core.outcome import Outcome
from .._core.pipeline import Answer, Awaited, PluginLike, process
from .._core.receipt import Receipt
from ..emitter import Emitter
from ..errors import DropEvent
from .runner import PipelineRun, Runner
from .worker_lock import WorkerLock

__all__ = ["AsyncRunner", "OrderedHandoff"]

AT_ONCE = 100
"""Hooks awaited concurrently: enough for look-ups, without overloading the services they call."""


class Slot:
    """A slot in the handoff. One without a receipt waits for those before it."""

    __slots__ = ("act", "receipt")

    def __init__(self, receipt: Receipt | None) -> None:
        self.receipt = receipt
        self.act: Callable[[], object] | None = None


class OrderedHandoff:
    """Runs actions in the order in which their slots were joined, whenever each is ready."""

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()

    def __bool__(self) -> bool:
        return bool(self._slots)

    def join(self, receipt: Receipt | None = None) -> Slot:
        """Append a new slot."""
        slot = Slot(receipt)
        self._slots.append(slot)
        return slot

    def ready(self, slot: Slot, act: Callable[[], object] = lambda: None) -> None:
        """Run this action once all slots before it are ready; a second call for the slot does nothing."""
        if slot.act is None:
            slot.act = act
            while self._slots and (act_now := self._slots[0].act) is not None:
                self._slots.popleft()
                act_now()

    def clear(self) -> list[Receipt]:
        """Remove all slots. Return their events."""
        left = [slot.receipt for slot in self._slots if slot.receipt is not None]
        self._slots.clear()
        return left


class AsyncPipelineRun(PipelineRun, eq=False, kw_only=True):
    """A run with a slot in the handoff."""

    slot: Slot


class WaitFor(Protocol):
    """The driver's way to await: calls `done` with the result, or `again` if the event loop ended first."""

    def __call__(
        self, awaitable: Awaitable[Any], done: Callable[[Answer], object], again: Callable[[], object]
    ) -> object: ...


@dataclass(eq=False)
class _Hook:
    """A hook that returned an awaitable: queued, or being awaited."""

    call: Awaited
    done: Callable[[Answer], object]
    again: bool
    since: float = 0.0


class AsyncRunner(Runner):
    """Runs events through plugins whose hooks may be `async def`."""

    def __init__(
        self,
        emitter: Emitter,
        takes: Callable[[Mapping[str, Any]], bool],
        deliver: Callable[[Receipt, bytes], object],
        settle: Callable[[list[Receipt], Outcome], object],
        lock: WorkerLock,
        wait_for: WaitFor,
    ) -> None:
        super().__init__(emitter, takes, deliver, settle, lock)
        self.handoff = OrderedHandoff()
        self._wait_for = wait_for
        self._hooks: dict[_Hook, None] = {}  # being awaited, the oldest first
        self._queued: deque[_Hook] = deque()
        self._quiet: list[tuple[str, Callable[[], object]]] = []  # callbacks for the end of a plugin's hooks

    @property
    def wanted(self) -> bool:
        """Whether new events must be run through it: also behind events whose plugins are gone."""
        return bool(self.registry or self.handoff)

    @property
    def busy(self) -> bool:
        """Whether an event is in the pipeline, or waits for those before it."""
        return bool(super().busy or self.handoff)

    def start(self, receipt: Receipt) -> None:
        """Start an event."""
        run = AsyncPipelineRun(receipt, process(receipt, self.registry, self), slot=self.handoff.join(receipt))
        self._runs[receipt] = run
        self._advance(run)

    def running(self) -> tuple[str, float] | None:
        """The current hook, or else the one awaited for longest, and its seconds."""
        hook = next(iter(list(self._hooks)), None)
        if hook is None:
            return super().running()
        return f"{hook.call.plugin.name}.{hook.call.hook}", monotonic() - hook.since

    def abandon(self) -> list[Receipt]:
        """Drop all events and hooks, because the client closes or another thread has taken over.

        Return the events that no other part has.
        """
        left = dict.fromkeys([*self.handoff.clear(), *super().abandon()])
        for hook in self._queued:
            if inspect.iscoroutine(hook.call.awaitable):
                hook.call.awaitable.close()
        self._queued.clear()
        return list(left)

    def when_quiet(self, name: str, then: Callable[[], object]) -> None:
        """Call this once no hook of this plugin is awaited."""
        if any(hook.call.plugin.name == name for hook in [*self._hooks, *self._queued]):
            self._quiet.append((name, then))
        else:
            then()

    def when_passed(self, command: Callable[[], object]) -> None:
        """Call this once all events started before have passed the hooks that run before delivery."""
        self.handoff.ready(self.handoff.join(), command)

    # -- steps ----------------------------------------------------------------------------------------

    def _advance(self, run: PipelineRun) -> None:
        if self._runs.get(run.receipt) is run:  # else abandoned
            super()._advance(run)

    def _wait(self, run: PipelineRun, awaited: list[Awaited]) -> None:
        missing = [*awaited]

        def done(call: Awaited, answer: Answer) -> None:
            call.answer = answer
            missing.remove(call)
            if not missing:
                self._advance(run)

        for call in awaited:
            self._queue(call, partial(done, call))

    # -- what the pipeline asks for -------------------------------------------------------------------

    def hand_over(self, receipt: Receipt, data: bytes | None) -> None:
        """Deliver these bytes at the event's turn; then those behind it may follow."""
        run = self._runs[receipt]
        if isinstance(run, AsyncPipelineRun):
            if data is None:
                self.handoff.ready(run.slot)
            else:
                run.handed_over = True
                self.handoff.ready(run.slot, partial(self._deliver, receipt, data))

    def settle(self, receipt: Receipt, outcome: Outcome) -> None:
        """Settle the event: later events need not wait for it."""
        run = self._runs[receipt]
        if isinstance(run, AsyncPipelineRun):
            run.slot.receipt = None
            self.handoff.ready(run.slot)
        super().settle(receipt, outcome)

    # -- hooks ----------------------------------------------------------------------------------------

    def _awaited(self, plugin: PluginLike, hook: str, context: Context, awaitable: Any) -> Answer | Awaited:
        return Awaited(plugin, hook, context, awaitable)

    def _queue(self, call: Awaited, done: Callable[[Answer], object], *, again: bool = False) -> None:
        self._queued.append(_Hook(call, done, again))
        self._next_hooks()

    def _next_hooks(self) -> None:
        while self._queued and len(self._hooks) < AT_ONCE:
            hook = self._queued.popleft()
            hook.since = monotonic()
            self._hooks[hook] = None
            self._wait_for(hook.call.awaitable, partial(self._hook_done, hook), partial(self._hook_again, hook))

    def _hook_done(self, hook: _Hook, answer: Answer) -> None:
        self._hooks.pop(hook, None)
        value, raised = answer
        if raised is not None and not isinstance(raised, Exception | DropEvent):
            raised = RuntimeError(f"{type(raised).__name__}: {raised}")  # must not end the program from here
        hook.done((value, raised))
        self._after_hook()

    def _hook_again(self, hook: _Hook) -> None:
        """Call a hook again whose event loop ended, or which was cancelled; the second time it fails."""
        self._hooks.pop(hook, None)
        if hook.again:
            hook.done((None, RuntimeError("the hook was cancelled")))
        else:
            answer = self.call(hook.call.plugin, hook.call.hook, hook.call.context)
            if isinstance(answer, Awaited):
                self._queue(answer, hook.done, again=True)
            else:
                hook.done(answer or (None, None))
        self._after_hook()

    def _after_hook(self) -> None:
        self._next_hooks()
        quiet, self._quiet = self._quiet, []
        for name, then in quiet:
            self.when_quiet(name, then)
