"""What was not kept, for people to look at: a file in the quarantine that is bounded, and in no request's way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from millstream.log.quarantine import Quarantine

__all__ = ["NAME", "Rejects"]

NAME = "rejected.jsonl"


class Rejects:
    """Appends to `quarantine/rejected.jsonl`.

    No request waits for it, and nothing here is worth a failed one: what cannot be written is counted as `lost`.
    One thread offers, and another one writes.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 16 << 20, max_waiting: int = 10_000) -> None:
        self._quarantine = Quarantine(directory, max_bytes=max_bytes)
        self._max_waiting = max_waiting
        self._offered = self._refused = 0
        self._done = self._failed = 0

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._refused + self._failed

    def offer(self, lines: Sequence[bytes]) -> bool:
        """Whether these lines may be queued for writing; the queue is bounded."""
        if self._offered - self._done > self._max_waiting:
            self._refused += len(lines)
            return False
        self._offered += len(lines)
        return True

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines that were offered."""
        self._done += len(lines)
        try:
            self._quarantine.put(NAME, lines)
        except OSError:
            self._failed += len(lines)
