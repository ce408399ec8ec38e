"""Turns on the threads that call: who runs them, and how long a caller waits."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from millstream import MillstreamError, Receipt, Request
from millstream._delivery.inline import InlineRuntime
from support.units import driver, receipt, take_all


def runtime_of(made: Any) -> InlineRuntime:
    assert isinstance(made._runtime, InlineRuntime)
    return made._runtime


def test_a_call_that_makes_a_batch_due_delivers_it() -> None:
    """`submit` returns when the batch is sent; one that makes nothing due sends nothing."""
    made = driver(flush_at=2)
    receipts: list[Receipt] = []
    for name in "AB":
        receipts.append(receipt(made, name))
        made.accept(receipts[-1])
        if name == "A":
            assert not receipts[0].done()
    assert all(one.done() for one in receipts)


def test_what_calls_in_during_a_turn_is_done_by_that_turn() -> None:
    """An HTTP client that records an event does not start a turn within the turn: it is delivered after."""
    sent: list[Request] = []

    def send(request: Request) -> Any:
        sent.append(request)
        if len(sent) == 1:
            assert runtime_of(made).in_turn()
            made.accept(receipt(made, "B"))
            assert len(sent) == 1
        return take_all(request)

    made = driver(send, flush_at=1)
    made.accept(receipt(made, "A"))
    assert len(sent) == 2
    assert not runtime_of(made).in_turn()


def test_a_turn_that_raises_leaves_the_next_caller_free() -> None:
    """An interrupted turn lets go of its thread and its lock: the mail that is left is read at the next call."""
    made = driver(flush_at=1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runtime_of(made).post(interrupt)
    assert not runtime_of(made).in_turn()
    one = receipt(made)
    made.accept(one)
    assert one.done()


def test_who_waits_runs_the_turns() -> None:
    """A wait for what no other thread brings runs turns here, until it is there."""
    made = driver()
    one = receipt(made)
    made.accept(one)
    assert not one.done()
    assert one.wait(timeout=30.0).failed_delivery() is None


def test_a_wait_ends_at_its_deadline() -> None:
    """A deadline that has passed ends the wait before a turn, also if another thread is at it."""
    made = driver()
    runtime = runtime_of(made)
    made.worker.clock = lambda: 50.0
    event = threading.Event()
    with runtime.turning:
        runtime.wait_for(event, 50.0)
        runtime.wait_for(event, 49.0)
    assert not event.is_set()


def test_a_turn_cannot_wait_for_itself() -> None:
    """A callback that flushes is refused with what to do: it runs in the turn that the flush would wait for."""
    made = driver(flush_at=1)
    raised: list[BaseException] = []

    def flush(_: Receipt) -> None:
        try:
            made.flush(30.0)
        except MillstreamError as exc:
            raised.append(exc)

    one = receipt(made)
    made.watch(one, flush)
    made.accept(one)
    assert len(raised) == 1
    assert "flush" in str(raised[0])


def test_a_job_is_done_before_run_returns() -> None:
    """There is always a thread, the caller's: the job runs, then its report."""
    done: list[str] = []

    def job() -> Any:
        done.append("job")
        return lambda: done.append("report")

    assert InlineRuntime().run(job, 0.0)
    assert done == ["job", "report"]
