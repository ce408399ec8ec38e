"""From a request to what became of it: duplicates told apart, failures taken back, everything counted and shown."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from millstream.collector import Files, Memory
from millstream.collector.admission import Admission
from millstream.collector.dedup import Dedup
from millstream.collector.ingest import Ingest
from millstream.collector.judge import Verdict
from millstream.log import Done

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)


def track(message_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Paid", "userId": "u", "messageId": message_id, **more}


class Flaky(Memory):
    """A store that fails when it is told to, and holds what waits until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.error: OSError | None = None
        self.held: list[tuple[bytes, Done]] | None = None
        self.rejected: list[dict[str, Any]] = []

    def append(self, text: bytes, done: Done) -> None:
        if self.held is not None:
            self.held.append((text, done))
        elif self.error is not None:
            done(self.error)
        else:
            super().append(text, done)

    def let_go(self) -> None:
        assert self.held is not None
        held, self.held = self.held, None
        for text, done in held:
            self.append(text, done)

    def quarantine(self, lines: Sequence[bytes]) -> None:
        self.rejected += map(json.loads, lines)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def store() -> Flaky:
    return Flaky()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def intake(store: Flaky, clock: Clock) -> Ingest:
    return Ingest(store, Admission(), Dedup(), clock=clock)


def taking(intake: Ingest, *events: Any, key: str = "") -> list[Verdict]:
    """Take a batch. The list gets its verdict, when there is one."""
    verdicts: list[Verdict] = []
    intake.take("batch", {}, json.dumps({"batch": events, "writeKey": key}).encode(), verdicts.append)
    return verdicts


def take(intake: Ingest, *events: Any, key: str = "") -> Verdict:
    (verdict,) = taking(intake, *events, key=key)
    return verdict


def ids(store: Memory) -> list[str]:
    return [event["messageId"] for event in store.events]


def test_what_is_sent_again_is_kept_once(intake: Ingest, store: Flaky) -> None:
    """A client whose answer was lost sends its batch again: it hears 200, as if it were the first time."""
    assert take(intake, track("1"), track("2")).status == 200
    verdict = take(intake, track("1"), track("2"), track("3"))
    assert verdict.status == 200
    assert [event.message_id for event in verdict.duplicates] == ["1", "2"]
    assert ids(store) == ["1", "2", "3"]


def test_an_event_twice_in_a_batch_is_kept_once(intake: Ingest, store: Flaky) -> None:
    """Duplicates are recognised within a request, too."""
    take(intake, track("1"), track("1"), track("2"), track("1"))
    assert ids(store) == ["1", "2"]
    assert intake.counts.duplicates == 2


def test_two_sources_may_use_the_same_ids(intake: Ingest, store: Flaky) -> None:
    """An id says nothing about somebody else's events."""
    for key in ("one", "two", "one"):
        take(intake, track("1"), key=key)
    assert ids(store) == ["1", "1"]


def test_an_id_is_forgotten_in_the_end(intake: Ingest, store: Flaky, clock: Clock) -> None:
    """After the window, an id is new again."""
    for days in (0, 0.9, 2.5):
        clock.now = NOW + timedelta(days=days)
        take(intake, track("1"))
    assert ids(store) == ["1", "1"]


def test_what_could_not_be_stored_is_no_duplicate_when_it_comes_again(intake: Ingest, store: Flaky) -> None:
    """503 says: not kept. The client tries again, and then it has to be."""
    store.error = OSError(errno.ENOSPC, "No space left on device")
    verdict = take(intake, track("1"), track("2"), {"type": "track"})
    assert (verdict.status, verdict.reason) == (503, "not_stored")
    store.error = None
    assert take(intake, track("1"), track("2")).status == 200
    assert ids(store) == ["1", "2"]
    assert intake.counts.snapshot()["failed"] == 2


def test_a_duplicate_is_not_promised_before_its_original(intake: Ingest, store: Flaky) -> None:
    """Both wait for the disk, and if it fails, both are told."""

    store.held = []
    first, second = taking(intake, track("1")), taking(intake, track("1"))
    assert not first + second
    store.error = OSError(errno.EIO, "Input/output error")
    store.let_go()
    assert [verdict.status for verdict in first + second] == [503, 503]
    store.error = None
    take(intake, track("1"))
    assert ids(store) == ["1"]


