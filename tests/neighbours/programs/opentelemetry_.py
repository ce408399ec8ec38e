"""OpenTelemetry: its instrumentations of urllib3 and of aiohttp's client."""

from __future__ import annotations

from urllib.parse import urlsplit

from events import deliver, plain, say
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind


def shown(span: ReadableSpan) -> dict[str, object]:
    return {
        "path": urlsplit(str(span.attributes["http.url"])).path,
        "status": span.attributes["http.status_code"],
        "trace": f"{span.context.trace_id:032x}",
        "error": not span.status.is_ok,
    }


def seen(exporter: InMemorySpanExporter) -> dict[str, object]:
    spans = exporter.get_finished_spans()
    (visit,) = [f"{span.context.trace_id:032x}" for span in spans if span.name == "visit"]
    return {"visit": visit, "seen": [shown(span) for span in spans if span.kind is SpanKind.CLIENT]}


def main() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    URLLib3Instrumentor().instrument()
    AioHttpClientInstrumentor().instrument()
    plain()
    learnt = deliver(trace.get_tracer("shop").start_as_current_span("visit"))
    say(learnt, **seen(exporter))


if __name__ == "__main__":
    main()
