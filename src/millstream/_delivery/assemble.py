"""Assembles a client's delivery from its parts: for threads, for calling threads, and for event loops."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._core.delivery.engine import Engine
from .._core.delivery.policy import Policy
from .._logging import Summary
from ..auth import OAuth
from ..destinations import Destination, TrackingAPI
from ..emitter import Emitter
from ..types import HTTPClient
from .channel import Channel
from .copies import Copies
from .driver import Driver
from .inline import InlineRuntime
from .runner import Runner
from .runtime import Runtime
from .thread import ThreadRuntime
from .tokens import Tokens
from .transport import ThreadTransport, Transport
from .worker import Worker

if TYPE_CHECKING:
    from ..spool import Spool
    from .async_driver import AsyncDriver

__all__ = ["Parts", "inline", "on_loop", "threaded"]


@dataclass(frozen=True)
class Parts:
    """The parts of a client's delivery that follow from its settings."""

    destination: TrackingAPI
    tracks: bool
    """Whether events go to the Tracking API. They do not without a write key."""
    policy: Policy
    make_client: Callable[[], HTTPClient]
    emitter: Emitter
    summary: Summary
    max_events: int
    max_bytes: int
    oauth: OAuth | None
    spool: Spool | None
    spool_max_age: float
    disabled: bool
    host: str
    """Of the Tracking API, as it may be shown."""


def threaded(parts: Parts) -> Driver:
    """Make a driver that delivers on a background thread."""
    return _blocking(parts, ThreadRuntime(parts.policy.max_in_flight + (parts.oauth is not None)))


def inline(parts: Parts) -> Driver:
    """Make a driver that delivers on the calling threads."""
    return _blocking(parts, InlineRuntime())


def on_loop(parts: Parts, make_exit_client: Callable[[], HTTPClient], hook_timeout: float) -> AsyncDriver:
    """Make a driver that delivers on the application's event loop.

    Args:
        parts: the client's.
        make_exit_client: makes the HTTP client for use without a loop.
        hook_timeout: seconds for an awaited hook.
    """
    from .async_driver import AsyncDriver  # noqa: PLC0415 - a client without an event loop does not load it
    from .async_runner import AsyncRunner  # noqa: PLC0415
    from .async_transport import LoopTransport  # noqa: PLC0415
    from .event_loop import LoopRuntime  # noqa: PLC0415

    runtime = LoopRuntime(parts.emitter, hook_timeout)
    worker = _worker(parts, runtime)
    runner = AsyncRunner(
        parts.emitter, worker.takes, worker.plugins.deliver, worker.end, worker.lock, runtime.wait_for_hook
    )
    worker.plugins.runner = runner
    _open(parts, worker, runtime, lambda: LoopTransport(runtime, parts.make_client, make_exit_client, parts.emitter))
    driver = AsyncDriver(worker, runtime, runner, parts.emitter, hook_timeout=hook_timeout, disabled=parts.disabled)
    _attach_spool(parts, worker, runtime, driver)
    return driver


def _blocking(parts: Parts, runtime: InlineRuntime | ThreadRuntime) -> Driver:
    worker = _worker(parts, runtime)
    post = runtime.post if isinstance(runtime, ThreadRuntime) else None
    worker.plugins.runner = Runner(parts.emitter, worker.takes, worker.plugins.deliver, worker.end, worker.lock, post)
    _open(parts, worker, runtime, lambda: ThreadTransport(parts.make_client, runtime.run, parts.emitter))
    driver = Driver(worker, runtime, parts.emitter, disabled=parts.disabled)
    _attach_spool(parts, worker, runtime, driver)
    return driver


def _worker(parts: Parts, runtime: Runtime) -> Worker:
    return Worker(
        runtime,
        emitter=parts.emitter,
        summary=parts.summary,
        max_events=parts.max_events,
        max_bytes=parts.max_bytes,
        spooled=parts.spool is not None,
    )


def _open(parts: Parts, worker: Worker, runtime: Runtime, new_transport: Callable[[], Transport]) -> None:
    """Open the channel of the Tracking API, and set how others are opened."""
    engine = Engine(replace(parts.policy, linger=runtime.linger), random.random)
    tokens = None if parts.oauth is None else Tokens(parts.oauth, engine, parts.emitter, parts.summary, worker.clock)
    told = parts.emitter, parts.summary
    first = Channel(parts.destination, engine, new_transport(), *told, tokens, worker.clock, host=parts.host)
    first.open = parts.tracks
    worker.channels.append(first)
    runtime.bind(worker)

    def open_another(destination: Destination) -> Channel:
        limits = destination.limits
        policy = replace(
            parts.policy,
            linger=runtime.linger,
            max_batch_events=min(limits.max_events, parts.policy.max_batch_events),
            max_batch_bytes=limits.max_bytes,
            overhead=limits.overhead,
            keyed=True,
            max_in_flight=min(limits.in_flight, parts.policy.max_in_flight),
            send_timeout=limits.timeout + 1.0,
            keeps=False,
        )
        if isinstance(runtime, ThreadRuntime):
            runtime.allow_senders(policy.max_in_flight)
        copies = Copies(destination, worker.ledger, parts.max_events, parts.max_bytes)
        copies.backlog = worker.backlog
        return Channel(
            destination,
            Engine(policy, random.random),
            new_transport(),
            *told,
            None,
            worker.clock,
            copies,
            host=destination.name,
        )

    worker.open_channel = open_another


def _attach_spool(parts: Parts, worker: Worker, runtime: Runtime, driver: Driver) -> None:
    if parts.spool is None:
        return
    from .backlog import Backlog  # noqa: PLC0415 - a client without a spool does not load it

    worker.backlog = Backlog(worker, parts.spool, parts.spool_max_age, runtime.sync, driver)
