"""The log's format: what a record is, and where it is.

A log is a sequence that only ever grows; a *position* is a place in it: a byte of a file, or a number that a broker
gives. In a file, a record is a line of JSON: it holds no raw newline and no NUL. Readers split at both: room that was
reserved and never written (its writer was killed, or the disk was full) reads as NULs, and so never runs into the
record after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import msgspec

__all__ = ["Place", "Position", "Record", "Stretch", "joined", "records", "valid"]

Position: TypeAlias = int
"""A place in a log: a byte's, a sequence number, or an offset."""


class Record(NamedTuple):
    """One record of a log, and the positions that it stands for.

    The records of one read leave no position out: each begins where the one before it ended. What lies between two
    records (a gap, a record that cannot be read) belongs to the one after it, so that who settles every record has
    settled every position.
    """

    start: Position
    end: Position
    data: bytes


class Place(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Where one record is: in which lane, from which position to which (its newline included)."""

    lane: object
    start: int
    end: int


class Stretch(msgspec.Struct, frozen=True, eq=False):
    """Records that follow one another in a lane, with nothing between them that is done with."""

    lane: object
    start: int
    end: int
    count: int

    @classmethod
    def of(cls, place: Place) -> Stretch:
        """One record as a stretch."""
        return cls(place.lane, place.start, place.end, 1)


def joined(first: Stretch, second: Stretch) -> Stretch | None:
    """Both in one, if the second begins where the first ends."""
    if first.lane is not second.lane or first.end != second.start:
        return None
    return Stretch(first.lane, first.start, second.end, first.count + second.count)


def records(data: bytes, base: int) -> Iterator[tuple[int, bytes]]:
    """What is between the newlines and NULs of a part of the log that begins at `base`; each with its position."""
    if b"\0" in data:
        for match in _PIECE.finditer(data):
            yield base + match.start(), match[0]
        return
    for line in data.split(b"\n"):
        if line:
            yield base, line
        base += len(line) + 1


_PIECE = re.compile(rb"[^\n\0]+")  # slower than a split, by bytes


class _Event(msgspec.Struct):
    """What an event has, at least."""

    type: str
    messageId: str  # noqa: N815 - the wire's
    integrations: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Event).decode


def valid(record: bytes) -> bool:
    """Whether a record is an event.

    All of it is looked at: one broken byte, sent on, would make the receiver refuse a whole batch.
    """
    try:
        _decode(record)
        record.decode()
    except (msgspec.DecodeError, ValueError, RecursionError):  # a DecodeError is no ValueError in older releases
        return False
    return True
