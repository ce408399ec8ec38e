"""Dead letters: events that a destination did not take for good, each with what was said of it.

    deadletters/<route>.jsonl      a line for each; a full file becomes <route>.1.jsonl, in place of the one before
    deadletters/<route>.done       ids of those that have been delivered since, or are not wanted

A letter that is written a second time, because its router died before the cursor was stored, has the same id.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from .._public import publish
from ..log.files import entries, force_data, force_directory, make_directory, open_file, read_file
from ..log.holds import file_name

__all__ = ["DeadLetter", "DeadLetters", "letter_id", "letters_in", "routes_with_letters"]

FOLDER = "deadletters"
MAX_BYTES = 128 << 20
MAX_ANSWER = 1024
"""Bytes of an answer that a letter keeps."""


class DeadLetter(Struct, rename="camel", omit_defaults=True):
    """One event that a destination did not take, and why. Times are in ISO 8601."""

    id: str
    destination: str
    code: str
    """What went wrong, as a word: `rejected`, `retries_exhausted`, `prepare_failed` …"""
    reason: str
    attempts: int
    event: Raw
    """The event, as it is stored."""
    message_id: str = ""
    position: int = 0
    status: int | None = None
    response: str = ""
    """The beginning of the answer, secrets masked."""
    part: str = ""
    """What of the event was refused, if it makes several parts."""
    received_at: str = ""
    first_attempted_at: str = ""
    last_attempted_at: str = ""


def letter_id(position: int, data: bytes) -> str:
    """Return the id of a letter: the same for the same event, position and content."""
    return f"{position:x}-{crc32(data):08x}"


class DeadLetters:
    """The dead letters of one route, for the router that writes them.

    `lost` counts those that made room for newer ones.

    Args:
        directory: the log's.
        route: whose they are.
        max_bytes: of the letters that are kept, roughly.
    """

    def __init__(self, directory: Path, route: str, *, max_bytes: int = MAX_BYTES) -> None:
        self.lost = 0
        self._path = _path(directory, route)
        self._max_bytes = max_bytes
        self._file = -1
        self._synced = True

    def add(self, letter: DeadLetter) -> None:
        """Append a letter: all of it, or nothing.

        Raises:
            OSError: it could not be; the disk is full, say.
        """
        line = msgspec.json.encode(letter) + b"\n"
        size = self._look()
        if size and size + len(line) > self._max_bytes // 2:
            self._turn_over()
            size = 0
        written = os.write(self._file, line)
        if written < len(line):
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self._path))
        self._synced = False

    def sync(self) -> None:
        """Force what was added to the disk itself. Raises OSError."""
        if not self._synced and self._file >= 0:
            force_data(self._file)
            self._synced = True

    def close(self) -> None:
        """Release the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _look(self) -> int:
        """Return the size of the file, which a replay may write to as well: it is opened anew if it was replaced."""
        if self._file >= 0:
            try:
                if os.path.samestat(found := os.fstat(self._file), self._path.stat()):
                    return found.st_size
            except FileNotFoundError:
                pass
            self.close()
        self._open()
        return os.fstat(self._file).st_size

    def _open(self) -> None:
        make_directory(self._path.parent)
        file = open_file(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            force_directory(self._path.parent)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # its writer died in the middle of a line
                os.write(file, b"\n")
        except OSError:
            os.close(file)
            raise
        self._file = file

    def _turn_over(self) -> None:
        """Begin another file; the one before the last is deleted."""
        self.sync()
        older = self._path.with_suffix(".1.jsonl")
        done = _done(self._path)
        self.lost += sum(1 for each in _letters(older) if each.id not in done)
        self._path.replace(older)
        self.close()
        self._open()


def letters_in(directory: Path, route: str) -> list[DeadLetter]:
    """Return the letters of a route that are not done with, the oldest first. Raises OSError."""
    path = _path(directory, route)
    done = _done(path)
    found: dict[str, DeadLetter] = {}
    for each in (*_letters(path.with_suffix(".1.jsonl")), *_letters(path)):
        if each.id not in done:
            found.pop(each.id, None)
            found[each.id] = each
    return list(found.values())


def mark_done(directory: Path, route: str, ids: Iterable[str]) -> None:
    """Note that these letters are done with. Raises OSError."""
    path = _path(directory, route).with_suffix(".done")
    with os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb") as file:
        file.write(b"".join([b"%s\n" % each.encode() for each in ids]))


def routes_with_letters(directory: Path) -> list[str]:
    """Return the names of the routes that have dead letters, done with or not."""
    from urllib.parse import unquote  # noqa: PLC0415 - a router does not need it

    names = {
        path.name.removesuffix(".jsonl").removesuffix(".1")
        for path in entries(directory / FOLDER)
        if path.suffix == ".jsonl"
    }
    return sorted(unquote(name) for name in names)


def _path(directory: Path, route: str) -> Path:
    return directory / FOLDER / f"{file_name(route)}.jsonl"


_decode = msgspec.json.Decoder(DeadLetter).decode


def _letters(path: Path) -> Iterator[DeadLetter]:
    try:
        data = read_file(path)
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        try:
            if line:
                yield _decode(line)
        except (msgspec.DecodeError, ValueError):  # its writer died in the middle of it
            continue


def _done(path: Path) -> frozenset[str]:
    try:
        return frozenset(read_file(path.with_suffix(".done")).decode("ascii", "replace").split())
    except FileNotFoundError:
        return frozenset()


publish("millstream.router", DeadLetter, letters_in)
