"""Clocks and message ids: what the pure core is given instead of asking for it.

Delivery goes by `monotonic` and `file_time`, which run on where a test tool has stopped time: freezegun sets the
functions of `time`, and every module's own name for one of them, to what stands still. Pauses, deadlines and the ages
of files are no part of what a test freezes. The time of an event (`stamp`) is.
"""

from __future__ import annotations

import os
import time as clocks
from collections.abc import Callable
from functools import partial
from time import gmtime, strftime, time

__all__ = ["file_time", "monotonic", "stamp", "start_anew"]

monotonic: Callable[[], float] = clocks.monotonic
file_time: Callable[[], float] = clocks.time
if hasattr(clocks, "clock_gettime"):  # not on Windows
    monotonic = partial(clocks.clock_gettime, clocks.CLOCK_MONOTONIC)
    file_time = partial(clocks.clock_gettime, clocks.CLOCK_REALTIME)

_ENDS = [f"{number:03x}" for number in reversed(range(4096))]
# Calls come many to a millisecond: its text and what its ids begin with are made once. From when to when that holds,
# the text, the beginning, the ends that have not been used with it yet, and the random part of the beginning. (One
# tuple, assigned in one step, so that no thread puts together what belongs to two moments.)
_moment: tuple[float, float, str, str, list[str], str] = (0.0, 0.0, "", "", [], "")


def stamp() -> tuple[str, str]:
    """The time of this call (UTC, milliseconds, `Z`), and a fresh id: a UUID version 7 (RFC 9562 §5.7).

    62 bits of the id are the operating system's randomness, drawn for 4,096 ids at a time, which differ in a counter
    (RFC 9562 §6.2, method 1); taking one is a `list.pop`, which is atomic. A forked child draws for itself, so that
    parent and child never share an id.
    """
    now = time()  # as a float, whose comparisons take 0.1 µs less than a division of nanoseconds
    begin, end, text, head, ends, _ = _moment
    if begin <= now < end and ends:
        try:
            return text, head + ends.pop()
        except IndexError:  # another thread took the last
            pass
    return _stamp_anew(now)


def _stamp_anew(now: float) -> tuple[str, str]:
    """The same in a new millisecond, or when all ends have been used."""
    global _moment  # noqa: PLW0603
    before = _moment
    _, _, _, _, ends, random = before
    try:
        last = ends.pop()
    except IndexError:
        ends, random = [*_ENDS], _random_part()
        last = ends.pop()
    milliseconds = int(now * 1000)
    text = _text(milliseconds)
    head = f"{milliseconds >> 16 & 0xFFFF_FFFF:08x}-{milliseconds & 0xFFFF:04x}-7{random}"
    if _moment is before:  # not in a child that was forked in the middle of this: the ends are its parent's
        _moment = milliseconds / 1000, (milliseconds + 1) / 1000, text, head, ends, random
    return text, head + last


def _random_part() -> str:
    """What follows the version digit of an id but for its last three: the variant and 62 random bits."""
    drawn = int.from_bytes(os.urandom(8), "big") >> 2
    return f"{drawn >> 50:03x}-{0x8000 | drawn >> 36 & 0x3FFF:04x}-{drawn & 0xF_FFFF_FFFF:09x}"


_second: tuple[int, str] = (-1, "")


def _text(milliseconds: int) -> str:
    global _second  # noqa: PLW0603
    seconds, rest = divmod(milliseconds, 1000)
    known = _second
    if known[0] != seconds:
        known = _second = (seconds, strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds)))
    return f"{known[1]}.{rest:03d}Z"


def start_anew() -> None:
    """In a forked child: what is left of the parent's randomness is not for us."""
    global _moment  # noqa: PLW0603
    _moment = (0.0, 0.0, "", "", [], "")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=start_anew)
