"""The last delivery of a client: what is sent, what is lost, and what is said of it in one line."""

from __future__ import annotations

from typing import Any

from millstream import Response
from millstream._clock import monotonic
from millstream._delivery.process.final_delivery import FinalDelivery
from millstream._logging import Summary
from support.units import Told, driver, receipt, take_all


class Last:
    """A client's driver and its last delivery."""

    def __init__(self, status: int = 200, timeout: float = 5.0, **settings: Any) -> None:
        self.requests = 0
        self.status = status
        self.summary = Summary()
        self.driver = driver(self.send, Told().emitter, flush_at=100, **settings)
        self.final = FinalDelivery(self.driver, self.summary, timeout, shared_http=False)
        self.said: list[str] = []

    def send(self, request: Any) -> Any:
        self.requests += 1
        return take_all(request) if self.status == 200 else Response(self.status, {}, b"")

    def track(self, *names: str) -> None:
        for name in names:
            self.driver.accept(receipt(self.driver, name))

    def end(self, by: BaseException | None = None, began: float | None = None) -> list[str]:
        began = monotonic() if began is None else began
        self.final.mute()
        self.final.begin_close(began)
        self.final.close(began)
        self.final.report(self.said.append, by)
        return self.said


def test_what_is_delivered_is_not_spoken_of() -> None:
    """An end that loses nothing writes nothing."""
    last = Last()
    last.track("A", "B")
    assert last.end() == []
    assert last.requests == 1
    assert last.final.pending == 0


def test_a_client_without_events_is_not_closed() -> None:
    """There is nothing to wait for, and nothing is sent."""
    last = Last()
    assert last.end() == []
    assert not last.driver.worker.finished


def test_what_is_lost_is_counted_in_one_line() -> None:
    """The line has the number, the seconds, and the remedy; the second report says it no more."""
    last = Last(status=503, timeout=0.0)
    last.track("A", "B")
    (line,) = last.end()
    assert line.startswith("2 events were not delivered within exit_timeout=0 s (")
    assert line.endswith("a longer exit_timeout gives them more time, and a spool keeps them for the next start")
    last.final.report(last.said.append)
    assert len(last.said) == 1


def test_an_interrupted_end_says_by_what() -> None:
    """Ctrl-C at the end is named, without the advice that would not have helped."""
    last = Last()
    last.track("A")
    last.final.report(last.said.append, KeyboardInterrupt())
    (line,) = last.said
    assert (
        line == "1 event was not delivered: the end of the process was interrupted (KeyboardInterrupt) (no outcome yet)"
    )


def test_time_that_has_passed_is_taken_off() -> None:
    """Several clients share the seconds: an end that began long ago leaves none for a request that fails first."""
    last = Last(status=503, timeout=5.0)
    last.track("A")
    (line,) = last.end(began=monotonic() - 100.0)
    assert "1 event was not delivered" in line


def test_a_client_that_nothing_refers_to_says_whether_it_has_events() -> None:
    """`retire` tells whether anybody has to wait for the driver."""
    last = Last()
    assert not last.final.retire(lambda: None)
    last.track("A")
    assert last.final.retire(lambda: None)
