"""When events are due, and what a batch takes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream._core.delivery.batcher import Batch, Batcher, Item
from millstream.destinations.tracking_api import TrackingAPI


@dataclass(frozen=True)
class Event:
    data: bytes


def batcher(**limits: float) -> Batcher:
    defaults = {"flush_at": 10, "flush_interval": 10.0, "max_events": 100, "max_bytes": 1000, "overhead": 0}
    return Batcher(**{**defaults, **limits})  # type: ignore[arg-type]


def events(letters: str, size: int = 1) -> list[Item]:
    return [Event(letter.encode() * size) for letter in letters]


def letters(items: list[Item]) -> str:
    return "".join(chr(item.data[0]) for item in items)


def test_an_empty_queue_is_never_due():
    """Nothing waits, so no moment is named, also after a flush."""
    queue = batcher()
    queue.force()
    assert len(queue) == 0
    assert queue.due_at(0.0) is None


def test_due_by_count():
    """As many as `flush_at` are due now, fewer are not."""
    queue = batcher(flush_at=3)
    queue.put(events("ab"), 0.0)
    assert queue.due_at(1.0) == 10.0
    queue.put(events("c"), 1.0)
    assert queue.due_at(1.0) == 1.0


def test_due_by_age_of_the_oldest():
    """The moment named is that of the oldest event, and never before now."""
    queue = batcher()
    queue.put(events("a"), 5.0)
    queue.put(events("b"), 9.0)
    assert queue.due_at(9.0) == 15.0
    assert queue.due_at(20.0) == 20.0


def test_due_by_bytes():
    """A queue that fills a request is due; one byte less is not."""
    queue = batcher(max_bytes=20, overhead=5)  # two events of 7 and a comma
    queue.put([Event(b"1234567"), Event(b"123456")], 0.0)
    assert queue.due_at(0.0) == 10.0
    queue = batcher(max_bytes=20, overhead=5)
    queue.put([Event(b"1234567"), Event(b"1234567")], 0.0)
    assert queue.due_at(0.0) == 0.0


def test_due_by_force_for_what_was_there():
    """Forcing makes due what is there; what is left of it after a cut stays due, what came later does not."""
    queue = batcher()
    queue.put(events("abc", 400), 0.0)  # two fit
    queue.force()
    assert letters(queue.cut(0.0).items) == "ab"
    assert queue.due_at(1.0) == 1.0
    queue.put(events("de", 400), 1.0)
    assert letters(queue.cut(0.0).items) == "cd"  # what is due takes along what fits
    assert queue.due_at(1.0) == 11.0


def test_due_by_count_lingers_for_more():
    """A batch that is due by its number, and not full, is given a moment to grow; what a cut leaves of it, another."""
    queue = batcher(flush_at=2, max_events=3, linger=0.5)
    queue.put(events("ab"), 1.0)
    assert queue.due_at(1.25) == 1.5
    queue.put(events("cde"), 1.25)
    assert queue.due_at(1.25) == 1.25  # it is full
    assert letters(queue.cut(1.25).items) == "abc"
    assert queue.due_at(1.25) == 1.75
    queue.put(events("f", 10), 1.5)
    queue.cut(1.5)
    assert queue.due_at(1.5) is None


def test_how_many_more_make_a_difference():
    """As many as are missing from `flush_at`, or from the bytes of a batch if they are large; none while it lingers."""
    queue = batcher(flush_at=5, max_bytes=100_000, linger=0.5)
    queue.put(events("a"), 0.0)
    assert queue.missing() == 3  # of 32 KB
    queue = batcher(flush_at=5, max_bytes=1_000_000, linger=0.5)
    queue.put(events("ab"), 0.0)
    assert queue.missing() == 3
    queue.put(events("cde"), 0.0)
    assert queue.missing() is None


def test_a_cut_keeps_the_age_of_the_rest():
    """Events that came together keep their common age when a batch takes only some of them."""
    queue = batcher()
    queue.put(events("abc", 400), 3.0)
    queue.cut(0.0)
    queue.put(events("d", 400), 7.0)
    assert queue.due_at(7.0) == 13.0
    queue.cut(0.0)
    assert queue.due_at(7.0) is None


def test_a_cut_takes_the_most_that_fit():
    """A batch ends where the next event would exceed a limit, and takes one event at least."""
    queue = batcher(max_events=3, max_bytes=30)
    queue.put([*events("abcd"), *events("e", 29), *events("f", 2), *events("g", 99), *events("h")], 0.0)
    assert [letters(queue.cut(0.0).items) for _ in range(5)] == ["abc", "d", "e", "f", "g"]
    assert letters(queue.cut(0.0).items) == "h"


def test_a_full_batch_counts_as_due_below_flush_at():
    """`flush_at` beyond what a batch can hold does not hold a full batch back."""
    queue = batcher(flush_at=50, max_events=2)
    queue.put(events("ab"), 0.0)
    assert queue.due_at(0.0) == 0.0


def test_clear_takes_out_everything():
    """After clearing nothing is due, nothing is counted, and the queue works as new."""
    queue = batcher(flush_at=2, max_bytes=40)
    queue.put(events("abc", 10), 0.0)
    queue.force()
    assert letters(queue.clear()) == "abc"
    assert (len(queue), queue.due_at(5.0)) == (0, None)
    queue.put(events("d", 10), 5.0)
    assert queue.due_at(5.0) == 15.0


@pytest.mark.parametrize("count", [2, 3, 5, 2500])
def test_halves_are_the_whole_in_order(count: int):
    """Halving loses nothing, keeps the order, leaves no half empty, and hands both the history down."""
    batch = Batch([Event(str(i).encode()) for i in range(count)])
    batch.attempts, batch.failures, batch.first_failure, batch.reauthorized = 4, 2, 7.0, True
    first, second = batch.halves()
    assert [*first.items, *second.items] == batch.items
    assert abs(len(first.items) - len(second.items)) <= 1
    for half in (first, second):
        assert (half.attempts, half.failures, half.first_failure, half.limited) == (4, 2, 7.0, False)
        assert half.reauthorized


@given(
    sizes=st.lists(st.integers(2, 300), max_size=60),
    max_bytes=st.integers(300, 900),
    max_events=st.integers(1, 20),
    key=st.text(min_size=1, max_size=20),
)
def test_a_request_is_as_large_as_allowed_and_no_larger(sizes: list[int], max_bytes: int, max_events: int, key: str):
    """The body that is really sent keeps the limit, and no batch leaves out an event that would have fitted."""
    api = TrackingAPI(key, host="http://x")
    queue = batcher(max_bytes=max_bytes, overhead=api.limits.overhead, max_events=max_events)
    left: list[Item] = [Event(b"x" * size) for size in sizes]
    queue.put(left, 0.0)

    def length(items: list[Item]) -> int:
        return len(api.request(items, 1, 1_767_225_600.0).body)

    while left:
        items = queue.cut(0.0).items
        assert items == left[: len(items)]
        assert len(items) == 1 or length(items) <= max_bytes
        left = left[len(items) :]
        assert len(items) == max_events or not left or length([*items, left[0]]) > max_bytes
    assert (len(queue), queue._bytes) == (0, 0)
