"""The handoff: events leave in the order in which they came, however late each is ready."""

from __future__ import annotations

import pytest

from millstream._delivery.async_runner import OrderedHandoff
from support.units import receipt


def test_everybody_acts_in_the_order_of_joining() -> None:
    """What is ready early waits for all before it, and then goes with them in one step."""
    handoff, acted = OrderedHandoff(), []
    a, b, c = (handoff.join() for _ in range(3))
    handoff.ready(c, lambda: acted.append("c"))
    handoff.ready(b, lambda: acted.append("b"))
    assert acted == []
    handoff.ready(a, lambda: acted.append("a"))
    assert acted == ["a", "b", "c"]
    assert not handoff


def test_the_first_word_counts() -> None:
    """A slot acts once: what is said of it later, while it waits or when it has acted, changes nothing."""
    handoff, acted = OrderedHandoff(), []
    a, b = handoff.join(), handoff.join()
    handoff.ready(b, lambda: acted.append("deliver b"))
    handoff.ready(b, lambda: acted.append("drop b"))
    handoff.ready(a)
    handoff.ready(a, lambda: acted.append("late a"))
    assert acted == ["deliver b"]


def test_an_act_may_join_and_be_ready() -> None:
    """What is done at an event's turn may bring the next one in, which acts after those that wait already."""
    handoff, acted = OrderedHandoff(), []

    def first() -> None:
        acted.append("a")
        handoff.ready(handoff.join(), lambda: acted.append("joined"))

    a, b = handoff.join(), handoff.join()
    handoff.ready(b, lambda: acted.append("b"))
    handoff.ready(a, first)
    assert acted == ["a", "b", "joined"]


def test_an_act_that_raises_keeps_nobody_back() -> None:
    """A slot whose act raised is gone: those behind it go with the next word."""
    handoff, acted = OrderedHandoff(), []
    a, b, c = (handoff.join() for _ in range(3))
    handoff.ready(b, lambda: acted.append("b"))
    with pytest.raises(KeyError):
        handoff.ready(a, lambda: {}.pop("none"))
    handoff.ready(c, lambda: acted.append("c"))
    assert acted == ["b", "c"]


def test_a_clear_returns_the_events_that_wait() -> None:
    """At the end the events in the line are returned in order; waiting commands are forgotten, and nothing acts."""
    handoff, acted = OrderedHandoff(), []
    one, two = receipt(name="1"), receipt(name="2")
    slot = handoff.join(one)
    handoff.join()
    handoff.join(two)
    assert handoff.clear() == [one, two]
    assert not handoff
    handoff.ready(slot, lambda: acted.append("late"))
    assert acted == []
