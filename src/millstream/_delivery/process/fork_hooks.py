"""Hooks for child processes that Python's own hooks do not reach.

    multiprocessing   children skip atexit, but run finalizers
    Celery            skips those as well, and sends a signal
    uWSGI             forks without telling Python (unless it is set to), but calls a hook of its own

None of these is imported here for applications that do not use it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

__all__ = ["is_daemon", "is_spawned", "of_multiprocessing", "on_fork", "watch"]

LAST = -100
"""The finalizer's priority: after those of the application, and of multiprocessing's own queues."""


def watch(client: object, end: Callable[[], object]) -> None:
    """Call `end` when a child ends in which this client is used.

    Called when a client is made, and at its first use in a forked child.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        # Children forget all finalizers when they begin, also those registered while importing modules.
        util.register_after_fork(client, partial(_again, util, end))
        if of_multiprocessing():
            _finalize(util, end)
    celery: Any = sys.modules.get("celery.signals")
    if celery is not None:
        celery.worker_process_shutdown.connect(partial(_end, end), weak=False, dispatch_uid="millstream")


def of_multiprocessing() -> bool:
    """Whether this process is a child of multiprocessing."""
    process: Any = sys.modules.get("multiprocessing.process")
    return is_spawned() or (process is not None and process.parent_process() is not None)


def is_spawned() -> bool:
    """Whether multiprocessing has started this process with a new interpreter.

    While such a child imports the main module, it knows neither its parent nor whether it is a daemon.
    """
    return "--multiprocessing-fork" in sys.orig_argv


def is_daemon() -> bool:
    """Whether this process is terminated when its parent ends, as the children of a `multiprocessing.Pool` are."""
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and bool(process.current_process().daemon)


def _again(util: Any, end: Callable[[], object], _: object) -> None:
    _finalize(util, end)


def _end(end: Callable[[], object], **_: object) -> None:
    end()


def on_fork(after_in_child: Callable[[], object]) -> None:
    """Call `after_in_child` in children that are forked by other means than Python's."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    try:
        import_module("uwsgidecorators").postfork(after_in_child)
    except ImportError:  # an optional part of uWSGI
        if not hasattr(uwsgi, "post_fork_hook"):
            uwsgi.post_fork_hook = after_in_child


def _finalize(util: Any, end: Callable[[], object]) -> None:
    util.Finalize(None, end, exitpriority=LAST)
