"""Duplicates are recognised for as long as promised, in bounded memory."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millstream.collector import dedup as module
from millstream.collector.dedup import Dedup

DAY = 86_400.0


def add(window: Dedup, source: str, message_id: str, now: float) -> bool:
    (fresh,) = window.add(source, [message_id], now)
    return fresh


def test_an_id_is_new_once_for_each_source() -> None:
    """The same id of two sources is two events."""
    window = Dedup()
    assert [add(window, source, "m", 0.0) for source in ("a", "b", "a", "b", "")] == [True, True, False, False, True]
    assert len(window) == 3


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "forget"]), st.integers(0, 30), st.integers(0, 3) | st.integers(0, int(DAY * 2.5))
        ),
        max_size=60,
    )
)
def test_what_came_within_the_span_is_known_and_what_is_older_than_twice_is_not(steps: Any) -> None:
    """Between one span and two an id may be known or not; outside of that there is no doubt."""
    window = Dedup(DAY)
    now, seen = 1_000_000.0, dict[int, float]()
    for what, name, later in steps:
        now += later
        if what == "forget":
            window.forget("s", [str(name)])
            seen.pop(name, None)
            continue
        fresh = add(window, "s", str(name), now)
        age = now - seen[name] if name in seen else 10 * DAY
        if age < DAY:
            assert not fresh
        elif age >= 2 * DAY:
            assert fresh
        if fresh:
            seen[name] = now


def test_more_ids_than_there_is_room_for_shorten_the_window() -> None:
    """The memory is bounded, whatever comes; and at least the last `limit` ids are known."""
    window = Dedup(DAY, limit=100)
    for number in range(1000):
        assert add(window, "s", str(number), 0.0)
        assert len(window) <= 200
    assert not any(add(window, "s", str(number), 0.0) for number in range(900, 1000))
    assert add(window, "s", "0", 0.0)


def test_an_id_of_the_past_is_known() -> None:
    """What the store still has is remembered when a collector starts, for a span from then on."""
    window = Dedup(DAY, limit=2)
    window.remember("s", "old")
    window.remember("s", "old")
    assert not window.full
    window.remember("s", "older")
    assert window.full
    assert not add(window, "s", "old", 0.0)
    assert not add(window, "s", "older", DAY - 1)


def test_a_clock_that_is_set_back_forgets_nothing_at_once() -> None:
    """Ids of before the change stay for one more generation."""
    window = Dedup(DAY)
    add(window, "s", "m", 1_000_000_000.0)
    assert not add(window, "s", "m", 999_000_000.0)


def test_a_window_of_nothing_recognises_nothing() -> None:
    """`--dedup-window 0` turns it off."""
    window = Dedup(0)
    assert add(window, "s", "m", 0.0)
    assert add(window, "s", "m", 0.0)
    assert len(window) == 0


def test_hashes_that_meet_in_a_bucket_are_told_apart(monkeypatch: Any) -> None:
    """Bytes that only seem to be there, across the border of two others, are nobody's."""
    chosen = {"one": b"\1\2\3\4\5\6", "two": b"\7\1\2\3\4\5", "across": b"\4\5\6\7\1\2", "first": b"\6\6\6\6\6\6"}
    monkeypatch.setattr(module, "_split", lambda _, names: [(0, chosen[name]) for name in names])
    window = Dedup()
    assert add(window, "s", "one", 0.0)
    assert add(window, "s", "two", 0.0)
    assert add(window, "s", "across", 0.0)
    assert not add(window, "s", "across", 0.0)
    window.forget("s", ["first"])
    window.forget("s", ["two"])
    assert len(window) == 2
    assert not add(window, "s", "one", 0.0)
    assert not add(window, "s", "across", 0.0)
    assert add(window, "s", "two", 0.0)


def test_ids_that_come_together_are_told_apart() -> None:
    """Each has its own answer, also where an id comes twice, and where a generation is full in the middle."""
    window = Dedup(DAY, limit=3)
    assert window.add("s", ["a", "b", "a"], 0.0) == [True, True, False]
    assert window.add("s", ["c", "a", "d", "b", "d"], 0.0) == [True, False, True, False, False]
    assert len(window) == 4
    window.forget("s", ["a", "d", "e"])
    assert window.add("s", ["a", "d", "b"], 0.0) == [True, True, False]
    assert window.add("s", [], 0.0) == []


def test_an_id_takes_few_bytes(monkeypatch: Any) -> None:
    """In buckets that are well filled, as they are with millions of ids, it is seven; in a set of ints ninety."""
    monkeypatch.setattr(module, "_BUCKET", 0xFF)
    window = Dedup()
    window.add("s", [str(number) for number in range(20_000)], 0.0)
    assert len(window) == 20_000
    assert sum(sys.getsizeof(bucket) for bucket in window._new if bucket) / len(window) < 8
