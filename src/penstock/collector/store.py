"""Where events are kept: one file of JSON lines, only ever appended to."""

from __future__ import annotations

import os
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Store(Protocol):
    """Keeps lines. `append` returns when all are kept, or raises OSError and has kept none."""

    def append(self, lines: Sequence[bytes]) -> None: ...

    def close(self) -> None: ...


class JSONLines:
    """A new file `events-<UTC time>-<process>.jsonl` in a directory, which is made if it is missing.

    What `append` has returned from survives the death of this process; not yet a loss of power.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        folder = Path(directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path, self._file = _new_file(folder)
        except OSError as error:
            raise SettingsError(f"cannot keep events in {folder}: {error.strerror}") from error
        self._torn_at: int | None = None
        self._lock = threading.Lock()

    def append(self, lines: Sequence[bytes]) -> None:
        """Append all lines, each with a line break, or none.

        Blocks its caller, the event loop included: a write to the page cache takes microseconds, less than
        the way to a thread and back.
        """
        data = b"\n".join((*lines, b""))
        with self._lock:
            self._mend()
            start = os.fstat(self._file).st_size
            try:
                _write(self._file, data)
            except OSError:
                self._torn_at = start
                self._mend()
                raise

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _mend(self) -> None:
        """Cut off what a failed write left behind: the next line must not continue it.

        If even that fails, nothing is appended until it succeeds.
        """
        if self._torn_at is not None:
            os.ftruncate(self._file, self._torn_at)
            self._torn_at = None


def _new_file(folder: Path) -> tuple[Path, int]:
    """A file that did not exist: two stores never share one, or one could cut off the other's lines."""
    stem = f"events-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{os.getpid()}"
    for turn in range(1000):
        path = folder / (f"{stem}-{turn}.jsonl" if turn else f"{stem}.jsonl")
        try:
            return path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except FileExistsError:
            continue
    raise FileExistsError(f"{stem}.jsonl and its successors exist")


def _write(file: int, data: bytes) -> None:
    """One write; more only where the system took a part of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
