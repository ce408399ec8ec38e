"""AiohttpClient's exchange: TLS, proxies, kept connections, and what is no whole answer."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from millstream import AiohttpClient, Request, Response, TransportError
from support.api import Answer, Api, endless, half, reset, stall
from support.faults import PEM, STRANGER
from support.proxy import Proxy

Run = Callable[[Any], Any]
OK = b"HTTP/1.1 200 OK\r\n"


def post(url: str, timeout: float = 5.0, **headers: str) -> Request:
    return Request("POST", f"{url}/v1/batch", {"Authorization": "Basic a2V5", **headers}, b'{"batch":[]}', timeout)


async def in_turn(client: AiohttpClient, *requests: Request) -> list[Response]:
    try:
        return [await client.send(request) for request in requests]
    finally:
        await client.close()


def trusting(pem: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pem)


def test_https(tls_api: Api, run: Run) -> None:
    """With a certificate that is trusted requests pass, on one connection; with any other there is no answer."""
    answers = run(in_turn(AiohttpClient(ssl=trusting(PEM)), post(tls_api.url), post(tls_api.url)))
    assert [answer.status for answer in answers] == [200, 200]
    assert [seen.connection for seen in tls_api.requests] == [1, 1]
    with pytest.raises(TransportError, match=r"certificate|SSL|CERTIFICATE"):
        run(in_turn(AiohttpClient(ssl=trusting(STRANGER)), post(tls_api.url)))
    with pytest.raises(TransportError):
        run(in_turn(AiohttpClient(), post(tls_api.url)))
    assert len(tls_api.requests) == 2


def test_https_goes_through_a_tunnel(tls_api: Api, proxy: Proxy, run: Run) -> None:
    """For https the proxy opens one tunnel, and is told its own password, but neither key nor events."""
    client = AiohttpClient(proxy=proxy.url.replace("://", "://user:s%40cret@"), ssl=trusting(PEM))
    run(in_turn(client, post(tls_api.url), post(tls_api.url)))
    [connect] = proxy.seen
    basic = b64encode(b"user:s@cret").decode()
    assert connect.startswith("CONNECT 127.0.0.1:")
    assert f"proxy-authorization: basic {basic}".lower() in connect.lower()
    assert "a2V5" not in connect
    assert [(seen.path, seen.header("Proxy-Authorization")) for seen in tls_api.requests] == [("/v1/batch", None)] * 2


def test_a_proxy_is_told_its_password_with_every_request(api: Api, run: Run) -> None:
    """For http the proxy gets the whole URL and its password each time, whether aiohttp keeps the connection or not."""
    client = AiohttpClient(proxy=api.url.replace("://", "://user:s%40cret@"))
    run(in_turn(client, post("http://api.example"), post("http://api.example", **{"X-Retry-Count": "1"})))
    basic = b64encode(b"user:s@cret").decode()
    for seen in api.requests:
        assert seen.path == "http://api.example/v1/batch"
        assert seen.header("Proxy-Authorization") == f"Basic {basic}"
        assert (seen.header("Host"), seen.header("Authorization")) == ("api.example", "Basic a2V5")


def test_a_proxy_that_is_gone_is_no_answer(api: Api, proxy: Proxy, run: Run) -> None:
    """Without its proxy a client fails, and does not say the password."""
    proxy.close()
    with pytest.raises(TransportError) as caught:
        run(in_turn(AiohttpClient(proxy=proxy.url.replace("://", "://user:cret@")), post(api.url)))
    assert "cret" not in str(caught.value)
    assert api.requests == []


@pytest.mark.parametrize("header", [("X-Bad\r\nX-Other", "1"), ("X-Bad", "1\r\nX-Other: 1")], ids=["name", "value"])
def test_no_header_can_add_another(api: Api, run: Run, header: tuple[str, str]) -> None:
    """A header with a line break is refused before anything is sent, and the client is as good as before."""
    client = AiohttpClient()

    async def both() -> list[Response]:
        with pytest.raises(TransportError):
            await client.send(post(api.url, **dict([header])))
        return await in_turn(client, post(api.url))

    assert [answer.status for answer in run(both())] == [200]
    assert len(api.requests) == 1


def test_after_more_than_an_answer_a_connection_is_not_used(api: Api, run: Run) -> None:
    """On a connection on which something comes that nobody asked for, the next answer could be taken for another."""
    api.script(Answer(raw=OK + b"Content-Length: 4\r\n\r\nbody" + OK + b"Content-Length: 0\r\n\r\n"))
    first, second = run(in_turn(AiohttpClient(), post(api.url), post(api.url)))
    assert (first.body, second.status) == (b"body", 200)
    assert [seen.connection for seen in api.requests] == [1, 2]


def test_a_connection_that_the_server_has_closed_is_not_used(api: Api, run: Run) -> None:
    """A server may hang up on a connection that is kept: the next request has another."""
    client = AiohttpClient()

    async def twice() -> list[Response]:
        before = await client.send(post(api.url))
        api.cut_off()
        for _ in range(10):  # the end of the connection has come, and the loop has to look
            await asyncio.sleep(0)
        return [before, *await in_turn(client, post(api.url))]

    assert [answer.status for answer in run(twice())] == [200, 200]
    assert [seen.connection for seen in api.requests] == [1, 2]


@pytest.mark.parametrize(
    "answer",
    [
        half(),
        reset(),
        reset("half"),
        Answer(raw=OK + b"Content-Le", then="close"),
        Answer(raw=b"nonsense\r\n\r\n"),
        endless(OK + b"X: ", b"y" * 65_536),
    ],
    ids=["half a body", "reset", "half a body and reset", "half a head", "nonsense", "a head without an end"],
)
def test_what_is_no_whole_answer_is_none(api: Api, run: Run, answer: Answer) -> None:
    """An answer that breaks off, or is none, raises; the next request has another connection."""
    api.script(answer)
    client = AiohttpClient()

    async def both() -> list[Response]:
        with pytest.raises(TransportError, match="no answer from"):
            await client.send(post(api.url))
        return await in_turn(client, post(api.url))

    assert [answer.status for answer in run(both())] == [200]
    assert [seen.connection for seen in api.requests] == [1, 2]


def test_requests_at_the_same_time_have_a_connection_each(api: Api, run: Run) -> None:
    """Requests need not wait for each other; their connections are kept for the next."""
    client = AiohttpClient()
    held = [api.hold() for _ in range(3)]

    async def together() -> None:
        sending = [asyncio.ensure_future(client.send(post(api.url))) for _ in held]
        await asyncio.to_thread(api.wait_for, 3)
        for answer in held:
            answer.release()
        await asyncio.gather(*sending)
        await in_turn(client, *[post(api.url)] * 3)

    run(together())
    assert sorted(seen.connection for seen in api.requests[:3]) == [1, 2, 3]
    assert api.connections == 3


def test_whoever_is_cancelled_leaves_nothing_behind(api: Api, run: Run) -> None:
    """A request that is cancelled ends at once, and its connection with it."""
    api.script(stall())
    client = AiohttpClient()

    async def cancelled() -> list[Response]:
        sending = asyncio.ensure_future(client.send(post(api.url)))
        await asyncio.to_thread(api.wait_for, 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        return await in_turn(client, post(api.url))

    assert [answer.status for answer in run(cancelled())] == [200]
    assert [seen.connection for seen in api.requests] == [1, 2]


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # no batch is as large
@pytest.mark.server
def test_a_server_that_does_not_read_is_left_in_time(run: Run) -> None:
    """A body that the server does not take is given up when the time is over, and the connection with it."""

    async def send() -> None:
        gone = asyncio.Event()

        async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()
            await gone.wait()
            writer.transport.abort()

        server = await asyncio.start_server(never_reads, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(TransportError, match="TimeoutError"):
            await in_turn(AiohttpClient(), Request("POST", url, {}, b"x" * (16 << 20), 0.3))
        gone.set()
        server.close()

    run(send())
