"""Verdicts: what an answer means for the events of a request, for all destinations alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..._public import publish
from ...errors import AuthError, Rejected, TransportError

__all__ = [
    "Delivered",
    "Limited",
    "PartVerdict",
    "Partial",
    "Paused",
    "Refused",
    "Retry",
    "Split",
    "Unauthorized",
    "Verdict",
    "sort_parts",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Delivered:
    """The batch was delivered."""


@dataclass(frozen=True)
class Retry:
    """Retry after a back-off; the attempt counts."""

    error: TransportError | Rejected


@dataclass(frozen=True)
class Limited:
    """Retry when the server says; the attempt does not count, and nothing else is sent until then."""

    seconds: float
    error: Rejected


@dataclass(frozen=True)
class Split:
    """Retry in two halves: the batch is too large, or one event in it is bad. A single event is refused."""

    error: Rejected


@dataclass(frozen=True)
class Refused:
    """Fail: a retry would change nothing."""

    error: Rejected | AuthError


@dataclass(frozen=True)
class Unauthorized:
    """Retry at once with a fresh token, once for each batch; the attempt does not count."""

    error: Rejected


@dataclass(frozen=True)
class Paused:
    """Send nothing until the credentials are corrected. Where events cannot be read again, this batch is refused."""

    error: Rejected


PartVerdict = Delivered | Retry | Limited | Refused


@dataclass(frozen=True)
class Partial:
    """One verdict for each part of the request, in order."""

    verdicts: tuple[PartVerdict, ...]


Verdict = Delivered | Retry | Limited | Split | Refused | Unauthorized | Paused | Partial


class Sorted(Generic[T]):
    """The parts of a request, by the action that their verdicts require."""

    def __init__(self) -> None:
        self.delivered: list[T] = []
        self.refused: dict[Rejected | AuthError, list[T]] = {}
        self.again: list[T] = []
        """Parts to retry, in order."""
        self.retry: Retry | Limited | None = None
        """The verdict for all of `again`: the longest rate limit among them, else the last Retry."""


def sort_parts(parts: Sequence[T], verdicts: Sequence[PartVerdict]) -> Sorted[T]:
    """Sort parts by their verdicts, one for each part."""
    found = Sorted[T]()
    for part, verdict in zip(parts, verdicts, strict=True):
        match verdict:
            case Delivered():
                found.delivered.append(part)
            case Refused(error):
                found.refused.setdefault(error, []).append(part)
            case Retry() | Limited():
                found.again.append(part)
                if not isinstance(found.retry, Limited) or (
                    isinstance(verdict, Limited) and verdict.seconds > found.retry.seconds
                ):
                    found.retry = verdict
    return found


publish("millstream.destinations", Delivered, Limited, Partial, Paused, Refused, Retry, Split, Unauthorized)
