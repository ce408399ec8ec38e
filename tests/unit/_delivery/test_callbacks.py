"""What callers are told of an event's outcome, and what becomes of what they raise or return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from queue import SimpleQueue
from typing import Any

import pytest

from millstream import DropEvent, Rejected
from millstream._clock import monotonic
from millstream._core.ledger import Ledger
from millstream._core.outcome import DELIVERED, Outcome
from millstream._delivery.callbacks import Callbacks, CallbackThreads
from support.units import Told, receipt


class Called:
    """Callbacks and their ledger, with one event that has no outcome yet."""

    def __init__(self) -> None:
        self.told = Told()
        self.awaited: list[Awaitable[object]] = []
        self.ledger = Ledger(threading.RLock(), lambda *_: None, 10, 10_000)
        self.callbacks = Callbacks(self.ledger, self.told.emitter, self.awaited.append)
        self.receipt = receipt()
        self.ledger.accept(self.receipt)

    def end(self, outcome: Outcome = DELIVERED) -> None:
        self.ledger.enter([self.receipt])
        self.ledger.settle([self.receipt], outcome)


@pytest.mark.parametrize("first", [True, False])
def test_a_callback_gets_the_error_and_the_context_once(first: bool) -> None:
    """`callback(err, ctx)` is called when there is an outcome, and at once if there is one already."""
    called = Called()
    calls: list[tuple[Any, str]] = []
    called.callbacks.add(called.receipt, lambda err, ctx: calls.append((err, ctx.event["event"])), first=first)
    assert calls == []
    error = Rejected(400)
    called.end(Outcome(error, 1))
    assert calls == [(error, "A")]
    called.callbacks.add(called.receipt, lambda err, _: calls.append((err, "late")), first=False)
    assert calls[1:] == [(error, "late")]


@pytest.mark.parametrize("exc", [LookupError("a bug of mine"), DropEvent("no plugin's place")])
def test_what_a_callback_raises_is_reported(exc: BaseException) -> None:
    """It reaches neither the worker nor those who are told after it."""
    called = Called()
    heard: list[str] = []

    def fail(*_: object) -> None:
        raise exc

    called.callbacks.add(called.receipt, fail, first=True)
    called.callbacks.watch(called.receipt, fail)
    called.callbacks.watch(called.receipt, lambda _: heard.append("told"))
    called.end()
    assert called.told.said == [f"callback: {exc}"] * 2
    assert heard == ["told"]


def test_a_callback_that_raises_its_error_again_keeps_nothing() -> None:
    """`raise err` in a callback leaves no frame in the outcome: it would hold the receipt for ever."""
    called = Called()

    def again(err: Any, _: object) -> None:
        raise err

    called.callbacks.add(called.receipt, again, first=True)
    called.end(Outcome(error := Rejected(400), 1))
    assert called.told.errors[0].reason is error
    assert error.__traceback__ is None


def test_what_a_callback_returns_is_awaited() -> None:
    """An awaitable is run by the driver; any other value is nothing."""
    called = Called()

    async def later() -> None:
        return None

    waiting = later()
    called.callbacks.add(called.receipt, lambda *_: waiting, first=True)
    called.callbacks.add(called.receipt, lambda *_: "nothing", first=False)
    called.end()
    assert called.awaited == [waiting]
    waiting.close()


def test_no_callback_runs_while_the_process_ends() -> None:
    """When a thread that holds what a callback needs waits for the end, callbacks and watchers stay silent."""
    called = Called()
    calls: list[object] = []
    called.callbacks.add(called.receipt, lambda *_: calls.append("callback"), first=True)
    called.callbacks.watch(called.receipt, calls.append)
    called.told.hushed = True
    called.end()
    assert calls == []


def test_awaitables_run_beside_and_are_joined() -> None:
    """A callback that waits holds up nothing; a close waits for it, up to its deadline, and its error is reported."""
    told = Told()
    threads = CallbackThreads(told.emitter)
    began: SimpleQueue[int] = SimpleQueue()
    go = threading.Event()

    async def wait() -> None:
        began.put(threading.get_ident())
        await asyncio.to_thread(go.wait, 30)
        raise LookupError("a bug of mine")

    threads.run(wait())
    assert began.get(timeout=30) != threading.get_ident()
    threads.join(0.0)
    assert told.said == []
    go.set()
    threads.join(monotonic() + 30)
    assert told.said == ["callback: a bug of mine"]


def test_without_a_thread_an_awaitable_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the process, where no thread can be started, it is run in the call."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    here: list[int] = []

    async def note() -> None:
        here.append(threading.get_ident())

    CallbackThreads(Told().emitter).run(note())
    assert here == [threading.get_ident()]
