"""ddtrace: its patches of http.client, of urllib3 and of aiohttp's client. Spans come to a filter, and go nowhere."""

from __future__ import annotations

from urllib.parse import urlsplit

from ddtrace import config, patch
from ddtrace.trace import TraceFilter, tracer
from events import CLIENT, deliver, plain, say

spans = []


class Keep(TraceFilter):
    def process_trace(self, trace):
        spans.extend(trace)


tracer.configure(trace_processors=[Keep()])
integrations = ["httplib", "urllib3"] if CLIENT == "Analytics" else ["aiohttp"]
patch(raise_errors=True, **dict.fromkeys(integrations, True))
for name in integrations:
    getattr(config, name)["distributed_tracing"] = True

plain()
learnt = deliver(tracer.trace("visit"))
(visit,) = [span for span in spans if span.name == "visit"]

# With both integrations one request has two spans: the inner one is in the header that arrives.
sent = [span for span in spans if span.get_tag("http.url")]
inner = [span for span in sent if span.span_id not in {other.parent_id for other in sent}]
say(
    learnt,
    visit=f"{visit.trace_id:032x}",
    seen=[
        {
            "path": urlsplit(span.get_tag("http.url")).path,
            "status": int(span.get_tag("http.status_code")),
            "trace": f"{span.trace_id:032x}",
            "error": bool(span.error),
        }
        for span in inner
    ],
    integrations=len({span.name for span in sent}),
)
