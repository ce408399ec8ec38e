"""Each client in a few lines: how it is made, how an event is recorded, how it is flushed. Defaults, unless said."""

from __future__ import annotations

import asyncio
import base64
import collections
import importlib
import json
import os
import socket
import tempfile
import threading
import time
from typing import Any, Protocol
from urllib.parse import urlsplit

Event = dict[str, Any]


class Driver(Protocol):
    """One client under test."""

    module: str
    """What is imported to use it."""

    def make(self, host: str, queue: int) -> Any: ...

    def track(self, client: Any, user: str, event: str, properties: Event) -> None: ...

    def flush(self, client: Any) -> None: ...


class Millstream:
    """This library."""

    module = "millstream"

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def make(self, host: str, queue: int) -> Any:
        return _of("millstream", "Analytics")(
            "key", host=host, max_queue_events=queue, max_queue_bytes=1 << 31, **self.settings
        )

    def track(self, client: Any, user: str, event: str, properties: Event) -> None:
        client.track(event, user_id=user, properties=properties)

    def flush(self, client: Any) -> None:
        client.close_and_flush(timeout=120)


class OnALoop(Millstream):
    """This library's AsyncAnalytics: made, used and closed on the event loop."""

    def make(self, host: str, queue: int) -> Any:
        self.loop = asyncio.get_running_loop()
        return _of("millstream", "AsyncAnalytics")("key", host=host, max_queue_events=queue, max_queue_bytes=1 << 31)

    def flush(self, client: Any) -> None:
        asyncio.run_coroutine_threadsafe(client.close_and_flush(timeout=120), self.loop).result()


class WithSpool(Millstream):
    """This library, with every event on disk before its call returns."""

    def make(self, host: str, queue: int) -> Any:
        self.settings = {"spool": tempfile.mkdtemp(prefix="millstream-bench-")}
        return super().make(host, queue)


class WithPlugins(Millstream):
    """This library, with a plugin of each kind, and a callback on every event."""

    def make(self, host: str, queue: int) -> Any:
        plugin = _of("millstream", "Plugin")

        def same(_self: Any, ctx: Any) -> Any:
            return ctx

        client = super().make(host, queue)
        for kind in ("before", "enrichment", "destination", "after", "utility"):
            client.register(type(kind.title(), (plugin,), {"type": kind, "track": same})())
        return client

    def track(self, client: Any, user: str, event: str, properties: Event) -> None:
        client.track(event, user_id=user, properties=properties, callback=_nothing)


class Segment:
    """segment-analytics-python."""

    module = "segment.analytics"

    def make(self, host: str, queue: int) -> Any:
        return _of("segment.analytics.client", "Client")("key", host=host, max_queue_size=queue)

    def track(self, client: Any, user: str, event: str, properties: Event) -> None:
        client.track(user, event, properties)

    def flush(self, client: Any) -> None:
        client.flush()


class Rudder(Segment):
    """rudder-sdk-python."""

    module = "rudderstack.analytics"

    def make(self, host: str, queue: int) -> Any:
        return _of("rudderstack.analytics.client", "Client")("key", host=host, max_queue_size=queue)


class PostHog:
    """posthog."""

    module = "posthog"

    def make(self, host: str, queue: int) -> Any:
        return _of("posthog", "Posthog")("key", host=host, max_queue_size=queue, disable_geoip=True)

    def track(self, client: Any, user: str, event: str, properties: Event) -> None:
        client.capture(event, distinct_id=user, properties=properties)

    def flush(self, client: Any) -> None:
        client.flush()


class Least:
    """No library: the least code that could work. No validation, limits, retries, receipts; one raw socket."""

    module = "orjson"

    def make(self, host: str, queue: int) -> Any:  # noqa: ARG002
        return _Least(host)

    def track(self, client: Any, user: str, event: str, properties: Event) -> None:
        client.track(user, event, properties)

    def flush(self, client: Any) -> None:
        client.stop = True
        client.thread.join()


class _Least:
    def __init__(self, host: str) -> None:
        self.dumps = _of("orjson", "dumps")
        self.queue: collections.deque[bytes] = collections.deque()
        self.seed, self.number, self.stop = os.urandom(8).hex(), 0, False
        where = urlsplit(host)
        self.socket = socket.create_connection((where.hostname or "", where.port or 80))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %b\r\nContent-Length: " % (
            base64.b64encode(b"key:")
        )
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def track(self, user: str, event: str, properties: Event) -> None:
        self.number += 1
        self.queue.append(
            self.dumps(
                {
                    "type": "track",
                    "messageId": f"{self.seed}-{self.number:012x}",
                    "timestamp": _now(),
                    "userId": user,
                    "event": event,
                    "properties": properties,
                    "context": {"library": {"name": "least", "version": "0"}},
                }
            )
        )

    def run(self) -> None:
        while self.queue or not self.stop:
            batch = [self.queue.popleft() for _ in range(min(700, len(self.queue)))]
            if not batch:
                time.sleep(0.005)
                continue
            body = b'{"batch":[%b],"sentAt":%b}' % (b",".join(batch), json.dumps(_now()).encode())
            self.socket.sendall(self.head + b"%d\r\n\r\n" % len(body) + body)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += self.socket.recv(65536)


def _of(module: str, name: str) -> Any:
    """From a client that is only in its own environment."""
    return getattr(importlib.import_module(module), name)


_second: tuple[int, str] = (-1, "")


def _now() -> str:
    global _second  # noqa: PLW0603
    seconds, rest = divmod(time.time_ns() // 1_000_000, 1000)
    known = _second
    if known[0] != seconds:
        known = _second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
    return f"{known[1]}.{rest:03d}Z"


def _nothing(_err: object, _ctx: object) -> None:
    pass


DRIVERS: dict[str, Driver] = {
    "millstream": Millstream(),
    "millstream, asyncio": OnALoop(),
    "millstream, spool": WithSpool(),
    "millstream, plugins": WithPlugins(),
    "segment": Segment(),
    "rudderstack": Rudder(),
    "posthog": PostHog(),
    "least": Least(),
}
