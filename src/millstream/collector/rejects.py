"""What was not kept, for people to look at: a file that is bounded, and in nobody's way."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

NAME = "rejected.log"
MODE = 0o640
"""As the files of events have it: nothing for others."""


class Rejects:
    """Appends to `rejected.log`. When it is full it becomes `rejected.log.1`, in whose place there was an older one.

    Nobody waits for it, and nothing here is worth a failed request: what cannot be written is counted as `lost`.
    One thread offers, and another one writes.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 16 << 20, max_waiting: int = 10_000) -> None:
        self.path = directory / NAME
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._offered = self._refused = 0
        self._done = self._failed = 0

    @property
    def lost(self) -> int:
        """How many lines are in no file."""
        return self._refused + self._failed

    def offer(self, lines: Sequence[bytes]) -> bool:
        """Whether these lines may wait to be written: not without end, if the disk does not move."""
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
    """A descriptor of the file, which is made without rights for others; one that has more loses them."""
    file = os.open(path, flags | os.O_CLOEXEC, MODE)
    mode = stat.S_IMODE(os.fstat(file).st_mode)
    if mode & ~MODE:
        os.fchmod(file, mode & MODE)
    return file
