"""`http_request_timeout` is the time for the whole exchange, whatever an answer does to last longer.

Where urllib3 cannot end it, because each byte of a head is a read of its own, the attempt ends all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from millstream import AiohttpClient, Analytics, Request, Response, RetriesExhausted, TransportError
from millstream.http.urllib3 import Urllib3Client
from support.api import Answer, Api, endless, redirect

TIMEOUT = 0.5
LATE = 8.0
"""Seconds after which it has clearly not ended in time: an answer that drips lasts for as long as it is read."""


def by_urllib3(request: Request) -> Response:
    client = Urllib3Client()
    try:
        return client.send(request)
    finally:
        client.close()


def by_aiohttp(request: Request) -> Response:
    async def send() -> Response:
        client = AiohttpClient()
        try:
            return await client.send(request)
        finally:
            await client.close()

    return asyncio.run(send())


CLIENTS = pytest.mark.parametrize("send", [by_urllib3, by_aiohttp], ids=["urllib3", "aiohttp"])
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES = {
    "body": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"z", pace=0.05),
    "chunks": endless(CHUNKED, b"1\r\nz\r\n", pace=0.05),
    "to the end of the connection": endless(b"HTTP/1.0 200 OK\r\n\r\n", b"z", pace=0.05),
}
HEADS = {
    "status line": endless(b"HTTP/1.1 200 ", b"O", pace=0.05),
    "headers": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y", pace=0.05),
    "chunk's length": endless(CHUNKED, b"0", pace=0.05),
    "not yet": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pace=0.05),
}


@CLIENTS
@pytest.mark.parametrize("drip", BODIES)
def test_a_body_that_drips_does_not_hold_a_client(api: Api, send: Callable[..., Response], drip: str) -> None:
    """A body that comes byte by byte is given up when the time is over."""
    api.script(BODIES[drip])
    begun = time.monotonic()
    with pytest.raises(TransportError):
        send(Request("POST", api.url, {}, b"{}", TIMEOUT))
    assert time.monotonic() - begun < LATE


@pytest.mark.parametrize("drip", HEADS)
def test_a_head_that_drips_does_not_hold_aiohttp(api: Api, drip: str) -> None:
    """With aiohttp the same holds for whatever comes before the body, and for what is between its chunks."""
    api.script(HEADS[drip])
    begun = time.monotonic()
    with pytest.raises(TransportError):
        by_aiohttp(Request("POST", api.url, {}, b"{}", TIMEOUT))
    assert time.monotonic() - begun < LATE


@pytest.mark.parametrize("drip", HEADS)
def test_a_head_that_drips_does_not_hold_the_events(api: Api, client: Callable[..., Analytics], drip: str) -> None:
    """With urllib3 the attempt ends a second later, and what comes next has another thread."""
    api.script(HEADS[drip])
    analytics = client(http_request_timeout=TIMEOUT, flush_at=1)
    begun = time.monotonic()
    with pytest.raises(RetriesExhausted, match="did not come back in time"):
        analytics.track("A", user_id="u").wait(timeout=LATE)
    assert time.monotonic() - begun >= TIMEOUT + 1.0
    assert analytics.stats().abandoned_senders == 1
    assert analytics.track("B", user_id="u").wait(timeout=LATE)


@CLIENTS
def test_a_redirect_does_not_start_the_clock_again(api: Api, send: Callable[..., Response]) -> None:
    """What is left of the time is what a redirected request has."""
    api.script(Answer(307, {"Location": "/elsewhere"}, b"", delay=0.8 * TIMEOUT))
    api.always = Answer(delay=0.8 * TIMEOUT)
    with pytest.raises(TransportError):
        send(Request("POST", api.url, {}, b"{}", TIMEOUT))
    api.always = Answer()
    api.script(redirect(307, "/elsewhere"))
    assert send(Request("POST", api.url, {}, b"{}", LATE)).status == 200
