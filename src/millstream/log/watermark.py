"""Numbers that one process writes into a small file, and others read at any time: the watermark, and readers' holds.

A write replaces all of the file's bytes in place. A reader that meets a write half way finds a wrong checksum, and
looks again. Not mapped into memory: a mapped file that another process cuts kills its readers with SIGBUS.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .._core.cursor import sealed, unsealed
from .._core.record import Position
from .files import force_directory, open_file

__all__ = ["WATERMARK", "NumberFile", "Watermark", "read_numbers", "read_watermark", "watermark_file"]

WATERMARK = "watermark"
TRIES = 3


class NumberFile:
    """A file of numbers, open for writing. Made, with its name on the disk itself, if it is missing.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        is_new = not path.exists()
        self._file = open_file(path, os.O_RDWR | os.O_CREAT)
        if is_new:
            force_directory(path.parent)

    def write(self, *numbers: int) -> None:
        """Replace the numbers. Raises OSError."""
        os.pwrite(self._file, sealed(b" ".join([b"%020d" % number for number in numbers])), 0)

    def in_place(self) -> bool:
        """Whether the file still has its name: no other process has removed or replaced it."""
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except OSError:
            return False

    def close(self) -> None:
        """Release the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def read_numbers(file: int) -> tuple[int, ...] | None:
    """Return the numbers in an open file; None if it is damaged."""
    for _ in range(TRIES):
        text = unsealed(os.pread(file, 256, 0))
        if text is not None:
            with suppress(ValueError):
                return tuple(map(int, text.split()))
    return None


class Watermark(NamedTuple):
    """How far a log has come: what survives a loss of power, and what survives the death of its writer."""

    durable: Position
    written: Position
    boot: int
    """Which start of the machine this was written in."""

    @property
    def current(self) -> bool:
        """Whether the machine has not been started anew since: then all that is in the files was on the disk itself."""
        return self.boot == boot()


def watermark_file(directory: Path) -> NumberFile:
    """Open a log's watermark for writing: `write(durable, written, boot())`. Raises OSError."""
    return NumberFile(directory / WATERMARK)


def read_watermark(directory: Path) -> Watermark | None:
    """Return the watermark in a directory; None if there is none, or it is damaged."""
    try:
        file = open_file(directory / WATERMARK, os.O_RDONLY)
    except OSError:
        return None
    try:
        numbers = read_numbers(file)
    finally:
        os.close(file)
    return watermark_of(numbers)


def watermark_of(numbers: tuple[int, ...] | None) -> Watermark | None:
    """Return the watermark that these numbers are."""
    return Watermark(*numbers) if numbers is not None and len(numbers) == len(Watermark._fields) else None


@cache
def boot() -> int:
    """Return a number for this start of the machine; 0 where the system names none."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return int(text.replace("-", ""), 16) % 10**18
    except (OSError, ValueError):
        return 0
