"""OpenTelemetry: its instrumentations of urllib3, of aiohttp's client and of logging."""

from __future__ import annotations

import sys

from events import plain, run, say
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

client = sys.argv[2]
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
URLLib3Instrumentor().instrument()
AioHttpClientInstrumentor().instrument()

plain(client)
with trace.get_tracer("shop").start_as_current_span("request of a visitor"):
    learnt = run(client)

say(
    learnt,
    spans=[
        {
            "name": span.name,
            "kind": span.kind.name,
            "trace": f"{span.context.trace_id:032x}",
            "id": f"{span.context.span_id:016x}",
            "error": not span.status.is_ok and span.status.description,
            **span.attributes,
        }
        for span in exporter.get_finished_spans()
    ],
)
