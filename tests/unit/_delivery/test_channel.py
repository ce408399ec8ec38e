"""One destination's channel: what is sent when, and what an answer or an exception does to the events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from millstream import Receipt, Rejected, Request, Response, RetriesExhausted, TransportError
from millstream._core.delivery.actions import Send, Wait
from millstream._core.delivery.engine import Engine
from millstream._core.delivery.policy import Policy
from millstream._core.delivery.verdicts import Verdict
from millstream._core.outcome import Outcome
from millstream._delivery.channel import Channel, transport_error
from millstream._delivery.transport import Command, ThreadTransport
from millstream._logging import Summary
from millstream.destinations import Part, TrackingAPI
from millstream.http import as_client
from support.units import Told, receipt, take_all


class Erratic(TrackingAPI):
    """An application's own destination, whose methods raise if told to."""

    def __init__(self, **raises: Exception) -> None:
        super().__init__("key", host="http://api.example")
        self.raises = raises

    def request(self, parts: Sequence[Part], attempt: int, now: float) -> Request:
        if "request" in self.raises:
            raise self.raises["request"]
        return super().request(parts, attempt, now)

    def judge(self, response: Response, parts: Sequence[Part], now: float) -> Verdict:
        if "judge" in self.raises:
            raise self.raises["judge"]
        return super().judge(response, parts, now)


class Driven:
    """A channel whose time is a number, and whose requests are exchanged when the test says so."""

    def __init__(
        self, destination: TrackingAPI | None = None, send: Callable[[Request], Any] = take_all, **policy: Any
    ) -> None:
        self.now = 100.0
        self.told = Told()
        self.requests: list[Request] = []
        self.outcomes: list[tuple[list[Receipt], Outcome]] = []
        self.jobs: list[Callable[[], Command]] = []
        self.engine = Engine(Policy(**{"flush_at": 1, "max_retries": 1, **policy}), lambda: 0.0)

        def sent(request: Request) -> Any:
            self.requests.append(request)
            return send(request)

        transport = ThreadTransport(lambda: as_client(sent), self.start, self.told.emitter)
        destination = destination or TrackingAPI("key", host="http://api.example")
        self.channel = Channel(
            destination, self.engine, transport, self.told.emitter, Summary(), None, lambda: self.now, host="api"
        )

    def start(self, job: Callable[[], Command], deadline: float) -> bool:
        self.jobs.append(job)
        return True

    def drive(self) -> Driven:
        """Send what is due, and report what came of it."""
        while isinstance(action := self.channel.next_action(self.now), Send):
            self.channel.send(action)
            for job in self.jobs:
                job()()
            self.jobs.clear()
        self.channel.settle(lambda *told: self.outcomes.append(told))
        return self

    def deliver(self, *receipts: Receipt) -> Driven:
        self.engine.enqueue(list(receipts), self.now)
        return self.drive()

    def until_settled(self) -> Outcome:
        """Let time pass until there is an outcome."""
        for _ in range(100):
            if self.outcomes:
                return self.outcomes[0][1]
            wait = self.channel.next_action(self.now)
            assert isinstance(wait, Wait)
            assert wait.until is not None
            self.now = wait.until
            self.drive()
        raise AssertionError("there is no outcome")


@pytest.mark.parametrize(("where", "requests"), [("request", 0), ("judge", 2)])
def test_a_destination_that_raises_delivers_nothing(where: str, requests: int) -> None:
    """An answer that could not be judged, or a request that could not be made, is a failed attempt like any other."""
    driven = Driven(Erratic(**{where: LookupError("a bug of mine")})).deliver(receipt())
    assert driven.outcomes == []
    outcome = driven.until_settled()
    assert isinstance(outcome.error, RetriesExhausted)
    assert str(outcome.error.last) == "LookupError: a bug of mine"
    assert len(driven.requests) == requests


def test_an_answer_is_announced_after_it_has_counted() -> None:
    """A listener of `http_response` that asks what became of the events finds them decided."""
    driven = Driven()
    in_flight = []
    driven.told.emitter.on("http_request", lambda *_: in_flight.append(driven.engine.in_flight))
    driven.told.emitter.on("http_response", lambda *_: in_flight.append(driven.engine.in_flight))
    driven.deliver(receipt())
    assert in_flight == [1, 0]


@pytest.mark.parametrize(("left", "timeout"), [(3.0, 3.0), (60.0, 10.0), (-5.0, 0.01)])
def test_no_request_outlasts_the_end(left: float, timeout: float) -> None:
    """At the end of the process a request has the time that is left, and its own timeout at most."""
    driven = Driven()
    driven.channel.limit_requests(driven.now + left)
    driven.deliver(receipt())
    assert driven.requests[0].timeout == pytest.approx(timeout)


def test_the_deadline_of_a_close_stands() -> None:
    """A close says how long requests may take; the end of the process, coming later, does not say it again."""
    driven = Driven()
    driven.channel.close_by(driven.now + 2.0)
    driven.channel.limit_requests(driven.now + 9.0)
    driven.deliver(receipt())
    assert driven.requests[0].timeout == pytest.approx(2.0)


def test_a_channel_that_is_shut_takes_nothing() -> None:
    """A destination that was deregistered gets no event, whatever the event's integrations say."""
    channel = Driven().channel
    assert channel.takes({})
    assert not channel.takes({"Segment.io": False})
    channel.open = False
    assert not channel.takes({"Segment.io": True})


@pytest.mark.parametrize("notes", [False, True])
def test_a_context_says_what_became_of_it_where_there_are_several(notes: bool) -> None:
    """`ctx.deliveries` has the channel's name once it is not the only one; alone it costs nothing."""
    driven = Driven(send=lambda _: Response(400, {}, b"bad"))
    driven.channel.notes_deliveries = notes
    one = receipt()
    driven.deliver(one)
    assert isinstance(driven.until_settled().error, Rejected)
    assert list(one.context().deliveries) == (["Segment.io"] if notes else [])


def test_an_exception_keeps_no_frames() -> None:
    """What an HTTP client raised is kept for the receipt, and not the batch that its frames hold; its cause stays."""

    def send() -> None:
        try:
            int("no number")
        except ValueError as exc:
            raise ConnectionError("cannot connect to http://me:secret@host/") from exc

    with pytest.raises(ConnectionError) as caught:
        send()
    error = transport_error(caught.value)
    assert isinstance(error, TransportError)
    assert str(error) == "ConnectionError: cannot connect to http://…@host/"
    assert error.__cause__ is caught.value
    assert (error.__traceback__, error.__cause__.__traceback__, error.__context__) == (None, None, None)
    assert isinstance(error.__cause__.__cause__, ValueError)


def test_an_exception_that_quotes_the_token_is_left_out() -> None:
    """If the token is in its text, or in that of an exception behind it, only its type is told."""
    hidden = OSError("bad header: Bearer t0ken")
    outer = ConnectionError("no")
    outer.__cause__ = hidden
    for exc in (hidden, outer):
        error = transport_error(exc, "t0ken")
        assert "t0ken" not in str(error)
        assert type(exc).__name__ in str(error)
        assert error.__cause__ is None
    assert transport_error(hidden, "").__cause__ is hidden


def test_an_error_of_ours_is_passed_on_as_it_is() -> None:
    """A client that raises a DeliveryError has said what it means."""
    error = Rejected(402)
    assert transport_error(error) is error
