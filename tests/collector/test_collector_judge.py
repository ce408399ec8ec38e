"""What the collector makes of a request: keep, reject, refuse. Nothing here waits, listens or writes."""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import zlib
from datetime import datetime, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.collector.admission import Admission, Rate
from millstream.collector.judge import ROUTES, Route, Verdict, judge
from millstream.spec import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_EVENT_BYTES, MAX_NUMBER

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
STAMPED = "2026-01-02T03:04:05.678Z"
STAMPS = {"timestamp": STAMPED, "receivedAt": STAMPED}  # what an event without a time of its own gets
TRACK = {
    "type": "track",
    "event": "Paid",
    "userId": "u1",
    "messageId": "m1",
    "properties": {"revenue": 39.95},
}


def batch(*events: Any, headers: dict[str, str] | None = None, keys: Any = None, **envelope: Any) -> Verdict:
    body = json.dumps({"batch": events, **envelope}).encode()
    return judge("batch", headers or {}, body, NOW, Admission(keys))


def kept(verdict: Verdict) -> list[dict[str, Any]]:
    return [parsed(event.line) for event in verdict.events]


def parsed(line: bytes) -> dict[str, Any]:
    """A stored line as a strict reader sees it."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert b"\n" not in line
    assert b"\r" not in line
    event = json.loads(line.decode(), object_pairs_hook=members, parse_constant=refuse)
    assert isinstance(event, dict)
    return event


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def reasons(verdict: Verdict) -> list[tuple[int, str]]:
    return [(event.index, event.reason) for event in verdict.rejected]


def test_an_event_is_kept_as_it_came_with_the_time_of_its_receipt() -> None:
    """A stored line is the event's own bytes and our stamps, nothing lost and nothing rounded."""
    raw = (
        b'{"type": "track","event":"P", "messageId":"m","userId":"u","properties":{"v":39.950, "n":12345678901234567}}'
    )
    verdict = judge("batch", {}, b'{"batch":[' + raw + b"]}", NOW)
    assert verdict.status == 200
    stamps = f',"timestamp":"{STAMPED}","receivedAt":"{STAMPED}"}}'
    assert [event.line for event in verdict.events] == [raw[:-1] + stamps.encode()]


def test_a_batch_hands_its_sent_at_to_its_events() -> None:
    """Without `sentAt` nobody could correct a client's wrong clock later, so each event gets its batch's."""
    own = {**TRACK, "sentAt": "2020-01-01T00:00:00Z"}
    first, second = kept(batch(TRACK, own, sentAt="2026-01-01T00:00:00Z"))
    assert first == {**TRACK, "sentAt": "2026-01-01T00:00:00Z", **STAMPS}
    assert second == {**own, **STAMPS}


def test_a_batch_hands_its_context_and_integrations_to_its_events() -> None:
    """What a batch says once holds for each event, and an event's own word goes first."""
    event = {**TRACK, "context": {"ip": "1.2.3.4"}, "integrations": None}
    verdict = batch(event, context={"ip": "9.9.9.9", "locale": "de"}, integrations={"All": False})
    (line,) = kept(verdict)
    assert line["context"] == {"ip": "1.2.3.4", "locale": "de"}
    assert line["integrations"] == {"All": False}
    assert line["properties"] == TRACK["properties"]


def test_a_batch_cannot_blow_up_what_it_shares() -> None:
    """A large `context` times many events would be gigabytes: such a batch is refused."""
    verdict = batch(*[TRACK] * 2000, context={"x": "y" * 30_000})
    assert (verdict.status, verdict.reason) == (400, "too_large")
    verdict = batch(TRACK, context={"x": "y" * MAX_EVENT_BYTES})
    assert reasons(verdict) == [(0, "event_too_large")]


