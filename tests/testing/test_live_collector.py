"""`millstream.testing.collector()`: a whole collector for one test, which fails when it is told to."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from millstream import Analytics, AsyncAnalytics, Rejected, RetriesExhausted, testing
from millstream.testing import LiveCollector

pytestmark = pytest.mark.process

TRACK = {"type": "track", "event": "Paid", "userId": "u1"}
LONG = 20.0


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    pool = urllib3.PoolManager(retries=False, timeout=LONG)
    yield pool
    pool.clear()


def post(pool: urllib3.PoolManager, collector: LiveCollector, *events: dict[str, Any]) -> int:
    return pool.request("POST", f"{collector.url}/v1/batch", json={"batch": events, "writeKey": "k"}).status


# -- what came --------------------------------------------------------------------------------------


def test_an_event_of_a_client_arrives(collector: LiveCollector) -> None:
    """As the collector keeps it, and in order."""
    with Analytics("key", host=collector.url, max_in_flight=1) as analytics:
        analytics.identify("u1", traits={"plan": "pro"})
        analytics.track("Paid", user_id="u1", properties={"total": 5})
    assert [event["type"] for event in collector.events] == ["identify", "track"]
    assert collector.calls("track")[0]["properties"] == {"total": 5}
    assert "receivedAt" in collector.events[0]
    assert collector.rejected == collector.duplicates == []


def test_its_own_client_sends_at_once(collector: LiveCollector) -> None:
    """No flush, no waiting for an interval; and settings of ours go first."""
    collector.client().track("Paid", user_id="u1")
    assert collector.wait_for("Paid", timeout=LONG)["userId"] == "u1"
    with collector.client(flush_at=3) as three:
        for number in range(3):
            three.track(f"Step {number}", user_id="u1")
    assert len(collector.requests) == 2
    assert collector.requests[0].headers["authorization"].startswith("Basic ")


def test_it_answers_as_a_collector_does(collector: LiveCollector, pool: urllib3.PoolManager) -> None:
    """Any client, any route: what is not valid is answered 200, and is seen here with the reason."""
    assert post(pool, collector, TRACK, {"type": "track", "event": "Paid"}, {"type": "trakc", "userId": "u"}) == 200
    assert pool.request("GET", f"{collector.url}/health").status == 200
    assert [event["event"] for event in collector.events] == ["Paid"]
    assert [(each.reason, each.event["type"]) for each in collector.rejected] == [
        ("no_user_anon_id", "track"),
        ("type_not_known", "trakc"),
    ]
    assert collector.rejected[0].message == "it has neither userId nor anonymousId"


def test_its_settings_are_the_collectors(pool: urllib3.PoolManager) -> None:
    """`keys`, `strict` and the rest."""
    with testing.collector(keys=["good"], strict=True) as collector:
        assert post(pool, collector, TRACK) == 401
        with pytest.raises(Rejected, match="401"):
            collector.client("bad").track("Paid", user_id="u1").wait(timeout=LONG)
        collector.client("good").track("Paid", user_id="u1").wait(timeout=LONG)
        assert [request.status for request in collector.requests] == [401, 401, 200]
        assert collector.requests[0].reason == "this write key is not known here"


def test_requests_are_kept_as_they_came(collector: LiveCollector) -> None:
    """Path, headers and body, unpacked if it was compressed."""
    collector.client(gzip=True).track("Paid", user_id="u1").wait(timeout=LONG)
    (request,) = collector.requests
    assert (request.method, request.path, request.status, request.reason) == ("POST", "/v1/batch", 200, "")
    assert request.headers["content-encoding"] == "gzip"
    assert request.json["batch"] == request.events
    assert request.events[0]["event"] == "Paid"


def test_what_came_can_be_forgotten(collector: LiveCollector, pool: urllib3.PoolManager) -> None:
    """And the faults that nobody has met."""
    post(pool, collector, TRACK, {})
    collector.fail(503)
    collector.clear()
    assert collector.events == collector.rejected == collector.requests == []
    assert post(pool, collector, TRACK) == 200
    assert len(collector.events) == 1


# -- waiting ----------------------------------------------------------------------------------------


def test_waiting_ends_when_the_event_comes(collector: LiveCollector) -> None:
    """However late: whoever waits is woken by it."""
    analytics = collector.client()
    waiting = threading.Event()
    found: list[Any] = []

    def wait() -> None:
        waiting.set()
        found.append(collector.wait_for("Late", timeout=LONG))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(LONG)
    analytics.track("Early", user_id="u1").wait(timeout=LONG)
    analytics.track("Late", user_id="u1")
    thread.join(LONG)
    assert [event["event"] for event in found] == ["Late"]


def test_what_can_be_waited_for(collector: LiveCollector) -> None:
    """A name, a type, or whatever a function says; one event, or a number of them."""
    analytics = collector.client()
    analytics.page("Home", user_id="u1")
    analytics.identify("u1", traits={"plan": "pro"})
    for total in (1, 2, 3):
        analytics.track("Paid", user_id="u1", properties={"total": total})
    assert collector.wait_for("Home", timeout=LONG)["type"] == "page"
    assert collector.wait_for("identify", timeout=LONG)["traits"] == {"plan": "pro"}
    assert collector.wait_for(lambda event: event.get("properties", {}).get("total") == 2, timeout=LONG)
    assert [event["properties"]["total"] for event in collector.wait_for("Paid", count=2, timeout=LONG)] == [1, 2]
    assert collector.wait_for("track", count=3, timeout=LONG) == collector.calls("track")


def test_in_vain(collector: LiveCollector, pool: urllib3.PoolManager) -> None:
    """The failure says what did come, and why what came does not count."""
    post(
        pool,
        collector,
        TRACK,
        {"type": "page", "name": "Home", "anonymousId": "a1"},
        {"type": "track", "event": "Left"},
    )
    post(pool, collector, *[{**TRACK, "messageId": "m1"}] * 2)
    pool.request("POST", f"{collector.url}/v1/batch", body=b"{")
    with pytest.raises(AssertionError) as caught:
        collector.wait_for("Order Completed", timeout=0)
    assert str(caught.value) == (
        "'Order Completed' did not come in 0 s\n"
        "events that came:\n"
        "    track 'Paid' by u1\n"
        "    page 'Home' by a1\n"
        "    track 'Paid' by u1\n"
        "rejected:\n"
        "    track 'Left': no_user_anon_id (it has neither userId nor anonymousId)\n"
        "duplicates:\n"
        "    track 'Paid' by u1\n"
        "requests not answered 200:\n"
        "    POST /v1/batch: 400 (Input data was truncated)"
    )
    with pytest.raises(AssertionError, match="2 of 3 came in 0 s: 'Paid'"):
        collector.wait_for("Paid", count=3, timeout=0)


def test_when_nothing_came_it_says_what_to_look_at(collector: LiveCollector) -> None:
    """Most often the client was about to send."""
    with pytest.raises(AssertionError, match=r"no request arrived(.|\n)*flush_at=1"):
        collector.wait_for("Paid", timeout=0)


def test_a_failure_lists_a_few(collector: LiveCollector, pool: urllib3.PoolManager) -> None:
    """Not ten thousand."""
    post(pool, collector, *[TRACK] * 500)
    with pytest.raises(AssertionError, match="… and 480 more") as caught:
        collector.wait_for("Left", timeout=0)
    assert str(caught.value).count("\n") < 30


def test_only_the_six_types_are_calls(collector: LiveCollector) -> None:
    """A name there is a mistake, and no empty list."""
    with pytest.raises(ValueError, match=r"calls\('Paid'\)"):
        collector.calls("Paid")


def test_on_an_event_loop(collector: LiveCollector) -> None:
    """Waiting in a thread leaves the loop free; who blocks it is told."""

    async def main() -> None:
        async with AsyncAnalytics("key", host=collector.url, flush_at=1) as analytics:
            analytics.track("Paid", user_id="u1")
            event = await asyncio.to_thread(collector.wait_for, "Paid", timeout=LONG)
            assert event["userId"] == "u1"
        with pytest.raises(AssertionError, match=r"asyncio\.to_thread"):
            collector.wait_for("Left", timeout=0)

    asyncio.run(main())


# -- faults -----------------------------------------------------------------------------------------


def test_a_failure_that_passes(collector: LiveCollector) -> None:
    """The client tries again, and the event is there once."""
    collector.fail(503)
    collector.client().track("Paid", user_id="u1").wait(timeout=LONG)
    assert [request.status for request in collector.requests] == [503, 200]
    assert collector.requests[0].reason == "ordered by the test"
    assert len(collector.events) == 1


def test_a_rate_limit(collector: LiveCollector, pool: urllib3.PoolManager) -> None:
    """With the header that says how long."""
    collector.fail(429, retry_after=7, body=b"slowly")
    answer = pool.request("POST", f"{collector.url}/v1/track", json=TRACK)
    assert (answer.status, answer.headers["retry-after"], answer.data) == (429, "7", b"slowly")
    assert collector.events == []


def test_a_failure_that_does_not_pass(collector: LiveCollector) -> None:
    """A client that may not try again gives up, with the status."""
    collector.fail(500)
    with pytest.raises(RetriesExhausted) as caught:
        collector.client(max_retries=0).track("Paid", user_id="u1").wait(timeout=LONG)
    assert isinstance(caught.value.last, Rejected)
    assert caught.value.last.status == 500


def test_a_dropped_connection(collector: LiveCollector) -> None:
    """The events are there, the answer is not; what the client sends again is a duplicate."""
    collector.drop()
    collector.client().track("Paid", user_id="u1").wait(timeout=LONG)
    assert [request.status for request in collector.requests] == [0, 200]
    assert len(collector.events) == len(collector.duplicates) == 1


def test_garbage(collector: LiveCollector) -> None:
    """What is no HTTP is no answer, and nothing of it is kept."""
    collector.garbage(b"SSH-2.0\r\n")
    with pytest.raises(RetriesExhausted, match="SSH"):
        collector.client(max_retries=0).track("Paid", user_id="u1").wait(timeout=LONG)
    assert (collector.events, len(collector.requests)) == ([], 1)


def test_a_stall(collector: LiveCollector) -> None:
    """The client's own patience ends it."""
    collector.stall()
    with pytest.raises(RetriesExhausted, match=r"[Tt]imed? ?out"):
        collector.client(max_retries=0, http_request_timeout=0.3).track("Paid", user_id="u1").wait(timeout=LONG)
    assert collector.events == []


