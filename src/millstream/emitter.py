"""The event emitter: `on`, `once`, `off`, `emit`, as in the Node library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ._core.context import ErrorEvent
from .errors import DropEvent

__all__ = ["Emitter", "Listener", "reportable"]

Listener = Callable[..., object]
F = TypeVar("F", bound=Listener)


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

    @overload
    def on(self, name: str) -> Callable[[F], F]: ...
    @overload
    def on(self, name: str, listener: F) -> F: ...
    def on(self, name: str, listener: F | None = None) -> F | Callable[[F], F]:
        """Call `listener` whenever `name` is emitted. Return the listener; also usable as a decorator."""
        if listener is None:
            return lambda fn: self.on(name, fn)
        self._listeners[name] = (*self._listeners.get(name, ()), listener)
        return listener

    def once(self, name: str, listener: F) -> F:
        """Call `listener` the next time `name` is emitted, and not again."""
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
