"""HTTP libraries that other tools have wrapped: what they add arrives, and what they read or raise sends nothing twice.

The tools themselves are tried elsewhere; here is each kind of thing that they do.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import urllib3

from millstream import AiohttpClient, Analytics, Request, RetriesExhausted, TransportError
from support.api import Answer, Api

Make = Callable[..., Analytics]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def wrap(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Put `wrapper(original, self, …)` in the place of a method, as a tool does."""
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda self, *args, **rest: wrapper(original, self, *args, **rest))


def deliver(client: Make, api: Api) -> None:
    """Two events, one after the other: each is delivered, and arrives once."""
    analytics = client(max_retries=2, flush_at=1)
    for name in "AB":
        assert analytics.track(name, user_id="u").wait(timeout=10)
    assert [event["event"] for event in api.events] == ["A", "B"]
    assert (analytics.stats().requests, analytics.stats().delivered) == (2, 2)


def test_a_header_that_is_added_in_http_client(client: Make, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tool puts into `HTTPConnection.endheaders` goes out with each request, before a body that is whole."""
    traces = iter(["one", "two"])

    def endheaders(original: Any, connection: Any, *args: Any, **rest: Any) -> None:
        connection.putheader("traceparent", next(traces))
        original(connection, *args, **rest)

    wrap(monkeypatch, http.client.HTTPConnection, "endheaders", endheaders)
    deliver(client, api)
    assert [seen.header("traceparent") for seen in api.requests] == ["one", "two"]


def test_headers_that_are_added_to_urlopen(client: Make, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tool adds to the headers of one request is in that one alone."""
    traces = iter(["one", "two"])

    def urlopen(original: Any, pool: Any, *args: Any, headers: Any = None, **rest: Any) -> Any:
        if "traceparent" not in headers:
            headers["traceparent"] = next(traces)
        return original(pool, *args, headers=headers, **rest)

    wrap(monkeypatch, urllib3.HTTPConnectionPool, "urlopen", urlopen)
    deliver(client, api)
    assert [seen.header("traceparent") for seen in api.requests] == ["one", "two"]


READS = {
    "version": lambda response: response.version,
    "reason": lambda response: response.reason,
    "getheaders": lambda response: response.getheaders(),
    "data": lambda response: response.data,
    "read": lambda response: response.read(),
    "connection": lambda response: response.connection,
    "geturl": lambda response: response.geturl(),
    "release_conn": lambda response: (response.data, response.release_conn()),
    "close": lambda response: (response.data, response.close()),
}


@pytest.mark.filterwarnings("ignore:HTTPResponse.getheader")  # deprecated in urllib3 2.2, and kept in later ones
@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("answer", [Answer(), Answer(200, {"Connection": "close"}, then="close"), Answer(204)])
def test_a_wrapper_may_read_the_response(
    client: Make, api: Api, monkeypatch: pytest.MonkeyPatch, what: str, answer: Answer
) -> None:
    """Whatever a wrapper of `urlopen` looks at, also if it reads the body away: one copy, delivered."""
    seen: list[Any] = []

    def urlopen(original: Any, *args: Any, **rest: Any) -> Any:
        response = original(*args, **rest)
        seen.append(READS[what](response))
        return response

    wrap(monkeypatch, urllib3.HTTPConnectionPool, "urlopen", urlopen)
    api.always = answer
    deliver(client, api)
    assert len(seen) == 2


def test_a_body_that_a_wrapper_has_read_is_still_there(client: Make, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server said against an event is in the error, though a wrapper has read it before."""

    def urlopen(original: Any, *args: Any, **rest: Any) -> Any:
        response = original(*args, **rest)
        assert response.data == b"because"
        return response

    wrap(monkeypatch, urllib3.HTTPConnectionPool, "urlopen", urlopen)
    api.script(Answer(400, {}, b"because"))
    with pytest.raises(Exception, match="because"):
        client().track("A", user_id="u").wait(timeout=10)


@pytest.mark.parametrize("method", ["release_conn", "read1", "data"])
def test_what_is_raised_after_the_end_changes_nothing(
    client: Make, api: Api, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The answer is whole: that a tool raises while its connection is given back makes no attempt fail."""
    raised: list[str] = []

    def explode(original: Any, response: Any, *args: Any) -> Any:
        result = original(response, *args)
        if method == "release_conn" or not result:
            raised.append(method)
            raise RuntimeError("after the end")
        return result

    if method == "data":
        data = urllib3.HTTPResponse.data
        monkeypatch.setattr(urllib3.HTTPResponse, "data", property(lambda self: explode(data.fget, self)))
        api.always = Answer(204)
    else:
        wrap(monkeypatch, urllib3.HTTPResponse, method, explode)
    deliver(client, api)
    assert raised


def test_what_is_raised_before_the_end_is_a_failed_attempt(
    client: Make, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of which a tool has seen the beginning alone is none."""

    def read1(original: Any, response: Any, *args: Any) -> Any:
        original(response, 1)
        raise RuntimeError("in the middle")

    wrap(monkeypatch, urllib3.HTTPResponse, "read1", read1)
    with pytest.raises(RetriesExhausted, match=f"in the middle .raised in {__name__}."):
        client().track("A", user_id="u").wait(timeout=10)


@pytest.mark.parametrize("raised", [AttributeError("no such thing"), OSError("gone"), KeyError("span")], ids=repr)
def test_what_a_wrapper_raises_is_a_failed_attempt_and_names_it(
    client: Make, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    """The answer cannot be seen then; the error says which module raised."""

    def urlopen(original: Any, *args: Any, **rest: Any) -> Any:
        original(*args, **rest)
        raise raised

    wrap(monkeypatch, urllib3.HTTPConnectionPool, "urlopen", urlopen)
    with pytest.raises(RetriesExhausted, match=f"{type(raised).__name__}: .* .raised in {__name__}."):
        client().track("A", user_id="u").wait(timeout=10)


def test_what_urllib3_raises_through_a_wrapper_is_not_the_wrappers(
    client: Make, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that refuses connections is not taken for a fault of the tool that looks on."""
    wrap(monkeypatch, urllib3.HTTPConnectionPool, "urlopen", lambda original, *args, **rest: original(*args, **rest))
    api.refuse()
    with pytest.raises(RetriesExhausted, match="refused") as caught:
        client().track("A", user_id="u").wait(timeout=10)
    assert "raised in" not in str(caught.value)


def test_aiohttp_with_a_tracer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that adds a trace configuration to every session sees our requests, and its headers go out with them."""
    ended: list[int] = []
    config = aiohttp.TraceConfig()

    async def start(session: Any, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams) -> None:
        params.headers["traceparent"] = TRACE

    async def end(session: Any, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        ended.append(params.response.status)

    config.on_request_start.append(start)
    config.on_request_end.append(end)
    traced(monkeypatch, config)
    assert asyncio.run(send(api)).status == 200
    assert (api.requests[0].header("traceparent"), ended) == (TRACE, [200])


def test_what_a_tracer_of_aiohttp_raises_is_a_failed_attempt_and_names_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer cannot be seen then; the error says which module raised."""
    config = aiohttp.TraceConfig()

    async def end(session: Any, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        raise AttributeError("no such thing")

    config.on_request_end.append(end)
    traced(monkeypatch, config)
    with pytest.raises(TransportError, match=f"AttributeError: no such thing .raised in {__name__}."):
        asyncio.run(send(api))


def traced(monkeypatch: pytest.MonkeyPatch, config: aiohttp.TraceConfig) -> None:
    def init(original: Any, session: Any, *args: Any, **rest: Any) -> None:
        original(session, *args, trace_configs=[config], **rest)

    wrap(monkeypatch, aiohttp.ClientSession, "__init__", init)


async def send(api: Api) -> Any:
    client = AiohttpClient()
    try:
        return await client.send(Request("POST", api.url, {}, b"", 5.0))
    finally:
        await client.close()
