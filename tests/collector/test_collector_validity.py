"""One validity: an event that the collector stores is accepted by everything that reads it later."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from millstream import Analytics, InvalidEvent
from millstream._core.events.build import LIBRARY, Defaults, whole
from millstream._core.events.encode import decode, encode
from millstream.cli.stored import RECEIVERS_OWN
from millstream.collector.judge import judge
from millstream.spec import IDS, MAX_EVENT_BYTES, MAX_NUMBER, OBJECTS, REASONS, TEXTS, TYPES
from support.api import Api
from support.program import Collector, end, start

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
STAMP = ("2026-01-02T03:04:05.678Z", "fresh")
DEFAULTS = Defaults.of({"library": LIBRARY}, {})


def nested(levels: int) -> Any:
    return functools.reduce(lambda inner, _: [inner], range(levels - 1), [])


NUMBERS = st.sampled_from([0, -7, 1.5, 1e300, 10**400, MAX_NUMBER, MAX_NUMBER + 1, -MAX_NUMBER, 5e-324])
ODD = (
    st.sampled_from(["", "x", "x" * 100, "x" * 101, None, True, False, [], {}, ["a"], {"a": 1}, "é\ud800", "\x00"])
    | NUMBERS
    | st.sampled_from([98, 99, 100, 300]).map(nested)
    | st.integers(0, 500).map(lambda left: "x" * (MAX_EVENT_BYTES - left))
)
FIELDS = [*TEXTS, *IDS, *OBJECTS, "sentAt", "channel"]
EVENTS = st.builds(
    lambda good, odd: {**good, **odd},
    st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES)},
        optional={"userId": st.just("u"), "event": st.just("Paid"), "messageId": st.just("m"), "context": st.just({})},
    ),
    st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4),
)


def received(event: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """What the collector stores of one event, as a replay reads it, and why it stores nothing."""
    verdict = judge("batch", {}, json.dumps({"batch": [event]}).encode(), NOW)
    assert verdict.status == 200
    stored = [decode(each.line) for each in verdict.events]
    return stored, [each.reason for each in verdict.rejected]


def sent(event: dict[str, Any]) -> bytes:
    """One event as `send` sends it."""
    data = encode(whole(event, STAMP, DEFAULTS))
    if len(data) > MAX_EVENT_BYTES:
        raise InvalidEvent("event_too_large")
    return data


@settings(deadline=None, max_examples=250)
@given(event=EVENTS)
def test_what_the_collector_accepts_can_be_sent(event: dict[str, Any]) -> None:
    """A replay of a stored event is refused neither by `send` nor by the next collector."""
    stored, reasons = received(event)
    assert len(stored) + len(reasons) == 1
    for line in stored:
        again = sent({name: value for name, value in line.items() if name not in RECEIVERS_OWN})
        assert received(json.loads(again))[1] == []


@settings(deadline=None, max_examples=250)
@given(event=EVENTS.map(lambda event: {"messageId": "m", **event}))
def test_what_the_collector_rejects_cannot_be_sent(event: dict[str, Any]) -> None:
    """Of an event that is whole, both say the same, and `send` says it to its caller."""
    assume(not any(isinstance(event.get(name), int) and abs(event[name]) > MAX_NUMBER for name in IDS))  # sent as text
    stored, _ = received(event)
    try:
        sent(decode(json.dumps(event).encode("utf-8", "surrogatepass").replace(b"\\ud800", b"?")))
    except InvalidEvent:
        assert not stored
    else:
        assert stored or len(json.dumps(event)) > MAX_EVENT_BYTES - 400  # it may be sent in fewer bytes than it came in


def test_each_field_has_a_reason_with_a_text() -> None:
    """A code that is given for a field can be said in words."""
    assert {*TEXTS.values(), *IDS.values(), *OBJECTS.values()} <= set(REASONS)


ODD_EVENTS: list[dict[str, Any]] = [
    {"type": "page", "anonymousId": 1.5},
    {"type": "page", "userId": 7, "anonymousId": ""},
    {"type": "page", "userId": 1e22},
    {"type": "group", "userId": "u"},
    {"type": "group", "userId": "u", "groupId": 5.5},
    {"type": "alias", "anonymousId": "a", "previousId": ""},
    {"type": "screen", "userId": "u", "name": "", "category": ""},
    {"type": "track", "userId": "u", "event": "Paid", "properties": {"x": nested(90), "n": MAX_NUMBER, "m": 5e-324}},
    {"type": "track", "userId": "u", "event": "Paid", "timestamp": 1_700_000_000_123},
    {"type": "track", "userId": "u", "event": "Paid", "timestamp": "when it rained"},
    {"type": "identify", "userId": "u", "traits": None, "context": None, "integrations": None, "messageId": None},
    {"type": "identify", "userId": "u", "text": "x" * 32_500},
]
REJECTED: list[dict[str, Any]] = [
    {"type": "page", "userId": "u", "context": "c"},
    {"type": "page", "userId": "u", "integrations": []},
    {"type": "page", "userId": "u", "n": 10**400},
    {"type": "page", "userId": "u", "deep": nested(100)},
    {"type": "page", "userId": "u", "text": "x" * 32_700},
    {"type": "group", "userId": "u", "groupId": True},
]


@pytest.mark.process
def test_odd_events_go_from_one_collector_to_another(tmp_path: Path) -> None:
    """All that the first one has stored is replayed, is in the second one, and can be queried in both."""
    one, two = Collector(tmp_path / "one"), Collector(tmp_path / "two")
    for event in (*ODD_EVENTS, *REJECTED):
        one.post(event)
    done = end(start("replay", "--data", str(tmp_path / "one"), "--to", two.url, "--write-key", "key", "--json"))
    one.stop()
    two.stop()
    assert (done.code, done.json["delivered"], done.json["problems"]) == (0, len(ODD_EVENTS), [])
    for name in ("one", "two"):
        query = "select count(*) as n, count(timestamp) as times from events"
        counted = end(start("query", query, "--data", str(tmp_path / name), "--json"))
        assert counted.json == {"n": len(ODD_EVENTS), "times": len(ODD_EVENTS)}


@pytest.fixture
def analytics(api: Api) -> Iterator[Analytics]:
    with Analytics("key", host=api.url) as analytics:
        yield analytics


@pytest.mark.parametrize("event", REJECTED[:4] + REJECTED[5:], ids=range(5))
def test_send_refuses_what_the_collector_rejects(analytics: Analytics, event: dict[str, Any]) -> None:
    """The caller hears it, and not only the operator of the receiver."""
    with pytest.raises(InvalidEvent):
        analytics.send(event)


def test_an_event_from_elsewhere_is_not_said_to_be_ours(analytics: Analytics, api: Api) -> None:
    """One that has an id was made by another library, or by hand; one without was made by this call."""
    for event in ({"messageId": "theirs"}, {}):
        analytics.send({"type": "page", "userId": "u", **event}).wait(timeout=10)
    theirs, ours = api.events
    assert theirs["context"] == {}
    assert ours["context"]["library"] == LIBRARY


def test_sql_counts_every_stored_event(tmp_path: Path) -> None:
    """Whatever is in a stored line, DuckDB reads the line, and the members that it is asked for."""
    verdict = judge("batch", {}, json.dumps({"batch": [*ODD_EVENTS, *REJECTED]}).encode(), NOW)
    assert [each.index for each in verdict.rejected] == [len(ODD_EVENTS) + number for number in range(len(REJECTED))]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(event.line + b"\n" for event in verdict.events))
    columns = "{type: 'VARCHAR', userId: 'VARCHAR', properties: 'JSON', timestamp: 'TIMESTAMP'}"
    rows = duckdb.execute(
        f"SELECT type, timestamp FROM read_json('{file}', format = 'newline_delimited', columns = {columns})"
    ).fetchall()
    assert [row[0] for row in rows] == [event["type"] for event in ODD_EVENTS]
    assert all(row[1] is not None for row in rows)
