"""The keeper of the token, row by row, in a world whose time is a number; and the dialog, step by step."""

from __future__ import annotations

import base64
import json
from email.utils import formatdate
from itertools import pairwise
from urllib.parse import parse_qs

import pytest

from millstream._core.oauth import REFUSAL_REMEMBERED, ClientCredentials, Sign, TokenRequest, TokenState, ask
from millstream.errors import AuthError
from millstream.types import Request, Response

EPOCH = 1_800_000_000.0
GRANT = ClientCredentials("id", "kid", "https://auth.example.com/", "tracking_api:write", "RS256", timeout=10.0)


def granted(token: str = "t1", life: float = 3600) -> Response:
    return Response(200, {}, json.dumps({"access_token": token, "expires_in": life}).encode())


class World:
    """A keeper, and a clock. `wait` lets time pass until something is asked."""

    def __init__(self, max_retries: int = 3, jitter: float = 0.0) -> None:
        self.keeper = TokenState(GRANT, max_retries=max_retries, random=lambda: jitter)
        self.now = 0.0

    def ask(self, *, waiting: bool = True) -> TokenRequest | None:
        return self.keeper.next_request(self.now, waiting=waiting)

    def must_ask(self, *, waiting: bool = True) -> TokenRequest:
        """What is asked now, or at the moment that the keeper names."""
        asked = self.ask(waiting=waiting)
        if asked is None:
            due = self.keeper.due_at(self.now, waiting=waiting)
            assert due is not None
            assert due > self.now
            self.now = due
            asked = self.ask(waiting=waiting)
        assert asked is not None
        return asked

    def answer(self, response: Response | int, *, waiting: bool = True) -> AuthError | None:
        """Ask, and have it answered at once."""
        response = Response(response) if isinstance(response, int) else response
        return self.keeper.responded(self.must_ask(waiting=waiting), response, self.now, EPOCH + self.now)

    def token(self) -> str | None:
        return self.keeper.token(self.now)


def test_nothing_is_asked_until_a_batch_waits():
    """The first token request is made for the first batch, not before."""
    world = World()
    assert world.ask(waiting=False) is None
    assert world.keeper.due_at(0.0, waiting=False) is None
    assert world.ask() is not None


def test_a_granted_token_counts_at_once():
    """L16: a token that is granted is the token, after one request."""
    world = World()
    assert world.answer(granted("t1")) is None
    assert world.token() == "t1"
    assert world.ask() is None


def test_a_token_counts_until_its_life_is_over():
    """L17, L18, L19: there is no token before one is granted, nor from the end of its life on."""
    world = World()
    assert world.token() is None
    world.answer(granted(life=100))
    world.now = 99.9
    assert world.token() == "t1"
    world.now = 100.0
    assert world.token() is None


def test_one_request_at_a_time():
    """However many ask, there is one request until it is answered or given up."""
    world = World()
    first = world.ask()
    assert first is not None
    assert [world.ask() for _ in range(5)] == [None] * 5
    world.keeper.responded(first, granted(), world.now, EPOCH)
    assert world.ask() is None


def test_a_used_token_is_renewed_at_half_its_life():
    """L23: at `expires_in / 2` another is asked for, while the first one goes on counting."""
    world = World()
    world.answer(granted("t1", life=100))
    assert world.keeper.use(world.now) == "t1"
    assert world.keeper.due_at(world.now, waiting=False) == 50.0
    world.now = 49.9
    assert world.ask(waiting=False) is None
    world.now = 50.0
    assert world.answer(granted("t2", life=100), waiting=False) is None
    assert world.token() == "t2"


def test_an_unused_token_is_not_renewed():
    """An idle client asks for nothing: only a token that was used since it was granted is renewed."""
    world = World()
    world.answer(granted(life=100))
    assert world.keeper.due_at(world.now, waiting=False) is None
    world.now = 60.0
    assert world.ask(waiting=False) is None
    world.keeper.use(world.now)
    assert world.ask(waiting=False) is not None