@pytest.mark.parametrize("name", ["writeKey", "write\\u004bey"])
def test_a_write_key_is_never_stored(name: str) -> None:
    """The source's key is a secret: it is in no line, however it was spelled and wherever it was put."""
    event = f'{{"type":"track","event":"Paid","userId":"u1","{name}":"hush"}}'
    for route, body in (
        ("batch", f'{{"batch":[{event}],"writeKey":"hush"}}'),
        ("track", event),
    ):
        (line,) = [found.line for found in judge(route, {}, body.encode(), NOW).events]  # type: ignore[arg-type]
        assert b"hush" not in line
        assert parsed(line)["event"] == "Paid"


def test_only_the_receiver_says_when_an_event_was_received() -> None:
    """A client's own `receivedAt` is replaced, not repeated."""
    (event,) = batch({**TRACK, "receivedAt": "1999-01-01T00:00:00Z"}).events
    assert event.line.count(b"receivedAt") == 1
    assert parsed(event.line)["receivedAt"] == STAMPED


def test_an_event_without_an_id_gets_one() -> None:
    """Whatever comes after us needs a name for the event: its own if it has one."""
    events = kept(batch(*({**TRACK, "messageId": own} for own in ("mine", "", None)), {"type": "page", "userId": "u"}))
    ids = [event["messageId"] for event in events]
    assert ids[0] == "mine"
    assert all(len(each) == 32 for each in ids[1:])
    assert len(set(ids)) == 4


def test_a_line_says_which_key_it_came_with_and_not_the_key() -> None:
    """Sources can be told apart in the file, by how their key begins and a digest of it."""
    keys = ["wk_1234567890abcdef", "wk_1234567890abcdeg", "zz", 'a"b\\c/d-e f…']
    sources = [kept(batch(TRACK, writeKey=key))[0]["sourceId"] for key in keys]
    assert sources[0].startswith("wk1-")
    assert len(set(sources)) == 4
    assert not any(key in source for key in keys for source in sources)
    assert "sourceId" not in kept(batch(TRACK))[0]
    assert kept(batch({**TRACK, "sourceId": "theirs"}, writeKey="zz"))[0]["sourceId"] == sources[2]


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen", "group", "alias"])
@pytest.mark.parametrize("own", [{}, {"type": None}, {"type": "other"}, {"type": "track"}])
def test_the_route_of_a_single_event_is_its_type(kind: Route, own: dict[str, Any]) -> None:
    """`/v1/identify` makes an identify of what it is sent, whatever that calls itself."""
    event = {"event": "Paid", "anonymousId": "a", "messageId": "m", **own}
    verdict = judge(kind, {}, json.dumps(event).encode(), NOW)
    assert [found.type for found in verdict.events] == [kind]
    assert kept(verdict) == [{**event, "type": kind, **STAMPS}]
    assert verdict.events[0].line.count(b'"type"') == 1


def test_analytics_js_calls_the_routes_by_their_initials() -> None:
    """`/v1/t` is `/v1/track`, and `/v1/b` is `/v1/batch`."""
    types = ["identify", "track", "page", "screen", "group", "alias"]
    assert {kind[0]: kind for kind in ["batch", *types]}.items() <= ROUTES.items()
    assert {kind: kind for kind in types}.items() <= ROUTES.items()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": None}, "type_not_defined"),
        ({"type": "trakc"}, "type_not_known"),
        ({"type": 5}, "type_not_string"),
        ({"userId": None}, "no_user_anon_id"),
        ({"userId": ""}, "no_user_anon_id"),
        ({"userId": {}}, "user_id_not_string"),
        ({"anonymousId": True}, "anonymous_id_not_string"),
        ({"event": ""}, "event_not_defined"),
        ({"event": 7}, "event_not_string"),
        ({"messageId": "m" * 101}, "message_id_too_long"),
        ({"messageId": 1}, "message_id_not_string"),
        ({"groupId": {}}, "group_id_not_string"),
        ({"previousId": True}, "previous_id_not_string"),
        ({"context": "c"}, "context_not_object"),
        ({"integrations": ["All"]}, "integrations_not_object"),
        ({"properties": []}, "properties_not_object"),
        ({"traits": "x"}, "traits_not_object"),
        ({"name": 1}, "name_not_string"),
        ({"category": []}, "category_not_string"),
        ({"big": "x" * MAX_EVENT_BYTES}, "event_too_large"),
    ],
)
def test_one_bad_event_does_not_sink_its_batch(change: dict[str, Any], reason: str) -> None:
    """The request is answered 200, the bad event is named with its reason, its neighbours are kept."""
    verdict = batch(TRACK, {**TRACK, **change}, TRACK)
    assert verdict.status == 200
    assert reasons(verdict) == [(1, reason)]
    assert kept(verdict) == [{**TRACK, **STAMPS}] * 2


