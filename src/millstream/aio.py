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

    The event calls are plain calls, from any thread, and take microseconds. What waits is awaited: `flush`,
    `close_and_flush`, `register`, `deregister`, a receipt. Hooks of plugins, callbacks and the HTTP client may be
    `async def`. What is left when its loop is closed is delivered by the next one, or when the process ends, within
    `exit_timeout`.

        async with AsyncAnalytics("WRITE_KEY") as analytics:
            analytics.track("Item Purchased", user_id="019mr8mf4r", properties={"revenue": 39.95})

    It may be made before the loop runs (in a module, say), and is then the client of the loop on which it is first
    used.
    """

    _may_await = True

    async def register(self, *plugins: PluginLike | Destination) -> None:
        """Load plugins, and run them for the events that are recorded from now on.

        While a critical plugin is being loaded nothing is delivered; if it cannot be loaded, nothing ever is, and
        `close_and_flush` returns the events. Any other plugin that cannot be loaded is reported (`error`, the log) and
        left out.

        Raises:
            SettingsError: a plugin is none; nothing was registered.
            PluginError: a critical plugin could not be loaded; its own exception is the cause.
        """
        with self._registration.registering(plugins, self._lifecycle.begin):
            for plugin in plugins:
                with self._registration.loading(plugin):
                    await _if_need_be(call(plugin, "load", self))
                    assert_loaded(plugin)

    async def deregister(self, *names: str) -> None:
        """Stop running these plugins, and unload them.

        Raises:
            MillstreamError: there is no plugin of that name.
        """
        self._registration.check_known(names)
        for name in names:
            with self._registration.unloading(name, self._lifecycle.begin) as plugin:
                await self._driver.unplugged(name)
                await _if_need_be(call(plugin, "unload", self))
        self._emitter.emit("deregister", list(names))

    async def flush(self, timeout: float | None = None) -> FlushResult:
        """Send all that was submitted before now, without waiting for `flush_interval`, and wait for the outcomes.

        Flushes may overlap; none waits for what is submitted after it. To cancel one loses nothing.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`. What is undecided then
                stays on its way and is counted as `pending`.

        Raises:
            MillstreamError: awaited in a hook or callback, which would wait for itself; or the client belongs to
                another event loop, which is neither running nor closed.
        """
        return await self._driver.aflush(self._timeout(timeout))

    async def close_and_flush(self, timeout: float | None = None) -> FlushResult:
        """Stop accepting events, deliver those that were accepted, wait for their callbacks, and let go of everything.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`. What is undecided then is
                given up: it is returned in `unsent`, and its receipts raise `Abandoned`.

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
            client = AiohttpClient(
                proxy=settings.proxy
            )  # now: that it is not installed concerns the maker of the client
            parts = replace(parts, make_client=lambda: client)
        return on_loop(parts, default_client(settings.proxy), settings.plugin_timeout)


async def _if_need_be(returned: object) -> None:
    if inspect.isawaitable(returned):
        await returned


publish("millstream", AsyncAnalytics)
