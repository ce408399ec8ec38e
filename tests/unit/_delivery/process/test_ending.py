"""The gate before event calls at the end of a process: who waits, who must not, and who is still inside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from millstream._clock import monotonic
from millstream._delivery.process.ending import EndingGate

PATIENCE = 30.0


class Guarded:
    """A gate with one event call, which does what it is told and then asks the gate."""

    def __init__(self) -> None:
        self.gate = EndingGate()
        self.gate.guard(self.call)

    def call(self, before: Callable[[], object] = lambda: None, until: float | None = None) -> bool:
        before()
        return self.gate.admit(monotonic() + PATIENCE if until is None else until)


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def test_an_open_gate_lets_everybody_in(guarded: Guarded) -> None:
    """Before the end and after it no call waits."""
    assert guarded.call()
    guarded.gate.close()
    guarded.gate.open()
    assert guarded.call()


def test_a_call_waits_until_the_gate_opens(guarded: Guarded) -> None:
    """A call of another thread that comes to the closed gate goes on, with its event accepted, when it opens."""
    guarded.gate.close()
    here: SimpleQueue[bool] = SimpleQueue()
    thread = threading.Thread(target=lambda: here.put(guarded.call()), daemon=True)
    thread.start()
    guarded.gate.open()
    assert here.get(timeout=PATIENCE)


def test_a_call_waits_no_longer_than_it_may(guarded: Guarded) -> None:
    """When its time is up a call is not let in."""
    guarded.gate.close()
    assert not guarded.call(until=monotonic())


def test_a_call_within_a_call_does_not_wait(guarded: Guarded) -> None:
    """An event that is recorded inside an event call returns at once: that call is one that the end waits for."""
    guarded.gate.close()
    inner: list[bool] = []
    guarded.call(lambda: inner.append(guarded.call()), until=monotonic())
    assert inner == [False]


def test_a_call_of_a_finalizer_does_not_wait(guarded: Guarded) -> None:
    """`__del__` may have cut in anywhere, with a lock in hand that delivery needs."""
    guarded.gate.close()
    inner: list[bool] = []

    class Dies:
        def __del__(self) -> None:
            inner.append(guarded.call())

    dying = Dies()
    del dying
    assert inner == [False]


def test_a_call_on_an_event_loop_does_not_wait(guarded: Guarded) -> None:
    """The loop may be the one that has to deliver."""
    guarded.gate.close()

    async def main() -> bool:
        return guarded.call()

    assert asyncio.run(main()) is False


def test_the_end_waits_for_the_calls_that_are_inside(guarded: Guarded) -> None:
    """A call that was inside when the gate closed is waited for, up to a time; one at the gate is outside."""
    inside, go = threading.Event(), threading.Event()

    def before() -> None:
        inside.set()
        go.wait(PATIENCE)

    thread = threading.Thread(target=lambda: guarded.call(before), daemon=True)
    thread.start()
    assert inside.wait(PATIENCE)
    guarded.gate.close()
    assert not guarded.gate.wait_until_empty(monotonic())
    go.set()
    assert guarded.gate.wait_until_empty(monotonic() + PATIENCE), "it has come to the gate, and waits there"
    assert thread.is_alive()
    guarded.gate.open()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_loop_is_stopped_until_the_gate_opens(guarded: Guarded) -> None:
    """`stop` returns when the loop blocks in its callback; it goes on when the gate opens. A closed loop is stopped."""
    started: SimpleQueue[asyncio.AbstractEventLoop] = SimpleQueue()
    over = asyncio.Event()

    async def main() -> None:
        started.put(asyncio.get_running_loop())
        await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    loop = started.get(timeout=PATIENCE)
    guarded.gate.close()
    assert guarded.gate.stop(loop, monotonic() + PATIENCE)
    assert guarded.gate.stop(loop, monotonic()), "it is already"
    loop.call_soon_threadsafe(over.set)
    assert thread.is_alive()
    guarded.gate.open()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert guarded.gate.stop(loop, monotonic())
