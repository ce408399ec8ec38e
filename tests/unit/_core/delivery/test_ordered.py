"""Order by key: a destination's events of one key go out one batch at a time, those of others meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from millstream._core.delivery import verdicts
from millstream._core.delivery.actions import Send, Wait
from millstream._core.delivery.engine import Engine
from millstream._core.delivery.policy import Policy
from millstream.errors import Rejected


class Item(NamedTuple):
    data: bytes
    queue: str


def engine(**more: int) -> Engine:
    policy = {"flush_interval": 0.0, "max_batch_events": 2, "max_in_flight": 2, "max_unsettled": 8, **more}
    return Engine(Policy(ordered=True, **policy), lambda: 0.0)


def items(*texts: str) -> list[Item]:
    return [Item(text.encode(), text[0]) for text in texts]


def sent(engine: Engine, now: float) -> list[Send]:
    found = []
    while isinstance(action := engine.next_action(now), Send):
        found.append(action)
    return found


def texts(sends: list[Send]) -> list[list[str]]:
    return [[item.data.decode() for item in send.batch.items] for send in sends]


def test_one_batch_of_a_key_is_under_way_at_a_time():
    """Of a key that fills several batches the second one waits for the first, and other keys do not."""
    of = engine()
    of.enqueue(items("a1", "a2", "a3", "b1"), 0.0)
    first = sent(of, 0.0)
    assert texts(first) == [["a1", "a2"], ["b1"]]
    of.responded(first[0], verdicts.Delivered(), 0.0)
    assert texts(sent(of, 0.0)) == [["a3"]]


def test_a_batch_that_backs_off_holds_its_key_and_no_slot():
    """A key whose batches fail is held back in order, while others use every slot."""
    of = engine(max_in_flight=1)
    of.enqueue(items("a1", "a2", "a3", "b1", "c1"), 0.0)
    (first,) = sent(of, 0.0)
    of.responded(first, verdicts.Retry(Rejected(503)), 0.0)
    assert of.troubled_by is not None
    (second,) = sent(of, 0.0)
    of.responded(second, verdicts.Delivered(), 0.0)
    (third,) = sent(of, 0.0)
    assert texts([second, third]) == [["b1"], ["c1"]]
    of.responded(third, verdicts.Delivered(), 0.0)
    assert of.next_action(0.0) == Wait(1.0)
    assert texts(sent(of, 1.0)) == [["a1", "a2"]]


def test_halves_of_a_refused_batch_stay_in_order():
    """The second half of a batch that is split is sent after the first one has its outcome."""
    of = engine()
    of.enqueue(items("a1", "a2", "a3"), 0.0)
    (first,) = sent(of, 0.0)
    of.responded(first, verdicts.Split(Rejected(400)), 0.0)
    (half,) = sent(of, 0.0)
    assert texts([half]) == [["a1"]]
    of.responded(half, verdicts.Refused(Rejected(400)), 0.0)
    assert texts(sent(of, 0.0)) == [["a2"]]


def test_how_many_batches_may_wait_is_bounded():
    """A destination that is down is asked by `max_unsettled` batches, and no more."""
    of = engine(max_unsettled=3)
    of.enqueue(items("a1", "b1", "c1", "d1"), 0.0)
    asked = 0
    while sends := sent(of, 0.0):
        asked += len(sends)
        for send in sends:
            of.responded(send, verdicts.Retry(Rejected(503)), 0.0)
    assert asked == 3
    assert of.next_action(0.0) == Wait(1.0)
