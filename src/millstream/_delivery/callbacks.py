"""Callbacks: calls them with the outcome of an event, and awaits what they return."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable

from msgspec import Struct

from .._clock import monotonic
from .._core.context import Callback
from .._core.ledger import Ledger
from .._core.receipt import Receipt
from ..emitter import Emitter, reportable

__all__ = ["CallbackThreads", "Callbacks"]


class Callbacks:
    """Calls back, and reports what a callback raises.

    Args:
        ledger: settles events.
        emitter: reports exceptions.
        run: runs an awaitable that a callback returned.
    """

    def __init__(self, ledger: Ledger, emitter: Emitter, run: Callable[[Awaitable[object]], object]) -> None:
        self._ledger = ledger
        self._emitter = emitter
        self._run = run

    def watch(self, receipt: Receipt, watcher: Callable[[Receipt], object]) -> None:
        """Call `watcher(receipt)` once the receipt is settled; exceptions are reported, not raised."""

        def guarded(receipt: Receipt) -> None:
            try:
                if not self._emitter.hushed():
                    watcher(receipt)
            except BaseException as exc:  # noqa: BLE001 - passed on, or reported
                self._raised(receipt, exc)

        self._ledger.watch(receipt, guarded)

    def add(self, receipt: Receipt, callback: Callback, *, first: bool) -> None:
        """Call `callback(err, ctx)` once the receipt is settled, and run an awaitable that it returns.

        `first`: whether no other code has the receipt yet.
        """
        watch = self._ledger.watch_first if first else self._ledger.watch
        watch(receipt, _Callback(self, callback))

    def call(self, callback: Callback, receipt: Receipt) -> None:
        """Call it now, unless the process is ending and a waiting thread may hold a lock that it needs."""
        if self._emitter.hushed():
            return
        try:
            context = receipt.context()
            returned: object = callback(context.failed_delivery(), context)
            if returned is not None and inspect.isawaitable(returned):
                self._run(returned)
        except BaseException as exc:  # noqa: BLE001 - passed on, or reported
            self._raised(receipt, exc)

    def _raised(self, receipt: Receipt, exc: BaseException) -> None:
        """Report an exception of a callback, or raise it if it ends the program."""
        if not reportable(exc):
            raise exc
        self._emitter.fault("callback", exc)
        if receipt.outcome is not None and exc is receipt.outcome.error:
            exc.with_traceback(None)  # its frames hold the receipt: a cycle that the garbage collector does not see


# Not tracked by the garbage collector, as the receipt (see there): with a hundred thousand pending events, two closures
# for each would dominate its time.
class _Callback(Struct, eq=False, gc=False):
    """A watcher that calls a callback."""

    callbacks: Callbacks
    callback: Callback

    def __call__(self, receipt: Receipt) -> None:
        self.callbacks.call(self.callback, receipt)


class CallbackThreads:
    """Runs each awaitable on a thread of its own, where it blocks nothing. Without threads: on this one."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._threads: list[threading.Thread] = []

    def run(self, awaitable: Awaitable[object]) -> None:
        """Run an awaitable."""
        import asyncio  # noqa: PLC0415 - a client without an event loop does not load it

        async def wait() -> None:
            await awaitable

        def target() -> None:
            try:
                asyncio.run(wait())
            except BaseException as exc:
                if not reportable(exc):
                    raise
                self._emitter.fault("callback", exc)

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, name="millstream-callback", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            target()
        else:
            self._threads.append(thread)

    def join(self, deadline: float) -> None:
        """Wait for all of them, until `deadline`."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