def test_a_failed_renewal_leaves_the_token():
    """While a token counts, nobody is told that its renewal fails until retries are used up; and it counts on."""
    world = World(max_retries=1)
    world.answer(granted(life=1000))
    world.keeper.use(world.now)
    assert world.answer(500, waiting=False) is None
    assert world.answer(500, waiting=False) is not None
    assert world.token() == "t1"


def test_failures_are_told_when_retries_are_used_up():
    """L20 (differs: retries are counted after the first attempt, as everywhere): 425 three times, then the error."""
    world = World(max_retries=2)
    assert world.answer(425) is None
    assert world.answer(425) is None
    error = world.answer(425)
    assert error is not None
    assert error.status == 425
    assert world.keeper.refusal(world.now) is None


def test_with_no_retries_the_first_failure_is_told():
    """`max_retries=0` means one attempt, not silence for ever (as in the reference library)."""
    world = World(max_retries=0)
    assert world.answer(500) is not None


def test_after_that_every_failure_is_told():
    """The retries of the token and of a batch add up, they do not multiply: a server that is down is told each time."""
    world = World(max_retries=1)
    assert [world.answer(500) is not None for _ in range(4)] == [False, True, True, True]
    world.answer(granted(life=10))
    world.now += 10
    assert world.answer(500) is None


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_the_back_off_is_real(jitter: float):
    """Pauses double up to a minute, also beyond `max_retries`, and are never given up for a poller's pace."""
    world = World(max_retries=0, jitter=jitter)
    moments = []
    for _ in range(9):
        world.answer(503)
        moments.append(world.now)
    assert [b - a for a, b in pairwise(moments)] == [n * (1 + jitter) for n in (1, 2, 4, 8, 16, 30, 30, 30)]


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0"}, 1.0),
        ({"RETRY-AFTER": "9999"}, 300.0),
        ({"Retry-After": formatdate(EPOCH + 20, usegmt=True)}, 20.0),
        ({"Retry-After": "soon"}, 5.0),
        ({}, 5.0),
    ],
)
def test_429_waits_as_long_as_it_says(headers: dict[str, str], pause: float):
    """L22, N66: after a 429 the next request comes no sooner than Retry-After, 300 s at most; 5 s if it is missing."""
    world = World()
    assert world.answer(Response(429, headers)) is None
    assert world.keeper.due_at(world.now, waiting=True) == pause
    assert world.ask() is None
    assert world.answer(granted()) is None
    assert world.now == pause


def test_429_counts():
    """A server that limits the rate for ever holds no event for ever: 429 counts against `max_retries`."""
    world = World(max_retries=2)
    told = [world.answer(Response(429, {"Retry-After": "1"})) is not None for _ in range(3)]
    assert told == [False, False, True]


@pytest.mark.parametrize("status", [400, 401, 415])
def test_an_unrecoverable_answer_is_told_at_once_and_remembered(status: int):
    """L21: 400, 401 and 415 are told after one request, and to all who come within a minute, without another."""
    world = World()
    error = world.answer(Response(status, {}, b'{"error":"invalid_client","error_description":"who?"}'))
    assert error is not None
    assert str(error) == f"[{status}] the authorization server granted no token: invalid_client: who?"
    assert world.keeper.refusal(world.now) is error
    world.now = REFUSAL_REMEMBERED - 0.1
    assert world.ask() is None
    assert world.keeper.refusal(world.now) is error
    world.now = REFUSAL_REMEMBERED
    assert world.keeper.refusal(world.now) is None
    assert world.answer(granted()) is None
    assert world.token() == "t1"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"\xff", b'{"access_token":"s3cret"}', b'{"access_token":"s3cret","expires_in":"60"}',
        b'{"access_token":"s3cret","expires_in":0}', b'{"access_token":"s3cret","expires_in":true}',
        b'{"access_token":"s3 cret\\n","expires_in":60}', b'{"access_token":7,"expires_in":60}',
    ],
)  # fmt: skip
def test_a_grant_without_a_token_is_a_failure(body: bytes):
    """A 200 needs a token that fits into a header and a life in seconds; else it is an error, which quotes no token."""
    world = World(max_retries=0)
    error = world.answer(Response(200, {}, body))
    assert error is not None
    assert "s3" not in str(error)
    assert world.token() is None


