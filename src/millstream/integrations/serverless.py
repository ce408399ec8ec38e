"""Functions that are frozen as soon as they return: what they recorded has to leave before."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

from .._logging import logger, plural
from .._public import publish
from ..errors import MillstreamError
from ..settings import seconds
from ..types import FlushResult

__all__ = ["Flusher", "Flushes", "awaits", "flush_on_return"]

F = TypeVar("F", bound=Callable[..., Any])
Handler = Callable[..., Any]

AT_MOST = 900.0
"""Seconds: the longest that any platform lets a function run."""
FAILED = "events were not delivered before the function returned: %s: %s"


class Flushes(Protocol):
    def flush(self, timeout: float | None = None) -> FlushResult | Awaitable[FlushResult]: ...


def flush_on_return(analytics: Flushes, *, timeout: float = 5.0, margin: float = 0.5) -> Callable[[F], F]:
    """Deliver what a function has recorded before it returns, or raises; for `def`, `async def` and generators.

        @flush_on_return(analytics)
        def handler(event, context): ...

    A generator's events are delivered when it ends. What delivery raises is logged: the function's own result or
    exception is always the caller's.

    Args:
        analytics: the client that the function records with.
        timeout: seconds that delivery may take, if no argument says how much time the function has.
        margin: seconds to leave of the time that AWS Lambda's `context` says remains.

    Raises:
        MillstreamError: the client or the function is missing, or a `def` cannot await an AsyncAnalytics.
        SettingsError: `timeout` or `margin` is no number of seconds.
    """
    if not callable(getattr(analytics, "flush", None)):
        raise MillstreamError(
            f"flush_on_return needs the client, and got {type(analytics).__name__}: write @flush_on_return(analytics)"
        )
    flusher = Flusher(analytics, seconds("timeout", timeout), seconds("margin", margin))

    def decorate(fn: F) -> F:
        name = getattr(fn, "__qualname__", type(fn).__name__)
        if isinstance(fn, type) or not callable(fn):
            raise MillstreamError(f"flush_on_return cannot decorate {name}: decorate the function or method that runs")
        wrap = next((wrap for is_kind, _, wrap in _KINDS if is_kind(_body(fn))), _calling)
        if flusher.awaits and wrap in {_calling, _generating}:
            raise MillstreamError(f"{name} is a plain `def`, which cannot await an AsyncAnalytics: use Analytics")
        return cast("F", functools.wraps(fn)(wrap(fn, flusher)))

    return decorate


def _body(fn: Handler) -> Handler:
    """The function whose kind says what a call returns: of an object that is called like a function, its `__call__`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn if inspect.isroutine(fn) else type(fn).__call__


def awaits(analytics: Flushes) -> bool:
    """Whether this client's flush must be awaited."""
    return inspect.iscoroutinefunction(analytics.flush)


class Flusher:
    """Flushes one client for any number of calls, and never raises."""

    def __init__(self, analytics: Flushes, timeout: float, margin: float) -> None:
        self.awaits = awaits(analytics)
        self._analytics = analytics
        self._timeout = timeout
        self._margin = margin

    def flush(self, *args: Any, **kwargs: Any) -> None:
        """Flush after a call with these arguments."""
        try:
            _report(cast("FlushResult", self._analytics.flush(self._limit(*args, *kwargs.values()))))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the function has done its work
            _warn(FAILED, type(exc).__name__, exc)

    async def aflush(self, *args: Any, **kwargs: Any) -> None:
        """The same on an event loop, which a flush that waits must not hold up: it has a thread."""
        flush = self._analytics.flush
        try:
            limit = self._limit(*args, *kwargs.values())
            flushed: Any = flush(limit) if self.awaits else asyncio.to_thread(flush, limit)
            _report(await flushed)
        except Exception as exc:  # noqa: BLE001 - as above
            _warn(FAILED, type(exc).__name__, exc)

    def _limit(self, *arguments: Any) -> float:
        """Seconds for the flush: what the platform leaves to the function, if one of its arguments can tell."""
        for argument in arguments:
            try:
                remaining = argument.get_remaining_time_in_millis()
            except Exception:  # noqa: BLE001, S112 - most arguments have no such method, and any may raise anything
                continue
            if isinstance(remaining, int | float):
                return min(max(0.0, remaining / 1000 - self._margin), AT_MOST)
        return self._timeout


def _report(result: FlushResult) -> None:
    if result.pending:
        _warn("%s not delivered before the function returned", plural(result.pending, "event"))


def _warn(message: str, *about: object) -> None:
    with suppress(Exception):  # a log handler's
        logger.warning(message, *about)


# -- kinds of functions ----------------------------------------------------------------------------------


def _calling(fn: Handler, flusher: Flusher) -> Handler:
    """A plain function; if it returns a coroutine or a generator, the events of that are delivered when it ends."""

    def flushing(*args: Any, **kwargs: Any) -> Any:
        wrap = None
        try:
            result: Any = fn(*args, **kwargs)
            wrap = next((wrap for _, is_kind, wrap in _KINDS if is_kind(result)), None)
        finally:
            if wrap is None:
                flusher.flush(*args, **kwargs)
        return result if wrap is None else wrap(lambda *_, **__: result, flusher)(*args, **kwargs)

    return flushing


def _awaiting(fn: Handler, flusher: Flusher) -> Handler:
    async def flushing(*args: Any, **kwargs: Any) -> Any:
        try:
            return await fn(*args, **kwargs)
        finally:
            await flusher.aflush(*args, **kwargs)

    return flushing


def _generating(fn: Handler, flusher: Flusher) -> Handler:
    def flushing(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        try:
            items: Generator[Any, Any, Any] = fn(*args, **kwargs)
            return (yield from items)
        finally:
            flusher.flush(*args, **kwargs)

    return flushing


def _async_generating(fn: Handler, flusher: Flusher) -> Handler:
    async def flushing(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        items = fn(*args, **kwargs)
        try:
            step = items.__anext__()
            while True:  # as `yield from` does it, which an asynchronous generator has not
                item = await step
                try:
                    sent = yield item
                except GeneratorExit:
                    await items.aclose()
                    raise
                except BaseException as exc:  # noqa: BLE001 - thrown in, for the function to see
                    step = items.athrow(exc)
                else:
                    step = items.asend(sent)
        except StopAsyncIteration:
            pass
        finally:
            await flusher.aflush(*args, **kwargs)

    return flushing


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], bool], Callable[[Handler, Flusher], Handler]], ...] = (
    (inspect.iscoroutinefunction, inspect.iscoroutine, _awaiting),
    (inspect.isgeneratorfunction, inspect.isgenerator, _generating),
    (inspect.isasyncgenfunction, inspect.isasyncgen, _async_generating),
)
"""How a function that is more than a plain one is known, how what it returns is, and what flushes after it."""


publish("millstream", flush_on_return)
