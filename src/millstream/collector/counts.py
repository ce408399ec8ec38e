"""Counters of requests and events."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .judge import Verdict


class Counts:
    """Counters since the start. Of events: `received == stored + duplicates + rejected + failed`.

    `rejected` events were invalid, `failed` ones could not be written. `refused` counts requests refused as a whole,
    whose events are unknown, and `empty` those without events. `times_unknown` counts stored events whose
    timestamp could not be read.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.stored = 0
        self.duplicates = 0
        self.failed = 0
        self.empty = 0
        self.times_unknown = 0
        self.rejected: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.types: Counter[str] = Counter()

    def note(self, verdict: Verdict, *, stored: bool) -> None:
        """Count a request and its events; `stored` is false if they could not be written."""
        self.requests += 1
        self.empty += verdict.empty
        if verdict.reason:
            self.refused[verdict.reason] += 1
        if verdict.rejected:
            self.rejected.update(event.reason for event in verdict.rejected)
        if stored:
            self.stored += len(verdict.kept)
            self.times_unknown += verdict.kept.times_unknown
            self.duplicates += len(verdict.duplicates)
            for kind, count in verdict.kept.types.items():
                self.types[kind] += count
        else:
            self.failed += len(verdict.kept) + len(verdict.duplicates)

    def outcomes(self) -> dict[str, int]:
        """The number of events for each outcome."""
        return {
            "stored": self.stored,
            "duplicate": self.duplicates,
            "rejected": self.rejected.total(),
            "failed": self.failed,
        }

    def snapshot(self) -> dict[str, Any]:
        """The counters as `/stats` returns them."""
        rejected = self.rejected.total()
        return {
            "requests": self.requests,
            "received": self.stored + self.duplicates + rejected + self.failed,
            "stored": self.stored,
            "duplicates": self.duplicates,
            "failed": self.failed,
            "rejected": rejected,
            "times_unknown": self.times_unknown,
            "empty_batches": self.empty,
            "rejected_by_reason": dict(self.rejected),
            "refused_by_reason": dict(self.refused),
            "stored_by_type": dict(self.types),
        }

    def __str__(self) -> str:
        told = f"requests: {self.requests:,}, events stored: {self.stored:,}, rejected: {self.rejected.total():,}"
        if self.duplicates:
            told += f", duplicates: {self.duplicates:,}"
        if self.failed:
            told += f", not stored: {self.failed:,}"
        return f"{told}, timestamps not read: {self.times_unknown:,}" if self.times_unknown else told
