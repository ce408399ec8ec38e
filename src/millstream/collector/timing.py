"""A histogram of commit times."""

from __future__ import annotations

from bisect import bisect_left


class Timing:
    """Durations of group commits: their number, their sum in seconds, and the number up to each bound."""

    BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(self.BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds
        self.buckets[bisect_left(self.BOUNDS, seconds)] += 1