@pytest.mark.parametrize("item", [1, "x", None, [], True])
def test_what_is_no_object_is_no_event(item: Any) -> None:
    """A batch may hold anything; only objects are events."""
    assert reasons(batch(item, TRACK)) == [(0, "event_not_object")]


@pytest.mark.parametrize("identity", [{"userId": 0}, {"userId": 1.5}, {"anonymousId": "a", "userId": None}])
def test_an_identity_may_be_a_number(identity: dict[str, Any]) -> None:
    """Segment takes numeric ids, so they are no reason to lose an event."""
    event = {"type": "page", "messageId": "m", **identity}
    assert kept(batch(event)) == [{**event, **STAMPS}]


def test_what_a_message_id_may_be() -> None:
    """100 characters are allowed, counted as characters."""
    assert not batch({**TRACK, "messageId": "ü" * 100}).rejected


def test_an_event_of_exactly_the_limit_is_kept() -> None:
    """32 KiB are allowed; one byte more is not. What an event lacks and is given counts, for others will receive it."""
    whole = {**TRACK, "timestamp": STAMPED, "context": {}, "integrations": {}, "x": ""}
    lacking = {"type": "page", "userId": "u", "x": ""}
    given = len('"messageId":"","timestamp":"","context":{},"integrations":{}') + 32 + len(STAMPED) + 1
    for event, more in ((whole, 0), (lacking, given)):
        room = MAX_EVENT_BYTES - len(compact(event)) - more
        for layout in (compact, json.dumps):  # as the usual clients write it, and otherwise
            spaces = len(layout(event)) - len(compact(event))
            full, over = ({**event, "x": "y" * (room - spaces + extra)} for extra in (0, 1))
            for each, expected in ((full, []), (over, [(0, "event_too_large")])):
                body = f'{{"batch":[{layout(each)}]}}'.encode()
                assert reasons(judge("batch", {}, body, NOW)) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"batch":[NaN}', "invalid_json"),
        (b'{"batch":[{"NaN":Nan}]}', "invalid_json"),
        (b'{"batch":[{"x":"\xff"}]}', "invalid_json"),
        (b'{"batch":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "invalid_json"),
        (b'{"batch":[\n' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "invalid_json"),
        (b"[]", "invalid_request"),
        (b"{}", "invalid_request"),
        (b'{"batch":{}}', "invalid_request"),
        (b'{"batch":[' + b"1," * MAX_BATCH_EVENTS + b"1]}", "too_many_events"),
        (b'{"batch":[]}' + b" " * MAX_BATCH_BYTES, "too_large"),
    ],
)
def test_what_refuses_a_whole_request(body: bytes, reason: str) -> None:
    """Bad JSON and what is over the limits of a request is answered 400, and nothing of it is kept."""
    verdict = judge("batch", {}, body, NOW)
    assert (verdict.status, verdict.reason, verdict.events, verdict.rejected) == (400, reason, [], [])
    assert verdict.message


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"", b"{", b'{"x":"' + b"y" * MAX_EVENT_BYTES + b'"}'])
def test_what_refuses_a_single_event(body: bytes) -> None:
    """A single event that is no JSON object, or too large, is answered 400."""
    assert judge("track", {}, body, NOW).status == 400


