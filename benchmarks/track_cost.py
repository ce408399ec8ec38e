"""What one call of track() costs, against the floor: the encoding and the queue, which no design can avoid.

    python benchmarks/track_cost.py [--events N]

Both are measured in one run, in turns, so that a noisy machine disturbs them alike; the ratio is what counts. Delivery
to a sink on loopback runs all the while, in another process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from queue import SimpleQueue
from typing import Any

import msgspec

from millstream import Analytics

SINK = """
import http.server
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
"""
WHEN = datetime(2024, 5, 17, 9, 30, 15, 123456, tzinfo=timezone.utc)


def properties(i: int) -> dict[str, Any]:
    """What a checkout would record: about 500 bytes, fresh objects for each call."""
    return {
        "order_id": f"o-{i}",
        "total": 49.99 + i % 1000,
        "title": "Café – 東京 ✓",
        "tags": ["new", "sale", "eu-west"],
        "cart": {"id": "c-81f3", "items": 3, "coupon": None, "gift": False},
        "signed_up_at": WHEN,
        "returning": True,
    }


def context() -> dict[str, Any]:
    return {"ip": "203.0.113.7", "userAgent": "Mozilla/5.0 (X11; Linux x86_64)", "page": {"path": "/checkout/done"}}


def measure(call: Callable[[int], object], events: int) -> list[float]:
    """Microseconds of each call."""
    took = []
    for i in range(events):
        start = time.perf_counter_ns()
        call(i)
        took.append((time.perf_counter_ns() - start) / 1000)
    return took


def floor() -> Callable[[int], object]:
    """Encode the whole event and put it into a queue: no ids, times, checks, limits, outcomes."""
    encode = msgspec.json.Encoder().encode
    queue: SimpleQueue[bytes] = SimpleQueue()

    def call(i: int) -> None:
        event = {
            "type": "track",
            "messageId": "01920000-0000-7000-8000-000000000000",
            "timestamp": "2026-01-01T00:00:00.000Z",
            "userId": "user-1",
            "event": "Order Completed",
            "properties": properties(i),
            "context": context(),
            "integrations": {},
        }
        queue.put(encode(event))
        queue.get()

    return call


def ours(analytics: Analytics) -> Callable[[int], object]:
    def call(i: int) -> None:
        analytics.track("Order Completed", user_id="user-1", properties=properties(i), context=context())

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="calls in each of 5 rounds")
    events = parser.parse_args().events
    sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    try:
        analytics = Analytics("key", host=f"http://127.0.0.1:{int(sink.stdout.readline())}", max_queue_events=10**7)
        calls = {"floor": floor(), "track": ours(analytics)}
        medians: dict[str, list[float]] = {"floor": [], "track": []}
        tails: dict[str, list[float]] = {"floor": [], "track": []}
        for _ in range(5):
            for name, call in calls.items():
                took = sorted(measure(call, events))
                medians[name].append(took[len(took) // 2])
                tails[name].append(took[int(len(took) * 0.99)])
        result = analytics.close_and_flush()
    finally:
        sink.terminate()
        sink.wait()
    print(f"{'':8}{'p50 µs':>10}{'p99 µs':>10}   (medians of 5 rounds of {events:,} calls)")
    for name in calls:
        print(f"{name:8}{statistics.median(medians[name]):>10.2f}{statistics.median(tails[name]):>10.2f}")
    ratio = statistics.median(t / f for t, f in zip(medians["track"], medians["floor"], strict=True))
    print(f"track() costs {ratio:.2f} times its floor; delivered {result.delivered:,}, lost {result.failed}")


if __name__ == "__main__":
    main()
