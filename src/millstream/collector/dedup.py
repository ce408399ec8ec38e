"""Deduplication: remembers message ids for each source in two generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

_Generation: TypeAlias = list[bytearray | None]
"""A set of 64-bit hashes: 16 bits choose a bucket, the other 48 are stored in it, one after the other.

Far smaller than a set of ints.
"""
_BUCKET = (1 << 16) - 1
_SIZE = 6


class Dedup:
    """Remembers message ids for `span` to twice `span` seconds, in two generations.

    An id is stored as 64 bits of a hash seeded by the process, so that no client can make ids collide. A chance
    collision is negligible: about one in two million million events, with ten million ids stored.

    Args:
        span: seconds; 0 disables deduplication.
        limit: ids per generation; more shorten the window.
    """

    def __init__(self, span: float = 86_400.0, limit: int = 5_000_000) -> None:
        self.span = span
        self._limit = limit if span > 0 else 0
        self._new, self._old = _generation(), _generation()
        self._new_count = self._old_count = 0
        self._since: float | None = None

    def __len__(self) -> int:
        return self._new_count + self._old_count

    @property
    def full(self) -> bool:
        """Whether loading another stored id would exceed the limit."""
        return self._old_count >= self._limit

    def add(self, source: str, message_ids: Sequence[str], now: float) -> list[bool]:
        """Remember ids, at `now` in seconds since the epoch; return for each whether it is new."""
        if not self._limit:
            return [True] * len(message_ids)
        if self._since is None or not 0 <= now - self._since < self.span:
            self._rotate(now)
        fresh: list[bool] = []
        for bucket, rest in _split(source, message_ids):
            if self._new_count >= self._limit:
                self._rotate(now)
            older, held = self._old[bucket], self._new[bucket]
            if (older and rest in older and _place(older, rest) >= 0) or (
                held and rest in held and _place(held, rest) >= 0
            ):
                fresh.append(False)
                continue
            if held is None:
                self._new[bucket] = bytearray(rest)
            else:
                held += rest
            self._new_count += 1
            fresh.append(True)
        return fresh

    def forget(self, source: str, message_ids: Sequence[str]) -> None:
        """Forget ids, because their events could not be stored."""
        for bucket, rest in _split(source, message_ids):
            self._new_count -= _discard(self._new[bucket], rest)
            self._old_count -= _discard(self._old[bucket], rest)  # a new generation may have started since

    def remember(self, source: str, message_id: str) -> None:
        """Load the id of a stored event, before the first `add`."""
        for bucket, rest in _split(source, [message_id]):
            held = self._old[bucket]
            if held is None:
                held = self._old[bucket] = bytearray()
            if _place(held, rest) < 0:
                held += rest
                self._old_count += 1

    def _rotate(self, now: float) -> None:
        begin = now
        if self._since is not None:
            self._old, self._old_count = self._new, self._new_count
            self._new, self._new_count = _generation(), 0
            elapsed = now - self._since
            if elapsed >= 2 * self.span:
                self._old, self._old_count = _generation(), 0
            elif elapsed >= self.span:
                begin = self._since + self.span  # from now on, the older ids would be kept for up to three spans
        self._since = begin


def _generation() -> _Generation:
    return [None] * (_BUCKET + 1)


def _split(source: str, message_ids: Sequence[str]) -> list[tuple[int, bytes]]:
    """Split the hash of each id into its bucket and the bytes stored there."""
    hashes = [hash((source, each)) for each in message_ids]
    return [(each & _BUCKET, (each >> 16).to_bytes(_SIZE, "little", signed=True)) for each in hashes]


def _place(bucket: bytearray, rest: bytes) -> int:
    """Return the offset of an entry, or -1. A match across two entries does not count."""
    place = bucket.find(rest)
    while place % _SIZE and place > 0:
        place = bucket.find(rest, place + 1)
    return place


def _discard(bucket: bytearray | None, rest: bytes) -> int:
    if bucket is None or (place := _place(bucket, rest)) < 0:
        return 0
    del bucket[place : place + _SIZE]
    return 1
