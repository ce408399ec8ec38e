"""Counters and threads: true at every moment, and no more of them than needed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from millstream import Analytics, Stats
from support.api import Api, status
from support.background import Background, Heard

Make = Callable[..., Analytics]


def test_the_counters_add_up_at_every_moment(api: Api, client: Make) -> None:
    """accepted == delivered + failed + dropped + pending, seen from another thread during a burst from eight."""
    api.always = lambda seen: status(400 if len(api.requests) % 3 == 0 else 200)
    analytics = client(flush_at=20, max_queue_events=500)
    stop = threading.Event()

    def sample() -> list[Stats]:
        samples = []
        while not stop.is_set():
            samples.append(analytics.stats())
        return samples

    def record() -> None:
        for n in range(500):
            analytics.track("A", user_id="u", properties={"t": "x" * (40_000 if n % 50 == 0 else 10)})

    sampling = Background(sample)
    for one in [Background(record) for _ in range(8)]:
        one.result(timeout=30)
    analytics.flush(timeout=20)
    stop.set()
    for stats in sampling.result():
        assert stats.accepted == stats.delivered + stats.failed + stats.dropped + stats.pending
        assert stats.pending >= 0
        assert stats.queue_bytes >= 0
    last = analytics.stats()
    assert (last.accepted, last.pending, last.queue_bytes, last.in_flight) == (4000, 0, 0, 0)
    assert last.delivered == len(api.accepted)
    assert last.failed >= 80


def test_every_event_has_one_outcome(api: Api, client: Make) -> None:
    """In a burst from eight threads each callback is called once, and each receipt agrees with it."""
    api.always = lambda seen: status(400 if len(api.requests) % 2 == 0 else 200)
    analytics = client(flush_at=10)
    callback = Heard()

    def record() -> list[object]:
        return [analytics.track("A", user_id="u", callback=callback) for _ in range(200)]

    threads = [Background(record) for _ in range(8)]
    receipts = [receipt for one in threads for receipt in one.result(timeout=30)]
    analytics.flush(timeout=20)
    assert len(callback.calls) == 1600
    errors = {ctx.id: error for error, ctx in callback.calls}
    assert len(errors) == 1600
    assert all(errors[receipt.message_id] is receipt.outcome.error for receipt in receipts)


def test_no_event_is_lost_or_doubled_in_a_burst(api: Api, client: Make) -> None:
    """What eight threads record arrives, once, and each thread's events in their order when requests go one by one."""
    analytics = client(flush_at=50, max_in_flight=1)

    def record(who: int) -> None:
        for n in range(300):
            analytics.track(str(n), user_id=f"u{who}")

    for one in [Background(record, who) for who in range(8)]:
        one.result(timeout=30)
    assert analytics.flush(timeout=20).pending == 0
    for who in range(8):
        names = [event["event"] for event in api.events if event["userId"] == f"u{who}"]
        assert names == [str(n) for n in range(300)]
    assert len({event["messageId"] for event in api.events}) == 2400


def test_requests_and_retries_are_counted(api: Api, client: Make) -> None:
    """`requests` counts attempts, `retries` those after a first."""
    api.script(status(429, retry_after=1))
    analytics = client()
    analytics.track("A", user_id="u").wait(timeout=10)
    assert (analytics.stats().requests, analytics.stats().retries) == (2, 1)


def test_a_client_that_does_nothing_has_no_thread(client: Make) -> None:
    """The worker starts with the first event, not with the client."""
    before = _threads()
    client()
    assert _threads() == before


def test_an_idle_client_has_one_thread(client: Make) -> None:
    """After its work a client keeps its worker; the senders, at most `max_in_flight` of them, go."""
    before = _threads()
    analytics = client(flush_at=1, max_in_flight=3)
    for n in range(50):
        analytics.track(str(n), user_id="u")
    assert _threads().count("millstream-sender") - before.count("millstream-sender") <= 3
    analytics.flush(timeout=10)
    for thread in threading.enumerate():
        if thread.name == "millstream-sender":
            thread.join(10)
    mine = _threads()
    assert "millstream-sender" not in mine
    assert mine.count("millstream-worker") - before.count("millstream-worker") <= 1
    assert analytics.track("Later", user_id="u").wait(timeout=10)


def test_a_closed_client_has_no_thread(client: Make) -> None:
    """After the close the worker ends."""
    analytics = client()
    analytics.track("A", user_id="u").wait(timeout=10)
    (worker,) = [t for t in threading.enumerate() if t.name == "millstream-worker" and t.is_alive()][-1:]
    analytics.close(timeout=10)
    worker.join(10)
    assert not worker.is_alive()


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("millstream")]
