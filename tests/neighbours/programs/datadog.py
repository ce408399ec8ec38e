"""ddtrace: its patches of http.client, of urllib3 and of aiohttp's client. Spans come to a filter, and go nowhere."""

from __future__ import annotations

import sys

from ddtrace import patch
from ddtrace.trace import TraceFilter, tracer
from events import plain, run, say

client, *integrations = sys.argv[2:]
spans = []


class Keep(TraceFilter):
    def process_trace(self, trace):
        spans.extend(trace)


tracer.configure(trace_processors=[Keep()])
patch(**dict.fromkeys(integrations, True), raise_errors=True)
from ddtrace import config  # noqa: E402

for each in integrations:
    getattr(config, each)["distributed_tracing"] = True

plain(client)
with tracer.trace("request of a visitor"):
    learnt = run(client)
say(
    learnt,
    spans=[
        {
            "name": span.name,
            "error": bool(span.error),
            "trace": span.trace_id,
            "id": span.span_id,
            "parent": span.parent_id,
            "url": span.get_tag("http.url"),
            "status": span.get_tag("http.status_code"),
        }
        for span in spans
    ],
)
