"""The collector's numbers: every event in one of them, and the sum is what came."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import msgspec

from millstream.collector.admission import Admission
from millstream.collector.counts import Counts
from millstream.collector.events import Kept
from millstream.collector.judge import Verdict, judge

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
GOOD = {"type": "track", "event": "A", "userId": "u"}


def verdict(*events: Any) -> Verdict:
    """A request whose events are all to be kept, as the intake says once it has asked for duplicates."""
    judged = judge("batch", {}, msgspec.json.encode({"batch": events}), NOW, Admission())
    judged.kept = Kept.of(judged.events)
    return judged


def balanced(counts: Counts) -> bool:
    snapshot = counts.snapshot()
    return snapshot["received"] == sum(snapshot[name] for name in ("stored", "duplicates", "rejected", "failed"))


def test_each_event_is_in_one_number() -> None:
    """Stored, rejected and failed events add up to what was received, and the types are those of the stored."""
    counts = Counts()
    counts.note(verdict(GOOD, {"type": "nothing"}, {**GOOD, "timestamp": "soon"}), stored=True)
    counts.note(verdict(GOOD, {"type": "nothing"}), stored=False)
    snapshot = counts.snapshot()
    assert [snapshot[name] for name in ("received", "stored", "failed", "rejected")] == [5, 2, 1, 2]
    assert balanced(counts)
    assert snapshot["stored_by_type"] == {"track": 2}
    assert sum(snapshot["rejected_by_reason"].values()) == 2
    assert snapshot["times_unknown"] == 1
    assert counts.outcomes() == {"stored": 2, "duplicate": 0, "rejected": 2, "failed": 1}


def test_a_duplicate_that_could_not_be_stored_has_failed() -> None:
    """A request whose lines were lost has no duplicates: each of its events will come again."""
    for stored, name in ((True, "duplicates"), (False, "failed")):
        counts = Counts()
        request = verdict(GOOD)
        request.duplicates = list(request.events)
        request.kept = Kept()
        counts.note(request, stored=stored)
        assert counts.snapshot()[name] == 1
        assert balanced(counts)


def test_requests_without_events_are_told_apart() -> None:
    """An empty batch is no refusal, and a refused request has no events that could be counted."""
    counts = Counts()
    counts.note(verdict(), stored=True)
    counts.note(judge("batch", {}, b"nonsense", NOW, Admission()), stored=True)
    snapshot = counts.snapshot()
    assert (snapshot["requests"], snapshot["empty_batches"], snapshot["received"]) == (2, 1, 0)
    assert sum(snapshot["refused_by_reason"].values()) == 1


def test_the_last_line_says_what_went_wrong_only_if_it_did() -> None:
    """In words: duplicates, losses and unread times appear when there are some."""
    counts = Counts()
    counts.note(verdict(GOOD), stored=True)
    assert str(counts) == "requests: 1, events stored: 1, rejected: 0"
    counts.note(verdict(GOOD), stored=False)
    assert str(counts) == "requests: 2, events stored: 1, rejected: 0, not stored: 1"
