"""analytics.js in a real browser, on another site, sends to the collector."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from millstream.collector.request import source_of
from support.browser import chromium
from support.needs import needs
from support.watched import Served

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

LIBRARY = Path(__file__).parents[1] / "collector/node/node_modules/@segment/analytics-next/dist/umd"
SIX = ["alias", "group", "identify", "page", "screen", "track"]


class Site(SimpleHTTPRequestHandler):
    """A shop's own server, which has the library among its files."""

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        page = b"<!doctype html><title>A shop</title><script src=/index.js></script>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needs(LIBRARY.is_dir(), "analytics.js is not installed: npm ci --prefix tests/collector/node")
    with chromium() as browser:
        yield browser


@pytest.fixture
def shop(browser: Browser) -> Iterator[Page]:
    """A page of another origin, with the library on it; nothing but loopback can be reached."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=LIBRARY)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        context = browser.new_context()
        context.route(lambda url: "127.0.0.1" not in url, lambda route: route.abort())
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        yield page
        context.close()
        server.shutdown()
        thread.join()


CALLS = """async ([host, delivery]) => {
    const segment = { apiKey: 'browser-key', apiHost: `${host}/v1`, protocol: 'http', deliveryStrategy: delivery };
    const cdnSettings = { integrations: { 'Segment.io': segment } };
    const [analytics] = await AnalyticsNext.AnalyticsBrowser.load({ writeKey: 'browser-key', cdnSettings });
    await Promise.all([
        analytics.identify('u1', { plan: 'Enterprise' }),
        analytics.track('Item Purchased', { revenue: 39.95, title: 'Café ✓' }),
        analytics.page('Docs', 'Home'),
        analytics.screen('Inbox'),
        analytics.group('g1', { plan: 'free' }),
        analytics.alias('u2', 'u1'),
    ]);
}"""


@pytest.mark.parametrize(
    ("delivery", "routes"),
    [
        ({"strategy": "standard"}, {"/v1/a", "/v1/g", "/v1/i", "/v1/p", "/v1/s", "/v1/t"}),
        ({"strategy": "batching", "config": {"size": 6, "timeout": 500}}, {"/v1/b"}),
    ],
    ids=["one by one", "in batches"],
)
def test_analytics_js_is_a_client_like_any_other(shop: Page, served: Served, delivery: Any, routes: set[str]):
    """From another origin, by its short routes, with the answers that browsers ask for before they send."""
    asked: list[str] = []
    shop.on("request", lambda request: asked.append(request.url))
    shop.evaluate(CALLS, [served.url.removeprefix("http://"), delivery])
    wait_until(lambda: len(served.collector.events) >= len(SIX), shop)
    events = sorted(served.collector.events, key=lambda event: event["type"])
    assert [event["type"] for event in events] == SIX
    track = events[-1]
    assert (track["event"], track["userId"]) == ("Item Purchased", "u1")
    assert track["properties"] == {"revenue": 39.95, "title": "Café ✓"}
    assert track["context"]["library"]["name"] == "analytics.js"
    assert {event["sourceId"] for event in events} == {source_of("browser-key")}
    assert "browser-key" not in str(events)
    assert {url.removeprefix(served.url) for url in asked if url.startswith(served.url)} - {"/v1/m"} == routes


def wait_until(true: Callable[[], bool], page: Page) -> None:
    for _ in range(200):
        if true():
            return
        page.wait_for_timeout(100)
    raise AssertionError("waited 20 s in vain")
