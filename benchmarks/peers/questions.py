"""What is asked of whom, and what is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["QUESTIONS", "SCALING", "Question", "Scale"]

EVERYBODY = ("millstream", "segment", "rudderstack", "posthog", "least")


@dataclass(frozen=True)
class Question:
    """One scenario, for some clients."""

    title: str
    why: str
    scenario: str
    columns: tuple[str, ...]
    options: dict[str, Any]
    drivers: tuple[str, ...] = EVERYBODY
    sink: dict[str, Any] = field(default_factory=dict[str, Any])
    """How the sink behaves."""
    outage: float = 0.0
    """Seconds after which it behaves well again."""
    checked: bool = True
    """Whether all events have to be in the sink at the end."""
    once: bool = False
    """Whether it is asked once, as the answer hardly changes."""


BURST = ("p50 µs", "p99 µs", "calls/s", "delivered/s", "CPU µs", "peak MB")
QUESTIONS = (
    Question(
        "One thread, as fast as it goes",
        "50,000 events, then a flush. The time is that of each call; CPU is that of the whole process, for each event.",
        "burst",
        BURST,
        {"events": 50_000},
        ("millstream", "millstream, spool", "millstream, plugins", "segment", "rudderstack", "posthog", "least"),
    ),
    Question(
        "A server 50 ms away",
        "20,000 events; each answer takes 50 ms.",
        "burst",
        ("p50 µs", "delivered/s", "CPU µs"),
        {"events": 20_000},
        sink={"delay": 0.05},
    ),
    Question(
        "Eight threads",
        "40,000 events, recorded by eight threads at once.",
        "burst",
        ("p50 µs", "p99 µs", "calls/s", "delivered/s"),
        {"events": 40_000, "threads": 8},
    ),
    Question(
        "A host that refuses connections for three seconds",
        "A thousand events a second for four seconds, and ten more for what is left.",
        "outage",
        ("longest ms", "lost"),
        {"seconds": 4.0},
        ("millstream", "segment", "rudderstack", "posthog"),
        {"down": True},
        outage=3.0,
        checked=False,
        once=True,
    ),
    Question(
        "A host that reads and does not answer for three seconds",
        "The same; then the connections break.",
        "outage",
        ("longest ms", "lost"),
        {"seconds": 4.0},
        ("millstream", "segment", "rudderstack", "posthog"),
        {"stall": True},
        outage=3.0,
        checked=False,
        once=True,
    ),
    Question(
        "An asyncio application",
        "5,000 events a second for three seconds; how late does the loop get?",
        "loop",
        ("lag p50 ms", "lag p99 ms"),
        {"rate": 5000, "seconds": 3.0},
        ("millstream", "millstream, asyncio", "segment", "rudderstack", "posthog"),
        checked=False,
    ),
    Question(
        "Memory of a queued event",
        "50,000 events of about 560 bytes on the wire, for a host that is away.",
        "queued",
        ("bytes/event",),
        {"events": 50_000},
        ("millstream", "segment", "rudderstack", "posthog", "least"),
        {"stall": True},
        checked=False,
        once=True,
    ),
    Question(
        "An idle client",
        "One event, and then nothing.",
        "idle",
        ("wake-ups/s", "CPU ms/s", "threads"),
        {"seconds": 5.0},
        ("millstream", "segment", "rudderstack", "posthog"),
        checked=False,
        once=True,
    ),
)


@dataclass(frozen=True)
class Scale:
    """How the cost of an event changes with one thing."""

    title: str
    axis: str
    option: str
    values: tuple[int, ...]
    options: dict[str, Any]
    drivers: tuple[str, ...] = ("millstream", "millstream, spool", "segment", "least")
    most: dict[str, int] = field(default_factory=dict[str, int])
    """Beyond these values a client is not asked: it would take minutes."""


SCALING = (
    Scale(
        "CPU for each event, by their number",
        "events",
        "events",
        (1_000, 10_000, 100_000, 1_000_000),
        {},
        most={"segment": 100_000, "millstream, spool": 1_000_000},
    ),
    Scale("CPU for each event, by threads", "threads", "threads", (1, 2, 4, 8, 16), {"events": 20_000}),
    Scale(
        "CPU for each event, by their size",
        "characters of filling",
        "size",
        (100, 1_000, 10_000, 30_000),
        {"events": 10_000},
    ),
)
