"""Analytics: the client for threads, scripts and anything that is not an event loop."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._calls import EventCalls
from ._core.context import Context
from ._core.engine import Policy
from ._drivers import process
from ._drivers.disabled import DisabledDriver
from ._drivers.inline import InlineDriver
from ._drivers.thread import ThreadDriver
from ._log import Summary, logger
from .destinations.tracking_api import TrackingAPI
from .errors import PenstockError, PluginError, SettingsError
from .http import as_client
from .plugins import assert_loaded, check
from .settings import Settings, seconds
from .types import ErrorEvent, FlushResult, HTTPClient

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .settings import SettingsArgs

__all__ = ["Analytics"]


class Analytics(EventCalls):
    """Records customer-data events and delivers them in the background.

    Calls take microseconds and never wait for the network. The worker, a daemon thread, starts with the first event;
    what is left when the process ends is delivered then, within `exit_timeout`.

        with Analytics("WRITE_KEY") as analytics:
            analytics.track("Item Purchased", user_id="019mr8mf4r", properties={"revenue": 39.95})

    Args:
        write_key: the source's key; by default `$PENSTOCK_WRITE_KEY`.
        settings: see `penstock.settings.Settings`, or docs/reference/settings.md.

    Raises:
        SettingsError: a setting has a value that cannot be used.
    """

    def __init__(self, write_key: str | None = None, **settings: Unpack[SettingsArgs]) -> None:
        checked = Settings.make(write_key, settings)
        super().__init__(checked)
        if checked.http_client is not None:
            as_client(checked.http_client)  # wrong ones are refused here, not at the first event
        self._driver = self._make_driver()
        process.watch(self)

    def register(self, *plugins: Any) -> None:
        """Load plugins, and run them for the events that are recorded from now on.

        While a critical plugin is being loaded nothing is delivered; if it cannot be loaded, nothing ever is, and
        `close_and_flush` returns the events. Any other plugin that cannot be loaded is reported (`error`, the log) and
        left out.

        Raises:
            SettingsError: a plugin is none, or not one for this client; nothing was registered.
            PluginError: a critical plugin could not be loaded; its own exception is the cause.
        """
        for plugin in plugins:
            check(plugin, may_await=False)
            if plugin.name in self._plugins:
                raise SettingsError(f"there is a plugin {plugin.name!r} already: deregister it first")
        for plugin in plugins:
            self._load(plugin)
        self._emitter.emit("register", [plugin.name for plugin in plugins])

    def deregister(self, *names: str) -> None:
        """Stop running these plugins, and unload them.

        Raises:
            PenstockError: there is no plugin of that name.
        """
        for name in names:
            if name not in self._plugins:
                known = ", ".join(self._plugins) or "none"
                raise PenstockError(f"there is no plugin {name!r}; registered: {known}")
        for name in names:
            plugin = self._plugins.pop(name)
            self._driver.unplug(name)
            try:
                plugin.unload(Context(b"{}", ""), self)
            except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
                self._emitter.fault("plugin", exc)
        self._emitter.emit("deregister", list(names))

    def _load(self, plugin: Any) -> None:
        if plugin.critical:
            self._driver.hold()
        try:
            plugin.load(Context(b"{}", ""), self)
            assert_loaded(plugin)
        except Exception as exc:
            error = PluginError(plugin.name, f"it could not be loaded: {type(exc).__name__}: {exc}")
            error.__cause__ = exc
            self._emitter.report(ErrorEvent("plugin", error))
            if plugin.critical:
                self._driver.halt(error)
                raise error from exc
            return
        self._plugins[plugin.name] = plugin
        if plugin.type != "utility":
            self._driver.plug(plugin)
        if plugin.critical:
            self._driver.release()

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Send all that was submitted before now, without waiting for `flush_interval`, and wait for the outcomes.

        Flushes may overlap; none waits for what is submitted after it.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`. What is undecided then
                stays on its way and is counted as `pending`.

        Raises:
            PenstockError: called on the client's own worker, which would wait for itself.
        """
        return self._driver.flush(self._timeout(timeout))

    def close_and_flush(self, timeout: float | None = None) -> FlushResult:
        """Stop accepting events, deliver those that were accepted, wait for their callbacks, and let go of everything.

        Args:
            timeout: seconds to wait; by default 75, or more with a long `flush_interval`. What is undecided then is
                given up: it is returned in `unsent`, and its receipts raise `Abandoned`.

        Raises:
            PenstockError: called on the client's own worker, which would wait for itself.
        """
        limit = self._timeout(timeout)
        self._closed = True
        return self._driver.close(limit)

    close = close_and_flush

    def __enter__(self) -> Analytics:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close_and_flush()

    def _timeout(self, given: float | None) -> float:
        return self._settings.patience if given is None else seconds("timeout", given)

    def _make_driver(self) -> InlineDriver:
        settings = self._settings
        destination = TrackingAPI(
            write_key=settings.write_key,
            url=settings.url,
            timeout=settings.http_request_timeout,
            compress=settings.gzip,
        )
        policy = Policy(
            flush_at=settings.flush_at,
            flush_interval=settings.flush_interval,
            max_batch_events=settings.batch_events,
            overhead=destination.overhead,
            max_in_flight=settings.max_in_flight,
            max_retries=settings.max_retries,
            max_total_backoff=settings.max_total_backoff_duration,
            max_rate_limit=settings.max_rate_limit_duration,
            send_timeout=settings.http_request_timeout + 1.0,
        )
        kind = DisabledDriver if settings.disable else ThreadDriver
        return kind(
            destination=destination,
            policy=policy,
            make_client=self._make_http_client,
            emitter=self._emitter,
            summary=self._summary,
            max_events=settings.max_queue_events,
            max_bytes=settings.max_queue_bytes,
        )

    def _make_http_client(self) -> HTTPClient:
        if self._settings.http_client is not None:
            return as_client(self._settings.http_client)
        from .http.urllib3 import Urllib3Client  # noqa: PLC0415 - loaded with the first request, not with the import

        return Urllib3Client(proxy=self._settings.proxy)

    def _at_exit(self) -> None:
        if self._closed or not self._driver.stats().pending:
            return
        result = self.close_and_flush(self._settings.exit_timeout)
        left = len(result.unsent) + result.pending
        if left:
            logger.warning("%d events were not delivered within exit_timeout=%g s", left, self._settings.exit_timeout)

    def _after_fork(self) -> None:
        """In a forked child: the parent still owns its events, its worker and its connections."""
        self._driver.orphan()
        self._summary = Summary()
        self._driver = self._make_driver()
        for plugin in self._plugins.values():
            if plugin.type != "utility":
                self._driver.plug(plugin)
