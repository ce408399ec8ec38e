"""The compiled look at a request (decision 0026): what it says of an event is what `examine` says, or nothing."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from millstream.collector.clock_skew import moment_of
from millstream.collector.events import Accepted, Stamp, examine, examine_all, usual
from millstream.collector.request import ABSENT
from millstream.spec import MAX_EVENT_BYTES, MAX_MESSAGE_ID, MAX_NUMBER, TYPES

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=timezone.utc)
SENT = '"2026-01-02T03:04:04.123Z"'
PAGE = {"type": "page", "userId": "u", "messageId": "m", "timestamp": "2026-01-02T03:04:05.678Z"}

compiled = pytest.mark.skipif(
    importlib.util.find_spec("millstream.collector._validate") is None, reason="it was not compiled here"
)


def deep(levels: int) -> Any:
    """A list in a list, and so on."""
    return functools.reduce(lambda inner, _: [inner], range(levels - 1), [])


def text_of(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def known(event: Any, *, only: str = "") -> list[Accepted | None] | None:
    """What the compiled look says of one event, alone in a batch or as a request of this type."""
    text = text_of(event)
    return usual(text if only else b'{"batch":[%b]}' % text, only, 0, b"}", Accepted)


def padding(left: int) -> str:
    """Text that leaves so many bytes of an event for the rest of it."""
    return "x" * (MAX_EVENT_BYTES - left)


TIMES = st.sampled_from(
    [
        "2026-01-02T03:04:05.678Z",
        "2024-02-29T23:59:59.999Z",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-01-01T00:00:00+09:00",
        "2026-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z",
        "0001-01-01T00:00:00.000Z",
        "9999-12-31T23:59:59.999Z",
        "0001-01-01",
        "soon",
        "",
        None,
        17,
    ]
)
IDS = st.sampled_from(["", "m", "é", "\\", '"', "m" * MAX_MESSAGE_ID, "m" * (MAX_MESSAGE_ID + 1), None, 0, 7, [], {}])
NUMBERS = st.sampled_from(
    [0, -1, 7.5, 1e-7, 1e99, 10**99, 10**100, 1e100, -1.5e300, 10**308, MAX_NUMBER, MAX_NUMBER + 1, -(10**400)]
)
OBJECTS = (
    st.none()
    | st.dictionaries(st.sampled_from(["at", "timestamp", "ü\\"]), TIMES | IDS | NUMBERS)
    | st.just([])
    | st.sampled_from([97, 98, 99, 100, 101]).map(lambda levels: {"deep": deep(levels)})
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["page", "track"]), "userId": IDS, "messageId": IDS, "timestamp": TIMES},
    optional={
        "event": IDS,
        "anonymousId": IDS | NUMBERS,
        "groupId": IDS | NUMBERS,
        "previousId": IDS,
        "name": IDS,
        "category": IDS,
        "properties": OBJECTS,
        "traits": OBJECTS,
        "context": OBJECTS | IDS,
        "integrations": OBJECTS | IDS,
        "more": st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | IDS,
        "big": st.sampled_from(["", "x" * (MAX_EVENT_BYTES - 200)]) | st.integers(140, 260).map(padding),
    },
)
ODD_EVENTS = st.tuples(
    EVENTS,
    st.dictionaries(
        st.sampled_from(["type", "originalTimestamp", "sentAt", "receivedAt", "sourceId", "writeKey"]), TIMES | IDS
    ),
).map(lambda pair: {**pair[0], **pair[1]})

LAYOUTS: list[Callable[[Any], str]] = [
    lambda value: json.dumps(value, separators=(",", ":")),
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    lambda value: json.dumps(value, separators=(" ,\t", " : ")),
]


def same(found: Accepted | str, alone: Accepted | str) -> bool:
    """Whether both say the same: of an event that is kept the type, the id and each member, byte for byte.

    Not the order of its members, which changes where an event was put together anew.
    """
    if isinstance(found, str) or isinstance(alone, str):
        return found == alone
    members = msgspec.json.Decoder(dict[str, Raw])
    return (
        (found.type, found.message_id) == (alone.type, alone.message_id)
        and b"\n" not in found.line
        and members.decode(found.line) == members.decode(alone.line)
    )


REPEATS = st.sampled_from(
    [
        "",
        '"type":"track"',
        '"type":null',
        '"userId":"other"',
        '"messageId":null',
        '"timestamp":"2020-01-01T00:00:00.000Z"',
        '"more":{"a":1,"a":2}',
        '"more":[{"a":{"b":1,"b":2}}]',
        '"more":"a:b\\u003a"',
        '"n":1e400',
        '"n":1E+308',
        '"n":1e-400',
    ]
)


def with_more(text: str, more: str, *, first: bool) -> bytes:
    """The text of an event with another member, before or behind its own."""
    if not more:
        return text.encode()
    return (f"{{{more},{text[1:]}" if first else f"{text[:-1]},{more}}}").encode()


@settings(deadline=None, max_examples=200)
@given(
    events=st.lists(st.tuples(EVENTS | ODD_EVENTS, REPEATS, st.booleans()), min_size=1, max_size=4),
    sent_at=st.none() | TIMES,
    layout=st.sampled_from(LAYOUTS),
    defaults=st.sampled_from([{}, {}, {"context": Raw(b'{"ip":"9.9.9.9"}')}]),
)
def test_together_events_become_what_each_becomes_alone(
    events: list[tuple[dict[str, Any], str, bool]],
    sent_at: str | None,
    layout: Callable[[Any], str],
    defaults: dict[str, Raw],
) -> None:
    """Judging all events of a batch at once is faster, and nothing else."""
    at = ABSENT if not isinstance(sent_at, str) else Raw(json.dumps(sent_at).encode())
    stamp = Stamp(NOW, "source", sent_at=at, defaults=defaults, new_id=lambda: "new")
    items = [Raw(with_more(layout(event), more, first=first)) for event, more, first in events]
    text = b'{"writeKey":"k","batch":[%b],"sentAt":%b}' % (b",".join(map(bytes, items)), json.dumps(sent_at).encode())
    for found, raw in zip(examine_all(items, text, stamp), items, strict=True):
        assert same(found, examine(raw, stamp)), raw


@settings(deadline=None)
@given(
    event=EVENTS | ODD_EVENTS,
    more=REPEATS,
    first=st.booleans(),
    only=st.sampled_from(TYPES),
    layout=st.sampled_from(LAYOUTS),
)
def test_one_event_becomes_the_same_either_way(
    event: dict[str, Any], more: str, first: bool, only: str, layout: Callable[[Any], str]
) -> None:
    """So it is with the one event of a request to `/v1/track` and its siblings."""
    stamp = Stamp(NOW, "source", type=only, new_id=lambda: "new")
    raw = Raw(with_more(layout(event), more, first=first))
    (found,) = examine_all([raw], bytes(raw), stamp)
    assert same(found, examine(raw, stamp)), raw


MOMENTS = st.datetimes(timezones=st.just(timezone.utc))


@compiled
@settings(deadline=None)
@given(moment=MOMENTS, received=MOMENTS, sent=MOMENTS)
@example(datetime.min.replace(tzinfo=timezone.utc), NOW, NOW + timedelta(microseconds=1))
@example(datetime.max.replace(tzinfo=timezone.utc), NOW, NOW - timedelta(microseconds=1))
@example(datetime(2024, 2, 29, 23, 59, 59, 999_000, timezone.utc), NOW, NOW)
@example(datetime(2000, 3, 1, tzinfo=timezone.utc), NOW, NOW)
@example(datetime(1900, 2, 28, tzinfo=timezone.utc), NOW, NOW)
def test_times_are_computed_alike(moment: datetime, received: datetime, sent: datetime) -> None:
    """In all years, across leap days and centuries, rounded in the same direction; out of range it says nothing."""
    original = f'"{moment.replace(tzinfo=None).isoformat(timespec="milliseconds")}Z"'.encode()
    stamp = Stamp(received, sent_at=Raw(f'"{sent.isoformat()}"'.encode()))
    text = b'{"batch":[{"type":"page","userId":"u","messageId":"m","timestamp":%b}]}' % original
    skew = (received - sent) // timedelta(microseconds=1)
    (found,) = usual(text, "", skew, b"}", Accepted) or [None]
    expected = stamp.timestamp(moment_of(original), b"")
    if found is None:
        assert expected == stamp.received
    else:
        assert msgspec.json.decode(found.line)["timestamp"].encode() == expected[1:-1]


@compiled
@pytest.mark.parametrize(
    "more",
    [
        {}, {"type": "track", "event": 'Ünï \\ "code"'}, {"userId": None, "anonymousId": "a"}, {"traits": None},
        {"properties": {"a": [1, {"b": "]}"}], "timestamp": PAGE["timestamp"]}}, {"context": {"ip": "1.2.3.4"}},
        {"name": "", "category": None}, {"messageId": "é" * 50}, {"n": -1.5e3, "t": True, "l": [], "o": {}},
        {"numbers": [1e99, -2.5e-7, 10**99, 0.1, 0]}, {"groupId": "g", "previousId": None, "integrations": {}},
        {"properties": {"a": {"a": {"a": 1}}, "b": {"a": 1}, "list": [{"a": 1}, {"a": 1}]}}, {"deep": deep(98)},
        {"context": {f"name-{number}": number for number in range(200)}},
    ],
    ids=repr,
)  # fmt: skip
def test_events_as_clients_send_them_need_no_other_look(more: dict[str, Any]) -> None:
    """Else it would be of no use."""
    text = json.dumps({"batch": [{**PAGE, **more}]}, ensure_ascii=False).encode()
    (found,) = usual(text, "", 0, b"}", Accepted) or [None]
    assert found is not None
    assert found.type == more.get("type", "page")


@compiled
@pytest.mark.parametrize(
    "more",
    [
        {"messageId": "m" * (MAX_MESSAGE_ID + 1)}, {"messageId": "\u0000"}, {"messageId": "a\\b"}, {"messageId": ""},
        {"messageId": 1}, {"userId": ""}, {"userId": 7}, {"userId": []}, {"type": "track"},
        {"type": "track", "event": ""},
        {"type": "pageview"}, {"type": None}, {"event": 1}, {"name": {}}, {"category": []}, {"properties": "p"},
        {"traits": [1]}, {"timestamp": None}, {"timestamp": "2026-01-02T03:04:60.000Z"}, {"originalTimestamp": None},
        {"sentAt": "x"}, {"receivedAt": 1}, {"sourceId": "s"}, {"writeKey": "k"}, {"big": "x" * MAX_EVENT_BYTES},
        {"a\\b": 1},
        {"properties": {"a\\b": 1}}, {"n": 10**100}, {"n": 1e300}, {"n": [1.5e-300]}, {"deep": deep(100)},
        {"groupId": 7},
        {"previousId": []}, {"context": "c"}, {"context": []}, {"integrations": []},
        {"context": {f"name-{number}": number for number in range(300)}},
    ],
    ids=lambda more: repr(more)[:60],
)  # fmt: skip
def test_of_anything_else_it_says_that_it_does_not_know(more: dict[str, Any]) -> None:
    """Also between two others, which it knows."""
    assert known({**PAGE, **more}) == [None]
    between = usual(text_of({"batch": [PAGE, {**PAGE, **more}, PAGE]}), "", 0, b"}", Accepted)
    assert between
    assert [found is None for found in between] == [False, True, False]


@compiled
@pytest.mark.parametrize(
    "twice", ['"userId":"u"', '"more":1', '"more":{"a":1,"b":2,"a":3}', '"more":[[{"a":1,"a":2}]]']
)
def test_an_event_with_a_member_twice_is_none_that_it_knows(twice: str) -> None:
    """Which of the two counts is for Python to say, at whatever depth."""
    event = json.dumps(PAGE).removesuffix("}") + f',"more":0,{twice}}}'
    assert usual(f'{{"batch":[{event}]}}'.encode(), "", 0, b"}", Accepted) == [None]


@compiled
def test_a_route_has_events_of_its_own_type_only() -> None:
    """What came to another route than its type's is looked at more closely."""
    assert known(PAGE, only="page") != [None]
    assert known(PAGE, only="screen") == [None]


