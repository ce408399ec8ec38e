"""Trace ids in events, and metrics and spans of their delivery, on the terminal.

$MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST say where events go.
"""

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from millstream import Analytics
from millstream.integrations.opentelemetry import instrument, trace_context

traces = TracerProvider()
traces.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(traces)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())]))

with Analytics(context_providers=[trace_context]) as analytics:
    instrument(analytics)
    with trace.get_tracer("shop").start_as_current_span("checkout"):
        analytics.track("Item Purchased", user_id="user-17", properties={"revenue": 39.95})
