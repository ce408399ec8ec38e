"""OpenTelemetry: trace ids in events, a client's counters as metrics, and a span for each request that delivers."""

# The framework has no types, or is not installed where types are checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from time import time_ns

from opentelemetry import metrics, trace

from .._client.calls import EventCalls
from .._public import publish
from .._version import __version__
from ..types import Request, Response, Stats

__all__ = ["instrument", "trace_context"]

SCOPE = "millstream"
MAX_OPEN = 64
"""Spans of requests that have no answer yet. The oldest one beyond that has got none."""


def trace_context() -> dict[str, str]:
    """Return `traceId` and `spanId` of the span that runs; nothing without one. For `context_providers`.

    Analytics(context_providers=[trace_context])
    """
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {"traceId": trace.format_trace_id(span.trace_id), "spanId": trace.format_span_id(span.span_id)}


def instrument(
    analytics: EventCalls,
    *,
    meter_provider: metrics.MeterProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
) -> None:
    """Publish a client's counters as metrics, and a span for each request that it sends.

    Metrics: `millstream.events` (with the attribute `outcome`), `millstream.events.accepted`,
    `millstream.events.pending`, `millstream.queue.size`, `millstream.requests` and `millstream.retries`.

    A request that gets no answer is a span with an error that ends when nothing is left to deliver, and counts as no
    longer than its timeout.

    Args:
        analytics: the client.
        meter_provider: by default the global one.
        tracer_provider: by default the global one.
    """
    _observe(weakref.ref(analytics), metrics.get_meter(SCOPE, __version__, meter_provider))
    spans = _Spans(trace.get_tracer(SCOPE, __version__, tracer_provider))
    analytics.on("http_request", spans.begin)
    analytics.on("http_response", spans.end)
    analytics.on("drained", spans.end_all)


def _observe(client: weakref.ref[EventCalls], meter: metrics.Meter) -> None:
    def reading(
        values: Callable[[Stats], Iterable[metrics.Observation]],
    ) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def read(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            analytics = client()
            return () if analytics is None else values(analytics.stats())

        return read

    def outcomes(stats: Stats) -> Iterable[metrics.Observation]:
        for outcome in ("delivered", "failed", "dropped"):
            yield metrics.Observation(getattr(stats, outcome), {"outcome": outcome})

    def one(name: str) -> Callable[[Stats], Iterable[metrics.Observation]]:
        return lambda stats: (metrics.Observation(getattr(stats, name)),)

    counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
    counter("millstream.events", [reading(outcomes)], "{event}", "Events that have their outcome")
    counter("millstream.events.accepted", [reading(one("accepted"))], "{event}", "Events that were accepted")
    gauge("millstream.events.pending", [reading(one("pending"))], "{event}", "Events that wait for their outcome")
    gauge("millstream.queue.size", [reading(one("queue_bytes"))], "By", "Bytes of the events that wait")
    counter("millstream.requests", [reading(one("requests"))], "{request}", "Requests that were sent")
    counter("millstream.retries", [reading(one("retries"))], "{request}", "Requests that were sent again")


class _Spans:
    """The spans of requests that are under way, by their bodies: the rest of a request may be shown without a token."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._open: OrderedDict[int, tuple[trace.Span, Request, int]] = OrderedDict()

    def begin(self, request: Request) -> None:
        began = time_ns()
        attributes = {"http.request.method": request.method, "url.full": request.url}
        span = self._tracer.start_span(
            f"{request.method} millstream", kind=trace.SpanKind.CLIENT, attributes=attributes, start_time=began
        )
        self._open[id(request.body)] = (span, request, began)
        while len(self._open) > MAX_OPEN:
            self._give_up(self._open.popitem(last=False)[1])

    def end(self, request: Request, response: Response) -> None:
        found = self._open.pop(id(request.body), None)
        if found is not None:
            span = found[0]
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 400:
                span.set_status(trace.StatusCode.ERROR)
            span.end()

    def end_all(self) -> None:
        """End the spans of requests that have got no answer: nothing is under way any more."""
        while self._open:
            self._give_up(self._open.popitem()[1])

    @staticmethod
    def _give_up(opened: tuple[trace.Span, Request, int]) -> None:
        span, request, began = opened
        span.set_status(trace.StatusCode.ERROR, "no answer")
        span.end(min(time_ns(), began + int(request.timeout * 1e9)))


publish("millstream.integrations.opentelemetry", instrument, trace_context)
