"""What happens to a process, and its clients must know of: it ends, it is told to end, it forks.

    it ends           atexit, or what takes its place where that is skipped (children.py)
    it is told to     SIGTERM (sigterm.py)
    it forks          the child's clients begin anew, each when it is first used there

One hook of each kind serves all clients, because a fork hook can never be removed.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

from .._clock import monotonic
from .._stamp import start_anew
from . import children
from .sigterm import Sigterm
from .threads import end_copies, look_up_without_threads

__all__ = ["closed", "watch"]


class Client(Protocol):
    """What a client does at these moments. Times are of the monotonic clock, in seconds."""

    def _hurry(self) -> None: ...

    def _begin_exit(self) -> None: ...

    def _at_exit(self, began: float) -> None: ...

    def _at_signal(self, began: float, *, last: bool) -> None: ...

    def _interrupted(self, by: BaseException) -> None: ...

    def _after_fork(self) -> None: ...


# In the order of their making. A dict's own methods are one step each, whatever other threads do meanwhile.
_clients: dict[int, weakref.ref[Client]] = {}
_hooked = False


def watch(client: Client, *, handle_sigterm: bool) -> None:
    """From now on, tell this client. Called when it is made, and when it is first used in a forked child."""
    global _hooked  # noqa: PLW0603
    who = id(client)
    if who not in _clients:
        _clients[who] = weakref.ref(client)
        weakref.finalize(client, _forget, who).atexit = False
    if not _hooked:
        _hooked = True
        atexit.register(end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=_sigterm.before_fork, after_in_parent=_sigterm.let_through, after_in_child=_after_fork
            )
        children.on_fork(_after_fork)
    children.watch(client, end)
    if handle_sigterm:
        _sigterm.want(who)


def closed(client: Client) -> None:
    """This client has nothing to lose any more."""
    _sigterm.release(id(client))


def end() -> None:
    """The end of the process: each client delivers what it has, within its `exit_timeout`."""
    _sigterm.ending = True
    look_up_without_threads()
    try:
        _at_exit()
    except BaseException as exc:  # noqa: BLE001 - a signal's KeyboardInterrupt or SystemExit: whoever sent it has waited
        for client in _alive():
            client._interrupted(exc)
    _sigterm.end()


def _at_exit() -> None:
    began, clients = monotonic(), _alive()
    for client in clients:  # all at the same time, as far as they have workers
        client._begin_exit()
    for client in clients:
        client._at_exit(began)


def _at_signal(*, last: bool) -> None:
    began, clients = monotonic(), _alive()
    for client in clients:
        client._hurry()
    for client in clients:
        client._at_signal(began, last=last)


def _alive() -> list[Client]:
    return [client for ref in list(_clients.values()) if (client := ref()) is not None]


def _forget(who: int) -> None:
    _clients.pop(who, None)
    _sigterm.release(who)


def _after_fork() -> None:
    start_anew()  # the ids, too: nobody else may know of the fork
    end_copies()
    _sigterm.after_fork()
    for client in _alive():
        client._after_fork()


_sigterm = Sigterm(flush=_at_signal, end=_at_exit)
