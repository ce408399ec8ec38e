"""A request that is taken back because the event loop under it ended."""

from __future__ import annotations

from millstream._core.delivery.actions import Send
from millstream._core.delivery.engine import Engine
from millstream._core.delivery.policy import Policy
from millstream._core.delivery.verdicts import Delivered


class Thing:
    """An event, as far as the engine knows it."""

    data = b"{}"


def test_a_recalled_request_goes_again_as_if_it_had_not_been_sent() -> None:
    """No attempt is counted, not even where none is left; and what is said of the old request counts no more."""
    engine = Engine(Policy(flush_at=1, max_retries=0), lambda: 0.0)
    engine.enqueue([Thing()], 0.0)
    first = engine.next_action(0.0)
    assert isinstance(first, Send)
    engine.recalled(first, 1.0)
    assert engine.settled() == []
    again = engine.next_action(1.0)
    assert isinstance(again, Send)
    assert (again.attempt, again.batch) == (1, first.batch)
    engine.responded(first, Delivered(), 1.0)
    assert engine.settled() == []
    engine.responded(again, Delivered(), 1.0)
    assert [outcome.error for _, outcome in engine.settled()] == [None]
