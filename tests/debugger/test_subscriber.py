"""What one watcher is told, and in which portions."""

from __future__ import annotations

import json

import pytest

from millstream.collector.debugger import Feed
from millstream.collector.debugger.rows import RowFilter
from millstream.collector.debugger.subscriber import AT_ONCE, BOOT, PORTION, TOO_FAR, Subscriber
from millstream.collector.events import Accepted
from support.watched import accepted, publish


def read(message: bytes) -> tuple[str, str, dict]:
    """A message's id, name and data."""
    fields = dict(line.split(": ", 1) for line in message.decode().strip().split("\n"))
    return fields.get("id", ""), fields["event"], json.loads(fields["data"])


def told(follower: Subscriber) -> list[int]:
    """The numbers of all rows that a watcher gets now."""
    seen = []
    while follower.behind:
        message, rows = follower.portion()
        if message:
            seen += [row["id"] for row in read(message)[2]["rows"]]
            assert rows <= PORTION
    return seen


def many(feed: Feed, count: int) -> None:
    for _ in range(count // 100):
        publish(feed, *[accepted()] * 100)


def test_history_comes_first_then_what_is_new():
    """Who begins to watch sees what is remembered, and after it what comes."""
    feed = Feed()
    many(feed, 200)
    follower = Subscriber(feed)
    assert read(follower.hello()) == ("", "hello", {"boot": BOOT, "first": 1, "last": 200})
    assert follower.in_the_past
    assert told(follower) == list(range(1, 201))
    assert not follower.in_the_past
    publish(feed, accepted())
    assert told(follower) == [201]
    assert follower.portion() == (b"", 0)


@pytest.mark.parametrize(("last", "seen"), [(0, []), (3, [198, 199, 200]), (10**8, list(range(1, 201)))])
def test_a_watcher_chooses_how_far_to_look_back(last, seen):
    """`last` is a number of events."""
    feed = Feed()
    many(feed, 200)
    assert told(Subscriber(feed, last=last)) == seen


@pytest.mark.parametrize(
    ("after", "seen"),
    [
        (f"{BOOT}-198", [199, 200]),
        (f"{BOOT}-200", []),
        (f"{BOOT}-999", []),
        ("other-198", list(range(1, 201))),
        (f"{BOOT}-x", list(range(1, 201))),
        (f"{BOOT}-{'9' * 5000}", list(range(1, 201))),
        ("", list(range(1, 201))),
    ],
    ids=[
        "in the middle",
        "at the end",
        "beyond the end",
        "of another process",
        "nonsense",
        "too long a number",
        "none",
    ],
)
def test_a_watcher_goes_on_after_the_last_message(after, seen):
    """With the id of a message of this process; after a restart, or with nonsense, from the beginning."""
    feed = Feed()
    many(feed, 200)
    assert told(Subscriber(feed, after=after)) == seen


def test_each_message_says_where_the_watcher_is():
    """Its id is what a reconnecting browser sends."""
    feed = Feed()
    many(feed, PORTION + 100)
    follower = Subscriber(feed)
    ids = [read(follower.portion()[0])[0] for _ in range(2)]
    assert ids == [f"{BOOT}-{PORTION}", f"{BOOT}-{PORTION + 100}"]


def test_what_is_not_wanted_is_no_message():
    """A filter that nothing matches costs the watcher nothing."""
    feed = Feed()
    many(feed, 1000)
    follower = Subscriber(feed, RowFilter(name="Nothing"))
    assert follower.portion() == (b"", 0)
    assert follower.portion() == (b"", 0)
    assert not follower.behind


def test_history_is_not_skipped():
    """However long it is: nothing presses."""
    feed = Feed()
    many(feed, 10_000)
    follower = Subscriber(feed)
    assert told(follower) == list(range(1, 10_001))


def test_who_is_too_slow_skips_to_the_present():
    """And is told how much went by; the collector waits for nobody."""
    feed = Feed()
    many(feed, 100)
    follower = Subscriber(feed)
    told(follower)
    many(feed, TOO_FAR + 100)
    _, _, data = read(follower.portion()[0])
    assert data["skipped"] == TOO_FAR + 100 - AT_ONCE
    assert data["rows"][0]["id"] == feed.last - AT_ONCE + 1
    assert told(follower)[-1] == feed.last
    publish(feed, accepted())
    assert read(follower.portion()[0])[2]["skipped"] == 0


def test_a_program_is_told_everything():
    """With `complete` nothing is skipped that is still remembered, and what is not is counted."""
    feed = Feed()
    many(feed, 100)
    follower = Subscriber(feed, complete=True)
    told(follower)
    many(feed, TOO_FAR + 100)
    assert told(follower) == list(range(101, TOO_FAR + 201))
    many(feed, 12_000)
    assert read(follower.portion()[0])[2]["skipped"] == feed.first - 1 - (TOO_FAR + 200) > 0


@pytest.mark.parametrize(
    ("after", "skipped"),
    [(f"{BOOT}-50", 1950), (f"{BOOT}-2500", 0), ("other-50", 2000), ("", 0)],
    ids=["forgotten", "remembered", "of another process", "none"],
)
def test_what_was_forgotten_while_a_watcher_was_away(after, skipped):
    """It is counted for one that comes again; a new one misses nothing."""
    feed = Feed(1000)
    many(feed, 3000)
    assert feed.first == 2001
    assert read(Subscriber(feed, after=after).portion()[0])[2]["skipped"] == skipped


def test_what_was_forgotten_meanwhile_counts_as_skipped():
    """A stalled watcher does not hold the feed's memory."""
    feed = Feed(size=100)
    many(feed, 100)
    follower = Subscriber(feed)
    many(feed, 1000)
    _, _, data = read(follower.portion()[0])
    assert (data["skipped"], len(data["rows"])) == (1000, 100)


def test_what_was_skipped_is_told_even_if_nothing_is_wanted():
    """Otherwise a filter would seem to have seen everything."""
    feed = Feed()
    follower = Subscriber(feed, RowFilter(name="Nothing"))
    many(feed, TOO_FAR + 100)
    _, _, data = read(follower.portion()[0])
    assert data == {"rows": [], "skipped": TOO_FAR + 100 - AT_ONCE}


def test_the_counts_come_whole_first_then_the_latest():
    """Five minutes of seconds are sent once, not every second."""
    feed = Feed()
    follower = Subscriber(feed)
    now = 1_700_000_000
    for second in range(10):
        feed.tally.add("stored", [accepted()], "dev-1", now + second)
    first = read(follower.stats(now + 9.5))[2]
    assert (first["at"], len(first["seconds"]), first["kinds"]) == (now + 9, 10, {"stored": 10})
    assert [second["at"] for second in read(follower.stats(now + 10.5))[2]["seconds"]] == [now + 7, now + 8, now + 9]


def test_no_event_can_end_a_message():
    """A line break in an event's name is written as JSON writes it."""
    feed = Feed()
    publish(feed, accepted(event="a\n\nevent: hello\ndata: {}\r\r"))
    message, _ = Subscriber(feed, whole=True).portion()
    assert message.count(b"\n") == 4
    assert b"\r" not in message
    assert read(message)[2]["rows"][0]["name"] == "a\n\nevent: hello\ndata: {}\r\r"


def test_a_line_that_cannot_be_read_is_a_row_all_the_same():
    """Whatever is in the feed, it costs those who watch it nothing but the sight of this one."""
    feed = Feed()
    broken = [Accepted("track", "m", line) for line in (b"{", b"[" * 5000 + b"]" * 5000, b'{"x":1e999}', b"\xff\x00")]
    publish(feed, accepted(), *broken, accepted())
    for wanted, count in ((None, 6), (RowFilter(text="paid"), 2)):
        follower = Subscriber(feed, wanted, whole=True)
        message, rows = follower.portion()
        assert rows == count
        shown = json.loads(message.partition(b"data: ")[2])["rows"]
        assert [row["id"] for row in shown if "event" in row] == [1, 6]
