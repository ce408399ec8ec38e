"""Threads that send: how many there are, and what takes the place of one that does not come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from millstream._delivery.senders import MAX_ABANDONED, Senders

PATIENCE = 30.0


class Jobs:
    """Jobs that begin, and end when the test lets them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.begun: SimpleQueue[tuple[str, int]] = SimpleQueue()
        self.reported: SimpleQueue[str] = SimpleQueue()
        self._gates: dict[str, threading.Event] = {}

    def senders(self, limit: int) -> Senders:
        return Senders(limit, lambda: self.now)

    def job(self, name: str) -> Callable[[], Callable[[], object]]:
        gate = self._gates[name] = threading.Event()

        def job() -> Callable[[], object]:
            self.begun.put((name, threading.get_ident()))
            gate.wait(PATIENCE)
            return lambda: self.reported.put(name)

        return job

    def let(self, name: str) -> str:
        """Let a job end; which one has reported then."""
        self._gates[name].set()
        return self.reported.get(timeout=PATIENCE)

    def end(self) -> None:
        for gate in self._gates.values():
            gate.set()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.end()


def test_no_more_threads_than_the_limit(jobs: Jobs) -> None:
    """A job for which no thread is free is refused; when one has come back, the same thread does the next."""
    senders = jobs.senders(2)
    assert [senders.start(jobs.job(name), 10.0) for name in "abc"] == [True, True, False]
    threads = dict(jobs.begun.get(timeout=PATIENCE) for _ in range(2))
    assert jobs.let("a") == "a"
    assert senders.start(jobs.job("d"), 10.0)
    assert jobs.begun.get(timeout=PATIENCE) == ("d", threads["a"])


def test_a_thread_is_free_when_its_report_runs(jobs: Jobs) -> None:
    """The worker may answer a report with the next job, which must not be refused for the one that has just ended."""
    senders = jobs.senders(1)
    again: SimpleQueue[bool] = SimpleQueue()
    senders.start(lambda: lambda: again.put(senders.start(jobs.job("next"), 10.0)), 10.0)
    assert again.get(timeout=PATIENCE)
    assert jobs.begun.get(timeout=PATIENCE)[0] == "next"


def test_another_takes_the_place_of_an_abandoned_one(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    """A thread whose job is over its deadline is counted as abandoned, and replaced; that is logged once."""
    senders = jobs.senders(1)
    senders.start(jobs.job("hangs"), 10.0)
    assert not senders.start(jobs.job("early"), 10.0)
    assert senders.abandoned() == 0
    jobs.now = 10.0
    assert senders.abandoned() == 1
    assert senders.start(jobs.job("second"), 20.0)
    assert not senders.start(jobs.job("third"), 20.0)
    jobs.now = 20.0
    assert senders.start(jobs.job("fourth"), 30.0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert jobs.let("hangs") == "hangs"
    assert senders.abandoned() == 1


def test_there_is_an_end_to_abandoned_threads(jobs: Jobs) -> None:
    """An HTTP client that never returns does not cost a thread for each request."""
    senders = jobs.senders(1)
    started = [senders.start(jobs.job(str(n)), 0.0) for n in range(MAX_ABANDONED + 3)]
    assert started == [True] * (MAX_ABANDONED + 1) + [False] * 2


def test_a_thread_that_cannot_be_had_is_not_counted(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the process there are no threads: that is raised each time, and takes no place."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    senders = jobs.senders(1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                senders.start(jobs.job("none"), 0.0)
    assert senders.abandoned() == 0
    assert senders.start(jobs.job("some"), 10.0)
