"""Clocks and message ids, which are passed into the pure core.

Delivery uses `monotonic` and `file_time`, which go on under a frozen clock: freezegun replaces the functions of `time`,
and every module's names for them. Pauses, deadlines and the ages of files must not freeze. The time of an event
(`stamp`) does.
"""

from __future__ import annotations

import os
import time as clocks
from collections.abc import Callable
from functools import partial
from time import gmtime, strftime, time

__all__ = ["file_time", "monotonic", "reset_after_fork", "stamp"]

monotonic: Callable[[], float] = clocks.monotonic
file_time: Callable[[], float] = clocks.time
if hasattr(clocks, "clock_gettime"):  # not on Windows
    monotonic = partial(clocks.clock_gettime, clocks.CLOCK_MONOTONIC)
    file_time = partial(clocks.clock_gettime, clocks.CLOCK_REALTIME)

_ENDS = [f"{number:03x}" for number in reversed(range(4096))]
# Many calls fall into one millisecond: its text and the prefix of its ids are made once. A tuple of the period, the
# text, the prefix, the suffixes not used with it yet, and the random part of the prefix. (One tuple, assigned in one
# step, so that no thread mixes two moments.)
_moment: tuple[float, float, str, str, list[str], str] = (0.0, 0.0, "", "", [], "")


def stamp() -> tuple[str, str]:
    """Return the time of this call (UTC, milliseconds, `Z`), and a new id: a UUID version 7 (RFC 9562 §5.7).

    62 bits of an id are from the operating system, drawn for 4,096 ids at a time, which differ in a counter (RFC 9562
    §6.2, method 1); taking one is a `list.pop`, which is atomic. A forked child draws its own, so that parent and
    child never share an id.
    """
    now = time()  # a float: comparing is faster than dividing nanoseconds
    begin, end, text, head, ends, _ = _moment
    if begin <= now < end and ends:
        try:
            return text, head + ends.pop()
        except IndexError:  # another thread took the last one
            pass
    return _new_stamp(now)


def _new_stamp(now: float) -> tuple[str, str]:
    """Return the same in a new millisecond, or when all suffixes are used."""
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
    if _moment is before:  # not in a child forked during this call: the suffixes are its parent's
        _moment = milliseconds / 1000, (milliseconds + 1) / 1000, text, head, ends, random
    return text, head + last


def _random_part() -> str:
    """Make the part of an id between the version digit and the last three digits: the variant and 62 random bits."""
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


def reset_after_fork() -> None:
    """Discard the parent's randomness in a forked child."""
    global _moment  # noqa: PLW0603
    _moment = (0.0, 0.0, "", "", [], "")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reset_after_fork)
