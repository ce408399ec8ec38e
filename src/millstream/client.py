"""Analytics: the client for threads and scripts, without an event loop."""

from __future__ import annotations

from types import TracebackType

from ._client.calls import EventCalls
from ._delivery.assemble import Parts, threaded
from ._delivery.driver import Driver
from ._public import publish
from .destinations import Destination
from .plugins import PluginLike, assert_loaded, call
from .settings import Settings
from .types import FlushResult

__all__ = ["Analytics"]


class Analytics(EventCalls):
    """Records customer-data events and delivers them in the background.

    Calls take microseconds and never wait for the network. The worker, a daemon thread, starts with the first event;
    events pending when the process ends are delivered then, within `exit_timeout`. Settings are keyword arguments.

        with Analytics("WRITE_KEY") as analytics:
            analytics.track("Item Purchased", user_id="019mr8mf4r", properties={"revenue": 39.95})
    """

    _may_await = False

    def register(self, *plugins: PluginLike | Destination) -> None:
        """Load plugins, and run them for later events.

        While a critical plugin is being loaded delivery is paused; if it fails to load, delivery stops for good, and
        `close_and_flush` returns the events. Other plugins that fail to load are reported (`error`, the log) and left
        out.

        Raises:
            SettingsError: an argument is not a plugin, or not one for this client; nothing was registered.
            PluginError: a critical plugin failed to load; its own exception is the cause.
        """
        with self._registration.registering(plugins, self._lifecycle.begin):
            for plugin in plugins:
                with self._registration.loading(plugin):
                    call(plugin, "load", self)
                    assert_loaded(plugin)

    def deregister(self, *names: str) -> None:
        """Stop running these plugins, and unload them.

        Raises:
            MillstreamError: no plugin has that name.
        """
        self._registration.check_known(names)
        for name in names:
            with self._registration.unloading(name, self._lifecycle.begin) as plugin:
                call(plugin, "unload", self)
        self._emitter.emit("deregister", list(names))

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Send all events submitted before now, without waiting for `flush_interval`, and wait for the outcomes.

        Flushes may overlap; none waits for later events.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`, and in a log handler
                `exit_timeout`. Events unsettled then stay in delivery and are counted as `pending`.

        Raises:
            MillstreamError: called on the client's own worker, which would wait for itself.
        """
        return self._lifecycle.driver.flush(self._timeout(timeout))

    def close_and_flush(self, timeout: float | None = None) -> FlushResult:
        """Stop accepting events, deliver accepted ones, wait for their callbacks, and release all resources.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`, and in a log handler
                `exit_timeout`. Events unsettled then are abandoned: they are returned in `unsent`, and their receipts
                raise `Abandoned`.

        Raises:
            MillstreamError: called on the client's own worker, which would wait for itself.
        """
        limit = self._timeout(timeout)
        self._lifecycle.close()
        try:
            return self._lifecycle.driver.close(limit)
        finally:
            self._lifecycle.has_closed()

    close = close_and_flush

    def __enter__(self) -> Analytics:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close_and_flush()

    @staticmethod
    def _build(settings: Settings, parts: Parts) -> Driver:  # noqa: ARG004 - AsyncAnalytics needs them
        return threaded(parts)


publish("millstream", Analytics)
