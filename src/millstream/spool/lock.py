"""The owner of a lane: the process that holds the lock of its `owner.json`, whose content is only for people.

The kernel releases a lock when its process exits in any way. Process numbers do not identify: they are reused, and in
a container every process is number 1.

A forked child has copies of all descriptors, and the lock is held until the last copy is closed. So a child closes its
copies at once; and a file opened during a fork, of which a child may have an unknown copy, is opened again before it is
locked.
"""

from __future__ import annotations

import errno
import os
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .._version import __version__
from ..log.files import open_file, read_file

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None

__all__ = ["FORMAT", "HAS_LOCKS", "OWNER", "Owner", "close_lock", "new_lock", "owner_of", "release_lock", "take_lock"]

FORMAT = 1
OWNER = "owner.json"
HAS_LOCKS = fcntl is not None
MAX_BYTES = 1 << 16
"""Bytes of an `owner.json` that are read."""


class Owner(msgspec.Struct):
    """The process that made a lane."""

    format: int
    host: str = ""
    pid: int = 0
    started: str = ""
    millstream: str = ""

    @property
    def known(self) -> bool:
        """Whether this release can read the lane's format."""
        return self.format == FORMAT


def owner_of(directory: Path) -> Owner | None:
    """Read a lane's `owner.json`; None if it is missing or corrupt."""
    try:
        said = msgspec.json.decode(read_file(directory / OWNER, MAX_BYTES))
        return msgspec.convert(said, Owner)
    except msgspec.ValidationError:  # JSON of another shape, from a newer release
        return Owner(format=0)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):  # DecodeError was no ValueError once
        return None


def new_lock(directory: Path) -> int:
    """Make and lock the `owner.json` of a new lane. Return its descriptor.

    Raises:
        OSError: it cannot be made or locked.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    owner = Owner(FORMAT, socket.gethostname(), os.getpid(), now, __version__)
    lock = _open(directory / OWNER, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(lock, msgspec.json.encode(owner) + b"\n")
    except OSError:
        close_lock(lock)
        raise
    return lock


def take_lock(directory: Path, *, to_look: bool = False) -> int | None:
    """Lock a lane of an exited owner; return the descriptor, or None if the owner runs or another process was faster.

    Args:
        directory: the lane.
        to_look: release it at once, and write nothing: for inspection on a read-only file system.

    Raises:
        OSError: the state is unknown; of a lane without an `owner.json`, FileNotFoundError.
    """
    path = directory / OWNER
    # Over NFS an exclusive lock needs a file open for writing.
    how, kind = (os.O_RDONLY, fcntl.LOCK_SH) if to_look else (os.O_RDWR, fcntl.LOCK_EX)
    lock = _open(path, how)
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        if os.path.samestat(path.stat(), os.fstat(lock)):
            return lock
    except OSError as exc:
        if exc.errno not in _TAKEN:
            close_lock(lock)
            raise
    close_lock(lock)
    return None


_TAKEN = {errno.EWOULDBLOCK, errno.EACCES, errno.ENOENT}
"""Another process has the lock (some systems say EACCES), or has deleted the file, and with it the lane."""


def release_lock(lock: int) -> None:
    """Release a lock, even if other processes have copies of its descriptor."""
    if lock in _open_here:
        fcntl.flock(lock, fcntl.LOCK_UN)
    close_lock(lock)


def close_lock(lock: int) -> None:
    """Close our copy of a lock's descriptor: the parent's lock, or one that was never taken."""
    if _open_here.pop(lock, None) is not None:
        os.close(lock)


_open_here: dict[int, int] = {}
"""The descriptors of locks, and the process that opened each."""
_forks = 0


def _open(path: Path, how: int) -> int:
    us = os.getpid()
    while True:
        forks = _forks
        lock = open_file(path, how)
        _open_here[lock] = us
        if forks == _forks:
            return lock
        close_lock(lock)


def _before_fork() -> None:
    global _forks  # noqa: PLW0603
    _forks += 1


def _after_fork() -> None:
    us = os.getpid()
    for lock, opened_by in list(_open_here.items()):
        if opened_by != us:
            close_lock(lock)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
