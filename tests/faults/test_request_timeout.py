"""`http_request_timeout` is the time for the whole exchange, whatever an answer does to last longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from millstream import AiohttpClient, Request, Response, TransportError
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
DRIPS = {
    "status line": endless(b"HTTP/1.1 200 ", b"O", pace=0.05),
    "headers": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y", pace=0.05),
    "body": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"z", pace=0.05),
    "chunks": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nz\r\n", pace=0.05),
    "not yet": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pace=0.05),
}


@CLIENTS
@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_that_drips_does_not_hold_a_sender(api: Api, send: Callable[..., Response], drip: str) -> None:
    """An answer that comes byte by byte, in whatever part of it, is given up when the time is over."""
    api.script(DRIPS[drip])
    begun = time.monotonic()
    with pytest.raises(TransportError):
        send(Request("POST", api.url, {}, b"{}", TIMEOUT))
    assert time.monotonic() - begun < LATE


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