@compiled
@pytest.mark.parametrize(
    "text",
    [
        b"", b"[", b"{", b"{}", b"[]", b"null", b'{"batch":', b'{"batch":{}}', b'{"batch":[', b'{"batch":[}',
        b'{"batch":[]', b'{"batch":[1', b'{"batch":["', b'{"batch":["\\', b'{"batch":["\\"', b'{"batch":[{"a',
        b'{"batch', b'{"batch":[{"a":1}', b'{"b\\u0061tch":[]}', b'{"batch":[],"batch":[]}', b'{"batch":[]]',
        b'{"batch" []}',
    ],
)  # fmt: skip
def test_text_that_is_no_batch_is_nothing_that_it_knows(text: bytes) -> None:
    """It reads what is there, and not one byte more."""
    assert usual(text, "", 0, b"}", Accepted) is None


WHOLE = text_of({"batch": [PAGE, {**PAGE, "properties": {"a": ["\\", '"', {}]}}], "sentAt": SENT})


@compiled
@settings(deadline=None, max_examples=300)
@given(
    text=st.binary(max_size=60)
    | st.lists(st.sampled_from([*'{}[]:,\\"u0 \n', '"batch"', '"type"', '"page"', "null"]), max_size=40).map(
        lambda parts: b'{"batch":[' + "".join(parts).encode()
    )
    | st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 3), st.binary(max_size=3)).map(
        lambda cut: WHOLE[: cut[0]] + cut[2] + WHOLE[cut[0] + cut[1] :]
    ),
    only=st.sampled_from(["", "page"]),
)
def test_no_bytes_do_it_any_harm(text: bytes, only: str) -> None:
    """Whatever they are: broken, cut off, with a byte in the wrong place, or no JSON at all."""
    for found in usual(text, only, -1, b"}", Accepted) or []:
        assert found is None or found.line.endswith(b"}")


@compiled
def test_it_keeps_nothing() -> None:
    """A look takes no reference that it does not give back."""
    ending = b"}" * 50
    before = sys.getrefcount(WHOLE), sys.getrefcount(ending), sys.getrefcount(Accepted), sys.getrefcount(None)
    for _ in range(1_000):
        usual(WHOLE, "", 0, ending, Accepted)
        usual(WHOLE[:-10], "", 0, ending, Accepted)
        usual(WHOLE, "page", 0, ending, Accepted)
    after = sys.getrefcount(WHOLE), sys.getrefcount(ending), sys.getrefcount(Accepted), sys.getrefcount(None)
    assert all(abs(now - then) < 100 for now, then in zip(after, before, strict=True))


@compiled
def test_what_an_answer_is_made_with_may_fail() -> None:
    """Its error comes out."""

    def failing(*_: object) -> Any:
        raise ValueError("no more")

    for text, only in ((text_of({"batch": [PAGE]}), ""), (text_of(PAGE), "page")):
        with pytest.raises(ValueError, match="no more"):
            usual(text, only, 0, b"}", failing)
