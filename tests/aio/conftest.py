"""What the tests of AsyncAnalytics share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from millstream import AsyncAnalytics, Request, Response
from support.api import Api

PATIENCE = 30.0
"""Seconds that a test waits for what must come."""


@pytest.fixture
def make(api: Api) -> Callable[..., AsyncAnalytics]:
    """Makes clients of `api` that do nothing by themselves for a long time, and do not retry."""

    def make(**settings: Any) -> AsyncAnalytics:
        return AsyncAnalytics("key", **{"host": api.url, "flush_interval": 100.0, "max_retries": 0, **settings})

    return make


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on a loop of its own, within a deadline."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))

    return run


class Remote:
    """An `async def` HTTP client in memory: it remembers requests, and answers when it may."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.closed = 0

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        self.asked.set()
        await self.open.wait()
        return Response(200)

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def remote() -> Remote:
    """An `async def` HTTP client in memory."""
    return Remote()
