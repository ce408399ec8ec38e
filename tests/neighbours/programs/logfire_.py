"""logfire, over OpenTelemetry's instrumentations. Nothing is sent to it."""

from __future__ import annotations

import logfire
from events import deliver, plain, say
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry_ import seen

exporter = InMemorySpanExporter()
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)])
logfire.instrument_aiohttp_client()
URLLib3Instrumentor().instrument()
plain()
learnt = deliver(logfire.span("visit"))
say(learnt, **seen(exporter))
