"""The lock of a worker: who may touch its state while a hook runs."""

from __future__ import annotations

import pytest

from millstream._delivery.worker_lock import Superseded, WorkerLock


def test_a_hook_that_returns_in_time_finds_its_lock() -> None:
    """A worker that released its lock for a hook goes on where it was, if no other thread has taken over."""
    lock = WorkerLock()
    with lock:
        for _ in range(2):
            lock.reacquire(lock.release())
        assert not lock.take_over(0.0), "it is held again"


def test_a_worker_that_was_taken_over_from_is_superseded() -> None:
    """After a take-over the worker that comes back from its hook is told so, also when the lock is free again."""
    lock = WorkerLock()
    lock.take_over(0.0)
    holder = lock.release()
    assert lock.take_over(0.0)
    lock.release()
    with pytest.raises(Superseded):
        lock.reacquire(holder)


def test_a_worker_that_holds_its_lock_cannot_be_taken_over_from() -> None:
    """A worker that is stuck in a settlement keeps the lock: a thread that gave up has superseded no other."""
    lock = WorkerLock()
    lock.take_over(0.0)
    holder = lock.release()
    with lock:
        assert not lock.take_over(0.0)
    lock.reacquire(holder)


def test_superseded_passes_every_handler_of_errors() -> None:
    """A plugin's or our own `except Exception` does not keep a relieved worker at work."""
    assert not issubclass(Superseded, Exception)
