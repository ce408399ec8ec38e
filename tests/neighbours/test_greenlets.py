"""gevent and eventlet patch the standard library: events are delivered, and nothing holds up the other greenlets."""

from __future__ import annotations

import pytest
from delivered import ALL_DELIVERED, EVENTS, Run, assert_arrived

from support.api import Answer, Api

SLOW = 0.5
"""Seconds that the host takes for its first answer."""
TICKS = 20
"""What another greenlet does meanwhile at least, at one in 10 ms."""


@pytest.mark.parametrize("tool", ["gevent_", "eventlet_"])
def test_greenlets(api: Api, run: Run, tool: str) -> None:
    """A hundred greenlets record, the worker delivers, and others run on while it waits for the host."""
    api.script(Answer(delay=SLOW))
    said = run(tool)
    more = {"accepted": EVENTS + 1, "delivered": EVENTS + 1}
    assert said["stats"] == {**ALL_DELIVERED, **more}
    assert said["ticks"] >= TICKS
    *purchased, last = api.accepted
    assert last["event"] == "Last"
    assert_arrived(purchased)
