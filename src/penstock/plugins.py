"""Plugins: what they look like, and the checks that a plugin passes when it is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

from ._core.context import Context
from ._core.events import KINDS
from .errors import SettingsError

__all__ = ["Plugin", "after", "assert_loaded", "before", "check", "destination", "enrichment"]

TYPES = ("before", "enrichment", "destination", "after", "utility")
Hook = Callable[[Context], Any]


class Plugin:
    """Base class of plugins; any object with these attributes will do.

    Give it a `type` and any of the hooks `track`, `identify`, `page`, `screen`, `group` and `alias`: each takes a
    Context and may return it. To drop the event, call `ctx.cancel("why")`; returning nothing changes nothing.
    """

    name: str = ""
    """Under which `deregister` and `integrations` find it; by default the class's name."""
    type: str = "enrichment"
    """`before`, `enrichment`, `destination`, `after` or `utility`: when its hooks run (docs/reference/plugins.md)."""
    version: str = "0.0.0"
    critical: bool = False
    """Whether nothing may be delivered before it is loaded, and nothing at all if it cannot be."""
    alternative_names: Sequence[str] = ()
    """For a destination: further names that stand for it in `integrations`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__dict__.get("name"):
            cls.name = cls.__name__

    def is_loaded(self) -> bool:
        """Whether it is ready, asked once after `load`."""
        return True

    def load(self, ctx: Context, analytics: Any) -> Any:
        """Get ready. Called once, by `register`; what it raises keeps the plugin out."""

    def unload(self, ctx: Context, analytics: Any) -> Any:
        """Let go of everything. Called by `deregister`."""


class _FunctionPlugin(Plugin):
    """A plugin made of one function, which serves as the hook for every kind of event, or for some."""

    name = "function"

    def __init__(self, stage: str, fn: Hook, name: str | None, events: Sequence[str]) -> None:
        self.name = name or str(getattr(fn, "__name__", "function"))
        self.type = stage
        self._fn = fn
        for kind in events:
            setattr(self, kind, fn)

    def __call__(self, ctx: Context) -> Any:
        """The function itself still is one."""
        return self._fn(ctx)


class _Decorator:
    """`@before`, `@enrichment` … over a function `(ctx) -> ctx`; also `@enrichment(name=…, events=["track"])`."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    @overload
    def __call__(self, fn: Hook) -> Plugin: ...
    @overload
    def __call__(self, *, name: str | None = None, events: Sequence[str] = KINDS) -> Callable[[Hook], Plugin]: ...
    def __call__(
        self, fn: Hook | None = None, *, name: str | None = None, events: Sequence[str] = KINDS
    ) -> Plugin | Callable[[Hook], Plugin]:
        if fn is not None:
            return _FunctionPlugin(self._stage, fn, name, events)
        return lambda fn: _FunctionPlugin(self._stage, fn, name, events)


before = _Decorator("before")
enrichment = _Decorator("enrichment")
destination = _Decorator("destination")
after = _Decorator("after")


def check(plugin: Any, *, may_await: bool) -> None:
    """See that this is a plugin, while whoever registers it is still there to be told.

    Raises:
        SettingsError: naming the plugin, what is wrong with it, and the remedy.
    """
    if isinstance(plugin, type):
        raise SettingsError(f"register an instance, not the class {plugin.__name__} itself: {plugin.__name__}()")
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not name:
        raise SettingsError(f"the plugin {plugin!r} needs a `name`: a non-empty str")
    if getattr(plugin, "type", None) not in TYPES:
        raise SettingsError(
            f"plugin {name!r} has type {getattr(plugin, 'type', None)!r}; it must be one of {', '.join(TYPES)}"
        )
    for kind in KINDS:
        _check_hook(name, kind, getattr(plugin, kind, None), 1, may_await=may_await)
    for method in ("load", "unload"):
        _check_hook(name, method, getattr(plugin, method, None), 2, may_await=may_await)


def _check_hook(plugin: str, name: str, hook: Any, arguments: int, *, may_await: bool) -> None:
    if hook is None:
        return
    wanted = "(ctx)" if arguments == 1 else "(ctx, analytics)"
    if not callable(hook):
        raise SettingsError(f"plugin {plugin!r}: {name} must be a function of {wanted}, got {type(hook).__name__}")
    if inspect.iscoroutinefunction(hook) and not may_await:
        raise SettingsError(
            f"plugin {plugin!r}: {name} is `async def`, which Analytics cannot await; "
            "write it as a plain `def`, or use AsyncAnalytics"
        )
    try:
        inspect.signature(hook).bind(*[None] * arguments)
    except TypeError:
        raise SettingsError(f"plugin {plugin!r}: {name} must take {wanted}") from None
    except ValueError:
        pass  # a built-in that tells no signature


def assert_loaded(plugin: Any) -> None:
    """Raise RuntimeError if a plugin that has been loaded says that it is not."""
    if not plugin.is_loaded():
        raise RuntimeError("is_loaded() is false after load()")
