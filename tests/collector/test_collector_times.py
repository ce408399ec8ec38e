"""When an event happened: by our clock, computed once, and always written in the same way."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.collector.core import judge

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
STAMPED = "2026-01-02T03:04:05.678Z"


def kept(sent_at: Any = None, **event: Any) -> dict[str, Any]:
    """The one event of a batch as it is kept."""
    item = {"type": "page", "userId": "u", "messageId": "m", **event}
    (accepted,) = judge("batch", {}, json.dumps({"batch": [item], "sentAt": sent_at}).encode(), NOW).events
    line: dict[str, Any] = json.loads(accepted.line)
    return line


@pytest.mark.parametrize(
    ("sent_at", "original", "timestamp"),
    [
        ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:00.000Z", "2026-01-02T03:04:00.000Z"),  # clocks agree
        ("2026-01-02T02:04:05.678Z", "2026-01-02T02:04:00.000Z", "2026-01-02T03:04:00.000Z"),  # one hour behind
        ("2030-01-02T03:04:05.678Z", "2030-01-01T03:04:05.678Z", "2026-01-01T03:04:05.678Z"),  # four years ahead
        ("2026-01-02T05:04:05.678+02:00", "2026-01-02T03:04:00Z", "2026-01-02T03:04:00.000Z"),  # zones
        ("2026-01-02T03:04:05.678", "2026-01-02T03:04:00", "2026-01-02T03:04:00.000Z"),  # no zone is UTC
        ("2026-01-02T03:04:05.678999Z", "2026-01-02T03:04:00.000999Z", "2026-01-02T03:04:00.000Z"),  # microseconds
        (None, "2026-01-02T03:04:00+00:00", "2026-01-02T03:04:00.000Z"),  # nothing to compare with
        ("yesterday", "2020-02-03T04:05:06.7Z", "2020-02-03T04:05:06.700Z"),
        (17, "2020-02-03T04:05:06.7Z", "2020-02-03T04:05:06.700Z"),
        (None, "2020-02-03", "2020-02-03T00:00:00.000Z"),  # ISO 8601, though not RFC 3339
        (None, "2020-02-03T04:05Z", "2020-02-03T04:05:00.000Z"),
        (None, "yesterday", STAMPED),  # no time at all: it happened when it came
        (None, 1_700_000_000, STAMPED),
        (None, {"seconds": 17}, STAMPED),
        (None, "2023-02-30T00:00:00Z", STAMPED),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", STAMPED),  # out of the calendar
        (None, "0001-01-01T00:00:00+09:00", STAMPED),
    ],
)
def test_the_timestamp_is_corrected_by_the_senders_clock(sent_at: Any, original: Any, timestamp: str) -> None:
    """receivedAt − (sentAt − originalTimestamp); what cannot be used is left out of the sum, and rejects nothing."""
    line = kept(sent_at, timestamp=original)
    assert line["timestamp"] == timestamp
    assert line["originalTimestamp"] == original
    assert line["receivedAt"] == STAMPED


def test_an_event_without_a_time_happened_when_it_came() -> None:
    """There is no original timestamp then: nobody has said one."""
    for event in ({}, {"timestamp": None}):
        line = kept("2026-01-01T00:00:00Z", **event)
        assert line["timestamp"] == STAMPED
        assert "originalTimestamp" not in line


def test_an_events_own_sent_at_counts_before_its_batchs() -> None:
    """A client that was offline may send events of several sessions in one batch."""
    line = kept(STAMPED, timestamp="2026-01-01T00:00:00Z", sentAt="2026-01-01T00:00:05.678Z")
    assert line["timestamp"] == "2026-01-02T03:04:00.000Z"
    assert line["sentAt"] == "2026-01-01T00:00:05.678Z"
    assert kept(STAMPED, timestamp="2026-01-02T03:04:00Z", sentAt=None)["sentAt"] == STAMPED


def test_some_clients_say_original_timestamp_themselves() -> None:
    """RudderStack's do; where both are said, `timestamp` is the one that counts."""
    line = kept(None, originalTimestamp="2026-01-01T00:00:00Z")
    assert (line["timestamp"], line["originalTimestamp"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z")
    line = kept(None, timestamp="2025-01-01T00:00:00Z", originalTimestamp="2026-01-01T00:00:00Z")
    assert (line["timestamp"], line["originalTimestamp"]) == ("2025-01-01T00:00:00.000Z", "2025-01-01T00:00:00Z")


MOMENTS = st.integers(0, 4_000_000_000_000_000).map(
    lambda micros: datetime(1971, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)
)


@settings(deadline=None)
@given(
    sent=MOMENTS,
    original=MOMENTS,
    elsewhere=st.sampled_from(["before", "after", "inside", "key", "nowhere"]),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
)
def test_the_timestamp_is_found_wherever_it_stands(
    sent: datetime, original: datetime, elsewhere: str, separators: tuple[str, str]
) -> None:
    """The same text may stand elsewhere in the event: there it is not the timestamp, and stays."""
    text = original.isoformat()
    beside = {
        "before": ({"anonymousId": text}, {}),
        "after": ({}, {"anonymousId": text}),
        "inside": ({"properties": {"timestamp": text, "x": [text]}}, {"traits": {"timestamp": text}}),
        "key": ({"properties": {text: 1}}, {}),
        "nowhere": ({}, {}),
    }
    before, after = beside[elsewhere]
    event = {"type": "page", "userId": "u", "messageId": "m", **before, "timestamp": text, **after}
    body = json.dumps({"batch": [event], "sentAt": sent.isoformat()}, separators=separators).encode()
    (accepted,) = judge("batch", {}, body, NOW).events
    line = json.loads(accepted.line)
    expected = NOW - (sent - original)
    assert line.pop("timestamp") == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert line == {**before, **after, **{name: event[name] for name in ("type", "userId", "messageId")}} | {
        "originalTimestamp": text,
        "sentAt": sent.isoformat(),
        "receivedAt": STAMPED,
    }
    assert accepted.line.count(b'"timestamp"') == 1 + sum('"timestamp"' in json.dumps(part) for part in (before, after))


def test_milliseconds_are_cut_and_not_rounded() -> None:
    """Whatever the fraction, a moment never moves into the next second, and always has three digits."""
    for micros in (0, 1, 999, 1000, 123_456, 999_999):
        moment = datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)
        assert kept(None, timestamp=moment.isoformat())["timestamp"] == f"2025-01-01T00:00:00.{micros // 1000:03}Z"
