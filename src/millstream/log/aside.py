"""Where what cannot be read is put: for people to look at, never read again, never deleted by us."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .files import make_directory, open_file

__all__ = ["move_aside", "put_aside"]

STRANGERS = {errno.ELOOP, errno.ENXIO, errno.EISDIR}
"""Codes by which a name is found to belong to no regular file."""


def put_aside(directory: Path, name: str, pieces: Sequence[bytes]) -> None:
    """Append these pieces, a line each, to the file `directory/aside/name`.

    Raises:
        OSError: they could not be, or not all.
    """
    how = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with _opened(directory) as aside:
        try:
            file = open_file(name, how, directory=aside)
        except OSError as exc:
            if exc.errno not in STRANGERS:
                raise
            os.rename(name, _unused(name), src_dir_fd=aside, dst_dir_fd=aside)
            file = open_file(name, how, directory=aside)
    with os.fdopen(file, "wb") as whole:  # it writes until all is written, where os.write may stop short
        whole.write(b"".join([piece + b"\n" for piece in pieces]))


def move_aside(directory: Path, path: Path, name: str) -> None:
    """Move a file, or anything else that has this path, to `directory/aside/name`.

    Raises:
        OSError: it could not be.
    """
    with _opened(directory) as aside:
        try:
            os.stat(name, dir_fd=aside, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            name = _unused(name)
        os.rename(path, name, dst_dir_fd=aside)


@contextmanager
def _opened(directory: Path) -> Generator[int, None, None]:
    """The descriptor of the directory `aside`, made if it is missing; never of one that a symbolic link leads to."""
    path = directory / "aside"
    make_directory(path)
    aside = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield aside
    finally:
        os.close(aside)


def _unused(name: str) -> str:
    return f"{name}.{secrets.token_hex(4)}"
