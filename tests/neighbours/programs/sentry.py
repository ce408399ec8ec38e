"""Sentry, with tracing: what it would send comes to a transport that keeps it."""

from __future__ import annotations

import sys

import sentry_sdk
from events import EVENTS, HOST, deliver, deliver_async, plain, say, settings, track
from sentry_sdk.transport import Transport

from millstream import Analytics, AsyncAnalytics

client = sys.argv[2]
kept = []


class Keep(Transport):
    def capture_envelope(self, envelope):
        kept.extend(item.payload.json for item in envelope.items if item.payload.json)


sentry_sdk.init("http://key@127.0.0.1:9/1", transport=Keep, traces_sample_rate=1.0)
print(HOST, EVENTS, Analytics, AsyncAnalytics, settings, track, deliver_async, file=sys.stderr)

with sentry_sdk.start_transaction(name="plain"):
    plain(client)
with sentry_sdk.start_transaction(name="visit 1") as t1:
    learnt = deliver()
say(learnt, kept=kept)
