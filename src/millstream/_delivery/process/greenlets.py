"""Threads of ours, which under gevent are greenlets: a fork copies those, and at the end they cannot look up names.

gevent is not imported here for those who do not use it.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import Context
from importlib import import_module
from typing import Any

__all__ = ["TOO_LATE", "end_copies", "in_hub", "look_up_without_threads", "start_thread"]

TOO_LATE = sys.version_info >= (3, 12)
"""Whether it is too late to start a thread when the process ends."""

_greenlets: weakref.WeakSet[Any] = weakref.WeakSet()


def start_thread(name: str, run: Callable[[], object]) -> None:
    """Start a daemon thread, in an empty context.

    Tracing tools carry the context of the thread that starts one into it: requests of every later event would be
    parts of the trace in which the first one was recorded.

    Raises:
        RuntimeError: there is none to be had.
    """
    Context().run(_start, name, run)


def _start(name: str, run: Callable[[], object]) -> None:
    if _patched("threading"):
        _greenlets.add(import_module("gevent").spawn(run))
    else:
        threading.Thread(target=run, name=name, daemon=True).start()


def in_hub() -> bool:
    """Whether this is gevent's hub, where nothing may block."""
    gevent: Any = sys.modules.get("gevent")
    hub: Any = sys.modules.get("gevent.hub")
    return gevent is not None and hub is not None and isinstance(gevent.getcurrent(), hub.Hub)


def end_copies() -> None:
    """In a forked child: what the parent's greenlets have in hand is the parent's, their connections above all."""
    if _greenlets:
        here = import_module("gevent").getcurrent()
        for greenlet in list(_greenlets):
            if greenlet is not here:
                greenlet.kill(block=False)
        _greenlets.clear()


def look_up_without_threads() -> None:
    """At the end of the process: from here on gevent resolves names in the one thread that is left."""
    if TOO_LATE and _patched("socket"):
        hub: Any = import_module("gevent").get_hub()
        hub.resolver = import_module("gevent.resolver.blocking").Resolver()


def _patched(module: str) -> bool:
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))
