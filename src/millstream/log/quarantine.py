"""The quarantine: where what cannot be read or is not accepted is put, for people to look at.

Spools, readers of a log and the collector have one each, the directory `quarantine` in their own. Nothing of ours reads
it. A file is named by what is in it; one that grows is bounded: it becomes `<name>.1` when it is full.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .files import make_directory, open_file

__all__ = ["Quarantine"]

NAME = "quarantine"
STRANGERS = {errno.ELOOP, errno.ENXIO, errno.EISDIR}
"""Codes by which a name is found to belong to no regular file."""
MOST_FILES = 1_000
"""Files of single pieces, in one directory. More are counted by the reader alone."""


class Quarantine:
    """Puts pieces into files that are for the owner and the group alone.

    Args:
        directory: what it belongs to; `quarantine` is made in it when there is something to put there.
        max_bytes: when a file has so many, it becomes `<name>.1`, in place of the one before. None is never.
    """

    def __init__(self, directory: Path, *, max_bytes: int | None = None) -> None:
        self.path = directory / NAME
        self._max_bytes = max_bytes

    def put(self, name: str, pieces: Sequence[bytes]) -> None:
        """Append these pieces, a line each, to a file.

        Raises:
            OSError: they could not be, or not all.
        """
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with self._opened() as directory:
            try:
                file = open_file(name, how, directory=directory)
            except OSError as exc:
                if exc.errno not in STRANGERS:
                    raise
                os.rename(name, _unused(name), src_dir_fd=directory, dst_dir_fd=directory)
                file = open_file(name, how, directory=directory)
            with os.fdopen(file, "wb") as whole:  # it writes until all is written, where os.write may stop short
                whole.write(b"".join([piece + b"\n" for piece in pieces]))
                whole.flush()
                full = self._max_bytes is not None and os.fstat(file).st_size >= self._max_bytes
            if full:
                os.rename(name, f"{name}.1", src_dir_fd=directory, dst_dir_fd=directory)

    def keep_once(self, name: str, piece: bytes) -> bool:
        """Put one piece into a file of its own, unless another process has done so. Returns whether it is there."""
        try:
            with self._opened() as directory:
                if len(os.listdir(directory)) >= MOST_FILES:  # noqa: PTH208 - by its descriptor
                    return False
                file = open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, directory=directory)
                with os.fdopen(file, "wb") as whole:
                    whole.write(piece)
        except FileExistsError:
            return True
        except OSError:  # a look at a file system that is read-only, or full: the piece stays where it is
            return False
        return True

    def move(self, path: Path, name: str) -> None:
        """Move a file, or anything else that has this path, into the quarantine.

        Raises:
            OSError: it could not be.
        """
        with self._opened() as directory:
            try:
                os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                pass
            else:
                name = _unused(name)
            os.rename(path, name, dst_dir_fd=directory)

    @contextmanager
    def _opened(self) -> Generator[int, None, None]:
        """The descriptor of the directory, made if it is missing; never of one that a symbolic link leads to."""
        make_directory(self.path)
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield directory
        finally:
            os.close(directory)


def _unused(name: str) -> str:
    return f"{name}.{secrets.token_hex(4)}"
