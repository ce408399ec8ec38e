"""Sentry, with tracing: what it would send comes to a transport that keeps it."""

from __future__ import annotations

from urllib.parse import urlsplit

import sentry_sdk
from events import deliver, plain, say, sender
from sentry_sdk.transport import Transport

kept = []


class Keep(Transport):
    def capture_envelope(self, envelope):
        kept.extend(item.payload.json for item in envelope.items)


sentry_sdk.init("http://key@127.0.0.1:9/1", transport=Keep, traces_sample_rate=1.0)
with sentry_sdk.start_transaction(name="plain"):
    plain()
visit = sentry_sdk.start_transaction(name="visit")
learnt = deliver(visit, http_client=sender(lambda: sentry_sdk.start_transaction(name="delivery")))
say(
    learnt,
    visit=visit.trace_id,
    seen=[
        {
            "path": urlsplit(span["data"]["url"]).path,
            "status": span["data"]["http.response.status_code"],
            "trace": span["trace_id"],
            "error": span["status"] != "ok",
        }
        for each in kept
        for span in each.get("spans", [])
        if span["op"] == "http.client"
    ],
)
