"""Which events have come lately: duplicates are recognised by messageId, for each source."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TypeAlias

_Generation: TypeAlias = MutableMapping[int, bytearray]
"""A set of 64-bit hashes: 16 bits choose a bucket, the other 48 lie in it, one after the other.

That is twelve bytes for each; a set of ints takes seven times as much.
"""
_BUCKET = (1 << 16) - 1
_SIZE = 6
_NONE = bytearray()


class Window:
    """Remembers ids for `span` seconds at least, and for at most twice as long, in two generations.

    An id is kept as 64 bits of a hash that differs from process to process, so that nobody can make two ids meet. By
    accident they meet once in two million million new events, with ten million ids in the window.

    Args:
        span: seconds; at 0 nothing is remembered.
        limit: ids in a generation. Where more come, the window is shorter.
    """

    def __init__(self, span: float = 86_400.0, limit: int = 5_000_000) -> None:
        self.span = span
        self._limit = limit if span > 0 else 0
        self._new: _Generation = {}
        self._old: _Generation = {}
        self._new_count = self._old_count = 0
        self._since: float | None = None

    def __len__(self) -> int:
        return self._new_count + self._old_count

    @property
    def full(self) -> bool:
        """Whether one more of the past would be one too many."""
        return self._old_count >= self._limit

    def add(self, source: str, message_id: str, now: float) -> bool:
        """Remember an id, at `now` in seconds since the epoch; False if it is remembered already."""
        if not self._limit:
            return True
        if self._since is None or self._new_count >= self._limit or not 0 <= now - self._since < self.span:
            self._rotate(now)
        bucket, rest = _split(source, message_id)
        for held in (self._old.get(bucket), self._new.get(bucket)):
            if held is not None and _place(held, rest) >= 0:
                return False
        if held is None:
            self._new[bucket] = bytearray(rest)
        else:
            held += rest
        self._new_count += 1
        return True

    def forget(self, source: str, message_id: str) -> None:
        """The event was not kept after all."""
        bucket, rest = _split(source, message_id)
        self._new_count -= _discard(self._new.get(bucket, _NONE), rest)
        self._old_count -= _discard(self._old.get(bucket, _NONE), rest)  # a new generation may have begun since

    def remember(self, source: str, message_id: str) -> None:
        """An id of the past, when there is no present yet."""
        bucket, rest = _split(source, message_id)
        held = self._old.setdefault(bucket, bytearray())
        if _place(held, rest) < 0:
            held += rest
            self._old_count += 1

    def _rotate(self, now: float) -> None:
        if self._since is not None:
            self._old, self._old_count = self._new, self._new_count
            self._new, self._new_count = {}, 0
            if now - self._since >= 2 * self.span:
                self._old, self._old_count = {}, 0
        self._since = now


def _split(source: str, message_id: str) -> tuple[int, bytes]:
    digest = hash((source, message_id))
    return digest & _BUCKET, (digest >> 16).to_bytes(_SIZE, "little", signed=True)


def _place(bucket: bytearray, rest: bytes) -> int:
    """Where it lies, or -1. What is found across a border is no one's."""
    place = bucket.find(rest)
    while place % _SIZE and place > 0:
        place = bucket.find(rest, place + 1)
    return place


def _discard(bucket: bytearray, rest: bytes) -> int:
    place = _place(bucket, rest)
    if place < 0:
        return 0
    del bucket[place : place + _SIZE]
    return 1
