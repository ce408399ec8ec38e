"""When an event happened: by our clock, computed once, and always written in the same way."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.collector.clock_skew import as_stored, moment_of
from millstream.collector.judge import judge
from millstream.spec import STORED_TIME

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
        (None, 17_000, STAMPED),
        (None, "2026-01-02T03:04:05 CET", STAMPED),  # which of the zones of this name?
        (None, "02/01/2026", STAMPED),
        (None, 20_260_102, STAMPED),
        (None, True, STAMPED),
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


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        (1_700_000_000, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500Z"),
        ("1700000000", "2023-11-14T22:13:20.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        ("1700000000123", "2023-11-14T22:13:20.123Z"),
        ("2026-01-02 03:04:05 UTC", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02 03:04:05.5 +0100", "2026-01-02T02:04:05.500Z"),
        ("2026-01-02 03:04:05.678901 +0100 CET", "2026-01-02T02:04:05.678Z"),
        ("20260102T030405Z", "2026-01-02T03:04:05.000Z"),
        ("20260102T030405.5+0100", "2026-01-02T02:04:05.500Z"),
        ("20260102", "2026-01-02T00:00:00.000Z"),
        ("2026-01-02t03:04:05z", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02T03:04:05,5Z", "2026-01-02T03:04:05.500Z"),
        ("2026-01-02T03:04:05.123000000Z", "2026-01-02T03:04:05.123Z"),
    ],
)
def test_a_time_is_read_where_its_meaning_is_certain(written: Any, moment: str) -> None:
    """However a client writes it; and it is kept in a form that every reader of the line reads alike."""
    line = kept(None, timestamp=written)
    assert (line["timestamp"], line["originalTimestamp"]) == (moment, moment)
    line = kept(written, timestamp=moment)  # as the batch's sentAt
    assert (line["timestamp"], line["sentAt"]) == (STAMPED, moment)
    line = kept(None, timestamp=moment, sentAt=written)
    assert (line["timestamp"], line["sentAt"]) == (STAMPED, moment)


WRITTEN = st.sampled_from(
    ["2026-01-02", "20260102", "2026-1-2", "2026/01/02", "0001-01-01", "1700000000", "infinity", "epoch", "now"]
) | st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["2026-01-02", "20260102", "1969-12-31", "2026-02-30"]),
    st.sampled_from(["T", " ", "t"]),
    st.sampled_from(["03:04:05", "03:04", "030405", "24:00:00", "23:59:60", "23:59:59"]),
    st.sampled_from(["", ".5", ",5", ".123456", ".9999999", "."]),
    st.sampled_from(
        ["", "Z", "z", " UTC", "UTC", "+01", "+0100", "+01:00", "-23:59", "+24:00", " +0100", " CET", "+1"]
    ),
)


@settings(deadline=None)
@given(texts=st.lists(WRITTEN | st.text(max_size=12), min_size=1, max_size=20))
def test_sql_reads_a_stored_time_as_the_collector_has(texts: list[str]) -> None:
    """What has the shape of a stored time is the moment that the collector has read, and nothing else is a time."""
    for text in texts:
        stored = json.loads(as_stored(json.dumps(text).encode()))
        moment = moment_of(json.dumps(text).encode())
        found, is_time = DATABASE.execute(
            "SELECT TRY_CAST($1 AS TIMESTAMPTZ)::TIMESTAMP, regexp_full_match($1, $2)", [stored, STORED_TIME]
        ).fetchone() or (None, False)
        assert bool(re.fullmatch(STORED_TIME, stored)) == is_time
        read = found if is_time else None
        if read is None or moment is None:
            assert read is moment is None
        else:
            assert (read.replace(tzinfo=moment.tzinfo) - moment) // timedelta(milliseconds=1) in {0, -1}


def test_a_time_that_cannot_be_read_is_kept_and_counted() -> None:
    """It is the operator who can have it mended: events that are all as old as their receipt look right."""
    verdict = judge("batch", {}, b'{"batch":[{"type":"page","userId":"u","timestamp":"02.01.2026"}]}', NOW)
    assert [event.time_unknown for event in verdict.events] == [True]
    assert json.loads(verdict.events[0].line)["originalTimestamp"] == "02.01.2026"
    assert [
        event.time_unknown for event in judge("batch", {}, b'{"batch":[{"type":"page","userId":"u"}]}', NOW).events
    ] == [False]


DATABASE = duckdb.connect()
DATABASE.execute("SET TimeZone = 'UTC'")

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
