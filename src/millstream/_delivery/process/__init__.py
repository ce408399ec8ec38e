"""Process events for all clients: exit, SIGTERM and fork.

    exit      the exit hook, or its replacement where exit hooks are skipped (fork_hooks.py)
    SIGTERM   its handler (sigterm.py) runs the same steps in a thread, and then ends the process by the signal
    fork      clients in the child start over, each on first use

One hook of each kind serves all clients, because a fork hook can never be removed.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

from ..._clock import monotonic, reset_after_fork
from ..._logging import to_stderr, warn
from . import fork_hooks
from .ending import EndingGate
from .final_delivery import FinalDelivery
from .greenlets import end_copies, look_up_without_threads
from .sigterm import Sigterm

__all__ = ["closed", "end", "flush", "gate", "watch"]

T = TypeVar("T")


class Client(Protocol):
    """A client, as these hooks use it."""

    def at_gate(self) -> None: ...

    def after_end(self, left: float) -> None: ...

    def after_fork(self) -> None: ...


class _Watched(NamedTuple):
    ref: weakref.ref[Client]
    final: FinalDelivery | None  # None in a forked child, until the client is used there


gate = EndingGate()
# In order of creation. Each method of a dict is atomic.
_clients: dict[int, _Watched] = {}
_retired: dict[int, FinalDelivery] = {}  # of clients that are garbage, with events in delivery
_hooked = False
_ended = False  # later events are delivered in their call, because no hook follows


def watch(client: Client, final: FinalDelivery, *, handle_sigterm: bool) -> None:
    """Register a client. Called for each driver that it makes: a forked child makes another."""
    if sys.is_finalizing():  # in a `__del__`, after all exit hooks; nothing can be imported or started any more
        client.after_end(0.0)
        return
    who = id(client)
    known = who in _clients
    _clients[who] = _Watched(weakref.ref(client), final)
    if not known:
        weakref.finalize(client, _collected, who).atexit = False
    if gate.closed:
        client.at_gate()
    _hook()
    if _ended and not known:
        client.after_end(final.timeout)
    fork_hooks.watch(client, end)
    if handle_sigterm and not _ended:
        _sigterm.want(who)


def _hook() -> None:
    global _hooked, _ended  # noqa: PLW0603
    if _hooked:
        return
    _hooked = True
    _ended = _exit_hooks_run()
    atexit.register(end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_sigterm.before_fork, after_in_parent=_sigterm.let_through, after_in_child=_after_fork
        )
    fork_hooks.on_fork(_after_fork)


def _exit_hooks_run() -> bool:
    """Whether exit hooks are running already, so that one registered now would never run.

    They run on the main thread after it counts as ended. Before that, `threading` waits there for other threads.
    """
    main = threading.main_thread()
    if main.is_alive() or main.ident != threading.get_ident():
        return False
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_globals.get("__name__") != "threading"


def closed(client: Client) -> None:
    """Unregister a client that has nothing to lose any more."""
    _sigterm.release(id(client))


def end() -> None:
    """Exit hook: each client delivers its events, within its `exit_timeout`."""
    global _ended  # noqa: PLW0603
    began, finals = monotonic(), _finals()
    if _sigterm.delivers:
        _each(finals, lambda final: final.begin_flush(began))  # events recorded since the signal
        _sigterm.wait(began + _timeout(finals))
    _sigterm.at_exit = True
    look_up_without_threads()
    interrupted: BaseException | None = None
    try:
        _deliver_the_rest(began, finals)
    except BaseException as exc:  # noqa: BLE001 - a signal's KeyboardInterrupt or SystemExit: do not wait any longer
        interrupted = exc
    _ended = True
    for client, final in _alive():
        client.after_end(max(0.0, began + final.timeout - monotonic()))
    gate.open()
    _each(finals, lambda final: final.report(warn, interrupted))
    _sigterm.end()


def flush() -> None:
    """Deliver pending events, in a program that goes on."""
    began, finals = monotonic(), _finals()
    _each(finals, lambda final: final.driver.request_flush())
    _each(finals, lambda final: final.flush(began))


def _end_by_signal() -> None:
    finals = _finals()
    _deliver_the_rest(monotonic(), finals, goes_on=True)
    _each(finals, lambda final: final.report(to_stderr))


def _deliver_the_rest(began: float, finals: list[FinalDelivery], *, goes_on: bool = False) -> None:
    """Deliver every event whose call has returned: the rules are in docs/decisions/0031.

    Args:
        began: the start of the end.
        finals: the deliveries of all clients; those of clients made during the end are added.
        goes_on: whether the program goes on until it is killed; then clients with events on disk go on, too.
    """
    _each(finals, lambda final: final.begin_flush(began))
    _each(finals, lambda final: final.flush(began))
    leaving = [final.detach(gate, began) for final in finals]
    for _ in range(3):
        _each(leaving, lambda steps: next(steps, None))
    gate.close()
    finals += [final for final in _finals() if final not in finals]
    closing = [final for final in finals if not (goes_on and final.on_disk)]
    for client, final in _alive():
        if final in closing:
            client.at_gate()
    _each(finals, FinalDelivery.mute)
    gate.wait_until_empty(began + _timeout(finals))
    _each(closing, lambda final: final.begin_close(began))
    _each(closing, lambda final: final.close(began))


def _alive() -> list[tuple[Client, FinalDelivery]]:
    watched = [(ref(), final) for ref, final in list(_clients.values())]
    return [(client, final) for client, final in watched if client is not None and final is not None]


def _finals() -> list[FinalDelivery]:
    return [*_retired.values(), *(final for _, final in _alive())]


def _timeout(finals: list[FinalDelivery]) -> float:
    return max((final.timeout for final in finals), default=0.0)


def _each(some: Iterable[T], do: Callable[[T], object]) -> None:
    """Call this for each, even if others raise."""
    for one in some:
        try:
            do(one)
        except Exception as exc:  # noqa: BLE001 - reported
            to_stderr(f"millstream: the end of a client failed: {type(exc).__name__}: {exc}")


def _collected(who: int) -> None:
    """End the driver of a garbage-collected client when its events are delivered."""
    final = _clients.pop(who).final
    if final is None:
        return

    def delivered() -> None:
        _retired.pop(id(final), None)
        _sigterm.release(id(final))

    _retired[id(final)] = final
    _sigterm.replace(who, id(final))
    if not final.retire(delivered):
        delivered()


def _after_fork() -> None:
    global _ended  # noqa: PLW0603
    reset_after_fork()  # the ids, too: nothing else may know of the fork
    end_copies()
    gate.open()
    _sigterm.after_fork()
    if _hooked and not _exit_hooks_run():
        _ended = False
    for final in _retired.values():
        final.driver.orphan()
    _retired.clear()
    for who, (ref, _) in list(_clients.items()):
        _clients[who] = _Watched(ref, None)
        client = ref()
        if client is not None:
            client.after_fork()


_sigterm = Sigterm(flush=flush, end=_end_by_signal)
