"""Children that skip `atexit`: those of multiprocessing, and Celery's. Each has another way to be told that it ends.

None of these is imported here: who does not use them need not have them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["watch"]

LAST = -100
"""Priority of our finalizer: after those of the application, and of multiprocessing's own queues."""


def watch(client: object, end: Callable[[], object]) -> None:
    """Have `end` called when a child ends in which this client is used.

    Called when a client is made, and at its first use in a forked child.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None:
        # Children forget all finalizers when they begin, also those that were registered while they imported modules.
        util.register_after_fork(client, lambda _: _finalize(util, end))
        if process.parent_process() is not None:
            _finalize(util, end)
    celery: Any = sys.modules.get("celery.signals")
    if celery is not None:
        celery.worker_process_shutdown.connect(lambda **_: end(), weak=False, dispatch_uid="penstock")


def _finalize(util: Any, end: Callable[[], object]) -> None:
    util.Finalize(None, end, exitpriority=LAST)
