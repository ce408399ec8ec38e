"""Events go out with tokens: a real authorization server, a real API, both on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from millstream import Analytics, AuthError, OAuthSettings, Rejected, Request, Response, RetriesExhausted, Urllib3Client
from support.api import Answer, Api, stall, status

Make = Callable[..., Analytics]


def sent_tokens(api: Api) -> list[str | None]:
    return [(seen.header("authorization") or "").removeprefix("Bearer s3cret-token-") for seen in api.requests]


def test_a_token_is_asked_for_and_sent(api: Api, auth, authorized: Make):
    """N64: one token request, then the batch with `Bearer` instead of `Basic`; the body still names the source."""
    authorized().track("A", user_id="u").wait(timeout=10)
    assert len(auth.requests) == 1
    (seen,) = api.requests
    assert seen.header("authorization") == "Bearer s3cret-token-1"
    assert seen.json["writeKey"] == "write-key"


def test_nothing_is_asked_without_an_event(auth, authorized: Make):
    """A client that records nothing needs no token, not even to close."""
    authorized().close_and_flush(timeout=5)
    assert auth.requests == []


def test_many_batches_ask_for_one_token(api: Api, auth, authorized: Make):
    """Differs from the reference library, where five batches at once ask five times: here there is one request."""
    held = auth.hold(500)
    analytics = authorized(flush_at=1, max_retries=1)
    receipts = [analytics.track("A", user_id="u") for _ in range(5)]
    auth.wait_for(1)
    held.release()
    for receipt in receipts:
        receipt.wait(timeout=10)
    assert len(auth.requests) == 2
    assert sent_tokens(api) == ["1"] * 5


def test_a_trailing_slash_is_no_second_one(auth, authorized: Make):
    """`auth_server` may end with a slash: the path is `/token` all the same."""
    authorized(auth_server=auth.url + "/").track("A", user_id="u").wait(timeout=10)
    assert [seen.path for seen in auth.requests] == ["/token"]


def test_a_failed_token_request_is_tried_again(api: Api, auth, authorized: Make):
    """N65: 425, then a token: two token requests, and the event is delivered at its first attempt."""
    auth.script(status(425))
    authorized(max_retries=1).track("A", user_id="u").wait(timeout=10)
    assert len(auth.requests) == 2
    (seen,) = api.requests
    assert seen.header("x-retry-count") is None


def test_429_is_waited_out(auth, authorized: Make):
    """N66: after a 429 the next token request does not come before Retry-After."""
    auth.script(status(429, retry_after=1))
    authorized(max_retries=1).track("A", user_id="u").wait(timeout=10)
    first, second = auth.requests
    assert second.time - first.time >= 0.9


def test_a_token_server_that_is_down_fails_the_event(api: Api, auth, authorized: Make):
    """N67: 500 each time: when retries are used up the event fails, with what the token server said."""
    auth.always = status(500)
    errors = []
    analytics = authorized(max_retries=0)
    analytics.on("error", errors.append)
    with pytest.raises(RetriesExhausted) as caught:
        analytics.track("A", user_id="u").wait(timeout=10)
    analytics.flush(timeout=10)  # the listeners come after the receipt
    assert isinstance(caught.value.last, AuthError)
    assert str(caught.value.last).startswith("[500] ")
    assert [error.code for error in errors] == ["delivery_failure"]
    assert api.requests == []
    assert analytics.stats().requests == 0


def test_a_token_server_that_is_away_costs_an_attempt(api: Api, auth, authorized: Make):
    """A token error counts as one attempt of the batch, which has its own budget, and goes on when tokens come back."""
    auth.script(status(503))
    receipt = authorized(max_retries=1).track("A", user_id="u")
    assert receipt.wait(timeout=10).attempts == 1
    assert len(auth.requests) == 2


@pytest.mark.parametrize("code", [400, 401, 415])
def test_an_unrecoverable_answer_fails_events_at_once(code: int, api: Api, auth, authorized: Make):
    """N68: 400, 401, 415: AuthError after one token request, for the batches that wait and for those that follow."""
    auth.always = status(code, b'{"error":"invalid_client"}')
    analytics = authorized(max_retries=3)
    for _ in range(3):
        with pytest.raises(AuthError, match=rf"\[{code}\].*invalid_client") as caught:
            analytics.track("A", user_id="u").wait(timeout=10)
        assert caught.value.status == code
    assert len(auth.requests) == 1
    assert api.requests == []


def test_token_requests_go_through_the_clients_http_client(auth, authorized: Make):
    """N70: without one of its own, OAuth asks with the `http_client` of the events: a plain function will do."""
    seen: list[Request] = []

    def send(request: Request) -> Response:
        seen.append(request)
        return Response(415)

    with pytest.raises(AuthError, match=r"\[415\]"):
        authorized(http_client=send).track("A", user_id="u").wait(timeout=10)
    assert [(request.method, request.url) for request in seen] == [("POST", f"{auth.url}/token")]


def test_oauth_may_have_an_http_client_of_its_own(api: Api, auth, client: Make, oauth):
    """`OAuthSettings.http_client` sends token requests and nothing else, and is closed with the client."""

    class Own(Urllib3Client):
        def __init__(self) -> None:
            super().__init__()
            self.urls: list[str] = []
            self.closed = threading.Event()

        def send(self, request: Request) -> Response:
            self.urls.append(request.url)
            return super().send(request)

        def close(self) -> None:
            self.closed.set()
            super().close()

    own = Own()
    analytics = client(oauth_settings=oauth(http_client=own))
    analytics.track("A", user_id="u").wait(timeout=10)
    analytics.close_and_flush(timeout=5)
    assert own.urls == [f"{auth.url}/token"]
    assert own.closed.wait(10)
    assert len(api.requests) == 1


@pytest.mark.parametrize("code", [400, 403])
def test_other_refusals_of_the_api_are_final(code: int, api: Api, auth, authorized: Make):
    """N71: 400 and 403 speak of the events or the source, not of the token: no retry, no new token."""
    api.script(status(code))
    analytics = authorized(max_retries=2)
    with pytest.raises(Rejected, match=rf"\[{code}\]"):
        analytics.track("A", user_id="u").wait(timeout=10)
    analytics.track("B", user_id="u").wait(timeout=10)
    assert len(auth.requests) == 1


def test_401_of_the_api_gets_a_fresh_token_and_one_more_try(api: Api, auth, authorized: Make):
    """Differs from the reference library, where the batch is lost: a fresh token, one more try, no back-off."""
    api.script(status(401))
    receipt = authorized(max_retries=0).track("A", user_id="u")
    assert receipt.wait(timeout=10).attempts == 2
    assert api.requests[1].time - api.requests[0].time < 1.0
    assert sent_tokens(api) == ["1", "2"]
    assert [seen.header("x-retry-count") for seen in api.requests] == [None, "1"]


def test_401_twice_is_final(api: Api, auth, authorized: Make):
    """A batch gets one more try, not two; and the next one does not ask for yet another token."""
    api.always = status(401)
    analytics = authorized(max_retries=3)
    for _ in range(2):
        with pytest.raises(Rejected, match=r"\[401\].*OAuth"):
            analytics.track("A", user_id="u").wait(timeout=10)
    assert sent_tokens(api) == ["1", "2", "2"]
    assert len(auth.requests) == 2


def test_401_for_many_batches_is_one_fresh_token(api: Api, auth, authorized: Make):
    """When a token has become void, all batches that met it share its replacement."""
    analytics = authorized(flush_at=1)
    analytics.track("A", user_id="u").wait(timeout=10)
    held = [api.hold(401) for _ in range(4)]
    receipts = [analytics.track("A", user_id="u") for _ in range(4)]
    api.wait_for(5)
    for answer in held:
        answer.release()
    for receipt in receipts:
        receipt.wait(timeout=10)
    assert auth.granted == ["s3cret-token-1", "s3cret-token-2"]


def test_511_drops_the_token_and_is_retried(api: Api, auth, authorized: Make):
    """T05b: with OAuth, 511 is a counted retry with a fresh token; the token is dropped once."""
    api.script(status(511))
    authorized(max_retries=1).track("A", user_id="u").wait(timeout=10)
    assert sent_tokens(api) == ["1", "2"]


def test_511_counts(api: Api, auth, authorized: Make):
    """T05b: a 511 uses up a retry."""
    api.always = status(511)
    with pytest.raises(RetriesExhausted):
        authorized(max_retries=0).track("A", user_id="u").wait(timeout=10)


def test_511_without_oauth_is_final(api: Api, client: Make):
    """T05: without OAuth a 511 is not retried."""
    api.script(status(511))
    with pytest.raises(Rejected):
        client(max_retries=2).track("A", user_id="u").wait(timeout=10)
    assert len(api.requests) == 1


def test_a_token_is_renewed_in_the_background(api: Api, auth, authorized: Make):
    """L23: at half its life a used token is replaced; nobody waits for that, and the next batch has the new one."""
    auth.life = 2.0
    analytics = authorized()
    analytics.track("A", user_id="u").wait(timeout=10)
    renewal = Answer(200, {}, b'{"access_token":"s3cret-token-9","expires_in":3600}', gate=auth.hold().gate)
    auth._script[-1] = renewal
    first, second = auth.wait_for(2)
    assert second.time - first.time >= 0.9
    analytics.track("B", user_id="u").wait(timeout=10)
    assert sent_tokens(api) == ["1", "1"]
    renewal.release()


def test_an_idle_client_asks_for_nothing(auth, authorized: Make):
    """Without a poller: the token that replaced the last one used is itself not replaced until it is used."""
    auth.life = 1.0
    authorized().track("A", user_id="u").wait(timeout=10)
    auth.wait_for(2)
    assert auth.stays_at(2, seconds=1.2)


def test_an_expired_token_is_replaced_before_sending(api: Api, auth, authorized: Make):
    """A token whose life is over is never sent."""
    auth.life = 0.6
    analytics = authorized()
    analytics.track("A", user_id="u").wait(timeout=10)
    auth.wait_for(2)
    assert auth.stays_at(2, seconds=0.8)
    analytics.track("B", user_id="u").wait(timeout=10)
    assert sent_tokens(api) == ["1", "3"]


def test_flush_keeps_its_deadline_while_tokens_are_awaited(auth, authorized: Make):
    """A token server that says nothing holds up `flush` and `close_and_flush` until their deadlines, and no longer."""
    auth.script(stall())
    analytics = authorized()
    analytics.track("A", user_id="u")
    began = time.monotonic()
    assert analytics.flush(timeout=0.3).pending == 1
    result = analytics.close_and_flush(timeout=0.3)
    assert time.monotonic() - began < 2
    assert [event["event"] for event in result.unsent] == ["A"]


def test_flush_keeps_its_deadline_while_429_lasts(auth, authorized: Make):
    """So does a token server that asks for five minutes of patience."""
    auth.script(status(429, retry_after=300))
    analytics = authorized(max_retries=3)
    analytics.track("A", user_id="u")
    auth.wait_for(1)
    began = time.monotonic()
    assert len(analytics.close_and_flush(timeout=0.3).unsent) == 1
    assert time.monotonic() - began < 2


def test_a_clock_that_is_off_corrects_itself(api: Api, auth, authorized: Make, monkeypatch: pytest.MonkeyPatch):
    """A client whose clock is an hour ahead is refused once, learns the time from `Date`, and gets its token."""
    from email.utils import formatdate

    real = time.time
    monkeypatch.setattr("millstream._delivery.tokens.time.time", lambda: real() + 3600)
    auth.script(status(400, Date=formatdate(real(), usegmt=True)))
    authorized().track("A", user_id="u").wait(timeout=10)
    assert abs(auth.claims[0]["iat"] - (real() - 5)) < 10
    assert len(api.requests) == 1


def test_every_client_has_a_token_of_its_own(api: Api, client: Make, oauth: Callable[..., OAuthSettings]):
    """Two clients with the same settings share nothing behind their users' backs."""
    given = oauth()
    for _ in range(2):
        client(oauth_settings=given).track("A", user_id="u").wait(timeout=10)
    assert sent_tokens(api) == ["1", "2"]


def test_inline_waits_for_its_token(api: Api, auth, authorized: Make, monkeypatch: pytest.MonkeyPatch):
    """Where no thread can be started, the same dialog is run in the calling thread."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    auth.script(status(503))
    analytics = authorized(max_retries=1)
    servers = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        refuse(thread) if thread.name.startswith("millstream") else servers(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    analytics.track("A", user_id="u")
    assert analytics.flush(timeout=10).delivered == 1
    assert sent_tokens(api) == ["1"]
