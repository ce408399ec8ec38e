"""Makes the parts of a client's delivery from its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .._core.delivery.policy import Policy
from .._delivery.assemble import Parts
from .._logging import Summary
from ..auth import oauth_of
from ..destinations import Limits, TrackingAPI
from ..emitter import Emitter
from ..http import as_client
from ..http._environment import need_socks

# Imported with the client, not by the worker: a fork during the import would leave the child with half a module and a
# lock on it that is never released; and at interpreter shutdown nothing can be imported any more.
from ..http.urllib3 import Urllib3Client
from ..settings import Settings
from ..types import HTTPClient
from ..urls import origin

if TYPE_CHECKING:
    from ..spool import Spool

__all__ = ["default_client", "parts_of"]


def parts_of(settings: Settings, emitter: Emitter, summary: Summary, *, may_await: bool) -> Parts:
    """Return the parts of a new driver. `may_await`: whether an HTTP client may be `async def`."""
    given = settings.http_client
    destination = TrackingAPI(
        settings.write_key,
        host=settings.url,
        path="",
        timeout=settings.http_request_timeout,
        compress=settings.gzip,
        oauth=settings.oauth_settings is not None,
    )
    return Parts(
        destination=destination,
        tracks=bool(settings.write_key) or settings.disable,
        policy=_policy(settings, destination.limits),
        make_client=default_client(settings.proxy) if given is None else lambda: as_client(given, may_await=may_await),
        emitter=emitter,
        summary=summary,
        max_events=settings.max_queue_events,
        max_bytes=settings.max_queue_bytes,
        oauth=oauth_of(settings, lambda given: as_client(given, may_await=may_await)),
        spool=_spool(settings, emitter),
        spool_max_age=settings.spool_max_age,
        disabled=settings.disable,
        host=origin(settings.host),
    )


def default_client(proxy: str | None) -> Callable[[], HTTPClient]:
    """Return the factory of the default HTTP client for threads."""
    need_socks(proxy)
    return lambda: Urllib3Client(proxy=proxy)


def _spool(settings: Settings, emitter: Emitter) -> Spool | None:
    if settings.spool is None or settings.disable:
        return None
    from ..spool.spool import Spool, source_of  # noqa: PLC0415 - a client without a spool does not load it

    return Spool(
        Path(settings.spool),
        source=source_of(settings.write_key or _names(settings)),
        max_bytes=settings.spool_max_bytes,
        sync=settings.sync_interval,
        report=lambda error: emitter.fault("spool", error),
    )


def _names(settings: Settings) -> str:
    """Return the names of the destinations: what a client without a key is known by in a spool that several share."""
    return "\n".join(sorted(each.name for each in settings.destinations))


def _policy(settings: Settings, limits: Limits) -> Policy:
    return Policy(
        flush_at=settings.flush_at,
        flush_interval=settings.flush_interval,
        max_batch_events=settings.batch_events,
        overhead=limits.overhead,
        max_in_flight=settings.max_in_flight,
        max_retries=settings.max_retries,
        max_total_backoff=settings.max_total_backoff_duration,
        max_rate_limit=settings.max_rate_limit_duration,
        send_timeout=settings.http_request_timeout + 1.0,
        keeps=settings.spool is not None,
    )
