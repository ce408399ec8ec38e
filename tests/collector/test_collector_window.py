"""Duplicates are recognised for as long as promised, in bounded memory."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.collector import window as module
from penstock.collector.window import Window

DAY = 86_400.0


def test_an_id_is_new_once_for_each_source() -> None:
    """The same id of two sources is two events."""
    window = Window()
    assert [window.add(source, "m", 0.0) for source in ("a", "b", "a", "b", "")] == [True, True, False, False, True]
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
    window = Window(DAY)
    now, seen = 1_000_000.0, dict[int, float]()
    for what, name, later in steps:
        now += later
        if what == "forget":
            window.forget("s", str(name))
            seen.pop(name, None)
            continue
        fresh = window.add("s", str(name), now)
        age = now - seen[name] if name in seen else 10 * DAY
        if age < DAY:
            assert not fresh
        elif age >= 2 * DAY:
            assert fresh
        if fresh:
            seen[name] = now


def test_more_ids_than_there_is_room_for_shorten_the_window() -> None:
    """The memory is bounded, whatever comes; and at least the last `limit` ids are known."""
    window = Window(DAY, limit=100)
    for number in range(1000):
        assert window.add("s", str(number), 0.0)
        assert len(window) <= 200
    assert not any(window.add("s", str(number), 0.0) for number in range(900, 1000))
    assert window.add("s", "0", 0.0)


def test_an_id_of_the_past_is_known() -> None:
    """What the store still has is remembered when a collector starts, for a span from then on."""
    window = Window(DAY, limit=2)
    window.remember("s", "old")
    window.remember("s", "old")
    assert not window.full
    window.remember("s", "older")
    assert window.full
    assert not window.add("s", "old", 0.0)
    assert not window.add("s", "older", DAY - 1)


def test_a_clock_that_is_set_back_forgets_nothing_at_once() -> None:
    """Ids of before the change stay for one more generation."""
    window = Window(DAY)
    window.add("s", "m", 1_000_000_000.0)
    assert not window.add("s", "m", 999_000_000.0)


def test_a_window_of_nothing_recognises_nothing() -> None:
    """`--dedup-window 0` turns it off."""
    window = Window(0)
    assert window.add("s", "m", 0.0)
    assert window.add("s", "m", 0.0)
    assert len(window) == 0


def test_hashes_that_meet_in_a_bucket_are_told_apart(monkeypatch: Any) -> None:
    """Bytes that only seem to be there, across the border of two others, are nobody's."""
    chosen = {"one": b"\1\2\3\4\5\6", "two": b"\7\1\2\3\4\5", "across": b"\4\5\6\7\1\2", "first": b"\6\6\6\6\6\6"}
    monkeypatch.setattr(module, "_split", lambda _, name: (0, chosen[name]))
    window = Window()
    assert window.add("s", "one", 0.0)
    assert window.add("s", "two", 0.0)
    assert window.add("s", "across", 0.0)
    assert not window.add("s", "across", 0.0)
    window.forget("s", "first")
    window.forget("s", "two")
    assert len(window) == 2
    assert not window.add("s", "one", 0.0)
    assert not window.add("s", "across", 0.0)
    assert window.add("s", "two", 0.0)


def test_an_id_takes_few_bytes(monkeypatch: Any) -> None:
    """In buckets that are well filled, as they are with millions of ids, it is seven; in a set of ints ninety."""
    monkeypatch.setattr(module, "_BUCKET", 0xFF)
    window = Window()
    for number in range(20_000):
        window.add("s", str(number), 0.0)
    assert len(window) == 20_000
    assert sum(map(sys.getsizeof, window._new.values())) / len(window) < 8
