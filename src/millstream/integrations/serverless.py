"""Functions that are frozen as soon as they return: what they recorded has to leave before."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from .._log import logger
from ..errors import MillstreamError
from ..types import FlushResult

__all__ = ["flush_on_return"]

F = TypeVar("F", bound=Callable[..., Any])

AT_MOST = 900.0
"""Seconds: the longest that any platform lets a function run."""


class _Flushes(Protocol):
    def flush(self, timeout: float | None = None) -> FlushResult | Awaitable[FlushResult]: ...


def flush_on_return(analytics: _Flushes, *, timeout: float = 5.0, margin: float = 0.5) -> Callable[[F], F]:
    """Deliver what a function has recorded before it returns, or raises; for `def` and `async def`.

        @flush_on_return(analytics)
        def handler(event, context): ...

    Args:
        analytics: the client that the function records with.
        timeout: seconds that delivery may take, where nobody says how much time the function has.
        margin: seconds to leave of the time that AWS Lambda's `context` says remains.

    Raises:
        MillstreamError: a `def` cannot await an AsyncAnalytics.
    """

    def decorate(fn: F) -> F:
        if inspect.iscoroutinefunction(fn):
            return cast("F", _awaiting(fn, analytics, timeout, margin))
        if inspect.iscoroutinefunction(analytics.flush):
            name = getattr(fn, "__qualname__", fn)
            raise MillstreamError(f"{name} is a plain `def`, which cannot await an AsyncAnalytics: use Analytics")
        return cast("F", _waiting(fn, analytics, timeout, margin))

    return decorate


def _waiting(fn: Callable[..., Any], analytics: _Flushes, timeout: float, margin: float) -> Callable[..., Any]:
    @functools.wraps(fn)
    def flushing(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        finally:
            _tell(cast("FlushResult", analytics.flush(_limit((*args, *kwargs.values()), timeout, margin))))

    return flushing


def _awaiting(fn: Callable[..., Any], analytics: _Flushes, timeout: float, margin: float) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def flushing(*args: Any, **kwargs: Any) -> Any:
        try:
            return await fn(*args, **kwargs)
        finally:
            limit = _limit((*args, *kwargs.values()), timeout, margin)
            # A flush that waits would hold up the event loop: it does so in a thread.
            wait = inspect.iscoroutinefunction(analytics.flush)
            flushed = analytics.flush(limit) if wait else asyncio.to_thread(analytics.flush, limit)
            _tell(await cast("Awaitable[FlushResult]", flushed))

    return flushing


def _limit(arguments: tuple[Any, ...], timeout: float, margin: float) -> float:
    """Seconds for the flush: what the platform leaves to the function, if one of its arguments can tell."""
    for argument in arguments:
        remaining = getattr(argument, "get_remaining_time_in_millis", None)
        if callable(remaining):
            return min(max(0.0, float(cast("float", remaining())) / 1000 - margin), AT_MOST)
    return timeout


def _tell(result: FlushResult) -> None:
    if result.pending:
        logger.warning("%d events were not delivered before the function returned", result.pending)
