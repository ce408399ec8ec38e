"""Hook threads: run the hooks of destination plugins beside delivery, which a slow one must not delay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from msgspec import Struct

from .._clock import monotonic
from .._core.context import Context
from .._core.pipeline import Answer, Beside, PluginLike
from ..emitter import reportable
from .process.greenlets import start_thread
from .transport import Command

__all__ = ["Answered", "HookThreads"]

LINGER = 0.5
"""Seconds that an idle thread waits before it ends."""
TOGETHER, AT_ONCE = 64, 0.002
"""Results posted together, at most, and the seconds for which the first of them waits, at most."""


class HookJob(Struct, eq=False):
    """A hook to call, for an event of this type."""

    beside: Beside
    plugin: PluginLike
    context: Context


Answered = Sequence[tuple[Beside, PluginLike, "Answer | None"]]
"""The results of hooks. None: the hook returned nothing, or the context."""


class HookThreads:
    """Runs the hooks of each plugin on a daemon thread of its own, in the order of the events.

    Events that wait here are pending: the limits of the client's queue apply.

    Args:
        call: calls a plugin's hook; in any thread.
        post: posts a command to the worker.
        answered: receives the results of hooks; on the worker.
    """

    def __init__(
        self,
        call: Callable[[PluginLike, str, Context], Answer | None],
        post: Callable[[Command], object],
        answered: Callable[[Answered], object],
    ) -> None:
        self._call = call
        self._post = post
        self._answered = answered
        self._threads: dict[str, _HookThread] = {}  # by the plugin's name; only the worker adds to it

    def run(self, job: HookJob) -> None:
        """Run a hook, and pass its result to the worker."""
        name = job.plugin.name
        thread = self._threads.get(name)
        if thread is None:
            thread = self._threads[name] = _HookThread(self._call, self._report)
        thread.put(job)

    def abandon(self) -> None:
        """Drop every hook that has not started."""
        threads, self._threads = self._threads, {}
        for thread in threads.values():
            thread.clear()

    def when_quiet(self, name: str, then: Command) -> None:
        """Post this to the worker once no hook of this plugin runs or waits."""
        thread = self._threads.get(name)
        if thread is None:
            then()
        else:
            thread.put(lambda: self._post(then))

    def running(self) -> tuple[str, float] | None:
        """Return a running hook (`plugin.hook`), and its seconds."""
        for thread in list(self._threads.values()):
            if thread.running is not None:
                hook, since = thread.running
                return hook, monotonic() - since
        return None

    def in_hook(self) -> bool:
        """Whether the calling thread is one of these."""
        here = threading.get_ident()
        return any(thread.ident == here for thread in list(self._threads.values()))

    def _report(self, answers: Answered) -> None:
        self._post(lambda: self._answered(answers))


class _HookThread:
    """The thread of a plugin: started when there is work, ended when idle."""

    def __init__(
        self, call: Callable[[PluginLike, str, Context], Answer | None], report: Callable[[Answered], object]
    ) -> None:
        self.ident: int | None = None
        self.running: tuple[str, float] | None = None
        self._call = call
        self._report = report
        self._jobs: SimpleQueue[HookJob | Command] = SimpleQueue()
        self._lock = threading.Lock()  # between the worker and the thread; never held while user code runs
        self._alive = False

    def put(self, item: HookJob | Command) -> None:
        self._jobs.put(item)
        with self._lock:
            if self._alive:
                return
            self._alive = True
        try:
            start_thread("millstream-destination", self._run)
        except RuntimeError:  # at the end of the process: on the worker instead
            try:
                self._run(linger=0.0)
            finally:
                self._alive = False

    def clear(self) -> None:
        try:
            while True:
                item = self._jobs.get_nowait()
                if not isinstance(item, HookJob):
                    item()
        except Empty:
            pass

    def _run(self, linger: float = LINGER) -> None:
        self.ident = threading.get_ident()
        try:
            while (item := self._next(linger)) is not None:
                if isinstance(item, HookJob):
                    self._report(self._answers(item))
                else:
                    item()
        finally:
            self.ident = None

    def _next(self, linger: float) -> HookJob | Command | None:
        try:
            return self._jobs.get(timeout=linger)
        except Empty:
            pass
        with self._lock:
            self._alive = not self._jobs.empty()
            return self._jobs.get_nowait() if self._alive else None

    def _answers(self, job: HookJob) -> list[tuple[Beside, PluginLike, Answer | None]]:
        """Run a hook and those queued behind it, for a moment."""
        answers: list[tuple[Beside, PluginLike, Answer | None]] = []
        began = now = monotonic()
        while True:
            beside, plugin, context = job.beside, job.plugin, job.context
            self.running = f"{plugin.name}.{beside.receipt.kind}", now
            try:
                answer = self._answer(plugin, beside.receipt.kind, context)
            except BaseException:  # it ends the program, or a call; delivery decides the event's outcome
                self._report([*answers, (beside, plugin, None)])
                raise
            finally:
                self.running = None
            answers.append((beside, plugin, answer))
            now = monotonic()
            if len(answers) == TOGETHER or now - began > AT_ONCE:
                return answers
            try:
                item = self._jobs.get_nowait()
            except Empty:
                return answers
            if not isinstance(item, HookJob):
                self._report(answers)
                answers = []
                item()
                return answers
            job = item

    def _answer(self, plugin: PluginLike, hook: str, context: Context) -> Answer | None:
        try:
            return self._call(plugin, hook, context)
        except BaseException as exc:
            if not reportable(exc):
                raise
            return None, exc
