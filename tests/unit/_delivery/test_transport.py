"""Requests in blocking calls: what is reported for each way in which an HTTP client can end one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from millstream import AuthError, Request, Response, TransportError
from millstream._core.oauth import Sign, TokenSteps
from millstream._delivery.transport import NO_SENDER, Command, ThreadTransport, run_token_request
from millstream.http import as_client
from support.units import Told

REQUEST = Request("POST", "http://api.example/v1/batch", {}, b"{}")
GRANTED = Response(200, {}, b"granted")


class Client:
    """An HTTP client that does what it is told."""

    def __init__(self, does: Callable[[], Any] = lambda: GRANTED) -> None:
        self.does = does
        self.closed = 0

    def send(self, _: Request) -> Any:
        return self.does()

    def close(self) -> None:
        self.closed += 1
        self.does()


def fail(exc: BaseException) -> Any:
    raise exc


def at_once(job: Callable[[], Command], _: float) -> bool:
    job()()
    return True


def reported(does: Callable[[], Any]) -> list[Response | BaseException]:
    answers: list[Response | BaseException] = []
    ThreadTransport(lambda: Client(does), at_once, Told().emitter).exchange(REQUEST, 1.0, answers.append, lambda: None)
    return answers


def test_an_answer_or_an_exception_is_reported_once() -> None:
    """What the client returns is made a Response, what it raises is the report, and what is no answer is an error."""
    assert reported(lambda: GRANTED) == [GRANTED]
    refused = OSError("refused")
    assert reported(lambda: fail(refused)) == [refused]
    (nonsense,) = reported(lambda: "200 OK")
    assert isinstance(nonsense, TransportError)
    assert "returned str" in str(nonsense)


def test_what_ends_a_program_passes_on_its_main_thread_only() -> None:
    """Ctrl-C during a request in the calling thread ends the program; on a thread of ours it is a failed request."""
    with pytest.raises(KeyboardInterrupt):
        reported(lambda: fail(KeyboardInterrupt()))
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(reported(lambda: fail(SystemExit(1)))))
    thread.start()
    thread.join(30)
    assert [type(answer) for answer in answers] == [SystemExit]


def test_without_a_thread_the_attempt_has_failed() -> None:
    """Where every sender is held, an exchange fails as if there were no answer, and a token request as an AuthError."""
    transport = ThreadTransport(Client, lambda *_: False, Told().emitter)
    answers: list[Any] = []
    transport.exchange(REQUEST, 1.0, answers.append, lambda: None)
    transport.converse(dialog(), lambda data: data, None, 1.0, answers.append)
    assert [(type(answer), str(answer)) for answer in answers] == [(TransportError, NO_SENDER), (AuthError, NO_SENDER)]


def test_a_client_is_made_when_it_is_needed_and_closed_with_its_own() -> None:
    """The HTTP client is made at the first request, once; a close that raises is reported; the others close."""
    made: list[Client] = []
    told = Told()

    def make() -> Client:
        made.append(Client())
        return made[-1]

    transport = ThreadTransport(make, at_once, told.emitter)
    transport.close(None)
    assert made == []
    for _ in range(2):
        transport.exchange(REQUEST, 1.0, lambda _: None, lambda: None)
    made[0].does = lambda: fail(OSError("already closed"))
    tokens = Client()
    transport.close(tokens)
    assert (len(made), made[0].closed, tokens.closed) == (1, 1, 1)
    assert told.said == ["http_client: already closed"]


def dialog(*, heard: list[object] | None = None) -> TokenSteps:
    """A token request that signs, sends, and tries once more."""
    heard = [] if heard is None else heard
    heard.append((yield Sign(b"claims")))
    try:
        heard.append((yield REQUEST))
    except Exception as exc:
        heard.append(exc)
    response: Response = yield REQUEST
    return response


def test_a_token_request_is_run_to_its_end() -> None:
    """The signer's bytes and the client's exceptions go into the dialog, and what it returns is the answer."""
    heard: list[Any] = []
    refused = OSError("refused")
    answers = iter([lambda: fail(refused), lambda: GRANTED])
    client = as_client(lambda _: next(answers)())
    assert run_token_request(dialog(heard=heard), lambda data: data.upper(), client) == GRANTED
    assert heard == [b"CLAIMS", refused]


def test_a_signer_that_ends_its_thread_fails_the_request() -> None:
    """On a thread of ours a SystemExit is thrown into the dialog as an error that a dialog can catch."""
    heard: list[Any] = []

    def run() -> None:
        answers = iter([lambda: fail(SystemExit(1)), lambda: GRANTED])
        run_token_request(dialog(heard=heard), lambda data: data, as_client(lambda _: next(answers)()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert [type(each) for each in heard] == [bytes, TransportError]
    assert str(heard[1]) == "SystemExit"
