"""New Relic, in developer mode, in which it calls nobody. What it has seen shows in the headers that it adds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ |= {
    "NEW_RELIC_LICENSE_KEY": "0" * 40,
    "NEW_RELIC_APP_NAME": "shop",
    "NEW_RELIC_DEVELOPER_MODE": "true",
    "NEW_RELIC_DISTRIBUTED_TRACING_ENABLED": "true",
}
import newrelic.agent
from events import deliver, plain, say, sender

newrelic.agent.initialize()
application = newrelic.agent.register_application(timeout=10)

traces = []


@contextmanager
def transaction(name: str) -> Iterator[None]:
    with newrelic.agent.BackgroundTask(application, name):
        traces.append((name, newrelic.agent.current_trace_id()))
        yield


with transaction("plain"):
    plain()
learnt = deliver(transaction("visit"), http_client=sender(lambda: transaction("delivery")))
((_, visit),) = [each for each in traces if each[0] == "visit"]
say(learnt, visit=visit, traces=[trace for name, trace in traces if name != "visit"])
