"""The wall clock may be set at any moment: what is delivered when is decided by one that only goes forward."""

from __future__ import annotations

import time
from datetime import datetime
from email.utils import formatdate

import pytest

from support.api import Answer, Api, Seen, status
from support.processes import run_script

pytestmark = pytest.mark.process

SOON = 20.0
"""Seconds within which each step ends: far less than the hour by which the clock is off."""

CLOCK = """
    import logging, sys, time
    logging.disable()
    shift = 0  # seconds by which the clock of this process is off
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + shift
    time.time_ns = lambda: real_ns() + shift * 10**9

    from queue import Queue
    from millstream import Analytics  # from here on nothing knows the real clock

    answers = Queue()
    analytics = Analytics("key", host=sys.argv[1], max_in_flight=1, flush_interval=0.5)
    analytics.on("http_response", lambda request, response: answers.put(response.status))

    def step(name, *statuses):
        '''Record an event, set the clock while it is under way, and wait until it is delivered of itself.'''
        global shift
        receipt = analytics.track(name, user_id="u")
        for expected in statuses:
            assert answers.get(timeout=20) == expected
        shift = int(sys.argv[2]) - shift
        while not receipt.done():  # and not receipt.wait(), which would send at once
            time.sleep(0.01)
        assert receipt.outcome.error is None
        assert answers.get(timeout=20) == 200
"""


@pytest.mark.parametrize("hour", [-3600, 3600], ids=["back", "forward"])
def test_pauses_last_as_long_as_ever(api: Api, hour: int) -> None:
    """`flush_interval`, back-off and both forms of `Retry-After` last what they should while the clock is set.

    By an hour in the one direction during the pause, and back again during the next.
    """

    def later(_: Seen) -> Answer:
        return status(429, retry_after=formatdate(time.time() + 2, usegmt=True), Date=formatdate(usegmt=True))

    api.script(status(200), status(500), status(200), status(429, retry_after=1), status(200), later)
    script = CLOCK + (
        """
    step("interval")
    step("back-off", 500)
    step("seconds", 429)
    step("date", 429)
    result = analytics.close(timeout=20)
    print(result.failed, result.pending, analytics.stats().delivered)
        """
    )
    begun = time.monotonic()
    assert run_script(script, api.url, str(hour)).split() == ["0", "0", "4"]
    assert time.monotonic() - begun < 4 * SOON
    times: dict[str, list[float]] = {}
    for seen in api.requests:
        times.setdefault(seen.events[0]["event"], []).append(seen.time)
    assert [len(times[name]) for name in ("interval", "back-off", "seconds", "date")] == [1, 2, 2, 2]
    for name, least in {"back-off": 1.0, "seconds": 1.0, "date": 1.0}.items():
        pause = times[name][1] - times[name][0]
        assert least - 0.1 < pause < SOON, name


def test_times_on_events_are_the_clocks_and_can_be_corrected(api: Api) -> None:
    """`timestamp` and `sentAt` are by the same clock, so that a receiver can see how far it is off."""
    script = CLOCK + (
        """
    shift = 3600
    analytics.track("A", user_id="u")
    analytics.close(timeout=20)
        """
    )
    run_script(script, api.url, "0")
    body = api.requests[0].json
    sent, recorded = (
        datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (body["sentAt"], body["batch"][0]["timestamp"])
    )
    assert 0 <= (sent - recorded).total_seconds() < SOON
    assert 3000 < sent.timestamp() - time.time() < 4200
