"""Batches and their token: which are held back, which go, and what a refusal is to each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millstream import AuthError, Receipt, Rejected, Request, Response
from millstream._core.delivery.actions import Send
from millstream._core.delivery.engine import Engine
from millstream._core.delivery.policy import Policy
from millstream._core.delivery.verdicts import Delivered, Refused, Retry, Unauthorized
from millstream._core.oauth import ClientCredentials, TokenRequest
from millstream._core.outcome import Outcome
from millstream._delivery.tokens import Tokens, bare
from millstream._logging import Summary
from millstream.auth import OAuth, with_token
from support.units import Told, receipt

GRANT = ClientCredentials("id", "kid", "https://auth.example", "tracking_api:write", "RS256", timeout=10.0)
SENT = Request("POST", "http://api.example", {}, b"")
WRONG = Rejected(401)


def granted(token: str = "t1", life: float = 3600.0) -> Response:
    return Response(200, {}, json.dumps({"access_token": token, "expires_in": life}).encode())


class World:
    """Tokens and their engine, in a time that is a number."""

    def __init__(self, max_retries: int = 0) -> None:
        self.now = 100.0
        self.told = Told()
        self.engine = Engine(Policy(flush_at=1, max_retries=0, send_timeout=1e6), lambda: 0.0)
        oauth = OAuth(GRANT, lambda data: data, max_retries, None)
        self.tokens = Tokens(oauth, self.engine, self.told.emitter, Summary(), lambda: self.now)

    def send(self, name: str = "A") -> Send:
        """A batch of one event, out of the engine."""
        self.engine.enqueue([receipt(name=name)], self.now)
        return self.again()

    def again(self) -> Send:
        action = self.engine.next_action(self.now)
        assert isinstance(action, Send)
        return action

    def held(self, name: str = "A") -> None:
        assert not self.tokens.admit(self.send(name))
        assert not isinstance(self.engine.next_action(self.now), Send)

    def asked(self, *, closing: bool = False) -> TokenRequest:
        request = self.tokens.next_request(closing=closing)
        assert request is not None
        return request

    def outcomes(self) -> list[tuple[str, Outcome]]:
        settled: list[tuple[list[Any], Outcome]] = self.engine.settled()
        return [(one.message_id, outcome) for items, outcome in settled for one in items if isinstance(one, Receipt)]


def test_batches_without_a_token_wait_and_all_go_with_one() -> None:
    """One request gets the token for every batch that is held back; being held back is no attempt."""
    world = World()
    world.held("A")
    world.held("B")
    asked = world.asked()
    assert world.tokens.next_request(closing=False) is None, "it is asked for once"
    world.tokens.responded(asked, granted())
    for _ in range(2):
        send = world.again()
        assert world.tokens.admit(send)
        assert (world.tokens.token, send.attempt) == ("t1", 1)
    assert world.engine.requests == 2


@pytest.mark.parametrize("status", [400, 401, 415])
def test_a_refusal_is_that_of_every_batch_for_a_while(status: int) -> None:
    """An answer that asking again would not change fails the batches that wait, and those that come soon, at once."""
    world = World(max_retries=5)
    world.held("A")
    world.tokens.responded(world.asked(), Response(status, {}, b'{"error":"invalid_client"}'))
    assert not world.tokens.admit(world.send("B"))
    outcomes = world.outcomes()
    assert [name for name, _ in outcomes] == ["id-A", "id-B"]
    assert all(isinstance(outcome.error, AuthError) for _, outcome in outcomes)
    assert world.tokens.next_request(closing=False) is None
    assert world.told.errors == [], "the events tell"


def test_a_server_that_is_away_costs_waiting_batches_an_attempt() -> None:
    """Without an answer, and with no retries left, each batch that waits has failed one attempt."""
    world = World()
    world.held("A")
    world.tokens.failed(world.asked(), AuthError("no route"))
    ((name, outcome),) = world.outcomes()
    assert name == "id-A"
    assert "no route" in str(outcome.error)


def test_a_request_that_does_not_come_back_has_failed() -> None:
    """At the deadline of a token request the batches are told, and the late answer does nothing."""
    world = World()
    world.held("A")
    asked = world.asked()
    assert world.tokens.due_at(closing=False) == asked.deadline
    world.now = asked.deadline
    world.tokens.next_request(closing=False)
    assert len(world.outcomes()) == 1
    world.tokens.responded(asked, granted())
    world.held("B")


def test_a_renewal_that_fails_is_reported_and_fails_no_event() -> None:
    """A token is renewed while it is still good: what goes wrong then is an `auth` error, and batches go on."""
    world = World()
    world.held()
    world.tokens.responded(world.asked(), granted(life=100.0))
    assert world.tokens.admit(world.again())
    world.now += 50.0
    world.tokens.failed(world.asked(), AuthError("busy"))
    assert world.told.said == ["auth: busy"]
    assert world.tokens.admit(world.send("B"))
    assert world.outcomes() == []


def test_a_client_that_closes_renews_nothing() -> None:
    """A close asks for a token only if a batch waits for one."""
    world = World()
    world.held()
    world.tokens.responded(world.asked(closing=True), granted(life=100.0))
    assert world.tokens.admit(world.again())
    world.now += 50.0
    assert world.tokens.due_at(closing=True) is None
    assert world.tokens.next_request(closing=True) is None
    assert world.tokens.next_request(closing=False) is not None


def test_what_the_api_says_of_a_token() -> None:
    """A refused token is worth one more try with another; if that is refused as well, the batch has failed."""
    world = World()
    world.held()
    world.tokens.responded(world.asked(), granted("t1"))
    world.again()
    first = with_token(SENT, "t1")
    assert world.tokens.review(first, Unauthorized(WRONG), 401) == Unauthorized(WRONG)
    assert world.tokens.review(first, Unauthorized(WRONG), 401) == Unauthorized(WRONG), "another batch, the same token"
    world.held("B")
    world.tokens.responded(world.asked(), granted("t2"))
    second = with_token(SENT, "t2")
    assert world.tokens.review(second, Unauthorized(WRONG), 401) == Refused(WRONG)
    assert world.tokens.review(second, Delivered(), 200) == Delivered()
    assert world.tokens.review(second, Unauthorized(WRONG), 401) == Unauthorized(WRONG), "it was taken in between"


def test_other_refusals_leave_the_token_alone() -> None:
    """Only 401 and 511 speak of the token: after a 500 the next batch goes with the same."""
    world = World()
    world.held()
    world.tokens.responded(world.asked(), granted("t1"))
    world.again()
    sent = with_token(SENT, "t1")
    again = Retry(WRONG)
    assert world.tokens.review(sent, again, 500) is again
    assert world.tokens.admit(world.send("B"))
    assert world.tokens.review(sent, again, 511) is again
    assert not world.tokens.admit(world.send("C"))


def test_an_error_keeps_no_frame_that_holds_the_assertion() -> None:
    """Who reports errors may show the variables of their frames: neither the error nor its cause has any."""

    def ask() -> None:
        try:
            int("the assertion")
        except ValueError as exc:
            raise AuthError("failed") from exc

    with pytest.raises(AuthError) as caught:
        ask()
    error = bare(caught.value)
    assert error.__cause__ is not None
    assert (error.__traceback__, error.__cause__.__traceback__) == (None, None)
    assert (error.__context__, error.__cause__.__context__) == (None, None)
