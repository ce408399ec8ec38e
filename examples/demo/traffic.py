"""Visitors of different kinds, who send real HTTP requests, several at a time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.cookies import SimpleCookie
from random import Random
from typing import Any
from urllib.parse import urlencode, urljoin

import urllib3

AT_A_TIME = 16
AGENT = "DemoBrowser/1.0"
REQUEST_SECONDS = 10
THINKING_SECONDS = 0.03
"""A visitor reads a page for this long, in the mean: people in a hurry, so that nobody waits for the demo."""


@dataclass
class Traffic:
    """What the visitors did, as they saw it."""

    sessions: int = 0
    requests: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


class VisitFailed(Exception):
    """The shop did not answer as it should."""


class Browser:
    """One visitor's browser: it keeps cookies, follows redirects, and says where it comes from."""

    def __init__(self, http: urllib3.PoolManager, url: str, rng: Random) -> None:
        self.rng = rng
        self.requests = 0
        self._http = http
        self._url = url
        self._referrer = ""
        self._cookies: dict[str, str] = {}

    def get(self, path: str, **query: str) -> str:
        return self._go("GET", path + (f"?{urlencode(query)}" if query else ""))

    def post(self, path: str, **form: str) -> str:
        return self._go("POST", path, urlencode(form).encode(), "application/x-www-form-urlencoded")

    def post_json(self, path: str, body: Any) -> str:
        return self._go("POST", path, json.dumps(body).encode(), "application/json")

    def _go(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> str:
        time.sleep(self.rng.expovariate(1 / THINKING_SECONDS))
        self.requests += 1
        url = urljoin(self._url, path)
        answer = self._http.request(method, url, body=body, headers=self._headers(content_type), redirect=False)
        for line in answer.headers.getlist("set-cookie"):
            self._cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
        self._referrer = url
        if answer.status == 303:
            return self.get(answer.headers["location"])
        text = answer.data.decode()
        if answer.status not in {200, 204}:
            raise VisitFailed(f"{method} {path} was answered {answer.status}: {text[:80]}")
        return text

    def _headers(self, content_type: str) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        said = {"user-agent": AGENT, "referer": self._referrer, "cookie": cookies, "content-type": content_type}
        return {name: value for name, value in said.items() if value}

    # -- what visitors do on more than one occasion -------------------------------------------------

    def follow(self, page: str, pattern: str) -> str:
        """Go on to one of the links of `page`."""
        links = re.findall(rf'href="({pattern})"', page)
        if not links:
            raise VisitFailed(f"the page has no link to {pattern}")
        return self.get(self.rng.choice(links))

    def look_around(self, products: int) -> str:
        """From the first page to some products; returns the last one's page."""
        page = home = self.get("/")
        for _ in range(products):
            page = self.follow(self.follow(home, r"/category/\w+"), r"/products/[\w-]+")
        return page

    def add(self, page: str) -> str:
        """Put the product on this page into the cart; returns the cart."""
        found = re.search(r'name="sku" value="([\w-]+)"', page)
        if found is None:
            raise VisitFailed("the product page has no button to buy it")
        return self.post("/cart", sku=found[1])

    def buy(self) -> None:
        self.get("/checkout")
        if "Thank you" not in self.post("/orders"):
            raise VisitFailed("the order was not confirmed")


def bouncer(browser: Browser, _: int) -> None:
    """Comes, sees one page, goes."""
    browser.get("/")


def window_shopper(browser: Browser, _: int) -> None:
    """Looks at this and that, searches, buys nothing."""
    browser.look_around(browser.rng.randint(1, 3))
    browser.get("/search", q=browser.rng.choice(["garden", "lamp", "Brûlée", "jar", "piano"]))


def new_customer(browser: Browser, number: int) -> None:
    """Fills a cart, thinks again about a part of it, signs up and buys."""
    for _ in range(browser.rng.randint(2, 4)):
        cart = browser.add(browser.look_around(1))
    if browser.rng.random() < 0.4 and len(skus := re.findall(r'name="sku" value="([\w-]+)"', cart)) > 1:
        browser.post("/cart/remove", sku=skus[0])
    browser.get("/signup")
    browser.post("/signup", name=f"Visitor {number}", email=f"visitor-{number}@shop.example")
    browser.buy()


def returning_customer(browser: Browser, _: int) -> None:
    """Logs in, knows what to buy, buys it."""
    browser.get("/login")
    browser.post("/login", email=f"user-{browser.rng.randint(1, 40)}@shop.example")
    for _ in range(browser.rng.randint(1, 3)):
        browser.add(browser.look_around(1))
    browser.buy()


def company_buyer(browser: Browser, number: int) -> None:
    """Signs up, opens an account for the company, and buys for the office."""
    browser.post("/signup", name=f"Buyer {number}", email=f"buyer-{number}@company.example")
    browser.get("/company")
    browser.post("/company", name=f"Company {number}", employees=str(browser.rng.randint(3, 900)))
    for _ in range(browser.rng.randint(3, 6)):
        browser.add(browser.look_around(1))
    browser.buy()


def app_user(browser: Browser, number: int) -> None:
    """Uses the app, which was without a network for a while."""
    skus = [product["sku"] for product in json.loads(browser.get("/app/products"))]
    start = datetime.now(timezone.utc) - timedelta(hours=1)
    for turn in range(browser.rng.randint(1, 3)):
        seen = browser.rng.choices(skus, k=browser.rng.randint(1, 5))
        screens = [
            {"name": "Product", "sku": sku, "shown_at": (start + timedelta(minutes=10 * turn + n)).isoformat()}
            for n, sku in enumerate(seen)
        ]
        browser.post_json("/app/screens", {"device_id": f"device-{number}", "app_version": "2.1", "screens": screens})


KINDS: dict[Callable[[Browser, int], None], int] = {
    bouncer: 25,
    window_shopper: 30,
    new_customer: 15,
    returning_customer: 15,
    company_buyer: 5,
    app_user: 10,
}
"""How many visitors in a hundred are of which kind."""


def drive(url: str, *, sessions: int, seed: int, seconds: float, on_visit: Callable[[], object]) -> Traffic:
    """Let `sessions` visitors into the shop at `url`. The same seed brings the same visitors."""
    start = time.monotonic()
    traffic = Traffic(sessions)
    kinds = Random(seed).choices(list(KINDS), list(KINDS.values()), k=sessions)
    # No retries: a request that fails is what the demo is there to show.
    http = urllib3.PoolManager(maxsize=AT_A_TIME, retries=False, timeout=REQUEST_SECONDS)
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        try:
            browsers = (Browser(http, url, Random(f"{seed}/{number}")) for number in range(sessions))
            visits = [threads.submit(_visit, *visit) for visit in zip(kinds, browsers, range(sessions), strict=True)]
            for visit in visits:
                visit.add_done_callback(lambda _: on_visit())
            done, late = wait(visits, timeout=seconds)
        finally:  # also when Ctrl-C comes before the last visitor has been let in
            threads.shutdown(wait=False, cancel_futures=True)
    for visit in done:
        requests, failure = visit.result()
        traffic.requests += requests
        traffic.failures += [failure] if failure else []
    if late:
        traffic.failures.append(f"{len(late)} visitors were not through after {seconds:g} s")
    http.clear()
    traffic.seconds = time.monotonic() - start
    return traffic


def _visit(kind: Callable[[Browser, int], None], browser: Browser, number: int) -> tuple[int, str]:
    failure = ""
    try:
        kind(browser, number)
    except (urllib3.exceptions.HTTPError, VisitFailed) as exc:
        failure = f"{kind.__name__} {number}: {exc}"
    return browser.requests, failure
