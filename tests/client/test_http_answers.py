"""Urllib3Client and AiohttpClient take an answer only if it is whole; and neither leaves a traceback behind."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millstream import AiohttpClient, Request, Response, TransportError, Urllib3Client
from support.api import Answer, Api, endless, half, redirect, reset

Exchange = Callable[..., list[Response]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1 << 20


def by_urllib3(*requests: Request) -> list[Response]:
    client = Urllib3Client()
    try:
        return [client.send(request) for request in requests]
    finally:
        client.close()


def by_aiohttp(*requests: Request) -> list[Response]:
    async def send() -> list[Response]:
        client = AiohttpClient()
        try:
            return [await client.send(request) for request in requests]
        finally:
            await client.close()

    return asyncio.run(send())


@pytest.fixture(params=[by_urllib3, by_aiohttp], ids=["urllib3", "aiohttp"])
def exchange(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Exchange]:
    """Exchanges requests for answers, one after the other, with a client of its own each time."""
    yield request.param
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def post(api: Api, timeout: float = 5.0) -> Request:
    return Request("POST", f"{api.url}/v1/batch", {}, b"{}", timeout)


WHOLE = {
    "a length": (OK + b"Content-Length: 4\r\n\r\nbody", b"body"),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "a status that has none": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "no reason": (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", b""),
    "chunks": (CHUNKED + b"3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n", b"body"),
    "chunks with extensions and trailers": (CHUNKED + b"4;a=b\r\nbody\r\n0\r\nX: y\r\n\r\n", b"body"),
    "not yet, and then": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\nbody", b"body"),
    "packed": (
        OK
        + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(b"body"))
        + gzip.compress(b"body"),
        b"body",
    ),
    "an old version that stays": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbody",
        b"body",
    ),
    "19 digits": (OK + b"Content-Length: 0000000000000000004\r\n\r\nbody", b"body"),
}
LAST = {
    "it closes": (OK + b"Connection: Close\r\nContent-Length: 4\r\n\r\nbody", b"body"),
    "it closes at its end": (OK + b"Connection: close\r\n\r\nbody", b"body"),
    "an old version": (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", b"body"),
    "an old version, to its end": (b"HTTP/1.0 200 OK\r\n\r\nbody", b"body"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_whole_answer_is_read_and_its_connection_kept(api: Api, exchange: Exchange, case: str) -> None:
    """An answer that says where it ends is read to there; the next request has the same connection."""
    raw, body = WHOLE[case]
    api.script(Answer(raw=raw))
    first, second = exchange(post(api), post(api))
    assert (first.body, second.status) == (body, 200)
    assert [seen.connection for seen in api.requests] == [1, 1]


@pytest.mark.parametrize("case", LAST)
def test_an_answer_may_end_with_its_connection(api: Api, exchange: Exchange, case: str) -> None:
    """An answer that says so, or of HTTP/1.0, ends with its connection; the next request has another."""
    raw, body = LAST[case]
    api.script(Answer(raw=raw, then="close"))
    first, second = exchange(post(api), post(api))
    assert (first.body, second.status) == (body, 200)
    assert [seen.connection for seen in api.requests] == [1, 2]


@pytest.mark.parametrize(
    "whole", [OK + b"X: y\r\nContent-Length: 40\r\n\r\n" + b"b" * 40, CHUNKED + b"10\r\n" + b"b" * 16 + b"\r\n"]
)
def test_an_answer_that_is_cut_off_is_none(api: Api, exchange: Exchange, whole: bytes) -> None:
    """Wherever the connection ends before the answer does, there was no answer."""
    for end in range(len(whole) + (b"chunked" in whole)):
        api.script(Answer(raw=whole[:end], then="close"))
        with pytest.raises(TransportError, match="no answer from"):
            exchange(post(api))


NO_END = {
    "no length": b"",
    "a length in words": b"Content-Length: four\r\n",
    "a negative length": b"Content-Length: -1\r\n",
    "an empty length": b"Content-Length:\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n",
    "the same length twice": b"Content-Length: 4\r\nContent-Length: 4\r\n",
    "a length of 20 digits": b"Content-Length: 00000000000000000004\r\n",
    "a length of 5000 digits": b"Content-Length: " + b"4" * 5000 + b"\r\n",
    "a length that only Unicode takes for one": b"Content-Length: \xb2\r\n",
    "another coding": b"Transfer-Encoding: gzip\r\n",
}


@pytest.mark.parametrize("case", NO_END)
def test_an_answer_that_does_not_say_where_it_ends_is_none(api: Api, exchange: Exchange, case: str) -> None:
    """Nothing is waited for then: neither for the connection's end nor for the time to be over."""
    api.script(Answer(raw=OK + NO_END[case] + b"\r\nbody"))
    with pytest.raises(TransportError, match="no answer from") as caught:
        exchange(post(api, timeout=60.0))
    assert "time" not in str(caught.value).lower()


