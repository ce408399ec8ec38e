"""The clocks that delivery goes by, which run on where a test tool has stopped time.

freezegun sets the functions of `time`, and every module's own name for one of them, to what stands still. Pauses,
deadlines and the ages of files are no part of what a test freezes. (The time of an event is: see _stamp.py.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

__all__ = ["file_time", "monotonic"]

monotonic: Callable[[], float] = time.monotonic
file_time: Callable[[], float] = time.time
if hasattr(time, "clock_gettime"):  # not on Windows
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    file_time = partial(time.clock_gettime, time.CLOCK_REALTIME)
