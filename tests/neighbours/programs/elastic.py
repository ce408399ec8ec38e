"""Elastic APM: what it would send comes to a transport that keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import elasticapm
from elasticapm.conf.constants import SPAN
from elasticapm.transport.base import Transport
from events import deliver, plain, say, sender

kept = []
traces = {}


class Keep(Transport):
    def queue(self, event_type, data, flush=False):
        if event_type == SPAN:
            kept.append(data)

    def start_thread(self, pid=None):
        pass


agent = elasticapm.Client(
    service_name="shop",
    transport_class=f"{__name__}.Keep",
    central_config=False,
    cloud_provider="none",
    metrics_interval="0s",
)
elasticapm.instrument()


@contextmanager
def transaction(name: str) -> Iterator[None]:
    agent.begin_transaction("task")
    traces[name] = elasticapm.get_trace_id()
    try:
        yield
    finally:
        agent.end_transaction(name)


with transaction("plain"):
    plain()
learnt = deliver(transaction("visit"), http_client=sender(lambda: transaction("delivery")))
say(
    learnt,
    visit=traces["visit"],
    seen=[
        {
            "path": urlsplit(span["context"]["http"]["url"]).path,
            "status": span["context"]["http"]["status_code"],
            "trace": span["trace_id"],
            "error": span["outcome"] != "success",
        }
        for span in kept
    ],
)