@pytest.mark.parametrize(
    "answer",
    [
        half(),
        reset(),
        reset("half"),
        Answer(raw=b"nonsense\r\n\r\n", then="close"),
        Answer(raw=b"HTTP/1.1 OK\r\n\r\n", then="close"),
        Answer(200, {"Content-Encoding": "gzip"}, b"this is not packed"),
        endless(OK + b"X: ", b"y" * 65_536),
        endless(OK, b"X: y\r\n" * 1000),
    ],
    ids=["half", "reset", "half, and reset", "nonsense", "no status", "not packed", "a head without end", "headers"],
)
def test_what_is_no_answer_is_none(api: Api, exchange: Exchange, answer: Answer) -> None:
    """What is no whole answer raises, and the same client has another connection for the next request."""
    api.script(answer)
    with pytest.raises(TransportError, match="no answer from"):
        exchange(post(api))


@pytest.mark.parametrize("head", [b"Content-Length: 3145728\r\n", b"Connection: close\r\n"])
def test_of_a_long_body_the_beginning_is_read(api: Api, exchange: Exchange, head: bytes) -> None:
    """A megabyte is read, and then the connection is closed."""
    api.script(Answer(raw=OK + head + b"\r\n" + bytes(3 * MEGABYTE), then="close"))
    first, second = exchange(post(api), post(api))
    assert (len(first.body), second.status) == (MEGABYTE, 200)
    assert [seen.connection for seen in api.requests] == [1, 2]


def test_a_packed_body_does_not_fill_the_memory(api: Api, exchange: Exchange) -> None:
    """What unpacks to more than a megabyte is unpacked to a megabyte."""
    api.script(Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(50 * MEGABYTE))))
    [answer] = exchange(post(api))
    assert len(answer.body) == MEGABYTE


@pytest.mark.parametrize("location", ["http://[::1", "http://[::1/", "//["])
def test_a_redirect_to_what_is_no_url_is_no_answer(api: Api, exchange: Exchange, location: str) -> None:
    """A malformed Location is a failed attempt that says so."""
    api.script(redirect(307, location))
    with pytest.raises(TransportError, match="Location"):
        exchange(post(api))
    assert len(api.requests) == 1


def test_a_head_that_drips_costs_little(api: Api, exchange: Exchange) -> None:
    """Reading a head byte by byte takes processor time by its length, as a body does, and not by its square."""
    length = 16_000
    lines = (b"X: %s\r\n" % (b"y" * 995)) * (length // 1000)

    def cost(raw: bytes) -> float:
        api.script(Answer(raw=raw, drips=True, pace=1e-6))
        begun = time.thread_time()
        [answer] = exchange(post(api, timeout=50.0))
        assert answer.status == 200
        return time.thread_time() - begun

    body = cost(OK + b"Content-Length: %d\r\n\r\n" % length + lines)
    assert cost(OK + b"Content-Length: 0\r\n" + lines + b"\r\n") < 2 * body


def test_headers_are_found_in_any_case(api: Api, exchange: Exchange) -> None:
    """Names of headers have no case."""
    api.script(Answer(200, {"reTRY-after": "5"}))
    [answer] = exchange(post(api))
    assert answer.headers["Retry-After"] == "5"


def test_no_cookie_is_kept(api: Api, exchange: Exchange) -> None:
    """A cookie that a server sets comes back to it with no request."""
    api.script(Answer(200, {"Set-Cookie": "a=b"}))
    exchange(post(api), post(api))
    assert [seen.header("Cookie") for seen in api.requests] == [None, None]


def test_what_is_sent_is_the_same(api: Api, exchange: Exchange) -> None:
    """Both send the request as it is, and ask for an answer that is not packed."""
    request: Any = Request("POST", f"{api.url}/v1/batch?a=%2F&b=c%20d", {"X-Retry-Count": "2"}, b"x" * 100_000, 5.0)
    exchange(request)
    [seen] = api.requests
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/batch?a=%2F&b=c%20d", b"x" * 100_000)
    assert (seen.header("X-Retry-Count"), seen.header("Accept-Encoding")) == ("2", "identity")
    assert seen.header("Host") == f"127.0.0.1:{api.port}"
