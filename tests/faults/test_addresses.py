"""A host with several addresses, of which the first do not answer: an unreachable IPv6 address is the common case."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, AsyncAnalytics, RetriesExhausted
from support.api import Answer, Api
from support.faults import black_hole
from support.proxy import Proxy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue of connections refuses more")

TIMEOUT = 3.0
Resolve = Callable[..., str]


@pytest.fixture
def resolve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Gives a name, which is new for each test, these addresses in this order."""
    real, known = socket.getaddrinfo, list[str]()
    name = f"a{abs(hash(request.node.nodeid))}.invalid"

    def getaddrinfo(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host not in {name, name.encode()}:
            return real(host, port, *rest, **options)
        return [answer for address in known for answer in real(address, port, *rest, **options)]

    def resolve(*addresses: str) -> str:
        known.extend(addresses)
        return name

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return resolve


def within_the_time(begun: float) -> bool:
    return time.monotonic() - begun < TIMEOUT + 1.0


@pytest.mark.parametrize("dead", [["127.0.0.2"], ["127.0.0.2", "127.0.0.3"]], ids=["one", "two"])
def test_the_next_address_is_tried_in_time(api: Api, client: Any, resolve: Resolve, dead: list[str]) -> None:
    """The events arrive once, at the first attempt, within `http_request_timeout`."""
    name = resolve(*dead, "127.0.0.1")
    with black_hole("127.0.0.2", api.port), black_hole("127.0.0.3", api.port):
        analytics: Analytics = client(host=f"http://{name}:{api.port}", http_request_timeout=TIMEOUT, max_retries=3)
        begun = time.monotonic()
        assert analytics.track("A", user_id="u").wait(timeout=20)
        assert within_the_time(begun)
    assert [event["event"] for event in api.events] == ["A"]
    assert analytics.stats().requests == 1


def test_time_is_left_for_the_answer(api: Api, client: Any, resolve: Resolve) -> None:
    """Nothing is sent whose answer cannot be waited for: one that takes its time is still in time."""
    name = resolve("127.0.0.2", "127.0.0.1")
    api.always = Answer(delay=TIMEOUT / 4)
    with black_hole("127.0.0.2", api.port):
        analytics: Analytics = client(host=f"http://{name}:{api.port}", http_request_timeout=TIMEOUT, max_retries=3)
        assert analytics.track("A", user_id="u").wait(timeout=20)
    assert [event["event"] for event in api.events] == ["A"]


def test_a_proxy_has_several_addresses_too(api: Api, proxy: Proxy, client: Any, resolve: Resolve) -> None:
    """The time is shared among the addresses of what is connected to, which may be a proxy."""
    name = resolve("127.0.0.2", "127.0.0.1")
    port = int(proxy.url.rpartition(":")[2])
    with black_hole("127.0.0.2", port):
        analytics: Analytics = client(proxy=f"http://{name}:{port}", http_request_timeout=TIMEOUT, max_retries=3)
        assert analytics.track("A", user_id="u").wait(timeout=20)
    assert len(api.events) == 1


def test_without_any_address_nothing_is_sent(api: Api, client: Any, resolve: Resolve) -> None:
    """If none answers the attempt fails in time."""
    name = resolve("127.0.0.2", "127.0.0.3")
    with black_hole("127.0.0.2", api.port), black_hole("127.0.0.3", api.port):
        analytics: Analytics = client(host=f"http://{name}:{api.port}", http_request_timeout=TIMEOUT)
        begun = time.monotonic()
        with pytest.raises(RetriesExhausted, match="timed out"):
            analytics.track("A", user_id="u").wait(timeout=20)
        assert within_the_time(begun)
    assert api.requests == []


def test_on_a_loop(api: Api, resolve: Resolve) -> None:
    """The same with AsyncAnalytics."""
    name = resolve("127.0.0.2", "127.0.0.1")

    async def deliver() -> None:
        host = f"http://{name}:{api.port}"
        async with AsyncAnalytics("key", host=host, http_request_timeout=TIMEOUT, max_retries=3) as analytics:
            begun = time.monotonic()
            assert await analytics.track("A", user_id="u")
            assert within_the_time(begun)
            assert analytics.stats().requests == 1

    with black_hole("127.0.0.2", api.port):
        asyncio.run(asyncio.wait_for(deliver(), 20))
    assert [event["event"] for event in api.events] == ["A"]
