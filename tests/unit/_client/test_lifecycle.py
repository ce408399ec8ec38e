"""The life of a client: when it has a driver, and which events it still takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from millstream import ClientClosed, Receipt, Request, Response
from millstream._client.lifecycle import Lifecycle
from millstream._delivery import process
from millstream._delivery.driver import Driver
from millstream._logging import Summary
from millstream.settings import Settings
from support.units import driver, receipt, take_all


class Lived:
    """A lifecycle, and the drivers that it has made."""

    def __init__(self, exit_timeout: float = 5.0) -> None:
        self.made: list[Driver] = []
        self.requests: list[Request] = []
        self.summary = Summary()
        settings = Settings(write_key="key", http_client=take_all, exit_timeout=exit_timeout)
        self.life = Lifecycle(settings, self.make, self.summary)
        self._names = count()

    def make(self) -> Driver:
        self.made.append(driver(self.answer))
        return self.made[-1]

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        return take_all(request)

    def end(self) -> None:
        process.closed(self.life)
        for each in self.made:
            each.orphan()

    def call(self) -> Receipt | str:
        """An event call, as the client makes it: the receipt, or `refused`."""
        life = self.life
        one = receipt(life.driver, str(next(self._names)))
        told: list[str] = []
        if life.closed:
            life.submit_late(one, lambda: life.driver.accept(one), lambda: told.append("refused"))
        else:
            life.driver.accept(one)
        return told[0] if told else one


@pytest.fixture
def lived() -> Iterator[Lived]:
    made = Lived()
    yield made
    made.end()


def test_a_client_has_one_driver_in_a_process(lived: Lived) -> None:
    """It is made with the client, and `begin` returns the same one."""
    assert [lived.life.begin(), lived.life.begin(), lived.life.driver] == lived.made * 3


def test_a_child_begins_when_it_is_used(lived: Lived) -> None:
    """In a forked child there is no driver before the first call, and then one of its own that is not the parent's."""
    parents = lived.life.driver
    lived.life.after_fork()
    assert lived.made == [parents]
    assert isinstance(one := lived.call(), Receipt)
    assert len(lived.made) == 2
    assert lived.life.driver is lived.made[1]
    lived.life.driver.flush(0.0)
    assert one.done()
    assert parents.stats().accepted == 0


def test_the_end_of_the_parent_is_not_the_childs(lived: Lived) -> None:
    """A child that is forked while its parent ends takes events; one whose client was closed by hand does not."""
    lived.life.at_gate()
    lived.life.after_fork()
    assert not lived.life.closed
    lived.life.close()
    lived.life.after_fork()
    assert lived.call() == "refused"


def test_a_closed_client_refuses_also_at_the_gate(lived: Lived) -> None:
    """What the application has closed stays closed, whatever the process does then."""
    lived.life.close()
    lived.life.at_gate()
    lived.life.after_end(10.0)
    assert lived.call() == "refused"
    assert len(lived.made) == 1


def test_after_the_end_an_event_is_delivered_in_its_call(lived: Lived) -> None:
    """When the end is over no hook comes any more: a call has its outcome when it returns, and the client is shut."""
    lived.life.after_end(10.0)
    assert isinstance(one := lived.call(), Receipt)
    assert one.done()
    assert len(lived.requests) == 1
    assert lived.life.closed


def test_time_that_is_used_up_is_said_once(lived: Lived, caplog: pytest.LogCaptureFixture) -> None:
    """When `exit_timeout` is used up events are refused; one line says so, not one for each event."""
    lived.life.after_end(0.0)
    assert [lived.call() for _ in range(3)] == ["refused"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "later events are not delivered: exit_timeout=5 s is used up"
    ]


def test_a_call_that_the_end_does_not_let_in_has_its_reason() -> None:
    """A call that comes to the closed gate, and may wait no longer, has an outcome that says why."""
    lived = Lived(exit_timeout=0.0)
    lived.life.at_gate()
    process.gate.close()
    try:
        one = lived.call()
    finally:
        process.gate.open()
        lived.end()
    assert isinstance(one, Receipt)
    assert one.outcome is not None
    assert isinstance(one.outcome.error, ClientClosed)
    assert "the process is ending" in str(one.outcome.error)
