"""What was not kept, for people to look at: a file that is bounded, and in nobody's way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

NAME = "rejected.log"


class Rejects:
    """Appends to `rejected.log`. When it is full it becomes `rejected.log.1`, in whose place there was an older one.

    For one thread. Nobody waits for it, and nothing here is worth a failed request: what cannot be written is counted.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 16 << 20) -> None:
        self.path = directory / NAME
        self.lost = 0
        self._max_bytes = max_bytes

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines, or count them as lost."""
        try:
            with self.path.open("ab") as file:
                file.write(b"\n".join((*lines, b"")))
                full = file.tell() >= self._max_bytes
            if full:
                self.path.replace(self.path.with_suffix(".log.1"))
        except OSError:
            self.lost += len(lines)
