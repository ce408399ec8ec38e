"""What the collector answers, header by header: the application without a server."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answered, call, calling
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.collector import Collector, Memory
from millstream.collector.judge import ROUTES
from millstream.collector.request import MAX_BODY
from millstream.errors import SettingsError
from millstream.log import Done

TRACK = {"type": "track", "event": "Paid", "userId": "u1"}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.fixture
def collector() -> Collector:
    return Collector.in_memory()


def post(app: Collector, path: str, body: Any, **headers: str) -> Answered:
    return call(app, "POST", path, body, **headers)


def test_events_are_at_hand_in_memory(collector: Collector) -> None:
    """For tests: what came, as Python's values, and no file anywhere."""
    assert post(collector, "/v1/batch", {"batch": [TRACK, TRACK]}).json == {"success": True}
    assert [event["event"] for event in collector.events] == ["Paid", "Paid"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_is_there(collector: Collector, route: str, slash: str) -> None:
    """With a slash at the end too, as some clients have it."""
    kind = ROUTES[route]
    body = {"batch": [TRACK]} if kind == "batch" else {"userId": "u", "event": "Paid"}
    assert post(collector, f"/v1/{route}{slash}", body).status == 200
    assert [event["type"] for event in collector.events] == ["track" if kind == "batch" else kind]


def test_a_browser_may_send_from_any_page(collector: Collector) -> None:
    """analytics.js posts text/plain, which needs no preflight; others ask first, also from the web to this machine."""
    asked = call(
        collector,
        "OPTIONS",
        "/v1/t",
        origin="https://shop.example",
        access_control_request_method="POST",
        access_control_request_headers="authorization, content-type",
        access_control_request_private_network="true",
    )
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == "https://shop.example"
    assert asked.headers["access-control-allow-credentials"] == "true"
    assert asked.headers["vary"] == "origin"
    assert asked.headers["access-control-allow-methods"] == "POST"
    assert asked.headers["access-control-allow-headers"] == "authorization, content-type"
    assert asked.headers["access-control-allow-private-network"] == "true"
    body = {**TRACK, "writeKey": "k", "sentAt": "2026-01-02T03:04:05Z"}
    sent = post(collector, "/v1/t", body, origin="https://shop.example", content_type="text/plain")
    assert (sent.status, sent.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert sent.headers["access-control-allow-credentials"] == "true"
    refused = post(collector, "/v1/t", b"{", origin="null")
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (400, "null")
    assert post(collector, "/v1/t", b"{", origin="a\x01b").headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in post(collector, "/v1/t", body).headers
    asked = call(collector, "OPTIONS", "/v1/t", origin="null", access_control_request_headers="a\x01b")
    assert asked.headers["access-control-allow-headers"] == "*"


@pytest.mark.parametrize("path", ["/", "/stats", "/metrics", "/debug/events/1", "/debug/app.js", "/health", "/token"])
def test_no_other_site_may_read_anything_else(collector: Collector, path: str) -> None:
    """Only the routes under `/v1/` have headers for other sites."""
    for method in ("GET", "OPTIONS", "POST"):
        answer = call(collector, method, path, origin="https://shop.example")
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_what_analytics_js_counts_of_itself_is_taken_and_dropped(collector: Collector) -> None:
    """It would complain in its user's console otherwise."""
    assert post(collector, "/v1/m", {"series": [{"type": "Counter"}]}).status == 200
    assert collector.events == []
    assert collector.counts.requests == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/batch", 405),
        ("PUT", "/v1/t", 405),
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1/", 404),
        ("POST", "/v2/batch", 404),
        ("GET", "/token", 405),
    ],
)
def test_other_routes_are_not_there(collector: Collector, method: str, path: str, status: int) -> None:
    """A path with a slip of the pen is answered at once."""
    assert call(collector, method, path, b"{}").status == status


def test_strict_says_what_is_wrong_event_by_event(collector: Collector) -> None:
    """What Segment answers with 200 and drops; the good events of the same batch are kept."""
    body = {"batch": [TRACK, {"type": "track", "userId": "u"}, TRACK, {**TRACK, "properties": []}]}
    for app, headers in ((Collector.in_memory(strict=True), {}), (collector, {"x_strict_mode": "1"})):
        answer = post(app, "/v1/batch", body, **headers)
        assert answer.status == 400
        assert answer.json == {
            "success": False,
            "code": "events_rejected",
            "message": "2 of 4 events are not valid and were not stored",
            "stored": 2,
            "rejected": [
                {"index": 1, "reason": "event_not_defined", "message": "a track event needs a name in event"},
                {"index": 3, "reason": "properties_not_object", "message": "its properties are not an object"},
            ],
        }
        assert len(app.events) == 2