def test_no_depth_of_nesting_makes_the_core_raise() -> None:
    """Between what one step can still follow and what the next cannot, there is no gap to fall through."""
    for depth in range(500, 1100):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        event = b'{"type":"page","userId":"u","writeKey":"k","context":' + deep + b"}"
        verdict = judge("batch", {}, b'{"batch":[' + event + b'],"context":' + deep + b"}", NOW)
        assert len(verdict.events) + len(verdict.rejected) == (verdict.status == 200)
        assert judge("track", {}, event, NOW).status in {200, 400}


def test_an_empty_batch_is_answered_200_and_said_to_be_empty() -> None:
    """It is no fault, and only a strict request is refused for it."""
    verdict = batch()
    assert (verdict.status, verdict.reason, verdict.events, verdict.empty) == (200, "", [], True)
    strict = judge("batch", {}, b'{"batch":[]}', NOW, strict=True)
    assert (strict.status, strict.reason, strict.empty) == (400, "empty_batch", False)


def test_a_number_that_is_none_is_null() -> None:
    """Python's json writes NaN and infinities: they are sent as null by the library, and received as null here."""
    event = {**TRACK, "properties": {"a": math.nan, "b": [math.inf, -math.inf, 1], "NaN": 'NaN, "Infinity" -Infinity'}}
    expected = {**TRACK, "properties": {**event["properties"], "a": None, "b": [None, None, 1]}, **STAMPS}
    for text in (json.dumps, partial(json.dumps, indent=1), compact):
        assert kept(judge("batch", {}, text({"batch": [TRACK, event]}).encode(), NOW)) == [
            {**TRACK, **STAMPS},
            expected,
        ]
        assert kept(judge("track", {}, text(event).encode(), NOW)) == [expected]


TWICE: list[tuple[str, dict[str, Any]]] = [
    ('"messageId":null,"messageId":"m1"', {"messageId": "m1"}),
    ('"messageId":"m1","messageId":"m2"', {"messageId": "m2"}),
    ('"type":5,"type":"track"', {"type": "track"}),
    ('"type":"identify","type":"track","messageId":"m"', {"type": "track", "messageId": "m"}),
    ('"messageId":"m","properties":{"a":1,"b":{"c":1.50,"c":[{"d":1,"d":12345678901234567890.10}]}}', {}),
    ('"messageId":"m","x":[{"a":1,"b":{},"\\u0061":2}]', {"x": [{"a": 2, "b": {}}]}),
    ('"messageId":"m","x":{"a":"::","a":1,"b":"\\u003a"}', {"x": {"a": 1, "b": ":"}}),
    ('"messageId":"m","timestamp":"2020-01-01T00:00:00Z","timestamp":null', {"timestamp": STAMPED}),
]


@pytest.mark.parametrize(("members", "expected"), TWICE)
@pytest.mark.parametrize("route", ["batch", "track"])
def test_a_stored_line_has_no_member_twice(route: Route, members: str, expected: dict[str, Any]) -> None:
    """Some readers of JSON take the first of two, others the last. The last wins, and it alone is stored."""
    event = f'{{"type":"track","event":"Dup","userId":"u",{members}}}'
    body = f'{{"batch":[{event}],"context":{{"ip":1,"ip":2}}}}' if route == "batch" else event
    (line,) = [found.line for found in judge(route, {}, body.encode(), NOW).events]
    alone = json.loads(line, object_pairs_hook=unique)
    assert alone.items() >= expected.items()
    if "b" in alone.get("properties", {}):
        assert b'{"d":12345678901234567890.10}' in line


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    assert len(members) == len(pairs), pairs
    return members


def nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


