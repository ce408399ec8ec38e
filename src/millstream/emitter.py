"""The event emitter: `on`, `once`, `off`, `emit`, as in the Node library."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, TypeVar

from ._core.context import Context, ErrorEvent
from .errors import DropEvent, SettingsError
from .spec import TYPES
from .types import Event, Request, Response

__all__ = [
    "EVENTS",
    "Delivered",
    "Emitter",
    "Listener",
    "OnDelivered",
    "OnError",
    "OnEvent",
    "OnNames",
    "OnNothing",
    "OnRequest",
    "OnResponse",
    "Plugged",
    "check_name",
    "reportable",
]

Listener = Callable[..., object]
F = TypeVar("F", bound=Listener)

Delivered: TypeAlias = Literal["identify", "track", "page", "screen", "group", "alias"]
Plugged: TypeAlias = Literal["register", "deregister"]
OnDelivered: TypeAlias = Callable[[Context], object]
OnError: TypeAlias = Callable[[ErrorEvent], object]
OnRequest: TypeAlias = Callable[[Request], object]
OnResponse: TypeAlias = Callable[[Request, Response], object]
OnEvent: TypeAlias = Callable[[Event], object]
OnNames: TypeAlias = Callable[[list[str]], object]
OnNothing: TypeAlias = Callable[[], object]

EVENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(TYPES, ("ctx",)),
    "error": ("error",),
    "http_request": ("request",),
    "http_response": ("request", "response"),
    "call_after_close": ("event",),
    "register": ("names",),
    "deregister": ("names",),
    "drained": (),
}
"""What a client emits, and what its listeners are given."""


def check_name(name: str) -> None:
    """Raise SettingsError for a name that nothing emits. Names of an application's own have a colon in them."""
    if name in EVENTS or ":" in name:
        return
    near = get_close_matches(name, EVENTS, 1, 0.7)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EVENTS)}"
    raise SettingsError(f"nothing is emitted as {name!r}; {hint} (an event of your own has a colon: 'shop:{name}')")


def check_listener(name: str, listener: Listener) -> None:
    """Raise SettingsError for a listener that could not be called with what `name` is emitted with."""
    check_name(name)
    if not callable(listener):
        raise SettingsError(f"a listener of {name!r} must be a function, got {type(listener).__name__}")
    if inspect.iscoroutinefunction(listener):
        raise SettingsError(f"a listener of {name!r} is `async def`, and nothing would await it: write a plain `def`")
    given = EVENTS.get(name)
    if given is None:
        return
    try:
        signature = inspect.signature(listener)
    except (TypeError, ValueError):  # a built-in that tells no signature
        return
    try:
        signature.bind(*given)
    except TypeError:
        takes = f"({', '.join(given)})"
        raise SettingsError(f"a listener of {name!r} must take {takes}, and takes {signature}") from None


class _Once:
    """A listener for one call; `off` finds it by the wrapped function."""

    def __init__(self, fn: Listener) -> None:
        self.fn = fn


class Emitter:
    """Calls listeners in the order of subscription. Their exceptions never reach the caller of `emit`.

    A listener that raises is reported as an `error` event with code `listener`, once for each exception; an `error`
    listener that raises is reported only in the log.

    Args:
        unheard: counts an error for the log.
        hushed: whether listeners are disabled, because the process is ending.
    """

    def __init__(self, unheard: Callable[[ErrorEvent], object], hushed: Callable[[], bool]) -> None:
        # Tuples, replaced as a whole: a listener may subscribe or unsubscribe during `emit`.
        self._listeners: dict[str, tuple[Listener | _Once, ...]] = {}
        self._unheard = unheard
        self.hushed = hushed

    def on(self, name: str, listener: F) -> F:
        """Call `listener` whenever `name` is emitted.

        Raises:
            SettingsError: nothing is emitted under this name, or the listener cannot be called with it.
        """
        check_listener(name, listener)
        self._listeners[name] = (*self._listeners.get(name, ()), listener)
        return listener

    def once(self, name: str, listener: F) -> F:
        """Call `listener` the next time `name` is emitted, and not again.

        Raises:
            SettingsError: see `on`.
        """
        check_listener(name, listener)
        self._listeners[name] = (*self._listeners.get(name, ()), _Once(listener))
        return listener

    def off(self, name: str, listener: Listener) -> None:
        """Stop calling `listener` (subscribed with `on` or `once`) for `name`."""
        kept = [entry for entry in self._listeners.get(name, ()) if entry != listener and _fn(entry) != listener]
        self._listeners[name] = tuple(kept)

    @property
    def silent(self) -> bool:
        """Whether there was never a listener for any name."""
        return not self._listeners

    def heard(self, name: str) -> bool:
        """Whether there are listeners: a hot path need not make what no listener reads."""
        return bool(self._listeners.get(name)) and not self.hushed()

    def emit(self, name: str, *args: Any) -> None:
        """Call the listeners of `name`. Their exceptions are reported, not raised."""
        for entry in self._listeners[name] if self.heard(name) else ():
            if isinstance(entry, _Once):
                left = tuple(other for other in self._listeners[name] if other is not entry)
                self._listeners[name] = left
            try:
                _fn(entry)(*args)
            except BaseException as exc:
                if not reportable(exc):
                    raise
                self.fault("listener", exc, of_error=name == "error")

    def fault(self, code: str, exc: BaseException, *, of_error: bool = False) -> None:
        """Report an exception of user code that no caller can catch."""
        self.report(ErrorEvent(code, exc), of_error=of_error)

    def report(self, event: ErrorEvent, *, of_error: bool = False) -> None:
        """Report to the `error` listeners, unless one of them failed, and to the log."""
        if not of_error:
            self.emit("error", event)
        self._unheard(event)


def reportable(exc: BaseException) -> bool:
    """Whether to report an exception of user code instead of raising it.

    True for all but exceptions that end a program on its main thread: a signal's KeyboardInterrupt or SystemExit is
    raised there. On another thread they would end only the worker, and with it delivery.
    """
    return isinstance(exc, Exception | DropEvent) or threading.current_thread() is not threading.main_thread()


def _fn(entry: Listener | _Once) -> Listener:
    return entry.fn if isinstance(entry, _Once) else entry
