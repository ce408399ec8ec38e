"""What is on disk and not in memory: in which order it is read back, and when it leaves the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream import Receipt, Rejected, RetriesExhausted
from millstream._core.outcome import DELIVERED, Outcome
from millstream._core.receipt import SpooledReceipt
from millstream._delivery.assemble import inline
from millstream._delivery.backlog import GRACE, Backlog
from millstream._delivery.driver import Driver
from millstream.spool.inspect import lanes
from support.units import parts, receipt, take_all

Make = Callable[..., Driver]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Driver] = []

    def make(**settings: Any) -> Driver:
        made.append(inline(parts(spool=str(tmp_path / "spool"), **settings)))
        return made[-1]

    yield make
    for each in made:
        if not each._orphaned:
            each.close(0.0)


def backlog_of(driver: Driver) -> Backlog:
    assert driver.worker.backlog is not None
    return driver.worker.backlog


def accepted(driver: Driver, name: str) -> Receipt:
    plain = receipt(driver, name)
    one = SpooledReceipt(plain.data, plain.kind, plain.message_id, driver)
    driver.accept(one)
    return one


def pending(tmp_path: Path) -> int:
    return sum(lane.events for lane in lanes(tmp_path / "spool"))


class Names:
    """An API that notes the events' names."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def __call__(self, request: Any) -> Any:
        self.sent += [part.split(b'"')[0].decode() for part in request.body.split(b'"event":"')[1:]]
        return take_all(request)


def test_what_has_no_room_in_memory_keeps_its_place_in_line(make: Make) -> None:
    """Events that are on disk alone are sent after those before them, with those that queue up behind, in order."""
    names = Names()
    driver = make(send=names, max_queue_events=2, flush_at=100)
    receipts = [accepted(driver, name) for name in "ABCDE"]
    assert backlog_of(driver).behind
    assert driver.flush(30.0).delivered == 5
    assert names.sent == ["A", "B", "C", "D", "E"]
    assert all(one.done() for one in receipts), "their callers' receipts are the ones that were settled"
    assert not backlog_of(driver).behind


def test_what_others_left_is_adopted_after_a_moment_or_for_a_flush(make: Make) -> None:
    """A start waits for destinations to be registered before it takes over; a caller who waits has it at once."""
    accepted(left := make(flush_at=100), "A")
    left.orphan()
    names = Names()
    driver = make(send=names)
    backlog = backlog_of(driver)
    now = driver.worker.clock()
    driver.worker.clock = lambda: now
    driver.start()
    assert bool(backlog)
    assert backlog.due_at(now) == now + GRACE
    assert names.sent == []
    assert driver.flush(30.0).delivered == 1
    assert names.sent == ["A"]


def test_an_event_leaves_the_disk_when_every_copy_has_an_outcome(make: Make, tmp_path: Path) -> None:
    """An event that the first channel has settled stays on disk while a copy of it is on its way elsewhere."""
    driver = make(flush_at=100)
    backlog = backlog_of(driver)
    one = accepted(driver, "A")
    backlog.copy_made(one)
    backlog.copy_made(one)
    backlog.forget([one])
    backlog.copy_ended(one, "Second", DELIVERED)
    backlog.spool.sync_now()
    assert pending(tmp_path) == 1
    backlog.copy_ended(one, "Second", Outcome(Rejected(400), 1))
    assert pending(tmp_path) == 0


def test_at_the_close_an_undelivered_copy_stays_for_the_next_start(make: Make, tmp_path: Path) -> None:
    """A copy whose retries were used up when the client closed is on disk, though the event's own outcome is there."""
    driver = make(flush_at=100)
    backlog = backlog_of(driver)
    one = accepted(driver, "A")
    backlog.copy_made(one)
    backlog.forget([one])
    driver.worker.closing = True
    backlog.copy_ended(one, "Second", Outcome(RetriesExhausted(1, Rejected(503)), 1))
    driver.worker.closing = False
    assert pending(tmp_path) == 1


def test_at_the_close_what_is_safe_is_kept_and_what_was_refused_is_not(make: Make) -> None:
    """An event that no host has refused ends as `kept`; a refusal is the event's outcome, with or without a disk."""
    driver = make(flush_at=100)
    one, two = accepted(driver, "A"), accepted(driver, "B")
    driver.worker.closing = True
    exhausted = Outcome(RetriesExhausted(1, Rejected(503)), 1)
    assert backlog_of(driver).keep_undelivered([one], exhausted) == []
    assert one.outcome is not None
    assert one.outcome.kind == "kept"
    refused = Outcome(Rejected(400), 1)
    assert backlog_of(driver).keep_undelivered([two], refused) == [two]
    driver.worker.closing = False
