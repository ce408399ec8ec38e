"""`/metrics`: the counts in Prometheus' text format (0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .counts import Counts
from .store import Files, Store
from .timing import Timing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(counts: Counts, *, remembered: int, store: Store) -> str:
    """Return all metrics as text. `remembered` is the number of message ids held for deduplication."""
    metrics = [
        _metric("requests", "counter", "Requests to event routes.", {"": counts.requests}),
        _metric("events", "counter", "Events received, by outcome.", _by("outcome", counts.outcomes())),
        _metric("events_stored", "counter", "Events stored, by type.", _by("type", counts.types)),
        _metric("events_rejected", "counter", "Events rejected as invalid, by reason.", _by("reason", counts.rejected)),
        _metric("times_unknown", "counter", "Events stored with an unreadable timestamp.", {"": counts.times_unknown}),
        _metric("requests_refused", "counter", "Requests refused as a whole, by code.", _by("code", counts.refused)),
        _metric("remembered_ids", "gauge", "messageIds held for deduplication.", {"": remembered}),
    ]
    if isinstance(store, Files):
        lost = {"": store.rejects.lost}
        metrics += [
            _metric("quarantine_lost", "counter", "Lines for quarantine/ that could not be written.", lost),
            _histogram("commit_seconds", "Time to make events durable, for all that waited.", store.timing),
        ]
    return "".join(line + "\n" for metric in metrics for line in metric)


def _metric(name: str, kind: str, told: str, samples: Mapping[str, float]) -> Iterator[str]:
    full = f"millstream_collector_{name}" + ("_total" if kind == "counter" else "")
    yield f"# HELP {full} {told}"
    yield f"# TYPE {full} {kind}"
    for labels, value in samples.items():
        yield f"{full}{labels} {value}"


def _by(label: str, values: Mapping[str, int]) -> dict[str, float]:
    # All of them are our own words: nothing needs escaping.
    return {f'{{{label}="{value}"}}': count for value, count in values.items()}


def _histogram(name: str, told: str, timing: Timing) -> Iterator[str]:
    full = f"millstream_collector_{name}"
    yield f"# HELP {full} {told}"
    yield f"# TYPE {full} histogram"
    total = 0
    for bound, count in zip((*timing.BOUNDS, "+Inf"), timing.buckets, strict=True):
        total += count
        yield f'{full}_bucket{{le="{bound}"}} {total}'
    yield f"{full}_sum {timing.seconds:.6f}"
    yield f"{full}_count {timing.count}"