@pytest.mark.parametrize(("levels", "reason"), [(99, ""), (100, "event_too_deep"), (300, "event_too_deep")])
@pytest.mark.parametrize("route", ["batch", "page"])
def test_nesting_has_one_limit(route: Route, levels: int, reason: str) -> None:
    """An event has 100 levels at most, of which it is the first itself; brackets in texts are none."""
    texts = json.dumps({f"[{number}": "{[" for number in range(200)})
    for odd in ("", '"writeKey":"k",'):  # the second is looked at in Python
        event = f'{{"type":"page","userId":"u",{odd}"traits":{texts},"context":{nested(levels)}}}'
        verdict = judge(route, {}, f'{{"batch":[{event}]}}'.encode() if route == "batch" else event.encode(), NOW)
        assert [each.reason for each in verdict.rejected] == [reason] * bool(reason)
        assert all(each.line == b"" for each in verdict.rejected)


def test_a_batch_cannot_make_its_events_deep() -> None:
    """What it says for all of them is looked at in each."""
    body = f'{{"batch":[{json.dumps(TRACK)}],"context":{nested(100)}}}'
    assert reasons(judge("batch", {}, body.encode(), NOW)) == [(0, "event_too_deep")]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("1e400", "number_too_large"), ("-1E+309", "number_too_large"), ("9" * 400, "number_too_large"),
        ("9" * 9000, "number_too_large"), (str(MAX_NUMBER + 1), "number_too_large"),
        ("1e99999999999999999999", "number_too_large"),
        ("1.7976931348623159e308", "number_too_large"), ("-" + "9" * 309, "number_too_large"),
        (str(MAX_NUMBER), ""), (str(-MAX_NUMBER), ""), ("1.7976931348623158e308", ""), ("1e-400", ""),
        ("1" * 320 + "e-20", ""), ("1" * 320 + "e-99999999999999999999", ""), ("1e-" + "0" * 400, ""),
        ("0." + "3" * 500, ""), ("1e-99999999999999999999", ""), ("0e400", ""), (f'"{"9" * 400} 1e400"', ""),
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_a_number_beyond_a_double_is_a_reason(number: str, reason: str) -> None:
    """Readers of JSON differ there: infinity to some, an error to others."""
    for name in ("x", "userId"):
        event = f'{{"type":"page","anonymousId":"a","messageId":"m","timestamp":"{STAMPED}","{name}":{number}}}'
        verdict = judge("batch", {}, f'{{"batch":[{event}]}}'.encode(), NOW)
        assert [each.reason for each in verdict.rejected] == [reason] * bool(reason)


def test_an_event_on_many_lines_is_kept_on_one() -> None:
    """A client may write its JSON prettily; a line of the file is still one event."""
    for breaks in ("\n", "\r", "\r\n"):
        body = json.dumps({"batch": [TRACK, TRACK]}, indent=4).replace("\n", breaks) + breaks
        assert kept(judge("batch", {}, body.encode(), NOW)) == [{**TRACK, **STAMPS}] * 2


def test_half_a_surrogate_pair_does_not_sink_its_batch() -> None:
    """json.dumps writes such text without a word: it becomes U+FFFD, and all else stays what it was."""
    odd = r"\ud83d\ude00 \ud800 \udc00 \\ud800 \ud800A \ud83d\ud83d\ude00 \nfour\t\u00e9\\\ud800"
    body = rf'{{"batch":[{{"type":"track","event":"{odd}","userId":"u"}},{json.dumps(TRACK)}]}}'
    first, second = kept(judge("batch", {}, body.encode(), NOW))
    assert first["event"] == "\U0001f600 \ufffd \ufffd \\ud800 \ufffdA \ufffd\U0001f600 \nfour\té\\\ufffd"
    assert second == {**TRACK, **STAMPS}


