"""What every program here does beside its tool: record a hundred events, and say what became of them.

A program is called with the URL of a Tracking API and the name of a client. It prints one line of JSON: what the caller
has learnt of the events, and what the tool has seen.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import aiohttp
import urllib3

from millstream import AiohttpClient, Analytics, AsyncAnalytics, Request, Response, Urllib3Client

HOST, CLIENT = sys.argv[1:3]
EVENTS = 100
A_REQUEST = 10
"""Events in one request: so that there are several, on kept connections."""


def settings(**more: Any) -> dict[str, Any]:
    return {"host": HOST, "flush_at": A_REQUEST, "max_batch_events": A_REQUEST, "max_retries": 0, **more}


def track(analytics: Analytics | AsyncAnalytics, number: int) -> Any:
    properties = {"number": number, "price": 39.95, "name": "Käse & Brot", "tags": ["a", None, True]}
    return analytics.track("Item Purchased", user_id=f"user-{number}", properties=properties)


def deliver(visit: AbstractContextManager[Any] | None = None, **more: Any) -> dict[str, Any]:
    """Record the events with the client that the test names, deliver them, and return what the caller learns of it.

    `visit`: the tool's block in which they are recorded, as in an application's request. They are sent after it.
    """
    inside = visit or nullcontext()
    return _deliver(inside, more) if CLIENT == "Analytics" else asyncio.run(_deliver_async(inside, more))


def _deliver(visit: AbstractContextManager[Any], more: dict[str, Any]) -> dict[str, Any]:
    analytics = Analytics("key", **settings(**more))
    with visit:
        receipts = [track(analytics, number) for number in range(EVENTS)]
    analytics.close_and_flush(timeout=30)
    return outcome(analytics, receipts)


async def _deliver_async(visit: AbstractContextManager[Any], more: dict[str, Any]) -> dict[str, Any]:
    analytics = AsyncAnalytics("key", **settings(**more))
    receipts = []
    with visit:
        for number in range(EVENTS):
            receipts.append(track(analytics, number))
            if number % A_REQUEST == 0:
                await asyncio.sleep(0)
    await analytics.close_and_flush(timeout=30)
    return outcome(analytics, receipts)


def outcome(analytics: Analytics | AsyncAnalytics, receipts: list[Any]) -> dict[str, Any]:
    """What `stats()` says, and the receipts."""
    stats = analytics.stats()
    errors = Counter(str(receipt.outcome.error) for receipt in receipts if receipt.outcome.error)
    return {
        "stats": {name: getattr(stats, name) for name in ("accepted", "delivered", "failed", "dropped", "pending")},
        "requests": stats.requests,
        "errors": errors,
    }


def plain() -> None:
    """A request of other people's, with the library that the client uses."""
    if CLIENT == "Analytics":
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            pool.request("POST", f"{HOST}/plain", body=b"")
    else:
        asyncio.run(_plain_async())


async def _plain_async() -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{HOST}/plain", data=b"") as answer:
        await answer.read()


def sender(around: Callable[[], AbstractContextManager[Any]]) -> Urllib3Client | AiohttpClient:
    """The client's own HTTP client, which sends each request within a block: a tool's transaction, for one."""

    class Sender(Urllib3Client):
        def send(self, request: Request) -> Response:
            with around():
                return super().send(request)

    class AsyncSender(AiohttpClient):
        async def send(self, request: Request) -> Response:
            with around():
                return await super().send(request)

    return Sender() if CLIENT == "Analytics" else AsyncSender()


def say(learnt: dict[str, Any], **seen: Any) -> None:
    """Tell the test what the caller has learnt, and what the tool has seen."""
    sys.stdout.write(json.dumps({**learnt, **seen}) + "\n")
