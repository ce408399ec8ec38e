"""Which events have come lately: duplicates are recognised by messageId, for each source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

_Generation: TypeAlias = list[bytearray | None]
"""A set of 64-bit hashes: 16 bits choose a bucket, the other 48 lie in it, one after the other.

That is twelve bytes for each; a set of ints takes seven times as much.
"""
_BUCKET = (1 << 16) - 1
_SIZE = 6


class Dedup:
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
        self._new, self._old = _generation(), _generation()
        self._new_count = self._old_count = 0
        self._since: float | None = None

    def __len__(self) -> int:
        return self._new_count + self._old_count

    @property
    def full(self) -> bool:
        """Whether one more of the past would be one too many."""
        return self._old_count >= self._limit

    def add(self, source: str, message_ids: Sequence[str], now: float) -> list[bool]:
        """Remember ids, at `now` in seconds since the epoch. Of each whether it is new, and not remembered already."""
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
        """The events were not kept after all."""
        for bucket, rest in _split(source, message_ids):
            self._new_count -= _discard(self._new[bucket], rest)
            self._old_count -= _discard(self._old[bucket], rest)  # a new generation may have begun since

    def remember(self, source: str, message_id: str) -> None:
        """An id of the past, when there is no present yet."""
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
    """Of each id the bucket, and what lies in it."""
    hashes = [hash((source, each)) for each in message_ids]
    return [(each & _BUCKET, (each >> 16).to_bytes(_SIZE, "little", signed=True)) for each in hashes]


def _place(bucket: bytearray, rest: bytes) -> int:
    """Where it lies, or -1. What is found across a border is no one's."""
    place = bucket.find(rest)
    while place % _SIZE and place > 0:
        place = bucket.find(rest, place + 1)
    return place


def _discard(bucket: bytearray | None, rest: bytes) -> int:
    if bucket is None or (place := _place(bucket, rest)) < 0:
        return 0
    del bucket[place : place + _SIZE]
    return 1
