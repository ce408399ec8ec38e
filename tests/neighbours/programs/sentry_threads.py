"""Sentry carries the trace of the thread that starts another into that one: ours have nothing of it."""

from __future__ import annotations

import sentry_sdk
from events import deliver, plain, say
from sentry_sdk.transport import Transport


class Drop(Transport):
    def capture_envelope(self, envelope) -> None:
        pass


sentry_sdk.init("http://key@127.0.0.1:9/1", transport=Drop, traces_sample_rate=1.0)
with sentry_sdk.start_transaction(name="plain"):
    plain()
say(deliver(sentry_sdk.start_transaction(name="visit")))
