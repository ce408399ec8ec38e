"""The file of rejected events, `rejected.log`: bounded, and never in the way of a request."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

NAME = "rejected.log"
MODE = 0o640
"""Permissions as for the files of events: none for others."""


class Rejects:
    """Appends to `rejected.log`. A full one is renamed to `rejected.log.1`, which replaces the previous one.

    No request waits for it or fails because of it: lines that cannot be written are counted as `lost`. One thread
    offers, another one writes.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 16 << 20, max_waiting: int = 10_000) -> None:
        self.path = directory / NAME
        self._max_bytes = max_bytes
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
            with open(self.path, "ab", opener=_opened) as file:
                file.write(b"\n".join((*lines, b"")))
                full = file.tell() >= self._max_bytes
            if full:
                self.path.replace(self.path.with_suffix(".log.1"))
        except OSError:
            self._failed += len(lines)


def _opened(path: str, flags: int) -> int:
    """Open the file without permissions for others, which an existing file loses."""
    file = os.open(path, flags | os.O_CLOEXEC, MODE)
    mode = stat.S_IMODE(os.fstat(file).st_mode)
    if mode & ~MODE:
        os.fchmod(file, mode & MODE)
    return file
