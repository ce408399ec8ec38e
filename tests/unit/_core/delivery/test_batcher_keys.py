"""A batcher whose events have keys: what may share a batch, and which goes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millstream._core.delivery.batcher import Batcher


@dataclass
class Event:
    """What travels."""

    data: bytes
    key: str


def batcher(**limits: Any) -> Batcher:
    usual = {"flush_at": 15, "flush_interval": 10.0, "max_events": 100, "max_bytes": 100_000, "overhead": 0}
    return Batcher(**{**usual, **limits}, keyed=True)


def events(text: str) -> list[Event]:
    """Events named a1 a2 … by letter: the letter is the key."""
    return [Event(f"{letter}{n}".encode(), letter) for n, letter in enumerate(text)]


def names(batch: Any) -> str:
    return " ".join(item.data.decode() for item in batch.items)


def test_a_batch_takes_all_of_the_oldest_key():
    """Not the longest run of one key: events between them do not end the batch."""
    queue = batcher()
    queue.put(events("abacab"), 0.0)
    assert [names(queue.cut(0.0)) for _ in range(3)] == ["a0 a2 a4", "b1 b5", "c3"]
    assert len(queue) == 0


def test_a_flush_makes_every_key_due():
    """Also those that are behind a key that has got more since."""
    queue = batcher()
    queue.put(events("ab"), 0.0)
    queue.force()
    queue.put(events("aaa"), 1.0)
    assert queue.due_at(1.0) == 1.0
    assert names(queue.cut(1.0)) == "a0 a0 a1 a2"
    assert queue.due_at(1.0) == 1.0
    assert names(queue.cut(1.0)) == "b1"
    assert queue.due_at(1.0) is None


def test_a_busy_key_delays_no_other():
    """What does not fit into a batch waits behind the keys that came later."""
    queue = batcher(max_events=2)
    queue.put(events("aaaaab"), 0.0)
    assert [names(queue.cut(0.0)) for _ in range(4)] == ["a0 a1", "b5", "a2 a3", "a4"]


def test_the_age_is_that_of_the_oldest_key():
    """A key that is sent leaves the next one its own time."""
    queue = batcher()
    queue.put(events("a"), 0.0)
    queue.put(events("b"), 4.0)
    assert queue.due_at(4.0) == 10.0
    queue.cut(10.0)
    assert queue.due_at(10.0) == 14.0


@given(st.lists(st.tuples(st.text("abc", max_size=8), st.booleans()), max_size=12), st.integers(1, 4))
def test_every_event_is_cut_once_and_in_the_order_of_its_key(steps: list[tuple[str, bool]], max_events: int):
    """Whatever comes between: no batch mixes keys or is too large, and a flush leaves nothing behind."""
    queue = batcher(max_events=max_events)
    put: list[Event] = []
    cut: list[Event] = []

    def take() -> None:
        batch = queue.cut(0.0)
        assert len({item.key for item in batch.items}) == 1  # type: ignore[attr-defined]
        assert len(batch.items) <= max_events
        cut.extend(batch.items)  # type: ignore[arg-type]

    for text, one in steps:
        fresh = events(text)
        if fresh:
            queue.put(fresh, 0.0)
        put += fresh
        if one and len(queue):
            take()
    queue.force()
    while queue.due_at(0.0) == 0.0:
        take()
    assert len(queue) == 0
    for key in "abc":
        assert [id(e) for e in cut if e.key == key] == [id(e) for e in put if e.key == key]