def basic(user: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(user.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "in_body", "status", "reason"),
    [
        (basic("good:"), None, 200, ""),
        (basic("good"), None, 200, ""),
        (basic("bad:"), None, 401, "unknown_key"),
        (basic("bad:"), "good", 401, "unknown_key"),
        ({"authorization": "basic !!!"}, "good", 200, ""),
        ({"authorization": "Bearer token"}, "good", 200, ""),
        ({"authorization": "Bearer good"}, None, 401, "no_key"),
        ({}, "good", 200, ""),
        ({}, "bad", 401, "unknown_key"),
        ({}, 5, 401, "no_key"),
        ({}, None, 401, "no_key"),
    ],
)
def test_only_known_keys_may_write(headers: dict[str, str], in_body: Any, status: int, reason: str) -> None:
    """With keys configured, a request needs one of them, as Basic auth or in its body; a token names none."""
    for verdict in (
        batch(TRACK, headers=headers, keys={"good"}, writeKey=in_body),
        judge("track", headers, json.dumps({**TRACK, "writeKey": in_body}).encode(), NOW, Admission({"good"})),
    ):
        assert (verdict.status, verdict.reason) == (status, reason)
        assert len(verdict.events) == (status == 200)


def test_without_keys_anyone_may_write() -> None:
    """A collector for development asks for no key."""
    assert batch(TRACK).status == batch(TRACK, headers=basic("any:")).status == 200


def test_a_limited_key_is_refused_with_a_time_to_come_again() -> None:
    """429 refuses the whole request, and other keys have their own bucket."""
    gate = Admission(rate=Rate(2))
    body = json.dumps({"batch": [TRACK] * 4, "writeKey": "one"}).encode()
    assert judge("batch", {}, body, NOW, gate).status == 200
    verdict = judge("batch", {}, body, NOW, gate)
    assert (verdict.status, verdict.reason, verdict.retry_after, verdict.events) == (429, "rate_limited", 2, [])
    assert judge("batch", {}, body.replace(b"one", b"two"), NOW, gate).status == 200


def test_gzip_is_understood() -> None:
    """A compressed body, also of several members, is the body it was."""
    body = json.dumps({"batch": [TRACK]}).encode()
    for packed in (gzip.compress(body), gzip.compress(body[:9]) + gzip.compress(body[9:])):
        assert kept(judge("batch", {"content-encoding": "gzip"}, packed, NOW)) == [{**TRACK, **STAMPS}]


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("gzip", b"{}", "invalid_gzip"),
        ("gzip", gzip.compress(b'{"batch":[]}', mtime=0)[:-3], "invalid_gzip"),
        ("gzip", gzip.compress(b'{"batch":[]}', mtime=0) + b"more", "invalid_gzip"),
        ("br", b"{}", "unknown_encoding"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(encoding: str, body: bytes, reason: str) -> None:
    """An encoding that is unknown, broken or cut off is answered 400."""
    verdict = judge("batch", {"content-encoding": encoding}, body, NOW)
    assert (verdict.status, verdict.reason) == (400, reason)


def test_gzip_may_be_stored_and_in_parts() -> None:
    """What does not become smaller, what is flushed after every event, and a member for each: all that clients do."""
    events = [json.dumps({**TRACK, "note": os.urandom(200).hex()}) for _ in range(200)]
    parts = [part.encode() for part in ('{"batch":[', ",".join(events), "]}")]
    stored = b"".join(gzip.compress(part, 0) for part in parts)
    flushing = zlib.compressobj(wbits=31)
    flushed = [flushing.compress(b'{"batch":[')]
    flushed += [flushing.compress(f"{event},".encode()) + flushing.flush(zlib.Z_SYNC_FLUSH) for event in events]
    flushed += [flushing.compress(events[0].encode() + b"]}"), flushing.flush()]
    members = [gzip.compress(f"{event},".encode()) for event in events]
    split = gzip.compress(b'{"batch":[') + b"".join(members) + gzip.compress(events[0].encode() + b"]}")
    for packed, count in ((stored, 200), (b"".join(flushed), 201), (split, 201)):
        verdict = judge("batch", {"content-encoding": "gzip"}, packed, NOW)
        assert (verdict.reason, len(verdict.events)) == ("", count)


def test_a_compressed_bomb_is_not_unpacked() -> None:
    """A megabyte that would become a gigabyte is refused at the limit of a body, in one member or in many."""
    piece = gzip.compress(b" " * 100_000)
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(b" " * 1_000_000) for _ in range(200)) + packer.flush()
    for body in (bomb, piece * 100):
        assert judge("batch", {"content-encoding": "gzip"}, body, NOW).reason == "too_large"