def test_duplicates_are_recognised_after_a_new_start(tmp_path: Path) -> None:
    """What is on the disk is remembered; what is older than the window is not."""
    sent = [[track("1"), track("2")], [track("2"), track("3")], [track("1"), track("4")]]
    starts = [timedelta(), timedelta(hours=23), timedelta(hours=25)]

    async def send(events: list[dict[str, Any]], start: timedelta) -> None:
        store = Files(tmp_path)
        intake = Ingest(store, Admission(), Dedup(), clock=lambda: datetime.now(timezone.utc) + start)
        kept = asyncio.get_running_loop().create_future()
        intake.take("batch", {}, json.dumps({"batch": events, "writeKey": "k"}).encode(), kept.set_result)
        await kept
        store.close()

    for events, start in zip(sent, starts, strict=True):
        asyncio.run(send(events, start))
    lines = [json.loads(line) for path in sorted(tmp_path.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    assert [line["messageId"] for line in lines] == ["1", "2", "3", "1", "4"]


def test_no_more_is_remembered_at_a_start_than_there_is_room_for() -> None:
    """A store with a day of events does not fill the memory."""

    class Full(Memory):
        def recent(self, since: datetime) -> Iterator[tuple[str, str]]:
            yield from (("s", str(number)) for number in range(1000))

    intake = Ingest(Full(), Admission(), Dedup(limit=10))
    assert len(intake.dedup) == 10


def test_everything_is_counted_once(intake: Ingest, store: Flaky) -> None:
    """received == stored + duplicates + rejected + failed, after any number of requests."""
    take(intake, track("1"), track("1"), 5)
    store.error = OSError(errno.EIO, "Input/output error")
    take(intake, track("1"), track("2"), 5)
    store.error = None
    take(intake, track("2"))
    assert intake.counts.snapshot() == {
        "requests": 3,
        "received": 7,
        "stored": 2,
        "duplicates": 1,
        "failed": 2,
        "rejected": 2,
        "times_unknown": 0,
        "empty_batches": 0,
        "rejected_by_reason": {"event_not_object": 2},
        "refused_by_reason": {"not_stored": 1},
        "stored_by_type": {"track": 2},
    }
    assert str(intake.counts) == "requests: 3, events stored: 2, rejected: 2, duplicates: 1, not stored: 2"


def test_what_was_not_kept_is_put_in_quarantine_with_the_reason(intake: Ingest, store: Flaky) -> None:
    """Nobody has to guess where an event is; and a write key is not in it."""
    take(intake, track("1"), {"type": "track", "userId": "u", "writeKey": "hush"}, track("1"), [], key="hush")
    rejected, odd, duplicate = store.rejected
    source = store.events[0]["sourceId"]
    received = "2026-01-02T03:04:05.678Z"
    assert rejected == {
        "reason": "event_not_defined",
        "receivedAt": received,
        "sourceId": source,
        "index": 1,
        "event": {"type": "track", "userId": "u"},
    }
    assert odd == {"reason": "event_not_object", "receivedAt": received, "sourceId": source, "index": 3}
    assert duplicate == {"reason": "duplicate", "receivedAt": received, "sourceId": source, "event": store.events[0]}


def test_everything_is_shown_to_those_who_watch(intake: Ingest, store: Flaky) -> None:
    """What was stored, doubled, rejected, or refused as a whole."""
    take(intake, track("1"), track("1"), 5, key="k")
    intake.take("batch", {}, b"{", lambda _: None)
    store.error = OSError(errno.EIO, "Input/output error")
    take(intake, track("2"), key="k")
    shown = [(entry.kind, entry.reason) for entry in intake.feed.entries(0)]
    assert shown == [
        ("stored", ""),
        ("duplicate", ""),
        ("rejected", "event_not_object"),
        ("refused", "invalid_json"),
        ("refused", "not_stored"),
    ]


def test_an_empty_batch_is_said_to_be_empty(intake: Ingest) -> None:
    """It is shown with the answer that it got, and is not among what was refused."""
    assert take(intake).status == 200
    assert (intake.counts.empty, intake.counts.refused) == (1, {})
    (entry,) = intake.feed.entries(0)
    assert (entry.kind, entry.line) == ("empty", b'{"success":true}')
    intake.take("batch", {}, b'{"batch":[]}', lambda _: None, strict=True)
    assert (intake.counts.empty, intake.counts.refused) == (1, {"empty_batch": 1})


def test_what_could_not_be_stored_is_answered_whatever_it_was(intake: Ingest, store: Flaky) -> None:
    """An event with a member twice was read differently when it was taken back: its client never heard of it."""
    event = b'{"type":null,"type":"track","event":"Dup","userId":"u","messageId":null,"messageId":"m1"}'
    body = b'{"batch":[' + b",".join([event] * 3) + b"]}"
    verdicts: list[Verdict] = []
    store.error = OSError(errno.ENOSPC, "No space left on device")
    intake.take("batch", {}, body, verdicts.append)
    store.error = None
    intake.take("batch", {}, body, verdicts.append)
    assert [verdict.status for verdict in verdicts] == [503, 200]
    assert ids(store) == ["m1"]


def test_a_store_that_raises_has_not_stored(intake: Ingest, store: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of the store, the client hears 503, and may send its events again."""
    monkeypatch.setattr(store, "held", 5)  # a list it is not: `append` raises
    assert take(intake, track("1")).status == 503
    monkeypatch.setattr(store, "held", None)
    assert take(intake, track("1")).status == 200
    assert ids(store) == ["1"]


def test_a_collector_in_memory_keeps_what_it_answers_200_for(intake: Ingest, store: Flaky) -> None:
    """A number that Python cannot hold is a reason to reject its event, and not found out when it is stored."""
    verdicts: list[Verdict] = []
    intake.take(
        "batch", {}, b'{"batch":[{"type":"page","userId":"u","x":1e999},{"type":"page","userId":"u"}]}', verdicts.append
    )
    (verdict,) = verdicts
    assert (verdict.status, [each.reason for each in verdict.rejected]) == (200, ["number_too_large"])
    assert len(store.events) == 1
