"""Cursors in a directory, beside a log: a file for each route and partition.

    cursors/<route>/<partition>.cursor   a line for each save, the last one counts; made short by rename
    cursors/<route>/<partition>.lock     locked during a save, so that the revision is compared and replaced in one step

A line that was only half written, or is damaged, counts as not there: the one before it does.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from threading import Lock

from .._clock import monotonic
from .._core.cursor import Cursor, decode_cursor, encode_cursor
from .files import force_data, force_directory, make_directory, open_file, read_file
from .holds import file_name
from .memory import fenced

__all__ = ["FileCursorStore"]

_log = logging.getLogger("millstream")
FULL = 64 << 10
"""Bytes from which a file is made short."""


class FileCursorStore:
    """Stores cursors in a directory. Any thread uses it, and several processes: see `CursorStore`.

    `fallbacks` counts the cursors that were not read from the last line, because it is damaged.

    Args:
        directory: the log's; `cursors` is made in it.
        sync_interval: seconds after which a saved cursor is forced to the disk itself, with a later save or `close`. A
            loss of power before that sends the events again that were settled since.
    """

    def __init__(self, directory: str | os.PathLike[str], *, sync_interval: float = 1.0) -> None:
        self.path = Path(directory) / "cursors"
        self.fallbacks = 0
        self._sync_interval = sync_interval
        self._files: dict[Path, _File] = {}
        self._guard = Lock()

    def load(self, route: str, partition: str) -> tuple[Cursor, int] | None:
        """Return a route's cursor and its revision; None if there is none that can be read. Raises OSError."""
        path = self._path(route, partition)
        with self._guard:
            try:
                data = read_file(path)
            except FileNotFoundError:
                return None
            found, damaged = _last(data)
            if damaged:
                self.fallbacks += 1
                became = (
                    "events that were settled since the one before it are sent again" if found else "it is not used"
                )
                _log.warning("the last cursor in %s is damaged: %s", path, became)
            return found

    def save(self, route: str, partition: str, cursor: Cursor, revision: int) -> int:
        """Store a cursor in place of the one with this revision (0: of none). Returns the new revision.

        Raises:
            Fenced: another process has saved one meanwhile.
            OSError: it could not be stored.
        """
        path = self._path(route, partition)
        with self._guard:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = _File(path)
            try:
                found = file.replace(cursor, revision)
            except OSError:
                self._files.pop(path).close()
                raise
            if found != revision:
                raise fenced(route, partition, revision, found)
            if monotonic() - file.synced_at >= self._sync_interval:
                file.sync()
        return revision + 1

    def close(self) -> None:
        """Force what is saved to the disk itself, and release the files."""
        with self._guard:
            while self._files:
                _, file = self._files.popitem()
                try:
                    file.sync()
                except OSError as error:
                    _log.warning("the cursor in %s is saved, but could not be forced to the disk: %s", file.path, error)
                file.close()

    def _path(self, route: str, partition: str) -> Path:
        return self.path / file_name(route) / f"{file_name(partition)}.cursor"


class _File:
    """The file of one cursor, open for saves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.synced_at = monotonic()
        make_directory(path.parent)
        self._lock = open_file(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        self._file = -1
        self._size = 0
        self._revision = 0
        self._is_named = False  # on the disk itself

    def replace(self, cursor: Cursor, revision: int) -> int:
        """Store a cursor, if the one that is there has this revision. Returns the revision that was there."""
        import fcntl  # noqa: PLC0415 - Windows has none, and a router there keeps its cursors in memory or a broker

        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._look(revision)
            found = self._revision
            if found == revision:
                line = encode_cursor(cursor, revision + 1)
                if self._size > FULL:
                    self._write_anew(line)
                else:  # behind a newline, so that a line before it that was only half written spoils nothing
                    self._append(b"\n" + line)
                self._revision = revision + 1
            return found
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def sync(self) -> None:
        """Force it to the disk itself. Raises OSError."""
        force_data(self._file)
        if not self._is_named:
            for directory in list(self.path.parents)[:3]:  # the route's, that of all cursors, the log's
                force_directory(directory)
            self._is_named = True
        self.synced_at = monotonic()

    def close(self) -> None:
        """Release the file and its lock."""
        for file in (self._file, self._lock):
            if file >= 0:
                os.close(file)

    def _look(self, expected: int) -> None:
        """Find out which revision is there. One that cannot be read, or was removed, is replaced by what we know."""
        if self._file >= 0:
            ours = os.fstat(self._file)
            if ours.st_size == self._size and ours.st_nlink:
                return
            os.close(self._file)
        self._file = open_file(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        data = read_file(self.path)
        self._size = len(data)
        found, _ = _last(data)
        self._revision = expected if found is None else found[1]

    def _append(self, data: bytes) -> None:
        written = os.write(self._file, data)
        self._size += written
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self.path))

    def _write_anew(self, line: bytes) -> None:
        """Replace all the lines by this one. It is on the disk itself before the others are gone."""
        new = self.path.with_suffix(".new")
        with os.fdopen(open_file(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(line)
            file.flush()
            force_data(file.fileno())
        new.rename(self.path)
        self._is_named = False
        os.close(self._file)
        self._file = open_file(self.path, os.O_RDWR | os.O_APPEND)
        self._size = len(line)


def _last(data: bytes) -> tuple[tuple[Cursor, int] | None, bool]:
    """Return the last cursor that can be read, and whether there is a line after it that cannot."""
    damaged = False
    for line in reversed(data.split(b"\n")):
        if line:
            found = decode_cursor(line)
            if found is not None:
                return found, damaged
            damaged = True
    return None, damaged
