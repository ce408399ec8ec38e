"""Faults of a Tracking API, for one request each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

__all__ = ["Exchange", "Fault", "delayed", "dropped", "garbage", "none", "refused", "stalled"]


class Exchange(Protocol):
    """A request that was read, and awaits its answer."""

    async def serve(self) -> None:
        """Handle it as the collector does."""

    async def keep(self) -> None:
        """Handle it as the collector does, without answering."""

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Answer it in the collector's place."""

    async def hang_up(self, data: bytes = b"") -> None:
        """Write these bytes, and close the connection."""

    async def wait(self) -> None:
        """Wait until the client disconnects."""


Fault: TypeAlias = Callable[[Exchange], Awaitable[None]]


async def none(exchange: Exchange) -> None:
    await exchange.serve()


def refused(status: int, retry_after: int | None, body: bytes) -> Fault:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}

    async def fault(exchange: Exchange) -> None:
        await exchange.answer(status, headers, body)

    return fault


def delayed(seconds: float) -> Fault:
    async def fault(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await exchange.serve()

    return fault


async def stalled(exchange: Exchange) -> None:
    await exchange.wait()


async def dropped(exchange: Exchange) -> None:
    await exchange.keep()
    await exchange.hang_up()


def garbage(data: bytes) -> Fault:
    async def fault(exchange: Exchange) -> None:
        await exchange.hang_up(data)

    return fault