ANY_ROUTE = st.sampled_from(["batch", "identify", "track", "page", "screen", "group", "alias"])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-encoding": st.sampled_from(["gzip", "identity", "", "br"]),
        "authorization": st.text(max_size=12) | st.text(max_size=12).map(lambda text: f"Basic {text}"),
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OURS = ["writeKey", "receivedAt", "sourceId", "timestamp", "originalTimestamp"]
FIELDS = ["type", "event", "userId", "anonymousId", "messageId", "properties", "context", "sentAt", *OURS]
WORDS = st.sampled_from(["track", "page", "2026-01-02T03:04:05.678Z", "2026-01-01T00:00:00+09:00"])
ODD_EVENTS = st.dictionaries(st.sampled_from(FIELDS), JSON | WORDS, max_size=6)
GOOD_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["page", "identify"]), "userId": st.text(min_size=1, max_size=5)},
    optional={
        "context": st.dictionaries(st.text(max_size=4), JSON | WORDS, max_size=3),
        "timestamp": WORDS,
        "sentAt": WORDS,
        "extra": JSON | WORDS,
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A batch or an event as clients write them, then cut, overwritten or stuffed at random places."""
    events = draw(st.lists(GOOD_EVENTS | ODD_EVENTS | JSON, max_size=4))
    envelope = {"batch": events, **draw(st.dictionaries(st.sampled_from(["context", "sentAt"]), JSON))}
    value = draw(st.sampled_from([envelope, *events]))
    text = json.dumps(value, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(body)))
        body[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


@settings(deadline=None)
@given(route=ANY_ROUTE, headers=HEADERS, body=st.binary(max_size=60) | bodies() | bodies().map(gzip.compress))
def test_no_body_makes_the_core_raise(route: Route, headers: dict[str, str], body: bytes) -> None:
    """Whatever is sent gets a verdict, and what is to be kept is one valid JSON object to a line."""
    verdict = judge(route, headers, body, NOW)
    assert verdict.status in {200, 400}
    assert verdict.status == 200 or (verdict.reason and not verdict.events and not verdict.rejected)
    for event in verdict.events:
        line = parsed(event.line)
        assert line["receivedAt"] == STAMPED
        assert "writeKey" not in line
        assert line["type"] == event.type


@settings(deadline=None)
@given(events=st.lists(GOOD_EVENTS | ODD_EVENTS, min_size=1, max_size=5))
def test_every_event_of_a_batch_is_kept_whole_or_rejected(events: list[dict[str, Any]]) -> None:
    """Nothing falls between: each event is in the file with all it said, or on the list with a reason."""
    verdict = batch(*events)
    rejected = {event.index for event in verdict.rejected}
    stay = [event for index, event in enumerate(events) if index not in rejected]
    for event, line in zip(stay, kept(verdict), strict=True):
        theirs = {name: value for name, value in event.items() if name not in OURS}
        for name in ("messageId", "sentAt"):  # where there is none
            if theirs.get(name) in (None, ""):
                theirs.pop(name, None)
                line.pop(name, None)
        assert theirs == {name: value for name, value in line.items() if name not in OURS}
        original = event.get("timestamp") if event.get("timestamp") is not None else event.get("originalTimestamp")
        assert line.get("originalTimestamp") == original
        assert line["receivedAt"] == STAMPED
