import sys
import logfire
from events import plain, run, say
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
client = sys.argv[2]
print([n for n in dir(logfire) if n.startswith("instrument")], file=sys.stderr)
exporter = InMemorySpanExporter()
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(exporter)])
logfire.instrument_aiohttp_client()
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
URLLib3Instrumentor().instrument()
plain(client)
with logfire.span("request"):
    learnt = run(client)
say(learnt, spans=[(s.name, s.attributes) for s in exporter.get_finished_spans()])