def test_a_request_that_hangs_is_given_up():
    """A request has a deadline: after it the next may be made, and a late report changes nothing."""
    world = World(max_retries=0)
    late = world.must_ask()
    world.now = late.deadline - 0.1
    assert world.keeper.expire(world.now) is None
    world.now = late.deadline
    assert "in time" in str(world.keeper.expire(world.now))
    assert world.keeper.responded(late, granted(), world.now, EPOCH) is None
    assert world.token() is None
    assert world.must_ask() is not late


def test_silence_is_a_failure():
    """No answer at all counts as one failure, with a pause after it."""
    world = World(max_retries=0)
    error = AuthError("no answer")
    assert world.keeper.failed(world.must_ask(), error, world.now) is error
    assert world.ask() is None


# -- the API's word on a token ----------------------------------------------------------------------


def test_a_rejected_token_is_replaced_once():
    """A token that the API rejects is dropped; if its replacement is rejected too, another would change nothing."""
    world = World()
    world.answer(granted("t1"))
    assert world.keeper.rejected("t1", world.now)
    assert world.token() is None
    world.answer(granted("t2"))
    assert not world.keeper.rejected("t2", world.now)
    assert world.token() == "t2"


def test_a_replacement_that_was_accepted_may_be_replaced():
    """Once the API has accepted a token, the next rejection gets a fresh one again."""
    world = World()
    world.answer(granted("t1"))
    world.keeper.rejected("t1", world.now)
    world.answer(granted("t2"))
    world.keeper.accepted("t2")
    assert world.keeper.rejected("t2", world.now)


def test_a_rejected_replacement_is_replaced_after_a_while():
    """A server that had gone wrong may have come right: after a minute another token is worth a try."""
    world = World()
    world.answer(granted("t1"))
    world.keeper.rejected("t1", world.now)
    world.answer(granted("t2"))
    world.now += REFUSAL_REMEMBERED
    assert world.keeper.rejected("t2", world.now)


def test_the_rejection_of_an_old_token_says_nothing_of_the_new_one():
    """Of several batches that went out with one token, only the first rejection drops it."""
    world = World()
    world.answer(granted("t1"))
    assert world.keeper.rejected("t1", world.now)
    assert world.keeper.rejected("t1", world.now)
    world.answer(granted("t2"))
    assert world.keeper.rejected("t1", world.now)
    assert world.token() == "t2"


# -- clocks -----------------------------------------------------------------------------------------


def date(offset: float) -> dict[str, str]:
    return {"Date": formatdate(EPOCH + offset, usegmt=True)}


def test_the_servers_clock_is_learned_from_any_answer():
    """A `Date` says how far our clock is off, and the next assertion is made by the server's."""
    world = World()
    world.answer(Response(500, date(-600)))
    assert world.must_ask().skew == pytest.approx(600, abs=2)


def test_a_refusal_of_a_clock_that_is_off_is_asked_again():
    """When the answer shows that the assertion was not valid by the server's clock, it is made again, at once, once."""
    world = World()
    assert world.answer(Response(400, date(-600))) is None
    assert world.ask() is not None


def test_a_clock_that_jumps_is_not_followed_for_ever():
    """The second refusal counts, whatever its `Date` says."""
    world = World()
    assert world.answer(Response(400, date(-600))) is None
    assert world.answer(Response(400, date(+600))) is not None


def test_a_refusal_of_a_clock_that_is_right_counts():
    """L21: with a `Date` that agrees, a 400 is told at once."""
    assert World().answer(Response(400, date(0))) is not None


@pytest.mark.parametrize("value", ["", "yesterday", "Thu, 99 Jan 2026 00:00:00 GMT"])
def test_a_date_that_cannot_be_read_is_none(value: str):
    """An unusable `Date` leaves the clock as it is."""
    world = World()
    world.answer(Response(500, {"Date": value}))
    assert world.must_ask().skew == 0


# -- the dialog -------------------------------------------------------------------------------------


def part(text: bytes | str) -> dict[str, object]:
    data = text.encode() if isinstance(text, str) else text
    return json.loads(base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4)))