def test_a_delay(collector: LiveCollector) -> None:
    """The answer comes late, and is the right one."""
    collector.delay(0.3)
    receipt = collector.client().track("Paid", user_id="u1")
    with pytest.raises(TimeoutError):
        receipt.wait(timeout=0.01)
    receipt.wait(timeout=LONG)
    assert [request.status for request in collector.requests] == [200]


def test_faults_come_in_their_order(collector: LiveCollector, pool: urllib3.PoolManager) -> None:
    """One for each request to the Tracking API, and then none; other routes are well all the time."""
    collector.fail(500)
    collector.garbage(b"HTTP/1.1 299 Odd\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    collector.fail(429)
    statuses = []
    for _ in range(4):
        assert pool.request("GET", f"{collector.url}/health").status == 200
        statuses.append(post(pool, collector, TRACK))
    assert statuses == [500, 299, 429, 200]
    assert len(collector.events) == 1


# -- beginning and end ------------------------------------------------------------------------------


def test_many_at_once() -> None:
    """Each has a port and a record of its own."""
    with testing.collector() as first, testing.collector() as second:
        first.client().track("Paid", user_id="u1").wait(timeout=LONG)
        assert first.url != second.url
        assert (len(first.events), second.events) == (1, [])


def test_the_end_waits_for_nobody(pool: urllib3.PoolManager) -> None:
    """Not for a client that has been stalled, nor for one that keeps its connection; then the port is free."""
    before = set(threading.enumerate())
    with testing.collector() as collector:
        post(pool, collector, TRACK)
        collector.stall()
        with socket.create_connection(("127.0.0.1", int(collector.url.rpartition(":")[2]))) as client:
            client.sendall(b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            with collector._news:
                assert collector._news.wait_for(lambda: len(collector._requests) == 2, LONG)
            collector.close()
            assert client.recv(100) == b""
    with pytest.raises(urllib3.exceptions.HTTPError):
        post(pool, collector, TRACK)
    assert set(threading.enumerate()) <= before


def test_the_logging_of_the_process_is_left_alone(pool: urllib3.PoolManager, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody who tests a program with a server of its own finds ours in the log."""
    caplog.set_level(logging.DEBUG)
    with testing.collector() as collector:
        collector.drop()
        with pytest.raises(urllib3.exceptions.HTTPError):
            post(pool, collector, TRACK)
        assert post(pool, collector, TRACK) == 200
    assert [record.name for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_without_a_server_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library alone has none."""
    import sys

    for name in list(sys.modules):
        if name.startswith(("millstream.collector", "millstream.testing.", "uvicorn")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(vars(testing), "collector", raising=False)  # as before its first use
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"pip install 'millstream\[collector\]'"):
        testing.collector()
