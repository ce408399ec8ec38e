"""Where no thread can be had: the same promises, kept in the calling thread."""

from __future__ import annotations

import pytest

from support.api import Api, status
from support.processes import run_script

pytestmark = pytest.mark.process

THREADLESS = """
    import sys, threading
    def refuse(self):
        raise RuntimeError("can't start new thread")
    threading.Thread.start = refuse
    from millstream import Analytics, QueueFull, MillstreamError, Rejected, Abandoned
    host = sys.argv[1]
"""


def _run(body: str, api: Api) -> str:
    return run_script(THREADLESS + body, api.url)


def test_flush_and_close_deliver(api: Api) -> None:
    """Events that wait go with the flush, and those after it with the close."""
    out = _run(
        """
    analytics = Analytics("key", host=host)
    analytics.track("A", user_id="u")
    print(analytics.flush(timeout=10).delivered, analytics.stats().pending)
    analytics.track("B", user_id="u")
    print(analytics.close(timeout=10).pending, threading.active_count())
    """,
        api,
    )
    assert out.split() == ["1", "0", "0", "1"]
    assert [event["event"] for event in api.accepted] == ["A", "B"]


def test_a_full_batch_goes_with_the_call(api: Api) -> None:
    """The call that makes a batch due sends it."""
    out = _run(
        """
    analytics = Analytics("key", host=host, flush_at=3)
    receipts = [analytics.track(name, user_id="u") for name in "ABC"]
    print([receipt.done() for receipt in receipts])
    """,
        api,
    )
    assert out.strip() == "[True, True, True]"
    assert [len(seen.events) for seen in api.requests] == [3]


def test_wait_and_retry(api: Api) -> None:
    """`wait` sends at once, and sees a retry through."""
    api.script(status(429, retry_after=1))
    out = _run(
        """
    import logging; logging.getLogger("millstream").setLevel(logging.CRITICAL)
    analytics = Analytics("key", host=host, max_retries=1)
    print(analytics.track("A", user_id="u").wait(timeout=10).attempts, analytics.stats().retries)
    """,
        api,
    )
    assert out.split() == ["2", "1"]
    assert [seen.header("x-retry-count") for seen in api.requests] == [None, "1"]


def test_failures_callbacks_and_listeners(api: Api) -> None:
    """Callbacks, listeners and errors come as they do with a worker, and misuse in them is refused."""
    api.always = status(400)
    out = _run(
        """
    analytics = Analytics("key", host=host, max_retries=0)
    import logging; logging.getLogger("millstream").setLevel(logging.CRITICAL)
    def misuse(err, ctx):
        try:
            analytics.flush()
        except MillstreamError as exc:
            print("own worker" in str(exc), type(err).__name__)
    analytics.on("error", lambda event: print(event.code))
    receipt = analytics.track("A", user_id="u", callback=misuse)
    try:
        receipt.wait(timeout=10)
    except Rejected as exc:
        print(exc.status)
    """,
        api,
    )
    assert out.split() == ["True", "Rejected", "delivery_failure", "400"]


@pytest.mark.parametrize("stage", ["destination", "after"])
def test_an_interrupt_in_a_hook_passes_through_and_the_event_counts_once(api: Api, stage: str) -> None:
    """Ctrl-C ends the call that it comes into, not the delivery of an event that had been handed over already."""
    out = _run(
        f"""
    from millstream import {stage}
    analytics = Analytics("key", host=host)
    analytics.register({stage}(name="interrupted")(lambda ctx: (_ for _ in ()).throw(KeyboardInterrupt)))
    for call in (lambda: analytics.track("A", user_id="u"), lambda: analytics.flush(timeout=10), analytics.flush):
        try:
            call()
        except KeyboardInterrupt:
            print("interrupted")
    stats = analytics.stats()
    print(stats.accepted, stats.delivered, stats.failed, stats.pending)
    """,
        api,
    )
    assert out.split() == ["interrupted", "1", "1", "0", "0"]
    assert len(api.accepted) == 1


def test_awaitables_of_callbacks(api: Api) -> None:
    """What a callback returns to be awaited is awaited, here and now."""
    out = _run(
        """
    async def later():
        print("awaited")
    analytics = Analytics("key", host=host)
    analytics.on("error", lambda event: print(event))
    analytics.track("A", user_id="u", callback=lambda *_: later())
    analytics.close(timeout=10)
    """,
        api,
    )
    assert out.split() == ["awaited"]


def test_an_await_is_seen_through(api: Api) -> None:
    """`await receipt` comes to its end without a thread, too."""
    out = _run(
        """
    import asyncio
    analytics = Analytics("key", host=host)
    async def main():
        return (await analytics.track("A", user_id="u")).event["event"]
    print(asyncio.run(main()))
    """,
        api,
    )
    assert out.strip() == "A"


def test_a_full_queue_makes_its_own_room(api: Api) -> None:
    """With `overflow="block"` the call that finds no room delivers until there is some."""
    out = _run(
        """
    analytics = Analytics("key", host=host, flush_at=2, max_queue_events=2, overflow="block")
    for n in range(10):
        analytics.track(str(n), user_id="u")
    print(analytics.close(timeout=10).pending, analytics.stats().delivered, analytics.stats().dropped)
    """,
        api,
    )
    assert out.split() == ["0", "10", "0"]


def test_close_keeps_its_deadline(api: Api) -> None:
    """A close gives up what has no outcome at its deadline, and hands it back."""
    api.always = status(429, retry_after=30)
    out = _run(
        """
    import logging; logging.getLogger("millstream").setLevel(logging.CRITICAL)
    analytics = Analytics("key", host=host)
    receipt = analytics.track("A", user_id="u")
    print(len(analytics.close(timeout=0.5).unsent))
    try:
        receipt.wait(timeout=1)
    except Abandoned:
        print("abandoned")
    """,
        api,
    )
    assert out.split() == ["1", "abandoned"]


def test_the_end_of_the_process(api: Api) -> None:
    """What is left when the script ends is delivered then."""
    _run(
        """
    analytics = Analytics("key", host=host)
    analytics.track("A", user_id="u")
    """,
        api,
    )
    assert len(api.accepted) == 1
