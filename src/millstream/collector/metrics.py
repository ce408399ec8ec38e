"""`/metrics`: the counts in Prometheus' text format (0.0.4), through its own client library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from millstream.router import RouteStatus

from .counts import Counts
from .store import Files, Store
from .timing import Timing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(counts: Counts, *, remembered: int, store: Store, routes: Iterable[RouteStatus] = ()) -> str:
    """Return all metrics as text. `remembered`: message ids held for deduplication."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics([*_of_collector(counts, remembered, store), *_of_destinations(list(routes))]))
    return generate_latest(registry).decode()


class _Metrics:
    """Metrics that were computed already, as a registry asks for them."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _of_collector(counts: Counts, remembered: int, store: Store) -> Iterator[Metric]:
    prefix = "millstream_collector_"
    yield CounterMetricFamily(f"{prefix}requests", "Requests to event routes.", counts.requests)
    yield _by("outcome", f"{prefix}events", "Events received, by outcome.", counts.outcomes())
    yield _by("type", f"{prefix}events_stored", "Events stored, by type.", counts.types)
    yield _by("reason", f"{prefix}events_rejected", "Events rejected as invalid, by reason.", counts.rejected)
    unknown = "Events stored with an unreadable timestamp."
    yield CounterMetricFamily(f"{prefix}times_unknown", unknown, counts.times_unknown)
    yield _by("code", f"{prefix}requests_refused", "Requests refused as a whole, by code.", counts.refused)
    ids = "messageIds held for deduplication."
    yield GaugeMetricFamily(f"{prefix}remembered_ids", ids, remembered)
    if isinstance(store, Files):
        lost = "Lines for quarantine/ that could not be written."
        yield CounterMetricFamily(f"{prefix}quarantine_lost", lost, store.rejects.lost)
        yield _histogram(f"{prefix}commit_seconds", "Time to make events durable, for all that waited.", store.timing)


def _of_destinations(routes: list[RouteStatus]) -> Iterator[Metric]:
    if not routes:
        return
    prefix, label = "millstream_destination_", ["destination"]
    events = CounterMetricFamily(
        f"{prefix}events", "Events that have an outcome at a destination.", labels=["destination", "outcome"]
    )
    state = GaugeMetricFamily(f"{prefix}state", "1 for the state of a destination.", labels=["destination", "state"])
    yield events
    yield state
    numbers: dict[str, CounterMetricFamily | GaugeMetricFamily] = {
        "requests": CounterMetricFamily(f"{prefix}requests", "Requests sent.", labels=label),
        "retries": CounterMetricFamily(f"{prefix}retries", "Requests after the first attempt.", labels=label),
        "lost": CounterMetricFamily(f"{prefix}lost", "Events deleted before they were sent.", labels=label),
        "letters_lost": CounterMetricFamily(
            f"{prefix}dead_letters_lost", "Dead letters that made room for newer ones.", labels=label
        ),
        "lag": GaugeMetricFamily(f"{prefix}lag_events", "Events that wait, estimated.", labels=label),
        "age": GaugeMetricFamily(f"{prefix}oldest_seconds", "How long the oldest event has waited.", labels=label),
    }
    yield from numbers.values()
    for route in routes:
        counters, name = route.counters, [route.name]
        outcomes = {
            "delivered": counters.delivered,
            "dropped": sum(counters.dropped.values()),
            "dead": counters.dead,
        }
        for outcome, count in outcomes.items():
            events.add_metric([route.name, outcome], count)
        state.add_metric([route.name, route.state], 1)
        numbers["requests"].add_metric(name, counters.requests)
        numbers["retries"].add_metric(name, counters.retried)
        numbers["lost"].add_metric(name, route.lost)
        numbers["letters_lost"].add_metric(name, counters.dead_lost)
        numbers["lag"].add_metric(name, route.lag_events)
        numbers["age"].add_metric(name, route.lag_seconds)


def _by(label: str, name: str, told: str, values: Mapping[str, int]) -> CounterMetricFamily:
    metric = CounterMetricFamily(name, told, labels=[label])
    for value, count in values.items():
        metric.add_metric([value], count)
    return metric


def _histogram(name: str, told: str, timing: Timing) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*timing.BOUNDS, "+Inf"), timing.buckets, strict=True):
        total += count
        buckets.append((str(bound), total))
    return HistogramMetricFamily(name, told, buckets=buckets, sum_value=timing.seconds)
