"""Files of the log: only regular ones are opened, and what is made has fixed rights, whatever the umask is."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["DIRECTORY_MODE", "entries", "force_data", "force_directory", "make_directory", "open_file", "read_file"]

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750


def open_file(path: Path | str, how: int, *, directory: int | None = None) -> int:
    """Open a file, which `how` may make. Returns its descriptor.

    A symbolic link is not followed, and a pipe is not waited for.

    Args:
        path: the file.
        how: flags of os.open.
        directory: the descriptor of the directory that a relative path begins in.

    Raises:
        OSError: it cannot be opened; with the code ENXIO or ELOOP, it is not a regular file.
    """
    how |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, how, FILE_MODE, dir_fd=directory)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ENXIO, "it is not a regular file", os.fspath(path))  # noqa: TRY301 - one way out
        if how & os.O_CREAT and not found.st_size and stat.S_IMODE(found.st_mode) != FILE_MODE:
            with suppress(OSError):  # a file system without rights; or another user's file
                os.fchmod(file, FILE_MODE)
    except OSError:
        os.close(file)
        raise
    return file


def read_file(path: Path, most: int = -1) -> bytes:
    """Return a file's content, or its first `most` bytes.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read(most)


def entries(directory: Path) -> list[Path]:
    """Return what is in a directory: nothing, if another process has deleted it.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, where they are missing.

    Raises:
        OSError: it cannot be made.
    """
    try:
        path.mkdir(DIRECTORY_MODE, exist_ok=True)
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_directory(path.parent)
        path.mkdir(DIRECTORY_MODE, exist_ok=True)


def force_data(file: int) -> None:
    """Force what is in an open file to the disk itself. Raises OSError."""
    getattr(os, "fdatasync", os.fsync)(file)  # macOS has no fdatasync


def force_directory(path: Path) -> None:
    """Force the names in a directory to the disk itself: a file without a name is lost with the power.

    Raises:
        OSError: they could not be.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
