"""What a page of another site can do in a real browser: send events, in every way there is, and read nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from support.browser import chromium
from support.watched import Served

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


class Site(BaseHTTPRequestHandler):
    """Another site, with an empty page and a cookie."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "session=1")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A shop</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.stop()


@pytest.fixture(params=["127.0.0.1", "localhost"])
def shop(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A page of another origin on the collector's own host, to which cookies go along; or of another site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://{request.param}:{server.server_port}/")
        yield page
        context.close()
        server.shutdown()
        thread.join()


EVENT = """{ event: "Paid", userId: "u", writeKey: "browser-key" }"""
JSON_BLOB = f"""url => navigator.sendBeacon(
    `${{url}}/v1/track`, new Blob([JSON.stringify({EVENT})], {{ type: "application/json" }}))"""
TEXT = f"""url => navigator.sendBeacon(`${{url}}/v1/track`, JSON.stringify({EVENT}))"""
FETCH = f"""async url => {{
    const answer = await fetch(`${{url}}/v1/track`, {{
        method: "POST", credentials: "include", body: JSON.stringify({EVENT}),
        headers: {{ "Content-Type": "application/json", "Authorization": "Basic YnJvd3Nlci1rZXk6" }},
    }});
    return (await answer.json()).success;
}}"""
KEEPALIVE = FETCH.replace("credentials", "keepalive: true, credentials")
XHR = f"""url => new Promise(done => {{
    const request = new XMLHttpRequest();
    request.open("POST", `${{url}}/v1/track`);
    request.withCredentials = true;
    request.setRequestHeader("Content-Type", "application/json");
    request.onloadend = () => done(request.status === 200);
    request.send(JSON.stringify({EVENT}));
}})"""


@pytest.mark.parametrize(
    "script", [JSON_BLOB, TEXT, FETCH, KEEPALIVE, XHR], ids=["beacon", "beacon of text", "fetch", "keepalive", "xhr"]
)
def test_a_page_sends_events_with_credentials(shop: Page, served: Served, script: str) -> None:
    """As a browser sends them along with a beacon, whether the page wants it or not."""
    before = len(served.collector.events)
    assert shop.evaluate(script, served.url) is True
    wait_until(lambda: len(served.collector.events) == before + 1, shop)
    assert served.collector.events[-1]["event"] == "Paid"


READ = """async urls => {
    const read = [];
    for (const url of urls) for (const credentials of ["include", "omit"])
        try { await fetch(url, { credentials }); read.push(url) }
        catch (error) { if (error.name !== "TypeError") throw error }
    return read;
}"""


def test_a_page_reads_nothing(shop: Page, served: Served) -> None:
    """What the collector shows, it shows to its own page."""
    served.track()
    paths = ["/", "/stats", "/metrics", "/debug/events?last=1", "/debug/events/1", "/debug/app.js", "/health"]
    assert [served.get(path.partition("?")[0]).status for path in paths if "events?" not in path] == [200] * 6
    assert shop.evaluate(READ, [served.url + path for path in paths]) == []


def wait_until(true: Callable[[], Any], page: Page) -> None:
    for _ in range(200):
        if true():
            return
        page.wait_for_timeout(100)
    raise AssertionError("waited 20 s in vain")
