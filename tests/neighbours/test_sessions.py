"""Sessions of other HTTP libraries as `http_client`: they send as the client's own does, and stay their owner's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from millstream import Analytics, AsyncAnalytics, Rejected, RetriesExhausted, SettingsError
from support.api import Api, redirect, status

PLAIN: dict[str, Callable[[], Any]] = {
    "requests.Session": requests.Session,
    "httpx.Client": lambda: httpx.Client(follow_redirects=True),
    "urllib3.PoolManager": lambda: urllib3.PoolManager(retries=5),
}
AWAITED: dict[str, Callable[[], Any]] = {
    "httpx.AsyncClient": lambda: httpx.AsyncClient(follow_redirects=True),
    "aiohttp.ClientSession": aiohttp.ClientSession,
}


def finish(session: Any) -> object:
    """Close a session: what closes it may have to be awaited."""
    return getattr(session, "aclose", getattr(session, "close", getattr(session, "clear", None)))()


@pytest.fixture(params=PLAIN)
def session(request: pytest.FixtureRequest) -> Any:
    made = PLAIN[request.param]()
    yield made
    finish(made)


def scripted(api: Api) -> None:
    """Answers that show what a session does with a request."""
    api.script(status(503), redirect(302, f"{api.url}/elsewhere"), status(400, b"because"), status(200))


def assert_sent(api: Api, outcomes: list[object]) -> None:
    """The request that was answered 503 has come again, the others once: no redirect was followed."""
    assert [(seen.method, seen.path) for seen in api.requests] == [("POST", "/v1/batch")] * 5
    assert [seen.events[0]["event"] for seen in api.requests] == ["503", "503", "400", "200", "Last"]
    assert all(seen.header("authorization") == "Basic a2V5Og==" for seen in api.requests)
    assert [type(outcome) for outcome in outcomes] == [Rejected, Rejected, type(None), type(None)]


def settings(api: Api, session: Any) -> dict[str, Any]:
    return {"host": api.url, "http_client": session, "max_in_flight": 1, "max_batch_events": 1}


def test_a_session_sends(api: Api, session: Any) -> None:
    """An answer with an error status is judged as ever, whatever the session would do with it by itself."""
    scripted(api)
    with Analytics("key", **settings(api, session)) as analytics:
        receipts = [analytics.track(name, user_id="u") for name in ("503", "400", "200")]
        analytics.flush(timeout=20)
    with Analytics("key", **settings(api, session)) as another:  # the session is not closed with the first one
        receipts.append(another.track("Last", user_id="u"))
    assert_sent(api, [receipt.outcome.error for receipt in receipts])


def test_with_async_analytics_it_sends_in_threads(api: Api, session: Any) -> None:
    """The same sessions serve AsyncAnalytics."""

    async def main() -> None:
        async with AsyncAnalytics("key", **settings(api, session)) as analytics:
            await analytics.track("A", user_id="u")

    asyncio.run(main())
    assert len(api.accepted) == 1


@pytest.mark.parametrize("name", AWAITED)
def test_what_is_awaited(api: Api, name: str) -> None:
    """A session whose methods are awaited sends for AsyncAnalytics."""
    scripted(api)

    async def main() -> list[object]:
        session = AWAITED[name]()
        try:
            async with AsyncAnalytics("key", **settings(api, session)) as analytics:
                receipts = [analytics.track(name, user_id="u") for name in ("503", "400", "200")]
                await analytics.flush(timeout=20)
            async with AsyncAnalytics("key", **settings(api, session)) as another:
                receipts.append(another.track("Last", user_id="u"))
        finally:
            await finish(session)
        return [receipt.outcome.error for receipt in receipts]

    assert_sent(api, asyncio.run(main()))


@pytest.mark.parametrize("name", AWAITED)
def test_analytics_cannot_await(name: str) -> None:
    """Analytics refuses them when it is made, and says what will do."""

    async def main() -> None:
        session = AWAITED[name]()
        with pytest.raises(SettingsError, match=rf"{name.partition('.')[2]}.* or use AsyncAnalytics"):
            Analytics("key", http_client=session)
        await finish(session)

    asyncio.run(main())


def test_a_host_that_is_gone_is_no_answer(api: Api, session: Any) -> None:
    """What a session raises is a failed attempt."""
    api.refuse()
    with (
        Analytics("key", **settings(api, session), max_retries=0) as analytics,
        pytest.raises(RetriesExhausted, match=r"Connect|Max retries|refused"),
    ):
        analytics.track("A", user_id="u").wait(timeout=10)


@pytest.mark.parametrize("kind", [requests.Session, httpx.Client, urllib3.PoolManager, aiohttp.ClientSession])
def test_the_class_itself_is_refused(kind: type) -> None:
    """Without the parentheses it is no session."""
    with pytest.raises(SettingsError, match="pass an instance"):
        Analytics("key", http_client=kind)
