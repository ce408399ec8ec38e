"""HTTP clients as users write them: foreign answers, nonsense, exceptions, and never coming back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest

from millstream import Analytics, Rejected, Request, Response, RetriesExhausted, SettingsError, TransportError
from support.background import Heard

Make = Callable[..., Analytics]

FOREIGN = {
    "requests": lambda code: SimpleNamespace(status_code=code, headers={"A": "b"}, content=b"because", text="because"),
    "httpx": lambda code: SimpleNamespace(status_code=code, headers={"a": "b"}, content=b"because", is_success=False),
    "urllib3": lambda code: SimpleNamespace(status=code, headers={"A": "b"}, data=b"because", reason="x"),
    "no body": lambda code: SimpleNamespace(status=code, headers=None, body=b"because"),
    "text": lambda code: SimpleNamespace(status=code, headers={}, body="because"),
    "bytearray": lambda code: SimpleNamespace(status=code, headers={}, body=bytearray(b"because")),
}


@pytest.mark.parametrize("library", FOREIGN)
def test_an_answer_may_be_another_librarys(client: Make, library: str) -> None:
    """What requests, httpx and urllib3 return is understood, as success and as failure."""
    make = FOREIGN[library]
    assert client(http_client=lambda _: make(200)).track("A", user_id="u").wait(timeout=10)
    with pytest.raises(Rejected) as caught:
        client(http_client=lambda _: make(400)).track("A", user_id="u").wait(timeout=10)
    assert (caught.value.status, caught.value.body) == (400, b"because")


def test_headers_of_another_library_are_read_in_any_case(client: Make) -> None:
    """`Retry-After` is found in a foreign answer's headers, however they are written."""
    answers = [SimpleNamespace(status_code=429, headers={"RETRY-after": 1}, content=b""), Response(200)]
    analytics = client(http_client=lambda _: answers.pop(0))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert analytics.stats().retries == 1


NONSENSE = [None, 200, "200", b"OK", object(), {}, [200], SimpleNamespace(status="200"), SimpleNamespace(status=True)]


@pytest.mark.parametrize("answer", NONSENSE)
def test_an_answer_that_is_none_is_a_failed_attempt(client: Make, answer: object) -> None:
    """What is nothing like a response counts as no answer, and the message says what is expected."""
    with pytest.raises(RetriesExhausted, match="must return a Response") as caught:
        client(http_client=lambda _: answer).track("A", user_id="u").wait(timeout=10)
    assert isinstance(caught.value.last, TransportError)


def test_an_answer_whose_parts_explode_is_a_failed_attempt(client: Make) -> None:
    """An answer that raises when it is looked at is no answer either."""

    class Trap:
        status = 200

        @property
        def headers(self) -> Any:
            raise ConnectionError("gone")

    with pytest.raises(RetriesExhausted, match="gone"):
        client(http_client=lambda _: Trap()).track("A", user_id="u").wait(timeout=10)


@pytest.mark.parametrize(
    "raised", [ValueError("x"), KeyError("x"), TimeoutError(), SystemExit(3), asyncio.CancelledError(), GeneratorExit()]
)
def test_whatever_a_client_raises_is_a_failed_attempt(client: Make, raised: BaseException) -> None:
    """Also what is no Exception: the sender lives on, and the next event is delivered."""
    script: list[Any] = [raised]

    def http(_: Request) -> Response:
        if script:
            raise script.pop()
        return Response(200)

    analytics = client(http_client=http, max_in_flight=1)
    with pytest.raises(RetriesExhausted, match=type(raised).__name__):
        analytics.track("A", user_id="u").wait(timeout=10)
    assert analytics.track("B", user_id="u").wait(timeout=10)


@pytest.mark.parametrize("given", [5, "requests", object(), Response, SimpleNamespace(send=print)])
def test_what_cannot_send_is_no_client(given: Any) -> None:
    """An `http_client` that is neither an object with `send` and `close` nor a function is refused at once."""
    with pytest.raises(SettingsError, match="http_client"):
        Analytics("key", http_client=given)


def test_a_session_of_a_library_that_is_not_known_is_refused() -> None:
    """It has a `send`, which takes something else: refused at once, with a function that sends with it."""

    class Session:
        def send(self, prepared: Any) -> Any: ...
        def close(self) -> None: ...
        def request(self, method: str, url: str) -> Any: ...

        get = post = request

    with pytest.raises(SettingsError, match=r"pass a function of a request .* `lambda r: session\.request"):
        Analytics("key", http_client=Session())


