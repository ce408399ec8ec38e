"""The two moments of a process that a client must know of: its end, and a fork."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet

__all__ = ["watch"]


class Client(Protocol):
    """What a client does at these moments."""

    def _at_exit(self) -> None: ...

    def _after_fork(self) -> None: ...


# One hook of each kind for all clients, because a fork hook can never be removed.
_clients: WeakSet[Client] = WeakSet()
_hooked = False


def watch(client: Client) -> None:
    """From now on, tell this client."""
    global _hooked  # noqa: PLW0603
    _clients.add(client)
    if not _hooked:
        _hooked = True
        atexit.register(_tell, lambda client: client._at_exit())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _tell(lambda client: client._after_fork()))


def _tell(what: Callable[[Client], object]) -> None:
    for client in list(_clients):
        what(client)
