"""A collector's files of events, read from outside, also while it writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from millstream._core.log import records

from .segments import segments_in

__all__ = ["PREFIX", "Record", "records_in", "stored_files"]

PREFIX = "events-"
"""Beginning of the names of the collector's files."""
_CHUNK = 1 << 20


class Record(NamedTuple):
    """One line of a file: where it begins, its bytes, and whether its end is written."""

    position: int
    data: bytes
    ended: bool


def stored_files(directory: Path) -> list[Path]:
    """The collector's files, the oldest first. What else is in the directory is none of them.

    Raises:
        OSError: the directory is not there, or cannot be read.
    """
    directory.stat()
    return [segment.path for segment in segments_in(directory, PREFIX) if segment.path.is_file()]


def records_in(path: Path, size: int) -> Iterator[Record]:
    """The records in the first `size` bytes of a file, a megabyte in memory at a time.

    Raises:
        OSError: the file cannot be read.
    """
    position, rest = 0, b""
    with path.open("rb") as file:
        while data := file.read(min(_CHUNK, size - position - len(rest))):
            data = rest + data
            cut = 1 + max(data.rfind(b"\n"), data.rfind(b"\0"))
            for start, record in records(data[:cut], position):
                yield Record(start, record, ended=True)
            position, rest = position + cut, data[cut:]
    if rest:
        yield Record(position, rest, ended=False)