def signed(grant: ClientCredentials, signature: object) -> str:
    dialog = ask(grant, EPOCH, "j1")
    assert isinstance(next(dialog), Sign)
    request = dialog.send(signature)
    assert isinstance(request, Request)
    return parse_qs(request.body.decode(), strict_parsing=True)["client_assertion"][0]


def test_the_dialog_signs_then_asks():
    """The assertion has the claims of RFC 7523 and a life of a minute; the form is encoded; no slash is doubled."""
    dialog = ask(GRANT, EPOCH + 0.9, "j1")
    step = next(dialog)
    assert isinstance(step, Sign)
    header, claims = step.data.split(b".")
    assert part(header) == {"alg": "RS256", "kid": "kid", "typ": "JWT"}
    assert part(claims) == {
        "iss": "id", "sub": "id", "aud": "https://auth.example.com", "iat": EPOCH - 5, "exp": EPOCH + 55, "jti": "j1",
    }  # fmt: skip
    request = dialog.send(b"\xff\xfe")
    assert isinstance(request, Request)
    assert (request.method, request.url, request.timeout) == ("POST", "https://auth.example.com/token", 10.0)
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert b"urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer" in request.body
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert list(form) == ["grant_type", "client_assertion_type", "client_assertion", "scope"]
    assert form["grant_type"] == ["client_credentials"]
    assert form["client_assertion"] == [step.data.decode() + ".__4"]
    with pytest.raises(StopIteration) as stop:
        dialog.send(granted())
    assert stop.value.value == granted()


ES256 = ClientCredentials("id", "kid", "https://auth.example.com", "s", "ES256", timeout=10.0)


@pytest.mark.parametrize(
    "der",
    [
        bytes.fromhex("3006020107020109"),
        b"\x30\x45\x02\x21\x00" + b"\xff" * 32 + b"\x02\x20" + b"\x01" * 32,
        b"\x30\x46\x02\x21\x00" + b"\xff" * 32 + b"\x02\x21\x00" + b"\x80" * 32,
    ],
)
def test_es256_signatures_may_be_der(der: bytes):
    """Key services sign ECDSA in DER; a JWT has two bare numbers of 32 bytes (RFC 7518 §3.4)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(der)
    signature = signed(ES256, der).rpartition(".")[2]
    assert base64.urlsafe_b64decode(signature + "==") == r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_es256_signatures_may_be_bare():
    """64 bytes are taken as they are, also if they begin like DER."""
    bare = b"\x30" * 64
    assert base64.urlsafe_b64decode(signed(ES256, bare).rpartition(".")[2] + "==") == bare


@pytest.mark.parametrize(
    ("grant", "signature"), [(GRANT, None), (GRANT, "text"), (GRANT, b""), (ES256, b"x" * 63), (ES256, b"\x30\x44" * 9)]
)
def test_what_is_no_signature_is_told(grant: ClientCredentials, signature: object):
    """A signer that returns something else is an AuthError that says so."""
    with pytest.raises(AuthError, match="sign"):
        signed(grant, signature)


def test_a_signer_that_raises_is_told():
    """What a signer raises is the cause of an AuthError."""
    dialog = ask(GRANT, EPOCH, "j1")
    next(dialog)
    with pytest.raises(AuthError, match="RuntimeError: throttled") as caught:
        dialog.throw(RuntimeError("throttled"))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_assertion_is_quoted_nowhere():
    """Neither an answer nor an exception that quotes the assertion passes it on."""
    dialog = ask(GRANT, EPOCH, "j1")
    next(dialog)
    request = dialog.send(b"sig")
    assert isinstance(request, Request)
    assertion = parse_qs(request.body.decode())["client_assertion"][0]
    with pytest.raises(StopIteration) as stop:
        dialog.send(Response(400, {}, b'{"error":"' + assertion.encode() + b'"}'))
    assert assertion.encode() not in stop.value.value.body

    dialog = ask(GRANT, EPOCH, "j1")
    next(dialog)
    dialog.send(b"sig")
    with pytest.raises(AuthError) as caught:
        dialog.throw(RuntimeError(f"could not send {request.body!r}"))
    assert assertion not in str(caught.value)
    assert caught.value.__cause__ is None
