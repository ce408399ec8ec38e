"""What a destination costs: events per CPU-second from stored bytes to requests, beside a bare loop.

    python benchmarks/destinations.py [--events N] [--rounds N]

Both are measured in one run, in turns, so that a noisy machine disturbs them alike: the median of the rounds counts.
The bare loop decodes each event, and encodes it again: the least that a mapping needs. The forward and the webhook do
not decode at all. Nothing is sent.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from millstream.destinations import GA4, Amplitude, Destination, Event, Mixpanel, Part, PostHog, TrackingAPI, Webhook
from millstream.destinations._preview import requests_of

WINDOW = 5_000
"""Events that wait together: what the parts of one key are taken from."""
USERS = 500
BARS = {
    "forward": 250_000,
    "webhook": 100_000,
    "mixpanel": 100_000,
    "amplitude": 100_000,
    "posthog": 100_000,
    "ga4": 40_000,
}


def stored(number: int) -> bytes:
    """What a collector has of a checkout: about 617 bytes."""
    event: dict[str, Any] = {
        "type": "track",
        "event": "Item Added",
        "messageId": f"0198c0de-0000-7000-8000-{number:012d}",
        "userId": f"user-{number % USERS}",
        "anonymousId": f"0198aaaa-0000-7000-8000-{number % USERS:012d}",
        "timestamp": f"2026-01-01T00:{number // 60 % 60:02d}:{number % 60:02d}.{number % 1000:03d}Z",
        "properties": {"order_id": f"o-{number}", "total": 49.99, "title": "Café – 東京", "items": 3, "returning": True}
        | {"tags": ["new", "sale"]},
        "context": {
            "library": {"name": "millstream", "version": "0.1.0"},
            "ip": "203.0.113.7",
            "locale": "en-GB",
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
            "page": {"url": "https://shop.example/cart", "path": "/cart"},
        },
        "integrations": {},
        "receivedAt": "2026-01-01T00:00:01.000Z",
    }
    return msgspec.json.encode(event)


def bare(events: Sequence[bytes]) -> int:
    """Decode and encode, and join."""
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    return sum(len(b",".join([encode(decode(data)) for data in window])) for window in windows(events))


def joined(events: Sequence[bytes]) -> int:
    """Join alone."""
    return sum(len(b",".join(window)) for window in windows(events))


def windows(events: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """Return the events as they wait together."""
    return (events[at : at + WINDOW] for at in range(0, len(events), WINDOW))


def mapped(destination: Destination) -> Callable[[Sequence[bytes]], int]:
    """Return what makes requests of events, as a router does."""

    def run(events: Sequence[bytes]) -> int:
        size = 0
        for window in windows(events):
            parts: list[Part] = []
            for data in window:
                parts += destination.prepare(Event(data), {})  # type: ignore[arg-type]
            size += sum(len(request.body) for request in requests_of(destination, parts, 0.0))
        return size

    return run


def rate(run: Callable[[Sequence[bytes]], int], events: Sequence[bytes]) -> float:
    """Return events per CPU-second."""
    gc.collect()
    began = time.process_time()
    run(events)
    return len(events) / (time.process_time() - began)


def main() -> None:
    """Measure everything, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    events = [stored(number) for number in range(args.events)]
    runs: dict[str, Callable[[Sequence[bytes]], int]] = {
        "join alone": joined,
        "bare loop": bare,
        "forward": mapped(TrackingAPI("key", name="Second")),
        "webhook": mapped(Webhook("https://me.example", secret="secret of the benchmark", max_events=50)),
        "mixpanel": mapped(Mixpanel(token="token")),
        "amplitude": mapped(Amplitude(api_key="key")),
        "posthog": mapped(PostHog(api_key="phc_key")),
        "ga4": mapped(GA4(measurement_id="G-1", api_secret="secret")),
    }
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            took[name].append(rate(run, events))
    print(f"{args.events:,} events of {len(events[0])} bytes, {args.rounds} rounds, events per CPU-second")
    base = statistics.median(took["bare loop"])
    for name, rates in took.items():
        median = statistics.median(rates)
        bar = f"bar {BARS[name]:>9,}  {'reached' if median >= BARS[name] else 'MISSED'}" if name in BARS else ""
        print(f"{name:<12} {median:>11,.0f}  {median / base:5.2f} of the bare loop  {bar}")


if __name__ == "__main__":
    main()
