"""What the feed remembers, and what it counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from millstream.collector.debugger import Feed
from millstream.collector.feed import MAX_SOURCES, SECONDS
from support.watched import NOON, accepted, publish, rejected


def ids(feed: Feed, after: int = 0) -> list[int]:
    return [entry.id for entry in feed.entries(after)]


def test_what_comes_is_numbered_from_one():
    """Each event has a number, in the order in which they came."""
    feed = Feed()
    assert (feed.first, feed.last, ids(feed)) == (1, 0, [])
    publish(feed, accepted(), accepted())
    publish(feed, accepted())
    assert (feed.first, feed.last, ids(feed)) == (1, 3, [1, 2, 3])


@pytest.mark.parametrize(("after", "seen"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, []), (9, []), (-5, [1, 2, 3])])
def test_a_watcher_goes_on_where_it_was(after, seen):
    """Also in the middle of what came with one request."""
    feed = Feed()
    publish(feed, accepted(), accepted(), accepted())
    assert ids(feed, after) == seen


def test_the_oldest_are_forgotten():
    """At least `size` events are remembered, and of what is older only the rest of one request."""
    feed = Feed(size=10)
    for _ in range(9):
        publish(feed, *[accepted()] * 4)
    assert ids(feed) == list(range(25, 37))
    assert feed.first == 25
    assert feed.get(24) is None
    assert feed.get(25).id == 25
    assert feed.get(37) is None


def test_large_events_are_forgotten_earlier():
    """Memory is bounded, whatever the size of the events."""
    feed = Feed(max_bytes=100_000)
    for _ in range(50):
        publish(feed, accepted(properties={"x": "y" * 10_000}))
    assert 5 <= len(ids(feed)) <= 10


def test_one_request_over_the_bounds_is_remembered():
    """What came last can always be looked at."""
    feed = Feed(size=2, max_bytes=1)
    publish(feed, *[accepted()] * 5)
    assert ids(feed) == [1, 2, 3, 4, 5]


def test_nothing_is_no_news():
    """A request without events of a kind leaves no trace."""
    feed = Feed()
    feed.publish("rejected", [], "dev-1", NOON)
    assert feed.last == 0
    assert feed.tally.snapshot(0) == {"kinds": {}, "types": {}, "sources": [], "seconds": []}


def test_everything_is_counted():
    """By what became of it, by type, by source and by second."""
    feed = Feed()
    publish(feed, accepted(), accepted({"type": "page"}), source="a")
    feed.publish("duplicate", [accepted()], "a", NOON + timedelta(seconds=1))
    feed.publish("rejected", [rejected()], "b", NOON + timedelta(seconds=1, milliseconds=900))
    feed.refuse("invalid_json", "it is none", "", NOON + timedelta(seconds=2))
    at = int(NOON.timestamp())
    assert feed.tally.snapshot(0) == {
        "kinds": {"stored": 2, "duplicate": 1, "rejected": 1, "refused": 1},
        "types": {"track": 1, "page": 1},
        "sources": [
            {"source": "", "refused": 1},
            {"source": "b", "rejected": 1},
            {"source": "a", "stored": 2, "duplicate": 1},
        ],
        "seconds": [
            {"at": at, "stored": 2},
            {"at": at + 1, "duplicate": 1, "rejected": 1},
            {"at": at + 2, "refused": 1},
        ],
    }
    assert [second["at"] for second in feed.tally.snapshot(at + 2)["seconds"]] == [at + 2]


def test_a_refused_request_is_shown_by_its_answer():
    """Its body may hold a write key that nobody could take out."""
    feed = Feed()
    feed.refuse("unknown_key", "not known here", "", NOON)
    entry = feed.get(1)
    assert entry.kind == "refused"
    assert entry.line == b'{"success":false,"code":"unknown_key","message":"not known here"}'


def test_the_counts_take_bounded_memory():
    """Neither invented write keys nor a long run let them grow."""
    feed = Feed()
    for second in range(3 * SECONDS):
        for part in range(3):
            publish(feed, accepted(), source=f"{second}-{part}", at=NOON + timedelta(seconds=second))
    counts = feed.tally.snapshot(0, sources=10**6)
    assert len(counts["seconds"]) <= SECONDS
    assert len(counts["sources"]) == min(MAX_SOURCES, 9 * SECONDS)
    assert counts["kinds"] == {"stored": 9 * SECONDS}


def test_a_clock_that_is_set_back_counts_on():
    """Seconds may come out of order."""
    feed = Feed()
    for offset in (0, 5, -400, 1):
        publish(feed, accepted(), at=NOON + timedelta(seconds=offset))
    assert sum(second["stored"] for second in feed.tally.snapshot(0)["seconds"]) == 4
