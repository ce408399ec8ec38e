"""What the two clients share beside the event calls: how they are made, and what a plugin has to pass."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._core.policy import Policy
from ._drivers.inline import InlineDriver
from ._life import Life
from .auth import oauth_of
from .destinations.tracking_api import TrackingAPI
from .errors import DropEvent, MillstreamError, PluginError, SettingsError
from .http import as_client
from .plugins import check, is_critical
from .settings import Settings, seconds
from .types import ErrorEvent, HTTPClient

if TYPE_CHECKING:
    from .log import Spool

__all__ = ["Client"]


class Client(Life):
    """Base of the clients. A subclass says which driver it has, and gives the words that wait their colour."""

    _awaits = False
    """Whether hooks and HTTP clients may be `async def`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._holds = 0  # calls of `register` with a critical plugin that are not over, or ended badly
        self._halted: PluginError | None = None
        if settings.http_client is not None:
            as_client(settings.http_client, may_await=self._awaits)  # refused here, not at the first event
        self._begin()

    # -- how it is made -----------------------------------------------------------------------------

    def _new_driver(self, **parts: Any) -> InlineDriver:
        raise NotImplementedError

    def _make_driver(self) -> InlineDriver:
        settings = self._settings
        destination = TrackingAPI(
            write_key=settings.write_key,
            url=settings.url,
            timeout=settings.http_request_timeout,
            compress=settings.gzip,
            oauth=settings.oauth_settings is not None,
        )
        driver = self._new_driver(
            destination=destination,
            policy=_policy(settings, destination.overhead),
            make_client=self._http_client_maker(),
            emitter=self._emitter,
            summary=self._summary,
            max_events=settings.max_queue_events,
            max_bytes=settings.max_queue_bytes,
            oauth=oauth_of(settings, lambda given: as_client(given, may_await=self._awaits)),
            spool=self._make_spool(),
            spool_max_age=settings.spool_max_age,
        )
        for _ in range(self._holds):
            driver.hold()
        for plugin in self._plugins.values():
            _plug(driver, plugin)
        if self._halted is not None:
            driver.halt(self._halted)
        return driver

    def _make_spool(self) -> Spool | None:
        settings, emitter = self._settings, self._emitter
        if settings.spool is None or settings.disable:
            return None
        from .log.spool import Spool, source_of  # noqa: PLC0415 - who has no spool does not load it

        return Spool(
            Path(settings.spool),
            source=source_of(settings.write_key),
            max_bytes=settings.spool_max_bytes,
            sync=settings.sync_interval,
            report=lambda error: emitter.fault("spool", error),
        )

    def _http_client_maker(self) -> Callable[[], HTTPClient]:
        # No method of ours: the driver, which may outlive the client, must not keep it alive.
        given, proxy, awaits = self._settings.http_client, self._settings.proxy, self._awaits
        if given is not None:
            return lambda: as_client(given, may_await=awaits)
        return default_client(proxy)

    def _timeout(self, given: float | None) -> float:
        return self._settings.patience if given is None else seconds("timeout", given)

    # -- plugins ------------------------------------------------------------------------------------

    def _check_new(self, plugins: Sequence[Any]) -> None:
        names = list(self._plugins)
        for plugin in plugins:
            check(plugin, may_await=self._awaits)
            if plugin.name in names:
                raise SettingsError(f"there is a plugin {plugin.name!r} already: deregister it first")
            names.append(plugin.name)

    def _check_known(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._plugins:
                known = ", ".join(self._plugins) or "none"
                raise MillstreamError(f"there is no plugin {name!r}; registered: {known}")

    @contextmanager
    def _registering(self, plugins: Sequence[Any]) -> Generator[None, None, None]:
        """Around the loading of plugins, which may be awaited: all are checked, then loaded, then run for events.

        A critical one among them holds up delivery until all of it is over, and for good if that ends badly.
        """
        self._check_new(plugins)
        critical = any(is_critical(plugin) for plugin in plugins)
        if critical:
            self._holds += 1
            self._driver.hold()
        try:
            yield
        except BaseException as exc:
            if critical:
                self._halted = exc if isinstance(exc, PluginError) else _not_loaded("register", exc)
            raise
        finally:
            self._take_in(plugins)
            if self._halted is not None:
                self._driver.halt(self._halted)
            elif critical:
                self._holds -= 1
                self._driver.release()

    def _take_in(self, plugins: Sequence[Any]) -> None:
        """Those that could be loaded take part from here on; and who listens knows of it before they do."""
        loaded = [plugin for plugin in self._plugins.values() if any(plugin is each for each in plugins)]
        self._emitter.emit("register", [plugin.name for plugin in loaded])
        for plugin in loaded:
            _plug(self._driver, plugin)

    @contextmanager
    def _loading(self, plugin: Any) -> Generator[None, None, None]:
        """Around the loading of one plugin: what comes of it."""
        try:
            yield
        except BaseException as exc:
            error = _not_loaded(plugin.name, exc)
            self._emitter.report(ErrorEvent("plugin", error))
            if not isinstance(exc, Exception | DropEvent):  # Ctrl-C, or the cancellation of who awaits it
                raise
            if is_critical(plugin):
                raise error from exc
        else:
            self._plugins[plugin.name] = plugin

    @contextmanager
    def _unloading(self, name: str) -> Generator[Any, None, None]:
        """Around the unloading of a plugin: from here on it runs no more, whatever its `unload` raises."""
        plugin = self._plugins.pop(name)
        self._driver.unplug(name)
        try:
            yield plugin
        except (Exception, DropEvent) as exc:  # noqa: BLE001 - a plugin may raise anything
            self._emitter.fault("plugin", exc)


def _plug(driver: InlineDriver, plugin: Any) -> None:
    if plugin.type != "utility":
        driver.plug(plugin)


def _not_loaded(plugin: str, exc: BaseException) -> PluginError:
    error = PluginError(plugin, f"it could not be loaded: {type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error


def default_client(proxy: str | None) -> Callable[[], HTTPClient]:
    """What makes the sender of requests from a thread, if nothing was given.

    Loaded here, with the client, and not by the worker: a fork while the worker is at it would leave the child with
    half a module and the lock on it, for ever.
    """
    from .http.urllib3 import Urllib3Client  # noqa: PLC0415 - not with the import of millstream

    return lambda: Urllib3Client(proxy=proxy)


def _policy(settings: Settings, overhead: int) -> Policy:
    return Policy(
        flush_at=settings.flush_at,
        flush_interval=settings.flush_interval,
        max_batch_events=settings.batch_events,
        overhead=overhead,
        max_in_flight=settings.max_in_flight,
        max_retries=settings.max_retries,
        max_total_backoff=settings.max_total_backoff_duration,
        max_rate_limit=settings.max_rate_limit_duration,
        send_timeout=settings.http_request_timeout + 1.0,
        keeps=settings.spool is not None,
    )
