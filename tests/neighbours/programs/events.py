"""What every program here does beside its tool: record a hundred events, and say what became of them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import urllib3

from millstream import Analytics, AsyncAnalytics

HOST = sys.argv[1]
EVENTS = 100
A_REQUEST = 10
"""Events in one request: so that there are several, on kept connections."""


def settings(**more: Any) -> dict[str, Any]:
    return {"host": HOST, "flush_at": A_REQUEST, "max_batch_events": A_REQUEST, "max_retries": 0, **more}


def properties(number: int) -> dict[str, Any]:
    """What arrives intact, or shows that it did not."""
    return {"number": number, "price": 39.95, "name": "Käse & Brot", "tags": ["a", None, True]}


def track(analytics: Analytics | AsyncAnalytics, number: int) -> Any:
    return analytics.track("Item Purchased", user_id=f"user-{number}", properties=properties(number))


def deliver(analytics: Analytics | None = None, numbers: range = range(EVENTS), **more: Any) -> dict[str, Any]:
    """Record the events with Analytics, deliver them, and return what the caller learns of it."""
    analytics = analytics or Analytics("key", **settings(**more))
    receipts = [track(analytics, number) for number in numbers]
    analytics.close_and_flush(timeout=30)
    return outcome(analytics, receipts)


async def deliver_async(analytics: AsyncAnalytics | None = None, **more: Any) -> dict[str, Any]:
    """The same with AsyncAnalytics."""
    analytics = analytics or AsyncAnalytics("key", **settings(**more))
    receipts = []
    for number in range(EVENTS):
        receipts.append(track(analytics, number))
        if number % A_REQUEST == 0:
            await asyncio.sleep(0)
    await analytics.close_and_flush(timeout=30)
    return outcome(analytics, receipts)


def run(client: str, **more: Any) -> dict[str, Any]:
    """With the client that the test names."""
    return deliver(**more) if client == "Analytics" else asyncio.run(deliver_async(**more))


def outcome(analytics: Analytics | AsyncAnalytics, receipts: list[Any]) -> dict[str, Any]:
    stats = analytics.stats()
    errors = Counter(repr(receipt.outcome.error) for receipt in receipts if receipt.outcome.error)
    return {
        "accepted": stats.accepted,
        "delivered": stats.delivered,
        "others": stats.failed + stats.dropped + stats.pending,
        "requests": stats.requests,
        "retries": stats.retries,
        "errors": errors,
    }


def plain(client: str = "Analytics") -> None:
    """A request of other people's, with the same library."""
    if client == "Analytics":
        with urllib3.PoolManager() as pool:
            pool.request("POST", f"{HOST}/plain", body=b"", timeout=10)
    else:
        asyncio.run(_plain_async())


async def _plain_async() -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.post(f"{HOST}/plain", data=b"") as answer:
        await answer.read()


def say(learnt: dict[str, Any], **seen: Any) -> None:
    """Tell the test what the caller has learnt, and what the tool has seen."""
    sys.stdout.write(json.dumps({**learnt, "seen": seen}, default=str) + "\n")


def main(program: Callable[[str], None]) -> None:
    program(sys.argv[2])
