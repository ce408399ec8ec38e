"""Hooks that hang: seen in the stats, and no obstacle to a close that keeps its deadline and accounts for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Abandoned, Analytics, MillstreamError
from support.api import Api
from support.background import Background, Heard

Make = Callable[..., Analytics]


@pytest.fixture
def closed_in_time(client: Make, hang: Any, probe: Any) -> Callable[..., Any]:
    """Records events `before`, one that a hook hangs on, and events `after` it; closes, and returns what came of it."""

    def run(stage: str, after: int = 3, timeout: float = 0.3) -> Any:
        analytics = client(flush_at=1)
        analytics.register(probe(stage, does=hang))
        analytics.track("Hangs", user_id="u")
        assert hang.entered.wait(10)
        for n in range(after):
            analytics.track(f"After {n}", user_id="u")
        begin = time.monotonic()
        result = analytics.close_and_flush(timeout)
        assert time.monotonic() - begin < timeout + 5.0  # the hook would take a minute
        return analytics, result

    return run


@pytest.mark.parametrize("stage", ["before", "enrichment"])
def test_close_takes_over_from_a_hook_that_hangs(closed_in_time, stage: str) -> None:
    """A close keeps its deadline while a hook hangs, and hands back the event in the hook and all those behind it."""
    analytics, result = closed_in_time(stage)
    assert [event["event"] for event in result.unsent] == ["Hangs", "After 0", "After 1", "After 2"]
    assert (result.pending, result.failed) == (0, 4)
    assert analytics.stats().pending == 0


def test_what_was_delivered_before_a_destination_hung_is_not_handed_back(api: Api, closed_in_time) -> None:
    """While a destination hangs, the same event may be out already: the close then says delivered, not unsent."""
    _, result = closed_in_time("after", after=0)
    assert [event["event"] for event in api.accepted] == ["Hangs"]
    assert (result.delivered, result.unsent) == (1, [])


def test_the_relieved_worker_touches_nothing(api: Api, client: Make, hang: Any, probe: Any) -> None:
    """When the hook comes back after the close, its worker ends: nothing is sent, settled or called a second time."""
    outcomes, errors = Heard(), Heard()
    analytics = client(flush_at=1)
    analytics.on("error", errors)
    analytics.register(probe("before", does=hang))
    receipt = analytics.track("Hangs", user_id="u", callback=outcomes)
    assert hang.entered.wait(10)
    (worker,) = [t for t in threading.enumerate() if t.name == "millstream-worker" and t.is_alive()][-1:]
    result = analytics.close_and_flush(timeout=0.1)
    settled = analytics.stats()
    assert settled.running_hook == "before.track"  # it still hangs, and can be seen
    hang.release()
    worker.join(10)
    assert not worker.is_alive()
    assert len(result.unsent) == 1
    assert len(outcomes.calls) == len(errors.calls) == 1
    assert isinstance(outcomes.calls[0][0], Abandoned)
    assert receipt.done()
    assert api.requests == []
    after = analytics.stats()
    assert (after.accepted, after.failed, after.requests) == (settled.accepted, settled.failed, settled.requests)


def test_a_callback_of_the_close_that_took_over_cannot_wait_for_itself(client: Make, hang: Any, probe: Any) -> None:
    """A callback that the closing thread runs gets the usual error from `flush`, instead of a wait for itself."""
    said: list[BaseException] = []
    analytics = client(flush_at=1)
    analytics.register(probe("before", does=hang))

    def callback(*_: Any) -> None:
        try:
            analytics.flush()
        except BaseException as exc:
            said.append(exc)

    analytics.track("Hangs", user_id="u", callback=callback)
    assert hang.entered.wait(10)
    analytics.close_and_flush(timeout=0.1)
    assert "wait for itself" in str(said[0])


def test_a_callback_that_hangs_is_not_taken_over(api: Api, client: Make, hang: Any) -> None:
    """A worker in a callback may be in the middle of a settlement: the close returns in time, with it as pending."""
    analytics = client(flush_at=1)
    analytics.track("Hangs", user_id="u", callback=lambda err, ctx: hang(ctx))
    assert hang.entered.wait(10)
    analytics.track("Waits", user_id="u")
    begin = time.monotonic()
    result = analytics.close_and_flush(timeout=0.1)
    assert time.monotonic() - begin < 5.0
    assert result.pending == 1
    assert result.unsent == []


def test_a_hook_that_hangs_is_seen_in_the_stats(client: Make, hang: Any, probe: Any) -> None:
    """`stats()` names the hook that runs and says for how long."""
    analytics = client(flush_at=1)
    analytics.register(probe("enrichment", "Slow", does=hang))
    assert analytics.stats().running_hook is None
    analytics.track("A", user_id="u")
    assert hang.entered.wait(10)
    stats = analytics.stats()
    assert stats.running_hook == "Slow.track"
    assert 0 <= stats.running_hook_seconds < 10
    hang.release()
    analytics.flush(timeout=10)
    assert analytics.stats().running_hook is None


def test_slow_hooks_do_not_keep_a_close_beyond_its_deadline(client: Make, probe: Any) -> None:
    """Many short hooks are no hang: at the deadline the worker itself stops, and hands back what is left."""
    pause = threading.Event()
    analytics = client(flush_at=1)
    analytics.register(probe("enrichment", does=lambda ctx: pause.wait(0.02) and None))
    for n in range(500):  # ten seconds' worth
        analytics.track(f"E{n}", user_id="u")
    begin = time.monotonic()
    result = analytics.close_and_flush(timeout=0.3)
    assert time.monotonic() - begin < 5.0
    assert result.delivered + len(result.unsent) == 500
    assert len(result.unsent) > 200


def test_events_are_sent_while_others_are_still_with_slow_plugins(api: Api, client: Make, probe: Any) -> None:
    """A backlog for slow plugins does not keep those from leaving that have been through."""
    pause = threading.Event()
    analytics = client(flush_at=1)
    analytics.register(probe("enrichment", does=lambda ctx: pause.wait(0.02) and None))
    for n in range(500):  # ten seconds' worth
        analytics.track(f"E{n}", user_id="u")
    begin = time.monotonic()
    api.wait_for(1)
    assert time.monotonic() - begin < 5.0


def test_an_answer_that_came_during_a_slow_hook_counts(api: Api, client: Make, hang: Any, probe: Any) -> None:
    """A hook longer than the request timeout does not make the worker take an answer for one that never came."""
    analytics = client(flush_at=1, http_request_timeout=0.2, max_retries=0)
    held = api.hold()
    first = analytics.track("First", user_id="u")
    api.wait_for(1)
    analytics.register(probe("enrichment", does=hang))
    analytics.track("Slow", user_id="u")
    assert hang.entered.wait(10)
    held.release()
    api.wait_for(1)
    threading.Event().wait(1.4)  # beyond the request's timeout and its grace, with the worker in the hook
    hang.release()
    assert first.wait(timeout=10).attempts == 1


def test_a_flush_during_slow_hooks_means_what_was_submitted_before_it(
    api: Api, client: Make, hang: Any, probe: Any
) -> None:
    """A flush waits for events that are still with the plugins, and sends them at once when they are through."""
    analytics = client(flush_at=100, flush_interval=900)
    analytics.register(probe("enrichment", does=hang))
    for n in range(3):
        analytics.track(f"E{n}", user_id="u")
    assert hang.entered.wait(10)
    flushing = Background(analytics.flush, 10)
    hang.release()
    assert flushing.result().delivered == 3


def test_a_slow_destination_delays_no_delivery(api: Api, client: Make, probe: Any) -> None:
    """Hooks of destinations run beside delivery: all events reach the API while the first hooks are still running."""
    gate = threading.Event()
    analytics = client(flush_at=1)
    analytics.register(probe("destination", "Slow", does=lambda ctx: gate.wait(10) and None))
    receipts = [analytics.track(f"E{n}", user_id="u") for n in range(100)]
    deadline = time.monotonic() + 10
    while len(api.accepted) < 100 and time.monotonic() < deadline:
        api.wait_for(1)
    assert [event["event"] for event in api.accepted] == [f"E{n}" for n in range(100)]
    assert not any(receipt.done() for receipt in receipts)  # its outcome is that of all its destinations
    assert analytics.stats().running_hook == "Slow.track"
    gate.set()
    assert analytics.flush(timeout=10).delivered == 100


def test_a_hung_destination_keeps_a_close_no_longer_than_its_deadline(api: Api, client: Make, hang: Any, probe: Any):
    """At the deadline events that a destination has not come back from end with the outcome of their delivery."""
    analytics = client(flush_at=1)
    analytics.register(probe("destination", does=hang))
    analytics.track("A", user_id="u")
    analytics.track("B", user_id="u")
    assert hang.entered.wait(10)
    result = analytics.close_and_flush(timeout=0.5)
    assert [event["event"] for event in api.accepted] == ["A", "B"]
    assert (result.delivered, result.unsent) == (2, [])


def test_a_destination_cannot_wait_for_itself(client: Make, probe: Any) -> None:
    """A flush in a destination's hook would wait for that very event: it is refused, as on the worker."""
    said: list[BaseException] = []

    def hook(ctx: Any) -> None:
        try:
            analytics.flush()
        except MillstreamError as exc:
            said.append(exc)

    analytics = client(flush_at=1)
    analytics.register(probe("destination", does=hook))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert "wait for itself" in str(said[0])
