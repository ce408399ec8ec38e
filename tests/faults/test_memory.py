"""The bound of the queue is the bound of the process: an outage costs memory up to there, and no more."""

from __future__ import annotations

import pytest

from support.api import Api
from support.faults import FAULTS
from support.processes import run_script

pytestmark = pytest.mark.process

QUEUE = 8 << 20
RECORDED = 100 << 20
"""Bytes of events that are recorded: far more than the queue may hold."""
BESIDE = 32 << 20
"""Bytes that receipts, requests and answers may take beside the queue."""

OUTAGE = """
    import logging, resource, sys, threading
    from millstream import Analytics
    logging.disable()

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    bound, recorded = int(sys.argv[2]), int(sys.argv[3])
    analytics = Analytics("key", host=sys.argv[1], max_queue_bytes=bound, http_request_timeout=0.5, max_retries=1)
    analytics.track("A", user_id="u", properties={"filling": "x" * 2000})
    analytics.flush(timeout=0.3)
    before, filling = peak(), "x" * 2000
    for _ in range(recorded // 2000):
        analytics.track("A", user_id="u", properties={"filling": filling})
    over = threading.Event()
    analytics.on("error", lambda event: event.code == "delivery_failure" and over.set())
    assert over.wait(30), "no batch failed"
    print(peak() - before, analytics.stats().dropped)
    analytics.close(timeout=0)
"""


@pytest.mark.parametrize(
    "fault",
    [
        "refuses connections",
        "accepts and never answers",
        "answers with an endless body",
        "answers with endless headers",
    ],
)
def test_an_outage_does_not_fill_the_memory(api: Api, fault: str) -> None:
    """However much is recorded while the host is ill, the process grows by little more than `max_queue_bytes`."""
    with FAULTS[fault].at(api):
        growth, dropped = map(int, run_script(OUTAGE, api.url, str(QUEUE), str(RECORDED)).split())
    assert dropped > 0
    assert growth < QUEUE + BESIDE, f"{growth >> 20} MiB"
