"""logging, structlog and OpenTelemetry: the examples, and that no line about events becomes an event."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from millstream import Analytics, enrichment
from millstream.integrations.logging import EventHandler
from millstream.integrations.opentelemetry import instrument
from millstream.integrations.structlog import EventProcessor
from support.api import Api, drop, status
from support.processes import environment

ROOT = Path(__file__).parents[2]


def run(example: str, api: Api) -> str:
    """Run an example, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"examples.frameworks.{example}"],
        cwd=ROOT, env={**environment(), "MILLSTREAM_WRITE_KEY": "key", "MILLSTREAM_HOST": api.url},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_log_lines_become_events(api: Api) -> None:
    """The lines that were meant are events, with the ids of their block; those of the delivery, at DEBUG, are none."""
    run("log_lines", api)
    assert [(event["event"], event.get("userId"), event.get("anonymousId")) for event in api.accepted] == [
        ("Log Recorded", "user-17", None),
        ("Order Placed", "user-17", None),
        ("Log Recorded", None, "log"),
    ]
    assert [event["properties"] for event in api.accepted] == [
        {"level": "warning", "logger": "shop", "message": "payment of order 17 failed", "order": 17},
        {"level": "info", "order": 18},
        {"level": "error", "logger": "shop", "message": "no user is to blame"},
    ]


@pytest.mark.parametrize("host", ["well", "a wrong key", "dead"])
@pytest.mark.parametrize("library", ["logging", "structlog"])
def test_a_log_handler_cannot_feed_itself(api: Api, host: str, library: str) -> None:
    """With a plugin and listeners that log each event, and requests that fail, one line is one event."""
    if host == "a wrong key":
        api.always = status(401)
    elif host == "dead":
        api.refuse()
    log, root = logging.getLogger("shop"), logging.getLogger()
    structured: Any = structlog.wrap_logger(log, processors=[])
    with Analytics("key", host=api.url, max_retries=1, flush_at=1, on_invalid="report") as analytics:
        handler = EventHandler(analytics, logging.DEBUG)
        if library == "structlog":
            processors = [EventProcessor(analytics, key=None), structlog.processors.JSONRenderer()]
            structured = structlog.wrap_logger(logging.getLogger("elsewhere"), processors=processors)
        say: Callable[..., Any] = log.warning if library == "logging" else structured.warning

        @enrichment
        def logs(ctx: Any) -> None:
            say("an event comes by")

        analytics.register(logs)
        for name in ("track", "error", "http_request", "http_response"):
            analytics.on(name, lambda *_: say("something happens"))
        before = root.level
        if library == "logging":
            root.addHandler(handler)
            root.setLevel(logging.DEBUG)
        try:
            say("once")
            analytics.flush(timeout=20)
        finally:
            root.removeHandler(handler)
            root.setLevel(before)
        assert analytics.stats().accepted == 1


def test_what_a_line_raises_breaks_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """An event that is refused in its call, with a setting that raises, is told where logging tells its own errors."""
    with Analytics(disable=True, on_invalid="raise") as analytics:
        log = logging.getLogger("shop.raises")
        log.addHandler(EventHandler(analytics))
        log.warning("bad", extra={"properties": {"bad": object()}})
        line = {"event": "bad", "bad": object(), "track": True}
        assert EventProcessor(analytics)(None, "info", line) is line
        assert "track" not in line
    assert "Logging error" in capfd.readouterr().err


# -- OpenTelemetry ----------------------------------------------------------------------------------------


def test_the_example_tells_of_the_trace(api: Api) -> None:
    """An event has the ids of the span that has caused it; the request that delivers it is a span of its own."""
    said = run("telemetry", api)
    (event,) = api.accepted
    decoder, spans, rest = json.JSONDecoder(), [], said.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        spans.append(value)
        rest = rest[end:].lstrip()
    named = {span["name"]: span for span in spans if "name" in span}
    assert f"0x{event['context']['traceId']}" == named["checkout"]["context"]["trace_id"]
    assert f"0x{event['context']['spanId']}" == named["checkout"]["context"]["span_id"]
    assert named["POST millstream"]["attributes"]["http.response.status_code"] == 200
    assert "millstream.events.accepted" in said


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.shutdown()


def test_counters_are_metrics_and_requests_are_spans(api: Api, spans: InMemorySpanExporter) -> None:
    """Each attempt is a span, with its answer or as an error without one; metrics are the client's own counters."""
    api.script(status(503), drop())
    reader, tracer = InMemoryMetricReader(), TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(spans))
    with Analytics("key", host=api.url, max_retries=5) as analytics:
        instrument(analytics, meter_provider=MeterProvider([reader]), tracer_provider=tracer)
        for number in range(3):
            analytics.track("Seen", user_id=f"user-{number}")
        analytics.flush(timeout=30)
        stats = analytics.stats()
        measured: Counter[str] = Counter()
        data: Any = reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                outcome = (point.attributes or {}).get("outcome", "")
                measured[f"{metric.name}:{outcome}" if outcome else metric.name] = point.value
    assert measured == Counter({
        "millstream.events:delivered": 3,
        "millstream.events:failed": 0,
        "millstream.events:dropped": 0,
        "millstream.events.accepted": 3,
        "millstream.events.pending": 0,
        "millstream.queue.size": 0,
        "millstream.requests": stats.requests,
        "millstream.retries": 2,
    })  # fmt: skip
    finished = spans.get_finished_spans()
    answers = Counter((span.attributes or {}).get("http.response.status_code") for span in finished)
    assert answers == {503: 1, None: 1, 200: 1}
    assert Counter(span.status.is_ok for span in finished) == {False: 2, True: 1}
    assert "key" not in str([span.to_json() for span in finished])
