"""Analytics: the client for threads, scripts and anything that is not an event loop."""

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
    what is left when the process ends is delivered then, within `exit_timeout`. Settings are keyword arguments.

        with Analytics("WRITE_KEY") as analytics:
            analytics.track("Item Purchased", user_id="019mr8mf4r", properties={"revenue": 39.95})
    """

    _may_await = False

    def register(self, *plugins: PluginLike | Destination) -> None:
        """Load plugins, and run them for the events that are recorded from now on.

        While a critical plugin is being loaded nothing is delivered; if it cannot be loaded, nothing ever is, and
        `close_and_flush` returns the events. Any other plugin that cannot be loaded is reported (`error`, the log) and
        left out.

        Raises:
            SettingsError: a plugin is none, or not one for this client; nothing was registered.
            PluginError: a critical plugin could not be loaded; its own exception is the cause.
        """
        with self._registration.registering(plugins, self._lifecycle.begin):
            for plugin in plugins:
                with self._registration.loading(plugin):
                    call(plugin, "load", self)
                    assert_loaded(plugin)

    def deregister(self, *names: str) -> None:
        """Stop running these plugins, and unload them.

        Raises:
            MillstreamError: there is no plugin of that name.
        """
        self._registration.check_known(names)
        for name in names:
            with self._registration.unloading(name, self._lifecycle.begin) as plugin:
                call(plugin, "unload", self)
        self._emitter.emit("deregister", list(names))

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Send all that was submitted before now, without waiting for `flush_interval`, and wait for the outcomes.

        Flushes may overlap; none waits for what is submitted after it.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`, and in a log handler
                `exit_timeout`. What is undecided then stays on its way and is counted as `pending`.

        Raises:
            MillstreamError: called on the client's own worker, which would wait for itself.
        """
        return self._lifecycle.driver.flush(self._timeout(timeout))

    def close_and_flush(self, timeout: float | None = None) -> FlushResult:
        """Stop accepting events, deliver those that were accepted, wait for their callbacks, and let go of everything.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`, and in a log handler
                `exit_timeout`. What is undecided then is given up: it is returned in `unsent`, and its receipts raise
                `Abandoned`.

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
