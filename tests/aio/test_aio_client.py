"""AsyncAnalytics as a user meets it: the same surface, other colours."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from millstream import Analytics, AsyncAnalytics, Request, Response, SettingsError
from support.api import Api

Make = Callable[..., AsyncAnalytics]
Run = Callable[[Any], Any]

AWAITED = {"register", "deregister", "flush", "close_and_flush", "close"}
"""What waits, and is therefore `async def` in AsyncAnalytics."""


def public(client: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(client, callable) if not name.startswith("_")}


def test_the_two_clients_mirror_each_other() -> None:
    """Both have the same methods with the same parameters; what waits is awaited, and what does not is a plain call."""
    plain, awaited = public(Analytics), public(AsyncAnalytics)
    assert plain.keys() == awaited.keys()
    for name, method in plain.items():
        assert inspect.signature(method) == inspect.signature(awaited[name]), name
        assert not inspect.iscoroutinefunction(method), name
        assert inspect.iscoroutinefunction(awaited[name]) == (name in AWAITED), name
    assert inspect.signature(Analytics.__init__) == inspect.signature(AsyncAnalytics.__init__)
    assert hasattr(Analytics, "__enter__")
    assert inspect.iscoroutinefunction(AsyncAnalytics.__aenter__)


def test_to_await_a_receipt_sends_at_once(api: Api, make: Make, run: Run) -> None:
    """`await analytics.track(…)` does not sit out the flush interval, and returns the context."""

    async def main() -> None:
        async with make(flush_interval=100.0) as analytics:
            context = await analytics.track("A", user_id="u")
            assert (context.event["event"], context.attempts) == ("A", 1)

    run(main())


def test_async_with_closes(api: Api, make: Make, run: Run) -> None:
    """At the end of `async with` everything is delivered, and the client is closed."""

    async def main() -> None:
        async with make() as analytics:
            analytics.track("A", user_id="u")
        assert analytics.stats().delivered == 1

    run(main())
    assert len(api.events) == 1


def test_an_async_http_client_is_awaited_and_closed(make: Make, run: Run, remote: Any) -> None:
    """An HTTP client whose `send` and `close` are `async def` sends, and is closed with the client."""

    async def main() -> None:
        async with make(http_client=remote) as analytics:
            await analytics.track("A", user_id="u")
            assert remote.closed == 0

    run(main())
    assert (len(remote.requests), remote.closed) == (1, 1)


async def answer(_: Request) -> Response:
    return Response(200)


class Plain:
    """An HTTP client without a colour."""

    def send(self, _: Request) -> Response:
        return Response(200)

    def close(self) -> None:
        pass


class Called:
    """A function that is an object."""

    async def __call__(self, _: Request) -> Response:
        return Response(200)


@pytest.mark.parametrize(
    "client",
    [answer, Called(), lambda request: answer(request), lambda _: Response(200), Plain()],  # noqa: PLW0108
    ids=["async function", "async object", "function of an awaitable", "function", "object"],
)
def test_http_clients_of_every_kind(make: Make, run: Run, client: Any) -> None:
    """What sends may be `async def` or plain, function or object, or return something to await."""

    async def main() -> None:
        async with make(http_client=client) as analytics:
            await analytics.track("A", user_id="u")
            await analytics.track("B", user_id="u")

    run(main())


def test_an_http_client_that_raises_is_a_failed_attempt(make: Make, run: Run) -> None:
    """What an `async def` HTTP client raises counts as an attempt that failed, and the next may succeed."""
    answers: list[Any] = [OSError("down"), Response(200)]

    async def send(_: Request) -> Response:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def main() -> None:
        async with make(http_client=send, max_retries=1) as analytics:
            assert (await analytics.track("A", user_id="u")).attempts == 2

    run(main())


def test_requests_belong_to_no_caller(make: Make, run: Run) -> None:
    """A request has nothing of the context of the call that made it due: tracing tools would take it for a part."""
    visitor: ContextVar[str] = ContextVar("visitor", default="none")
    seen: list[str] = []

    async def send(_: Request) -> Response:
        seen.append(visitor.get())
        return Response(200)

    async def main() -> None:
        async with make(http_client=send, flush_at=2, flush_interval=0.05) as analytics:
            visitor.set("first")
            await analytics.track("Awaited", user_id="u")
            for name in ("Two", "Are due"):
                analytics.track(name, user_id="u")
            late = asyncio.Event()
            analytics.track("By time", user_id="u", callback=lambda *_: late.set())
            await late.wait()
            await asyncio.to_thread(analytics.track, "Of a thread", user_id="u")
            visitor.set("last")
        assert len(seen) >= 3

    run(main())
    assert set(seen) == {"none"}


def test_a_full_queue_does_not_block_the_loop() -> None:
    """`overflow="block"` is refused, with the choices that there are."""
    with pytest.raises(SettingsError, match="'drop_newest' or 'raise'"):
        AsyncAnalytics("key", overflow="block")


@pytest.mark.parametrize("client", [answer, Called()], ids=["function", "object"])
def test_analytics_refuses_what_it_cannot_await(client: Any) -> None:
    """Analytics refuses an `async def` HTTP client when it is made, and names the remedy."""
    with pytest.raises(SettingsError, match="use AsyncAnalytics"):
        Analytics("key", http_client=client)


@pytest.mark.parametrize("timeout", [0, -1, 30_000, "1"])
def test_plugin_timeout_is_checked(timeout: Any) -> None:
    """`plugin_timeout` is a number of seconds above zero."""
    with pytest.raises(SettingsError, match="plugin_timeout"):
        AsyncAnalytics("key", plugin_timeout=timeout)
