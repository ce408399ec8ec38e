"""Celery: tasks record events with the ids of whoever has sent them, and workers deliver before they end."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .._public import publish
from ..client import Analytics
from ..errors import SettingsError
from ..identity import Identity
from .jobs import NAME, identity_of, ids_here
from .serverless import Flusher, awaits

__all__ = ["connect"]

FLUSH_TIMEOUT = 5.0
"""Seconds that the end of a worker may take to deliver what is left."""


def connect(analytics: Analytics) -> None:
    """Have Celery's tasks of this process carry ids, and its workers deliver when they end.

        app = Celery("shop")
        connect(analytics)

    Call it where the application is made: in the processes that send tasks, and in the workers. The task's message has
    a header `millstream` with the user's id and the anonymous id, and nothing else.

    Args:
        analytics: the client that tasks record with.

    Raises:
        SettingsError: the client is an AsyncAnalytics, which has no event loop in a worker.
    """
    if awaits(analytics):
        raise SettingsError("a Celery worker has no event loop for an AsyncAnalytics: use Analytics")
    signals: Any = import_module("celery.signals")
    flusher = Flusher(analytics, FLUSH_TIMEOUT, 0.0)
    running: dict[str, Identity] = {}

    def take_along(headers: dict[str, Any] | None = None, **_: object) -> None:
        if headers is not None and (ids := ids_here()):
            headers[NAME] = ids

    def begin(task_id: str = "", task: Any = None, **_: object) -> None:
        headers: dict[str, Any] = task.request.headers or {}
        ids = headers.get(NAME)
        if ids is not None:  # a task that runs in its caller's place has the caller's identity
            running[task_id] = identity_of(ids).__enter__()

    def end(task_id: str = "", **_: object) -> None:
        identity = running.pop(task_id, None)
        if identity is not None:
            identity.__exit__(None, None, None)

    def deliver(**_: object) -> None:
        flusher.flush()

    for signal, receiver in {
        "before_task_publish": take_along,
        "task_prerun": begin,
        "task_postrun": end,
        "worker_process_shutdown": deliver,
        "worker_shutdown": deliver,
    }.items():
        getattr(signals, signal).connect(receiver, weak=False, dispatch_uid=f"millstream-{id(analytics)}")


publish("millstream.integrations.celery", connect)
