"""RQ: jobs record events with the ids of whoever has enqueued them, and deliver them before their process ends."""

# The framework has no types, or is not installed where types are checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

from rq.job import Job

from .._delivery import process
from .jobs import NAME, identity_of, ids_here

__all__ = ["MillstreamJob"]


class MillstreamJob(Job):
    """A job that takes ids along, in its metadata under `millstream`, and delivers what it has recorded.

        queue = Queue(connection=redis, job_class=MillstreamJob)

        rq worker --job-class millstream.integrations.rq.MillstreamJob

    RQ does each job in a process of its own, which skips Python's end: what a job has recorded is delivered when its
    function has returned, within each client's `exit_timeout`.
    """

    @classmethod
    def create(cls, *args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Make a job, with the ids that are known here."""
        ids = ids_here()
        return super().create(*args, meta={**({NAME: ids} if ids else {}), **(meta or {})} or None, **kwargs)

    def perform(self) -> Any:
        """Do the job."""
        try:
            with identity_of(self.meta.get(NAME)):
                return super().perform()
        finally:
            process.flush()
