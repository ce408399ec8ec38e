"""AsyncAnalytics: the client for event loops."""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import TracebackType
from typing import cast

from ._client.calls import EventCalls
from ._client.parts import default_client
from ._delivery.assemble import Parts, on_loop
from ._delivery.async_driver import AsyncDriver
from ._public import publish
from .destinations import Destination
from .http import as_client
from .http.aiohttp import AiohttpClient
from .plugins import PluginLike, assert_loaded, call
from .settings import Settings
from .types import FlushResult, HTTPClient

__all__ = ["AsyncAnalytics"]


class AsyncAnalytics(EventCalls):
    """Records customer-data events and delivers them on your own event loop, without a thread.

    The event calls are synchronous, from any thread, and take microseconds. `flush`, `close_and_flush`, `register`,
    `deregister` and a receipt are awaited. Hooks of plugins, callbacks and the HTTP client may be `async def`. Events
    pending when the loop closes are delivered by the next loop, or when the process ends, within `exit_timeout`.

        async with AsyncAnalytics("WRITE_KEY") as analytics:
            analytics.track("Item Purchased", user_id="019mr8mf4r", properties={"revenue": 39.95})

    It may be made before the loop runs (in a module, say), and then belongs to the loop on which it is first used.
    """

    _may_await = True

    async def register(self, *plugins: PluginLike | Destination) -> None:
        """Load plugins, and run them for later events.

        While a critical plugin is being loaded delivery is paused; if it fails to load, delivery stops for good, and
        `close_and_flush` returns the events. Other plugins that fail to load are reported (`error`, the log) and left
        out.

        Raises:
            SettingsError: an argument is not a plugin; nothing was registered.
            PluginError: a critical plugin failed to load; its own exception is the cause.
        """
        with self._registration.registering(plugins, self._lifecycle.begin):
            for plugin in plugins:
                with self._registration.loading(plugin):
                    await _if_need_be(call(plugin, "load", self))
                    assert_loaded(plugin)

    async def deregister(self, *names: str) -> None:
        """Stop running these plugins, and unload them.

        Raises:
            MillstreamError: no plugin has that name.
        """
        self._registration.check_known(names)
        for name in names:
            with self._registration.unloading(name, self._lifecycle.begin) as plugin:
                await self._driver.unplugged(name)
                await _if_need_be(call(plugin, "unload", self))
        self._emitter.emit("deregister", list(names))

    async def flush(self, timeout: float | None = None) -> FlushResult:
        """Send all events submitted before now, without waiting for `flush_interval`, and wait for the outcomes.

        Flushes may overlap; none waits for later events. Cancelling one loses nothing.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`. Events unsettled then stay in
                delivery and are counted as `pending`.

        Raises:
            MillstreamError: awaited in a hook or callback, which would wait for itself; or the client belongs to
                another event loop, which is neither running nor closed.
        """
        return await self._driver.aflush(self._timeout(timeout))

    async def close_and_flush(self, timeout: float | None = None) -> FlushResult:
        """Stop accepting events, deliver accepted ones, wait for their callbacks, and release all resources.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`. Events unsettled then are
                abandoned: they are returned in `unsent`, and their receipts raise `Abandoned`.

        Raises:
            MillstreamError: see `flush`.
        """
        limit = self._timeout(timeout)
        self._lifecycle.close()
        try:
            return await self._driver.aclose(limit)
        finally:
            self._lifecycle.has_closed()

    close = close_and_flush

    async def __aenter__(self) -> AsyncAnalytics:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close_and_flush()

    @property
    def _driver(self) -> AsyncDriver:
        return cast("AsyncDriver", self._lifecycle.driver)

    @staticmethod
    def _build(settings: Settings, parts: Parts) -> AsyncDriver:
        given = settings.http_client
        if given is not None:

            def make_exit_client() -> HTTPClient:
                return as_client(given, may_await=True)

            return on_loop(parts, make_exit_client, settings.plugin_timeout)
        if not settings.disable:
            client = AiohttpClient(proxy=settings.proxy)  # now: its absence concerns the maker of the client
            parts = replace(parts, make_client=lambda: client)
        return on_loop(parts, default_client(settings.proxy), settings.plugin_timeout)


async def _if_need_be(returned: object) -> None:
    if inspect.isawaitable(returned):
        await returned


publish("millstream", AsyncAnalytics)