def test_strict_wants_events(collector: Collector) -> None:
    """An empty batch is an error of whoever made it."""
    assert post(collector, "/v1/batch", {"batch": []}).status == 200
    answer = post(collector, "/v1/batch", {"batch": []}, x_strict_mode="1")
    assert (answer.status, answer.json["code"]) == (400, "empty_batch")


def test_duplicates_are_no_fault(collector: Collector) -> None:
    """A client that tries again did right, in strict mode too."""
    event = {**TRACK, "messageId": "m"}
    for _ in range(2):
        assert post(collector, "/v1/track", event, x_strict_mode="1").status == 200
    assert len(collector.events) == 1


def test_who_sends_too_much_hears_when_to_come_again() -> None:
    """`Retry-After` for SDKs, `X-RateLimit-Reset` for analytics.js, and a browser may read both."""
    now = NOW
    app = Collector.in_memory(rate_limit=10, clock=lambda: now)
    body = {"batch": [TRACK] * 30, "writeKey": "k"}
    assert post(app, "/v1/batch", body).status == 200
    answer = post(app, "/v1/batch", body, origin="https://shop.example")
    assert (answer.status, answer.json["code"]) == (429, "rate_limited")
    assert answer.headers["retry-after"] == answer.headers["x-ratelimit-reset"] == "3"
    assert answer.headers["access-control-expose-headers"] == "retry-after, x-ratelimit-reset"
    now += timedelta(seconds=3)
    assert post(app, "/v1/batch", body).status == 200
    assert len(app.events) == 60


class Broken(Memory):
    def append(self, text: bytes, done: Done) -> None:
        done(OSError(errno.ENOSPC, "No space left on device"))


def test_what_cannot_be_stored_is_answered_503() -> None:
    """The client keeps it, and tries again."""
    answer = post(Collector(Broken()), "/v1/track", TRACK)
    assert answer.status == 503
    assert answer.json["message"] == "the events could not be stored: No space left on device"


def test_a_body_may_come_in_pieces(collector: Collector) -> None:
    """As large ones do."""
    body = json.dumps({"batch": [{**TRACK, "x": "y" * 1000}] * 100}).encode()
    pieces = [body[start : start + 777] for start in range(0, len(body), 777)]
    assert asyncio.run(calling(collector, "POST", "/v1/batch", pieces)).status == 200
    assert len(collector.events) == 100


def test_a_client_that_leaves_is_counted(collector: Collector) -> None:
    """Nobody hears the answer, and nothing is kept."""
    asyncio.run(calling(collector, "POST", "/v1/batch", []))
    assert collector.counts.refused == {"disconnected": 1}


