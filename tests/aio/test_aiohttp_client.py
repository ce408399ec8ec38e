"""AiohttpClient: the same rules as Urllib3Client, and each loop's connections end with it."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from millstream import AiohttpClient, AsyncAnalytics, MissingExtra, Request, Response, TransportError
from support.api import Answer, Api, drop, half, redirect, stall, status

Run = Callable[[Any], Any]


async def send(url: str, timeout: float = 5.0, **options: Any) -> Response:
    client = AiohttpClient(**options)
    try:
        return await client.send(Request("POST", url, {"Content-Type": "application/json"}, b'{"batch":[]}', timeout))
    finally:
        await client.close()


def test_it_sends(api: Api, run: Run) -> None:
    """Method, path, headers and body arrive as they are, and the answer comes back whole."""
    api.script(status(202, b"thanks", retry_after=3))
    answer = run(send(f"{api.url}/v1/batch?a=%2F"))
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (202, b"thanks", "3")
    [seen] = api.requests
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/batch?a=%2F", b'{"batch":[]}')
    assert seen.header("Content-Type") == "application/json"


@pytest.mark.parametrize("code", [307, 308])
def test_a_redirect_that_keeps_the_body_is_followed(api: Api, run: Run, code: int) -> None:
    """307 and 308 on the same host are followed, with method and body."""
    api.script(redirect(code, "/elsewhere"))
    assert run(send(f"{api.url}/v1/batch")).status == 200
    assert [(seen.method, seen.path, seen.body) for seen in api.requests] == [
        ("POST", "/v1/batch", b'{"batch":[]}'),
        ("POST", "/elsewhere", b'{"batch":[]}'),
    ]


@pytest.mark.parametrize(("code", "where"), [(302, "/elsewhere"), (307, "http://localhost:9/")])
def test_no_other_redirect_is_followed(api: Api, run: Run, code: int, where: str) -> None:
    """A redirect that would lose the body, or take the key to another host, is the answer itself."""
    api.script(redirect(code, where))
    assert run(send(api.url)).status == code
    assert len(api.requests) == 1


@pytest.mark.parametrize("answer", [drop(), half(), stall()], ids=["dropped", "cut off", "stalled"])
def test_no_answer_is_a_transport_error(api: Api, run: Run, answer: Answer) -> None:
    """A connection that is cut, or an answer that takes too long, raises TransportError, which names the host alone."""
    api.script(answer)
    with pytest.raises(TransportError, match=f"no answer from 127.0.0.1:{api.port}") as caught:
        run(send(f"http://user:secret@127.0.0.1:{api.port}/", timeout=0.3))
    assert caught.value.__cause__ is not None
    assert "secret" not in str(caught.value)


def test_an_endless_answer_does_not_fill_the_memory(api: Api, run: Run) -> None:
    """Of an answer that is too long the beginning is read, and no more."""
    api.script(Answer(200, {}, b"x" * (3 << 20)))
    assert len(run(send(api.url)).body) == 1 << 20


def test_a_proxy_is_used(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`proxy=` carries every request; so does `HTTP_PROXY`, except for those that `NO_PROXY` names."""
    run(send("http://api.example/v1/batch", proxy=api.url))
    monkeypatch.setenv("http_proxy", api.url)
    run(send("http://api.example/v1/batch"))
    assert [seen.path for seen in api.requests] == ["http://api.example/v1/batch"] * 2
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    run(send(api.url))
    assert api.requests[-1].path == "/"


def test_connections_are_kept_and_end_with_their_loop(api: Api, run: Run) -> None:
    """One connection serves a loop's requests; the next loop has its own, and nothing is left open."""
    client = AiohttpClient()

    async def twice() -> None:
        for _ in range(2):
            await client.send(Request("POST", api.url, {}, b"{}", 5.0))

    run(twice())
    run(twice())
    assert [seen.connection for seen in api.requests] == [1, 1, 2, 2]
    assert client._sessions == {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio's, about the open connection
def test_a_loop_that_ended_badly_is_forgotten(api: Api, run: Run) -> None:
    """Where a loop was closed without saying goodbye, its connections are let go with the next one."""
    client = AiohttpClient()

    async def once() -> None:
        await client.send(Request("POST", api.url, {}, b"{}", 5.0))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(once())
    loop.close()
    run(once())
    assert client._sessions == {}
    gc.collect()


def test_without_aiohttp_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiohttp the client is refused when it is made, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(MissingExtra, match=r"pip install 'millstream\[async\]'"):
        AsyncAnalytics("key")
    AsyncAnalytics("key", disable=True)
    AsyncAnalytics("key", http_client=lambda _: Response(200))
