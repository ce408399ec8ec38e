"""OpenTelemetry's instrumentation of logging, with the root logger at DEBUG: every line of every library."""

from __future__ import annotations

import logging

from events import deliver, say, settings, track
from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from millstream import Analytics

exporter = InMemoryLogRecordExporter()
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
set_logger_provider(provider)
trace.set_tracer_provider(TracerProvider())
LoggingInstrumentor().instrument(inject_trace_context=True)
URLLib3Instrumentor().instrument()
AioHttpClientInstrumentor().instrument()
logging.getLogger().setLevel(logging.DEBUG)

learnt = deliver()
with Analytics("key", **settings(host="http://127.0.0.1:9")) as nowhere:
    track(nowhere, 0)
lines = [(each.instrumentation_scope.name, str(each.log_record.body)) for each in exporter.get_finished_logs()]
say(learnt, lines=[body for name, body in lines if name == "millstream"])
