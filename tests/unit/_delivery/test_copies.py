"""Copies of events for one more destination: their parts, their bound, and what becomes of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, ClassVar

import pytest

from millstream import Abandoned, Dropped, QueueFull, Receipt, Rejected, Request, Response
from millstream._core.delivery.verdicts import Delivered, Refused, Verdict
from millstream._core.ledger import Ledger
from millstream._core.outcome import DELIVERED, Outcome
from millstream._core.ticket import Ticket
from millstream._delivery.copies import Copies
from millstream.destinations import Event, Limits, Part, Skip
from support.units import receipt

REFUSED = Outcome(Rejected(400), 1)
DROPPED = Outcome(Dropped("a plugin"))
KEPT = Outcome(Abandoned(spooled=True))


class Words:
    """A destination that is told what to make of an event."""

    name = "Words"
    alternative_names: ClassVar[Sequence[str]] = ()
    limits = Limits()

    def __init__(self, prepared: Callable[[Mapping[str, Any]], Any]) -> None:
        self.prepared = prepared

    def prepare(self, event: Event, options: Mapping[str, Any]) -> Any:
        return self.prepared(options)

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        raise NotImplementedError

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        return Delivered()


class Copied:
    """Copies, the ledger that has flushes wait for them, and the outcomes that were the events'."""

    def __init__(
        self, *, max_events: int = 10, max_bytes: int = 10_000, prepared: Callable[..., Any] = lambda _: (Part(b"x"),)
    ) -> None:
        self.ledger = Ledger(threading.RLock(), lambda *_: None, 10, 10_000)
        self.copies = Copies(Words(prepared), self.ledger, max_events, max_bytes)
        self.settled: list[tuple[list[Receipt], Outcome]] = []

    def make(self, one: Receipt, *, decides: bool = False) -> list[Any]:
        return self.copies.make(one, decides=decides, settled=lambda *told: self.settled.append(told))

    def settle(self, items: Sequence[Any], outcome: Outcome) -> None:
        self.copies.settle(items, outcome, lambda *told: self.settled.append(told))


def delivery(one: Receipt) -> Outcome:
    return one.context().deliveries["Words"]


def _raise(_: object) -> None:
    raise LookupError("a bug of mine")


@pytest.mark.parametrize(
    ("prepared", "kind", "says"),
    [
        (lambda _: Skip("no use for it"), "dropped", "no use for it"),
        (lambda _: (), "dropped", "skips this event"),
        (lambda _: Refused(Rejected(422)), "failed", "422"),
        (_raise, "failed", "Words.prepare raised LookupError: a bug of mine"),
    ],
)
def test_an_event_without_parts_has_its_outcome_at_once(prepared: Callable[..., Any], kind: str, says: str) -> None:
    """What a destination skips is dropped there, what it refuses has failed there, and its bugs stop nobody."""
    copied = Copied(prepared=prepared)
    one = receipt()
    assert copied.make(one) == []
    assert (delivery(one).kind, copied.copies.counts[kind], copied.copies.pending) == (kind, 1, 0)
    assert says in str(delivery(one).error)
    assert copied.settled == [], "it decides for no event"


@pytest.mark.parametrize("order", list(permutations([DELIVERED, DROPPED, REFUSED, KEPT])))
def test_a_copy_has_the_worst_outcome_of_its_parts(order: tuple[Outcome, ...]) -> None:
    """In whatever order they come: an event with a part that is kept on disk is kept, so that the part is sent."""
    copied = Copied(prepared=lambda _: (Part(b"a"), Part(b"b"), Part(b"c"), Part(b"d")))
    for number, worst in ((4, KEPT), (3, REFUSED), (2, DROPPED)):
        one = receipt()
        items = copied.make(one)
        parts = [outcome for outcome in order if outcome in (DELIVERED, DROPPED, REFUSED, KEPT)[:number]]
        for item, outcome in zip(items, [*parts, *[DELIVERED] * (4 - number)], strict=True):
            copied.settle([item], outcome)
        assert delivery(one) is worst


@pytest.mark.parametrize("order", [(DELIVERED, REFUSED), (REFUSED, DELIVERED)])
def test_one_bad_part_makes_a_bad_copy(order: tuple[Outcome, Outcome]) -> None:
    """A copy has its outcome when its last part has, and it is delivered only if every part was."""
    copied = Copied(prepared=lambda _: (Part(b"a"), Part(b"b", "key")))
    one = receipt()
    first, second = copied.make(one, decides=True)
    assert (first.key, second.key) == ("", "key")
    copied.settle([first], order[0])
    assert copied.copies.pending == 1
    assert copied.settled == []
    copied.settle([second], order[1])
    assert copied.settled == [([one], REFUSED)]
    assert copied.copies.counts == {"delivered": 0, "failed": 1, "dropped": 0}
    assert delivery(one) is REFUSED


def test_a_full_channel_drops_its_own_copies() -> None:
    """Over its bound a copy is dropped there, and as soon as one has its outcome there is room again."""
    copied = Copied(max_events=2)
    items = [item for name in "AB" for item in copied.make(receipt(name=name))]
    late = receipt(name="C")
    assert copied.make(late) == []
    assert isinstance(delivery(late).error, QueueFull)
    assert copied.copies.pending == 2
    copied.settle(items[:1], DELIVERED)
    assert len(copied.make(receipt(name="D"))) == 1
    assert copied.copies.counts == {"delivered": 1, "failed": 0, "dropped": 1}


def test_bytes_are_bounded_too_but_one_event_always_has_room() -> None:
    """The bytes of copies without an outcome are counted; an empty channel takes an event of any size."""
    size = len(receipt().data)
    copied = Copied(max_bytes=size - 1)
    (item,) = copied.make(receipt())
    assert copied.make(second := receipt(name="B")) == []
    assert isinstance(delivery(second).error, QueueFull)
    copied.settle([item], DELIVERED)
    assert len(copied.make(receipt(name="C"))) == 1
    two = Copied(max_bytes=2 * size)
    (item,) = two.make(receipt())
    two.make(receipt(name="B"))
    two.settle([item], DELIVERED)
    assert len(two.make(receipt(name="C"))) == 1, "the bytes of the first are free again"


def test_the_options_are_those_of_its_name() -> None:
    """`prepare` gets the object that the event's integrations hold for the destination."""
    given = []
    copied = Copied(prepared=lambda options: given.append(options) or (Part(b"x"),))
    copied.make(receipt(integrations={"Words": {"loud": True}}))
    copied.make(receipt())
    assert given == [{"loud": True}, {}]


def test_a_flush_waits_for_copies() -> None:
    """A flush is over when the copies that were made before it have their outcomes, and not those made after."""
    copied = Copied()
    (item,) = copied.make(receipt())
    done: list[str] = []
    copied.ledger.open(Ticket(lambda: done.append("done")))
    copied.make(receipt(name="B"))
    assert done == []
    copied.settle([item], Outcome(Dropped("late")))
    assert done == ["done"]
