"""Suppressed users: the collector keeps none of their events. A file in its directory lists them."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic

import msgspec

from millstream.errors import SettingsError

from .events import Accepted, Rejection

__all__ = ["Suppressed", "SuppressionList"]

_log = logging.getLogger("millstream")

NAME = "suppressed.jsonl"
EVERY = 1.0
"""Seconds between two looks at whether the file has changed."""
REASON = "user_suppressed"


class Suppressed(msgspec.Struct, rename="camel", frozen=True):
    """A line of the file."""

    user_id: str
    suppressed_at: str = ""


class _Ids(msgspec.Struct, rename="camel", gc=False):
    user_id: str | int | float | None = None
    previous_id: str | int | float | None = None


_line = msgspec.json.Decoder(Suppressed)
_ids = msgspec.json.Decoder(_Ids)


class SuppressionList:
    """The file of one data directory. Other processes may change it at any time.

    Args:
        directory: the collector's data directory.
        clock: monotonic seconds.

    Raises:
        SettingsError: the file cannot be read.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = monotonic) -> None:
        self.path = directory / NAME
        self._clock = clock
        self._version = self._stat()
        self._users = frozenset(each.user_id for each in self.read())
        self._look_at = clock() + EVERY

    def users(self) -> Collection[str]:
        """Return the ids of the suppressed users, at most a second old. A file that cannot be read changes nothing."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + EVERY
            version = self._stat()
            if version != self._version:
                try:
                    self._users = frozenset(each.user_id for each in self.read())
                except SettingsError as error:
                    _log.error("%s: the users that were suppressed before still are", error)
                self._version = version
        return self._users

    def read(self) -> list[Suppressed]:
        """Return the lines of the file.

        Raises:
            SettingsError: it cannot be read; the message names the line.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingsError(f"cannot read {self.path}: {error.strerror}") from error
        found: list[Suppressed] = []
        for number, line in enumerate(lines, 1):
            try:
                found.append(_line.decode(line))
            except msgspec.DecodeError as error:
                raise SettingsError(f"{self.path}, line {number}, names no suppressed user: {error}") from None
        return found

    def add(self, users: Iterable[str], now: datetime) -> list[str]:
        """Suppress users, and return those who were not suppressed before.

        Raises:
            SettingsError: the file cannot be read or written.
        """
        with self._changing() as known:
            new = [user for user in dict.fromkeys(users) if user not in known]
            known.update({user: Suppressed(user, f"{now:%FT%T}.{now.microsecond // 1000:03}Z") for user in new})
        return new

    def remove(self, users: Iterable[str]) -> list[str]:
        """Suppress users no longer, and return those who were suppressed.

        Raises:
            SettingsError: the file cannot be read or written.
        """
        with self._changing() as known:
            return [user for user in dict.fromkeys(users) if known.pop(user, None)]

    @contextmanager
    def _changing(self) -> Generator[dict[str, Suppressed], None, None]:
        """Read the file, and put what is made of it in its place; one process at a time."""
        try:
            with (self.path.parent / f"{NAME}.lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = {each.user_id: each for each in self.read()}
                yield known
                fresh = self.path.with_suffix(".new")
                with fresh.open("wb") as file:
                    file.writelines(msgspec.json.encode(each) + b"\n" for each in known.values())
                    file.flush()
                    os.fsync(file.fileno())
                fresh.replace(self.path)
                directory = os.open(self.path.parent, os.O_RDONLY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
        except OSError as error:
            raise SettingsError(f"cannot write {self.path}: {error.strerror}") from error

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def leave_out(
    events: Sequence[Accepted], rejected: Sequence[Rejection], users: Collection[str]
) -> tuple[list[Accepted], list[Rejection]]:
    """Return the events of a request without those of suppressed users, and all that are not kept.

    Nothing of a suppressed event is shown or put in quarantine but its place in the request.
    """
    taken = {event.index for event in rejected}
    places = (index for index in range(len(events) + len(taken)) if index not in taken)
    kept: list[Accepted] = []
    left_out: list[Rejection] = []
    for index, event in zip(places, events, strict=True):
        ids = _ids.decode(event.line)
        if str(ids.user_id) in users or str(ids.previous_id) in users:
            left_out.append(Rejection(index, REASON))
        else:
            kept.append(event)
    if not left_out:
        return kept, [*rejected]
    return kept, sorted([*rejected, *left_out], key=lambda event: event.index)
