"""An event as a Python call: running the call makes an event like it."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import Analytics
from millstream.collector.debugger.snippet import WIDTH, body_of, call_of

STAMPED = ("messageId", "timestamp", "context", "integrations")


@pytest.fixture(scope="module")
def analytics() -> Iterator[Analytics]:
    with Analytics(disable=True) as analytics:
        yield analytics


def line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def made_by(code: str, analytics: Analytics) -> dict[str, Any]:
    """The event that a call makes."""
    receipt = eval(compile(code, "call", "eval"), {"analytics": analytics})
    return receipt.wait().event


EVENTS = [
    {"type": "track", "event": "Order Completed", "userId": "u1", "properties": {"revenue": 39.95, "coupon": None}},
    {"type": "track", "event": "Seen", "anonymousId": "a1", "properties": {}},
    {"type": "identify", "userId": "u1", "anonymousId": "a1", "traits": {"plan": "Enterprise", "friends": 42}},
    {"type": "identify", "anonymousId": "a1", "traits": {}},
    {"type": "page", "name": "Home", "category": "Docs", "userId": "u1", "properties": {"a": 1, "category": "Docs"}},
    {"type": "page", "userId": "u1", "properties": {}},
    {"type": "screen", "name": "Inbox", "category": "Mail", "userId": "u1", "properties": {"category": "Mail"}},
    {"type": "group", "groupId": "acme", "userId": "u1", "traits": {"name": "Acme"}},
    {"type": "alias", "userId": "new", "previousId": "old"},
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["type"])
def test_the_call_makes_the_event(event, analytics):
    """With all that it says; what every call stamps is stamped anew."""
    stamped = {
        "messageId": "m1",
        "timestamp": "2026-05-04T12:00:00Z",
        "receivedAt": "x",
        "sentAt": "y",
        "sourceId": "z",
    }
    made = made_by(call_of(line(event | stamped)), analytics)
    assert {name: value for name, value in made.items() if name not in STAMPED} == event
    assert made["messageId"] != "m1"


def test_context_and_integrations_are_said_by_the_call(analytics):
    """The library alone is not: every call names its own."""
    context = {"ip": "203.0.113.7", "library": {"name": "other", "version": "1"}}
    event = {**EVENTS[0], "context": context, "integrations": {"All": False}}
    call = call_of(line(event))
    assert "other" not in call
    made = made_by(call, analytics)
    assert made["context"]["ip"] == "203.0.113.7"
    assert made["integrations"] == {"All": False}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    properties=st.dictionaries(st.text(), json_values, max_size=4), name=st.text(min_size=1), user=st.text(min_size=1)
)
def test_any_values_come_through(properties, name, user, analytics):
    """Whatever JSON can say, the call says in Python: quotes, control characters, emoji, large and small numbers."""
    event = {"type": "track", "event": name, "userId": user, "properties": properties}
    made = made_by(call_of(json.dumps(event).encode()), analytics)
    assert (made["event"], made["userId"], made["properties"]) == (name, user, properties)


def test_numbers_keep_their_digits():
    """A price is written as it came, also where a float could not hold it."""
    call = call_of(
        b'{"type":"track","event":"e","userId":"u","properties":{"a":0.10,"b":123456789012345678.25,"c":1E5}}'
    )
    assert '{"a": 0.10, "b": 123456789012345678.25, "c": 1E5}' in call
    assert math.isclose(ast.literal_eval(call.partition("properties=")[2].rstrip("\n),"))["c"], 1e5)


def test_nothing_invisible_is_left():
    """What would turn the line around, or hide, is an escape."""
    call = call_of(line({"type": "track", "event": "\u202egnp.exe\x00\u200b\ue000\U000e0041", "userId": "u"}))
    assert call == 'analytics.track("\\u202egnp.exe\\x00\\u200b\\ue000\\U000e0041", user_id="u")'


def test_it_is_laid_out_as_people_write():
    """One line where it fits, else an argument to a line."""
    assert call_of(line(EVENTS[1])) == 'analytics.track("Seen", anonymous_id="a1")'
    wide = {"type": "track", "event": "e", "userId": "u" * 30, "properties": {"a": "x" * 30, "b": ["y" * 60, {"c": 1}]}}
    call = call_of(line(wide))
    assert call == (
        "analytics.track(\n"
        '    "e",\n'
        f'    user_id="{"u" * 30}",\n'
        "    properties={\n"
        f'        "a": "{"x" * 30}",\n'
        f'        "b": [\n            "{"y" * 60}",\n            {{"c": 1}},\n        ],\n'
        "    },\n"
        ")"
    )
    assert max(map(len, call.splitlines())) <= WIDTH + 4


def test_what_no_argument_can_say_is_named(analytics):
    """A reader is not led to believe that the call says all."""
    call = call_of(line({**EVENTS[1], "channel": "server", "odd\nname": 1}))
    note, _, code = call.partition("\n")
    assert note == "# not said by this call: channel, odd\\nname"
    assert made_by(code, analytics)["event"] == "Seen"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'"x"', b"{}", b'{"type":"order"}', b'{"type":{}}', b'{"type":["a"]}']
)
def test_what_is_no_event_has_no_call(text):
    """The page shows its JSON alone."""
    assert call_of(text) == ""


def test_what_is_nested_too_deeply_has_no_call():
    """No event can exhaust the stack."""
    deep = b'{"type":"track","event":"e","userId":"u","properties":{"a":' + b"[" * 900 + b"]" * 900 + b"}}"
    assert call_of(deep) == "" or call_of(deep).startswith("analytics.track(")


def test_a_body_has_what_a_client_would_send():
    """Times and ids that the receiver gives are left out; numbers and spaces in texts stay; it is one line."""
    line = b'{"type":"track","event":"A  b","userId":"u","messageId":"m","properties":{"n": 1e400,\n"m": 10.10}}'
    assert body_of(line) == '{"event":"A  b","userId":"u","properties":{"n":1e400,"m":10.10}}'
    assert body_of(b"no JSON") == body_of(b"[1]") == ""