def test_a_thread_that_does_not_come_back_is_replaced(client: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A hung exchange is given up after the timeout, and holds up no other; it is counted, and logged once."""
    gate = threading.Event()

    def http(request: Request) -> Response:
        if b'"hangs"' in request.body:
            gate.wait(30)
        return Response(200)

    analytics = client(http_client=http, flush_at=1, max_in_flight=2, http_request_timeout=0.1)
    hung = [analytics.track("hangs", user_id="u") for _ in range(4)]
    assert analytics.flush(timeout=15).failed == 4
    assert all(isinstance(receipt.outcome.error, RetriesExhausted) for receipt in hung)
    assert analytics.track("B", user_id="u").wait(timeout=10)
    assert analytics.stats().abandoned_senders == 4
    assert sum("its thread is abandoned" in record.getMessage() for record in caplog.records) == 1
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "millstream-sender":
            thread.join(10)
    assert analytics.stats().abandoned_senders == 0


def test_so_many_threads_are_replaced_and_no_more(client: Make) -> None:
    """An HTTP client that never comes back holds at most 32 threads beside `max_in_flight`; then attempts fail."""
    gate = threading.Event()
    entered = Heard()

    def http(request: Request) -> Response:
        entered(request)
        gate.wait(60)
        return Response(200)

    analytics = client(http_client=http, flush_at=1, max_in_flight=16, http_request_timeout=0.01)
    receipts = [analytics.track(str(n), user_id="u") for n in range(60)]
    result = analytics.flush(timeout=30)
    assert (result.failed, result.pending) == (60, 0)
    assert len(entered.calls) == 16 + 32
    assert "does not return" in str(receipts[-1].outcome.error)
    gate.set()


def test_a_late_answer_changes_nothing(client: Make) -> None:
    """What comes after the attempt was given up is ignored: each event has one outcome."""
    gate = threading.Event()
    late = Heard()

    def http(_: Request) -> Response:
        gate.wait(30)
        late()
        return Response(200)

    analytics = client(http_client=http, flush_at=1, http_request_timeout=0.2)
    outcomes = Heard()
    analytics.track("A", user_id="u", callback=outcomes)
    outcomes.wait_for(1)
    gate.set()
    late.wait_for(1)
    analytics.flush(timeout=10)
    assert len(outcomes.calls) == 1
    stats = analytics.stats()
    assert (stats.failed, stats.delivered, stats.pending) == (1, 0, 0)


def test_a_client_that_cannot_be_closed_hurts_nobody(client: Make) -> None:
    """What its `close` raises is an `error` event, and not the caller's."""

    class Client:
        def send(self, _: Request) -> Response:
            return Response(200)

        def close(self) -> None:
            raise OSError("stuck")

    analytics, errors = client(http_client=Client()), Heard()
    analytics.on("error", errors)
    analytics.track("A", user_id="u")
    assert analytics.close_and_flush(timeout=10).delivered == 1
    ((event,),) = errors.calls
    assert (event.code, str(event.reason)) == ("http_client", "stuck")


def test_the_client_is_closed_with_the_analytics(client: Make) -> None:
    """`close` of an HTTP client of one's own is called once, after its last request."""
    order: list[str] = []

    class Client:
        def send(self, _: Request) -> Response:
            order.append("send")
            return Response(200)

        def close(self) -> None:
            order.append("close")

    analytics = client(http_client=Client())
    analytics.track("A", user_id="u")
    analytics.close_and_flush(timeout=10)
    analytics.close_and_flush(timeout=10)
    assert order == ["send", "close"]


def test_a_status_may_be_any_int(client: Make) -> None:
    """The standard library's HTTPStatus is as good as a number, in our Response and in anybody's."""
    for answer in (Response(HTTPStatus.OK), SimpleNamespace(status=HTTPStatus.OK, headers={}, body=b"")):
        client(http_client=lambda request, answer=answer: answer).track("A", user_id="u").wait(timeout=10)


@pytest.mark.parametrize("parts", [("200", {}, b""), (None, {}, b""), (True, {}, b""), (200, {}, 5)], ids=repr)
def test_our_own_response_is_looked_at_too(client: Make, parts: tuple[Any, ...]) -> None:
    """A Response that somebody made with the wrong parts is a failed attempt, and says so at once."""
    begin = time.monotonic()
    with pytest.raises(RetriesExhausted, match="Response"):
        client(http_client=lambda request: Response(*parts)).track("A", user_id="u").wait(timeout=10)
    assert time.monotonic() - begin < 5
