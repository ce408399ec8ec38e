"""Turns on a thread of their own: when it starts, what wakes it, and what happens where there can be none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millstream import Receipt
from millstream._delivery.assemble import threaded
from millstream._delivery.driver import Driver
from millstream._delivery.thread import ThreadRuntime
from support.units import parts, receipt, take_all

PATIENCE = 30.0
Make = Callable[..., Driver]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Driver] = []

    def make(**settings: Any) -> Driver:
        made.append(threaded(parts(**settings)))
        return made[-1]

    yield make
    for each in made:
        each.close(0.0)


def runtime_of(driver: Driver) -> ThreadRuntime:
    assert isinstance(driver._runtime, ThreadRuntime)
    return driver._runtime


def accepted(driver: Driver, name: str = "A") -> Receipt:
    one = receipt(driver, name)
    driver.accept(one)
    return one


def refuse(_: object) -> None:
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_the_first_event_starts_the_thread(make: Make) -> None:
    """A client that records nothing has no thread; a command is done without one, in the call."""
    driver = make()
    done: list[int] = []
    runtime_of(driver).post(lambda: done.append(threading.get_ident()))
    assert done == [threading.get_ident()]
    assert not runtime_of(driver).runs()
    one = accepted(driver)
    assert runtime_of(driver).runs()
    one.wait(timeout=PATIENCE)


def test_commands_and_events_keep_their_order(make: Make) -> None:
    """What is posted after an event is done after that event has been entered."""
    driver = make(flush_at=100)
    accepted(driver)
    seen: list[int] = []
    done = threading.Event()
    runtime_of(driver).post(lambda: seen.append(driver.worker.ledger.epoch))
    receipts = [accepted(driver, str(n)) for n in range(50)]
    runtime_of(driver).post(lambda: seen.extend(one._epoch for one in receipts))
    runtime_of(driver).post(done.set)
    assert done.wait(PATIENCE)
    assert seen == [seen[0]] * 51


def test_where_no_thread_can_be_had_the_calls_deliver(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the process a call that makes a batch due sends it itself, and no batch lingers for more."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    sent: list[int] = []

    def send(request: Any) -> Any:
        sent.append(threading.get_ident())
        return take_all(request)

    driver = make(send=send, flush_at=1)
    assert accepted(driver).done()
    assert accepted(driver, "B").done()
    assert sent == [threading.get_ident()] * 2
    assert not runtime_of(driver).runs()


def test_a_thread_that_is_interrupted_at_its_start_is_started_by_the_next_call(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the thread is being started loses neither the event nor the client's way to start another."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    driver = make(flush_at=1)
    one = receipt(driver)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            driver.accept(one)
    assert not runtime_of(driver).runs()
    accepted(driver, "B").wait(timeout=PATIENCE)
    one.wait(timeout=PATIENCE)


def test_after_the_end_a_call_does_its_own_work(make: Make) -> None:
    """The thread ends with the close; an event that crosses it has its outcome in the call."""
    driver = make()
    accepted(driver)
    assert driver.close(PATIENCE).delivered == 1
    late = accepted(driver, "B")
    assert late.outcome is not None
    assert late.outcome.kind == "failed"


def test_the_worker_cannot_wait_for_itself(make: Make) -> None:
    """A turn knows its thread: what waits there would wait for ever; elsewhere it may wait."""
    driver = make(flush_at=1)
    seen: list[bool] = []
    one = receipt(driver)
    driver.watch(one, lambda _: seen.append(runtime_of(driver).in_turn()))
    driver.accept(one)
    one.wait(timeout=PATIENCE)
    driver.flush(PATIENCE)
    assert seen == [True]
    assert not runtime_of(driver).in_turn()
