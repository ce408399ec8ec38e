"""What the engine can ask of a driver. Small frozen values: decisions return work, and drivers do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batcher import Batch

__all__ = ["Action", "Done", "Send", "Wait"]


@dataclass(frozen=True, eq=False)
class Send:
    """Send this batch, and report with this very value. `attempt` counts from 1.

    After `deadline` a report is too late: the engine has counted the attempt as failed.
    """

    batch: Batch
    attempt: int
    deadline: float


@dataclass(frozen=True)
class Wait:
    """Nothing to do until this moment, or until something happens. None: until something happens."""

    until: float | None


@dataclass(frozen=True)
class Done:
    """Closed, and nothing is left."""


Action = Send | Wait | Done
