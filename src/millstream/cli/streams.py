"""The standard streams of a command, even if they are closed, full, or a broken pipe."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Lost", "Output", "standard_streams"]


class Lost(Exception):
    """Standard output is closed or full. Not an OSError: click and rich would end the program at those."""


class Output(io.TextIOWrapper):
    """Writes text and bytes to a descriptor. After the first failure, output is discarded.

    Failures are detected above the buffer: if an interrupt came between a write and the record of it, a buffer above
    would write the same bytes again.

    Args:
        file: the descriptor.
        encoding: of text; by default the locale's. Unsupported characters become question marks.
        strict: whether the first failure raises Lost.
    """

    def __init__(self, file: int, encoding: str | None, *, strict: bool) -> None:
        raw = io.FileIO(file, "w", closefd=False)
        # Written through to the buffer, text and bytes keep their order.
        super().__init__(io.BufferedWriter(raw), encoding, "replace", line_buffering=raw.isatty(), write_through=True)
        self.error: OSError | None = None
        self._strict = strict

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes unchanged."""
        try:
            self.buffer.write(data)
        except OSError as error:
            self._lose(error)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.error = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self._strict:
            raise Lost from error


@contextmanager
def standard_streams() -> Generator[Output, None, None]:
    """Give the command usable standard streams. Yields standard output."""
    _open_closed()
    before = sys.stdin, sys.stdout, sys.stderr
    out = Output(1, getattr(sys.stdout, "encoding", None), strict=True)
    err = Output(2, getattr(sys.stderr, "encoding", None), strict=False)
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - it was closed
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        for stream in (out, err):
            with suppress(Lost):
                stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Fill the places of closed streams, or the next file opened would be taken for one.

    Reading and writing still fail as before.
    """
    for file, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(file)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number
