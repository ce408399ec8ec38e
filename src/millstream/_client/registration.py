"""Registration: loads, unloads and lists the plugins and destinations of a client."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from .._core.context import ErrorEvent
from .._delivery.driver import Driver
from ..destinations import Destination
from ..emitter import Emitter
from ..errors import DropEvent, MillstreamError, PluginError, SettingsError
from ..plugins import check, is_critical

__all__ = ["Registration"]


class Registration:
    """The registered plugins and destinations, by name.

    Args:
        emitter: reports failures of loading.
        may_await: whether hooks may be `async def`.
    """

    def __init__(self, emitter: Emitter, *, may_await: bool) -> None:
        self._emitter = emitter
        self._may_await = may_await
        self._plugins: dict[str, Any] = {}
        self._loading: list[str] = []  # names of plugins that are still loading
        self._holds = 0  # calls of `register` with a critical plugin that are in progress, or failed
        self._halted: PluginError | None = None

    def include(self, destinations: Sequence[Any]) -> None:
        """Register destinations before there is a driver.

        Raises:
            SettingsError: one is no destination, or two have one name.
        """
        for each in destinations:
            if not isinstance(each, Destination):
                raise SettingsError(
                    f"destinations has a {type(each).__name__}, which is no destination; plugins go to register()"
                )
            (name,) = self._check_new([each])
            self._plugins[name] = each

    def apply(self, driver: Driver) -> None:
        """Register everything with a new driver."""
        for _ in range(self._holds):
            driver.hold()
        for plugin in self._plugins.values():
            _plug(driver, plugin)
        if self._halted is not None:
            driver.halt(self._halted)

    def plugins(self) -> dict[str, Any]:
        """Return those that are registered."""
        return dict(self._plugins)

    def check_known(self, names: Sequence[str]) -> None:
        """Raise MillstreamError if one of these is not registered, or repeated."""
        for name in names:
            if names.count(name) > 1:
                raise MillstreamError(f"the plugin {name!r} is named twice: name it once")
            if name not in self._plugins:
                known = ", ".join(self._plugins) or "none"
                raise MillstreamError(f"no plugin {name!r}; registered: {known}")

    @contextmanager
    def registering(self, plugins: Sequence[Any], driver: Callable[[], Driver]) -> Generator[None, None, None]:
        """Wrap the loading of plugins, which may be awaited: check all, load all, then run them for events.

        A critical one among them pauses delivery until all are loaded, and for good if that fails.
        """
        names = self._check_new(plugins)
        self._loading += names
        critical = any(is_critical(plugin) for plugin in plugins)
        if critical:
            self._holds += 1
            driver().hold()
        try:
            yield
        except BaseException as exc:
            if critical:
                self._halted = exc if isinstance(exc, PluginError) else _not_loaded("register", exc)
            raise
        finally:
            for name in names:
                self._loading.remove(name)
            # Loaded plugins take part from here on; listeners are notified before.
            loaded = [plugin for plugin in self._plugins.values() if any(plugin is each for each in plugins)]
            self._emitter.emit("register", [plugin.name for plugin in loaded])
            for plugin in loaded:
                _plug(driver(), plugin)
            if self._halted is not None:
                driver().halt(self._halted)
            elif critical:
                self._holds -= 1
                driver().release()

    @contextmanager
    def loading(self, plugin: Any) -> Generator[None, None, None]:
        """Wrap the loading of one plugin: report its result."""
        try:
            yield
        except BaseException as exc:
            error = _not_loaded(plugin.name, exc)
            self._emitter.report(ErrorEvent("plugin", error))
            if not isinstance(exc, Exception | DropEvent):  # Ctrl-C, or the cancellation of the awaiting task
                raise
            if is_critical(plugin):
                raise error from exc
        else:
            self._plugins[plugin.name] = plugin

    @contextmanager
    def unloading(self, name: str, driver: Callable[[], Driver]) -> Generator[Any, None, None]:
        """Wrap the unloading of a plugin: from here on it runs no more, whatever its `unload` raises."""
        self.check_known((name,))  # another task may have deregistered it since
        plugin = self._plugins.pop(name)
        if isinstance(plugin, Destination):
            driver().remove_destination(name)
        else:
            driver().unplug(name)
        try:
            yield plugin
        except (Exception, DropEvent) as exc:  # noqa: BLE001 - a plugin may raise anything
            self._emitter.fault("plugin", exc)

    def _check_new(self, plugins: Sequence[Any]) -> list[str]:
        """Return the names of plugins that can be registered."""
        names: list[str] = []
        for plugin in plugins:
            check(plugin, may_await=self._may_await)
            if plugin.name in (*self._plugins, *self._loading, *names):
                raise SettingsError(f"plugin {plugin.name!r} is registered already: deregister it first")
            names.append(plugin.name)
        return names


def _plug(driver: Driver, plugin: Any) -> None:
    if isinstance(plugin, Destination):
        driver.add_destination(plugin)
    elif plugin.type != "utility":
        driver.plug(plugin)


def _not_loaded(plugin: str, exc: BaseException) -> PluginError:
    error = PluginError(plugin, f"it could not be loaded: {type(exc).__name__}: {exc}")
    error.__cause__ = exc
    return error
