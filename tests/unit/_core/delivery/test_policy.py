"""The limits of a destination: which number is the last that is allowed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from millstream._core.delivery.policy import Policy


@dataclass(frozen=True)
class Event:
    data: bytes


@pytest.mark.parametrize(
    ("failures", "seconds", "exhausted"), [(2, 60.0, False), (3, 60.0, True), (2, 60.1, True), (0, 0.0, False)]
)
def test_retries_end_by_their_number_or_by_their_time(failures: int, seconds: float, exhausted: bool) -> None:
    """A batch may fail `max_retries` times and for `max_total_backoff` seconds; what goes over one of them is over."""
    policy = Policy(max_retries=2, max_total_backoff=60.0)
    assert policy.exhausted(failures, seconds) is exhausted


def test_no_answer_justifies_more_than_the_cap() -> None:
    """Attempts that do not count as failures end all the same, `extra_attempts` after the retries."""
    policy = Policy(max_retries=2, extra_attempts=5)
    assert [policy.over_cap(attempts) for attempts in (7, 8)] == [False, True]


def test_without_retries_the_first_failure_is_the_last() -> None:
    """`max_retries=0` means one attempt, not none."""
    policy = Policy(max_retries=0)
    assert not policy.exhausted(0, 0.0)
    assert policy.exhausted(1, 0.0)


def test_the_queue_obeys_each_limit() -> None:
    """The batcher is due by number, after the linger, by age, and cuts by events and by bytes without the overhead."""
    policy = Policy(flush_at=3, flush_interval=7.0, linger=0.5, max_batch_events=4, max_batch_bytes=100, overhead=20)
    by_age = policy.batcher()
    by_age.put([Event(b"x")], 10.0)
    assert by_age.due_at(10.0) == 17.0
    by_number = policy.batcher()
    by_number.put([Event(b"x")] * 3, 10.0)
    assert by_number.due_at(10.0) == 10.5
    by_number.put([Event(b"x")] * 2, 10.0)
    assert len(by_number.cut(10.0).items) == 4
    by_bytes = policy.batcher()
    by_bytes.put([Event(b"x" * 26), Event(b"x" * 27), Event(b"x" * 26)], 10.0)
    assert len(by_bytes.cut(10.0).items) == 2, "three and their commas are 81 bytes, and 80 are left"