def test_bodies_that_are_being_received_take_no_more_than_there_is(collector: Collector) -> None:
    """However many clients send slowly at once; and what they took is free again when they are done."""
    collector._reader._left = 1000

    async def at_once() -> list[int]:
        pieces = [b" " * 300, b'{"batch":[]}']
        many = [calling(collector, "POST", "/v1/batch", pieces) for _ in range(3)]
        return [answer.status for answer in await asyncio.gather(*many)]

    assert asyncio.run(at_once()) == [200, 200, 200]
    answer = asyncio.run(calling(collector, "POST", "/v1/batch", [b" " * 1001, b"{}"]))
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "busy", "1")
    assert answer.headers["connection"] == "close"
    assert collector._reader._left == 1000


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    """Every line is a comment or a sample, every sample belongs to a metric with a type, and the sums are right."""
    collector = Collector(tmp_path)
    post(collector, "/v1/batch", {"batch": [{**TRACK, "messageId": "m"}, {**TRACK, "messageId": "m"}, 5]})
    post(collector, "/v1/batch", b"{")
    answer = call(collector, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    samples = re.findall(r'^(\w+?)(?:_bucket|_sum|_count)?(?:\{(\w+)="([^"\\]*)"\})? (\S+)$', text, re.MULTILINE)
    assert len(samples) + text.count("\n#") + 1 == text.count("\n")
    assert {name for name, *_ in samples} <= set(types)
    found = {(name.removeprefix("millstream_collector_"), label): float(value) for name, _, label, value in samples}
    assert found["events_total", "stored"] == found["events_total", "duplicate"] == 1
    assert found["events_total", "rejected"] == found["events_rejected_total", "event_not_object"] == 1
    assert found["requests_total", ""] == 2
    assert found["requests_refused_total", "invalid_json"] == 1
    assert found["remembered_ids", ""] == 1
    assert found["commit_seconds", "+Inf"] == 1
    assert found["quarantine_lost_total", ""] == 0
    collector.close()


@pytest.mark.parametrize("path", ["/stats", "/metrics", "/", "/debug/events/1", "/debug/events/" + "9" * 5000])
def test_other_sites_may_not_look(collector: Collector, path: str) -> None:
    """A name that was pointed at this machine (DNS rebinding) is somebody else's page in the user's browser."""
    assert call(collector, "GET", path, host="evil.example:7070").status == 403
    assert call(collector, "GET", "/health", host="evil.example:7070").status == 200
    assert post(collector, "/v1/track", TRACK, host="evil.example:7070").status == 200


def test_with_a_token_it_has_to_be_shown(collector: Collector) -> None:
    """To look, and never to send."""
    app = Collector.in_memory(token="s3cret", hosts=["events.example"])
    assert call(app, "GET", "/stats").status == 401
    assert call(app, "GET", "/stats?token=s3cret", host="events.example").status == 200
    assert call(app, "GET", "/metrics", authorization="Bearer s3cret").status == 200
    assert post(app, "/v1/track", TRACK).status == 200


def test_settings_that_cannot_be_are_said_at_once() -> None:
    """With the name of the setting."""
    for settings_, said in (
        ({"keys": "abc"}, r"keys=\[key\]"),
        ({"rate_limit": 0}, "rate_limit"),
        ({"dedup_window": 1e12}, "dedup_window"),
        ({"token": "ü"}, "token"),
        ({"hosts": "x"}, "hosts"),
    ):
        with pytest.raises(SettingsError, match=said):
            Collector.in_memory(**settings_)


def test_only_what_is_in_memory_is_at_hand(tmp_path: Any) -> None:
    """Nobody reads a directory by accident."""
    collector = Collector(tmp_path)
    with pytest.raises(TypeError, match="in_memory"):
        _ = collector.events
    collector.close()


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content_encoding": st.sampled_from(["gzip", "identity", "br", "\xff"]),
        "authorization": st.text(st.characters(max_codepoint=255), max_size=12),
        "origin": st.sampled_from(["null", "https://a.example"]),
        "x_strict_mode": st.sampled_from(["0", "1"]),
    },
)
WORDS = st.sampled_from(
    ["type", "track", "event", "userId", "messageId", "timestamp", "batch", "sentAt", "context", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
BODIES = st.binary(max_size=80) | (JSON | JSON.map(lambda value: {"batch": [value]})).map(
    lambda value: json.dumps(value).encode("utf-8", "surrogatepass")
)


FUZZED = Collector.in_memory()


@settings(deadline=None, max_examples=200)
@given(
    path=st.sampled_from(["batch", "track", "t", "m", "token", "\xff"]),
    body=BODIES | BODIES.map(gzip.compress) | BODIES.map(lambda body: gzip.compress(body)[:-3]),
    headers=HEADERS,
    cut=st.integers(0, 40),
)
def test_no_body_is_answered_with_500(path: str, body: bytes, headers: dict[str, str], cut: int) -> None:
    """Whatever is sent, in whatever pieces, the answer is one of those documented; what is kept has all its parts."""
    app = FUZZED
    app.events.clear()
    pieces = [body[:cut], body[cut:]]
    answer = asyncio.run(calling(app, "POST", f"/v1/{path}" if path != "token" else "/token", pieces, **headers))
    assert answer.status in {200, 400, 401, 404}
    assert answer.json
    counts = app.counts.snapshot()
    assert counts["received"] == counts["stored"] + counts["duplicates"] + counts["rejected"]
    for event in app.events:
        assert all(event[name] for name in ("type", "messageId", "timestamp", "receivedAt"))


def test_bodies_of_all_kinds_leave_nothing_behind(collector: Collector) -> None:
    """What is refused is gone: a thousand bad bodies take no more memory than ten."""
    bad = [b"{", b"[" * 5000, b" " * (MAX_BODY + 1), gzip.compress(b" " * 600_000), b'{"batch":[1]}']
    for body in bad * 20:
        post(collector, "/v1/batch", body)
    assert len(collector.counts.refused) + len(collector.counts.rejected) < 10
    assert collector._reader._left == 128 << 20
    feed = collector._ingest.feed
    assert feed.last - feed.first < feed.size
