"""Actions that the engine requests of a driver: small frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batcher import Batch

__all__ = ["Action", "Done", "Send", "Wait"]


@dataclass(frozen=True, eq=False)
class Send:
    """Send this batch, and report with this very value. `attempt` counts from 1.

    A report after `deadline` is ignored: the engine has counted the attempt as failed.
    """

    batch: Batch
    attempt: int
    deadline: float


@dataclass(frozen=True)
class Wait:
    """Do nothing until this time or the next fact. None: until the next fact."""

    until: float | None


@dataclass(frozen=True)
class Done:
    """Closed, and no event is left."""


Action = Send | Wait | Done
