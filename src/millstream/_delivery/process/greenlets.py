"""Threads that are greenlets under gevent: a fork copies them, and at exit they cannot look up names.

gevent is not imported here for applications that do not use it.
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
"""Whether exit is too late to start a thread."""

_greenlets: weakref.WeakSet[Any] = weakref.WeakSet()


def start_thread(name: str, run: Callable[[], object]) -> None:
    """Start a daemon thread, in an empty context.

    Tracing tools carry the context of the starting thread over: requests of every later event would belong to the trace
    of the first one.

    Raises:
        RuntimeError: no thread can be started.
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
    """In a forked child: end copies of the parent's greenlets, whose work and connections are the parent's."""
    if _greenlets:
        here = import_module("gevent").getcurrent()
        for greenlet in list(_greenlets):
            if greenlet is not here:
                greenlet.kill(block=False)
        _greenlets.clear()


def look_up_without_threads() -> None:
    """At exit: make gevent resolve names in the one thread that is left."""
    if TOO_LATE and _patched("socket"):
        hub: Any = import_module("gevent").get_hub()
        hub.resolver = import_module("gevent.resolver.blocking").Resolver()


def _patched(module: str) -> bool:
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))
