"""Plugins: what they look like, and the checks that a plugin passes when it is registered."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar, overload

from .._core.context import Context
from .._core.pipeline import PluginLike
from .._public import publish
from ..destinations import Destination
from ..errors import SettingsError
from ..spec import TYPES as KINDS
from ..spec import EventType

__all__ = [
    "Hook",
    "LoadHook",
    "Plugin",
    "PluginLike",
    "after",
    "assert_loaded",
    "before",
    "call",
    "check",
    "destination",
    "enrichment",
    "is_critical",
    "utility",
]

TYPES = ("before", "enrichment", "destination", "after", "utility")
RESERVED = ("Segment.io", "All")
METHODS = (*KINDS, "load", "unload", "is_loaded")
"""What Millstream calls of a plugin."""


class Hook(Protocol):
    """A hook: is given an event's Context, may change it and may return it. Under AsyncAnalytics it may be awaited."""

    def __call__(self, ctx: Context, /) -> Context | Awaitable[Context | None] | None: ...


class LoadHook(Protocol):
    """What gets a plugin ready: is called once, by `register`, with an empty Context and the client."""

    def __call__(self, ctx: Context, analytics: Any, /) -> object: ...


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


H_contra = TypeVar("H_contra", contravariant=True)


class _FunctionPlugin(Plugin):
    """A plugin made of one function, which serves as the hook for every kind of event, or for some."""

    name = "function"

    def __init__(self, stage: str, fn: Callable[..., Any], name: str | None, events: Sequence[str]) -> None:
        self.name = name or str(getattr(fn, "__name__", "function"))
        self.type = stage
        self._fn = fn
        for hook in ("load",) if stage == "utility" else _kinds(self.name, events):
            setattr(self, hook, fn)

    def __call__(self, *args: Any) -> Any:
        """The function itself still is one."""
        return self._fn(*args)


def _kinds(plugin: str, events: Sequence[str]) -> Sequence[str]:
    events = (events,) if isinstance(events, str) else tuple(events)
    for kind in events:
        if kind not in KINDS:
            raise SettingsError(f"plugin {plugin!r}: events must be some of {', '.join(KINDS)}; got {kind!r}")
    return events


class _Decorator(Protocol[H_contra]):
    @overload
    def __call__(self, fn: H_contra) -> Plugin: ...
    @overload
    def __call__(
        self, *, name: str | None = None, events: Sequence[EventType] = KINDS
    ) -> Callable[[H_contra], Plugin]: ...


def _decorator(stage: str, doc: str) -> Any:
    """Make the decorator that turns a function into a plugin of one stage."""

    def decorate(
        fn: Callable[..., Any] | None = None, *, name: str | None = None, events: Sequence[EventType] = KINDS
    ) -> Plugin | Callable[[Callable[..., Any]], Plugin]:
        if fn is not None:
            return _FunctionPlugin(stage, fn, name, events)
        return lambda fn: _FunctionPlugin(stage, fn, name, events)

    decorate.__name__ = decorate.__qualname__ = stage
    decorate.__doc__ = doc
    publish("millstream", decorate)
    return decorate


_HOOK = 'Make a plugin of a function `(ctx) -> ctx`: `@{0}`, or `@{0}(name=…, events=["track"])`.'

before: _Decorator[Hook] = _decorator("before", _HOOK.format("before"))
enrichment: _Decorator[Hook] = _decorator("enrichment", _HOOK.format("enrichment"))
destination: _Decorator[Hook] = _decorator("destination", _HOOK.format("destination"))
after: _Decorator[Hook] = _decorator("after", _HOOK.format("after"))
utility: _Decorator[LoadHook] = _decorator(
    "utility", "Make a plugin of a function `(ctx, analytics)`, which `register` calls once."
)


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
    if name in RESERVED:
        raise SettingsError(f"{name!r} means something else in an event's integrations: give it another `name`")
    if isinstance(plugin, Destination):
        return
    if getattr(plugin, "type", None) not in TYPES:
        raise SettingsError(
            f"plugin {name!r} has type {getattr(plugin, 'type', None)!r}; it must be one of {', '.join(TYPES)}"
        )
    others = getattr(plugin, "alternative_names", ())
    if isinstance(others, str) or not all(isinstance(other, str) for other in others):
        raise SettingsError(f"plugin {name!r}: alternative_names must be a list of str, got {others!r}")
    _check_names(plugin)
    for kind in KINDS:
        _check_method(plugin, kind, "(ctx)", may_await=may_await)
    for method in ("load", "unload"):
        _check_method(plugin, method, "(ctx, analytics)", may_await=may_await)
    _check_method(plugin, "is_loaded", "()", may_await=False)


def _check_names(plugin: Any) -> None:
    """Find hooks that are misspelled, which nothing would ever call."""
    own = {
        name
        for cls in type(plugin).__mro__
        if cls not in {Plugin, object}
        for name, value in vars(cls).items()
        if inspect.isroutine(value) and not name.startswith("_")
    }
    for name in sorted(own - {*METHODS}):
        swapped = [hook for hook in METHODS if sorted(hook) == sorted(name)]
        near = swapped or get_close_matches(name, METHODS, 1, 0.85)
        if near and near[0] not in own:
            raise SettingsError(
                f"plugin {plugin.name!r}: nothing calls {name}; did you mean the hook {near[0]}? "
                f"(a method of your own can begin with an underscore: _{name})"
            )


def _check_method(plugin: Any, name: str, wanted: str, *, may_await: bool) -> None:
    method = getattr(plugin, name, None)
    if method is None:
        return
    where = f"plugin {plugin.name!r}: {name}"
    if not callable(method):
        raise SettingsError(f"{where} must be a function of {wanted}, got {type(method).__name__}")
    functions = (method, getattr(method, "__call__", None))  # noqa: B004 - an object whose __call__ is `async def`
    if not may_await and any(inspect.iscoroutinefunction(function) for function in functions):
        remedy = "write it as a plain `def`" + ("" if name == "is_loaded" else ", or use AsyncAnalytics")
        raise SettingsError(f"{where} is `async def`, which Analytics cannot await; {remedy}")
    if any(inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function) for function in functions):
        raise SettingsError(f"{where} has a `yield` in it, so that calling it would do nothing; return the context")
    try:
        signature = inspect.signature(method)
    except ValueError:  # a built-in that tells no signature
        return
    try:
        signature.bind(*[None] * (wanted.count(",") + (wanted != "()")))
    except TypeError:
        raise SettingsError(f"{where} must take {wanted}, and takes {signature}") from None


def is_critical(plugin: Any) -> bool:
    """Whether nothing may be delivered before this plugin is loaded."""
    return bool(getattr(plugin, "critical", False))


def call(plugin: Any, method: str, analytics: Any) -> Any:
    """Call a plugin's `load` or `unload`, if it has it, and return what it returns."""
    fn = getattr(plugin, method, None)
    return None if fn is None else fn(Context(b"{}", ""), analytics)


def assert_loaded(plugin: Any) -> None:
    """Raise RuntimeError if a plugin that has been loaded says that it is not."""
    is_loaded = getattr(plugin, "is_loaded", None)
    if is_loaded is not None and not is_loaded():
        raise RuntimeError("is_loaded() is false after load()")


publish("millstream", Plugin)
publish("millstream.plugins", Hook, LoadHook)
