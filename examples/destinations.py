"""Send a shop's events to every destination, and have a stand-in of each API look at what comes.

    python -m examples.destinations

A server on loopback answers as each service does, and refuses what the service would refuse: a wrong key, an id that is
too long, a param that is no text or number, a signature that is not ours. It prints what came for each.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from base64 import b64decode
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from millstream import Analytics
from millstream.destinations import GA4, Amplitude, Destination, Mixpanel, PostHog, Slack, TrackingAPI, Webhook

KEY = "key-of-the-example"
WHO: dict[str, Any] = {"user_id": "user-17", "anonymous_id": "anon-17"}
PRODUCT = {"product_id": "t-1", "name": "Teapot", "price": 39.95, "quantity": 1}
CONTEXT = {"ip": "203.0.113.7", "locale": "en-GB", "page": {"url": "https://shop.example/teapot", "title": "Teapot"}}


def visit(analytics: Analytics) -> None:
    """Record what a visitor of the shop does: an event of each type."""
    analytics.page("Teapot", **WHO, context=CONTEXT, properties={"url": "https://shop.example/teapot"})
    analytics.track("Product Added", **WHO, context=CONTEXT, properties=PRODUCT)
    analytics.identify("user-17", anonymous_id="anon-17", traits={"email": "a@shop.example", "firstName": "Ada"})
    analytics.group("g-1", **WHO, traits={"name": "Initech", "employees": 329})
    order = {"order_id": "o-1", "revenue": 39.95, "total": 44.95, "currency": "EUR", "products": [PRODUCT]}
    analytics.track("Order Completed", **WHO, context=CONTEXT, properties=order)
    analytics.track("Review Written", **WHO, properties={"stars": 5, "tags": ["tea"], "text": "Pours well."})
    analytics.screen("Thanks", **WHO)
    analytics.alias("user-17", previous_id="anon-17")


def destinations(url: str) -> list[Destination]:
    """Return one destination of each type, all at the stand-in."""
    return [
        TrackingAPI(KEY, host=f"{url}/tracking", name="Forward"),
        Webhook(f"{url}/webhook/in", secret=KEY),
        Mixpanel(token=KEY, host=f"{url}/mixpanel"),
        Amplitude(api_key=KEY, host=f"{url}/amplitude", group_type="company"),
        PostHog(api_key=KEY, host=f"{url}/posthog"),
        GA4(measurement_id="G-1", api_secret=KEY, host=f"{url}/ga4"),
        Slack(f"{url}/slack/{KEY}", text="{event}{name} by {userId}", events=["Order Completed"]),
    ]


class Refusal(Exception):
    """What the service would not take."""


def want(truth: object, what: str) -> None:
    """Refuse the request unless something is so."""
    if not truth:
        raise Refusal(what)


def tracking(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
    batch = json.loads(body)
    want(batch["writeKey"] == KEY, "the write key")
    want(all(event["messageId"] for event in batch["batch"]), "an event without an id")
    return len(batch["batch"]), b'{"success":true}'


def webhook(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
    text = headers["X-Millstream-Timestamp"].encode() + b"." + body
    genuine = hmac.new(KEY.encode(), text, hashlib.sha256).hexdigest()
    want(hmac.compare_digest(genuine, headers["X-Millstream-Signature"]), "the signature")
    return len(json.loads(body)), b""


def mixpanel(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
    items = json.loads(body)
    want(len(items) <= 2000 and len(body) <= 2_000_000, "a batch that is too large")
    if path != "/import":
        tokens = {item.get("$token") or item["properties"]["token"] for item in items}
        want(tokens == {KEY}, "the token")
        return len(items), b'{"status":1,"error":null}'
    want(b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == f"{KEY}:", "the token")
    for item in items:
        properties = item["properties"]
        want(re.fullmatch(r"[A-Za-z0-9-]{1,36}", properties["$insert_id"]), "an $insert_id")
        want(isinstance(properties["time"], int) and properties["distinct_id"], "a time or a distinct_id")
    return len(items), b'{"code":200,"status":"OK"}'


def amplitude(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
    if path != "/2/httpapi":
        fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        want(fields.pop("api_key") == KEY, "the key")
        return len(json.loads(next(iter(fields.values())))), b"success"
    sent = json.loads(body)
    want(sent["api_key"] == KEY, "the key")
    for event in sent["events"]:
        want(event["event_type"] and isinstance(event["time"], int), "an event without a type or a time")
        want(all(len(event.get(name, "long enough")) >= 5 for name in ("user_id", "device_id")), "an id that is short")
    return len(sent["events"]), b'{"code":200}'


def posthog(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
    sent = json.loads(body)
    want(sent["api_key"] == KEY and path == "/batch/", "the key")
    for event in sent["batch"]:
        want(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event["uuid"]), "a uuid")
        want(event["event"] and event["distinct_id"], "an event without a name or a person")
    return len(sent["batch"]), b'{"status":1}'


def ga4(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
    sent = json.loads(body)
    want(len(sent["events"]) <= 25 and sent["client_id"], "more than 25 events, or no client")
    for event in sent["events"]:
        want(re.fullmatch(r"[A-Za-z]\w{0,39}", event["name"], re.ASCII), f"the name {event['name']!r}")
        want(len(event["params"]) <= 25, "more than 25 params")
        for name, value in event["params"].items():
            want(name == "items" or isinstance(value, str | int | float), f"the param {name!r}")
    return len(sent["events"]), b""


def slack(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
    want(path == f"/{KEY}" and json.loads(body)["text"], "the URL, or a message without a text")
    return 1, b"ok"


SERVICES = {each.__name__: each for each in (tracking, webhook, mixpanel, amplitude, posthog, ga4, slack)}


CAME: Counter[str] = Counter()


class StandIn(BaseHTTPRequestHandler):
    """All the services, each under its name."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        _, service, rest = urlsplit(self.path).path.split("/", 2)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            count, answer = SERVICES[service](f"/{rest}", self.headers, body)
            CAME[service] += count
            self.answer(200, answer)
        except (Refusal, KeyError, ValueError) as exc:
            print(f"{service} refuses {exc}")
            self.answer(400, b'{"error":"refused"}')

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    """Send a visit to everything, and print what came."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with Analytics("", destinations=destinations(f"http://127.0.0.1:{server.server_port}")) as analytics:
            visit(analytics)
            analytics.flush(timeout=20)
            stats = analytics.stats().destinations
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    for (name, outcomes), service in zip(stats.items(), SERVICES, strict=True):
        done = f"{outcomes.delivered} delivered, {outcomes.dropped} of no use to it, {outcomes.failed} failed"
        print(f"{name}: {done}; {CAME[service]} items came")


if __name__ == "__main__":
    main()
