"""The page in a real browser, on a real collector: what people see, and what events cannot do to them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from millstream.spec import MAX_DEPTH
from support.browser import chromium
from support.watched import Served

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

PATIENCE = 20_000  # milliseconds
expect.set_options(timeout=PATIENCE)

ORDER = {
    "type": "track",
    "event": "Order Completed",
    "userId": "u1",
    "messageId": "m1",
    "properties": {"revenue": 39.95, "products": [{"sku": "a-1", "quantity": 2}], "coupon": None, "first": True},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


Open = Callable[..., Page]


@pytest.fixture
def tab(browser: Browser) -> Iterator[Open]:
    """Opens the page of a collector; what its console says, and what it asks of others, fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(url: str, expected: str = "net::ERR_", **settings: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: re.search(expected, said.text) or complaints.append(said.text),
        )
        page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        origin = "/".join(url.split("/")[:3])
        page.on("request", lambda asked: asked.url.startswith((origin, "data:")) or complaints.append(asked.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(tab: Open, served: Served) -> Page:
    page = tab(served.url)
    expect(page.locator("#state")).to_have_text("Live")
    return page


def rows(page: Page) -> Locator:
    return page.get_by_role("option")


def names(page: Page, *expected: str) -> None:
    """Wait until the list has these names, the newest first."""
    expect(rows(page)).to_have_count(len(expected))
    page.wait_for_function(
        """(expected) => {
            const rows = [...document.querySelectorAll('.row')];
            rows.sort((one, other) => one.ariaPosInSet - other.ariaPosInSet);
            return JSON.stringify(rows.map((row) => row.querySelector('.name').textContent)) === expected;
        }""",
        arg=json.dumps(expected, ensure_ascii=False, separators=(",", ":")),
    )


def row(page: Page, name: str) -> Locator:
    return rows(page).filter(has=page.locator(".name", has_text=re.compile(f"^{re.escape(name)}$")))


# -- what comes -------------------------------------------------------------------------------------


def test_events_appear_newest_first(page: Page, served: Served):
    """What was there before the page, and what comes while somebody looks."""
    served.track("One")
    served.track("Two", userId="u2")
    names(page, "Two", "One")
    expect(row(page, "Two").locator(".who")).to_have_text("u2")
    expect(row(page, "Two").locator(".type")).to_have_text("track")
    expect(row(page, "Two").locator(".source")).to_have_text(re.compile("^deve-"))
    page.reload()
    names(page, "Two", "One")


def test_an_empty_page_says_how_to_send_the_first_event(page: Page, served: Served):
    """With this collector's own address in the sample, which works as it stands."""
    blank = page.locator("#blank")
    expect(blank).to_contain_text("Waiting for the first event")
    python, curl = blank.locator("code").all_inner_texts()
    assert f"curl {served.url}/v1/track" in curl
    subprocess.run([sys.executable, "-c", python], check=True, timeout=30)
    names(page, "Hello")
    expect(blank).to_be_hidden()


def test_what_is_not_kept_is_shown_with_its_reason(page: Page, served: Served):
    """Rejected, duplicate and refused: each says what it is, why, and what was answered."""
    served.send(ORDER, {"type": "track", "event": "Lost"})
    served.send(ORDER)
    served.post("/v1/batch", b"{")
    expect(rows(page)).to_have_count(4)
    expect(row(page, "Lost").locator(".reason")).to_have_text("rejected · no_user_anon_id")
    row(page, "Lost").click()
    expect(page.locator(".callout")).to_contain_text("neither userId nor anonymousId")
    rows(page).filter(has_text="duplicate").click()
    expect(page.locator(".callout")).to_contain_text("the same messageId is stored already")
    rows(page).filter(has_text="refused").click()
    expect(page.locator(".callout")).to_contain_text("Nothing of this request was stored")
    expect(page.locator("#detail")).to_contain_text("invalid_json")
    for kind in ("stored", "duplicate", "rejected", "refused"):
        expect(page.locator(f"#kinds .kind-{kind} b")).to_have_text("1")


def test_a_request_without_events_is_shown_with_its_answer(page: Page, served: Served):
    """It was answered 200: nothing about it is red, and no counter of what is wrong has moved."""
    assert served.post("/v1/batch", b'{"batch":[],"writeKey":"development-key"}').status == 200
    served.track("Paid")
    expect(rows(page)).to_have_count(2)
    empty = rows(page).filter(has_text="no events")
    expect(empty.locator(".reason")).to_have_text("no events · answered 200")
    empty.click()
    expect(page.locator(".callout")).to_contain_text("The client was answered 200")
    expect(page.locator("#detail .tree")).to_contain_text("success")
    expect(page.locator("#detail .tree")).to_contain_text("true")
    for kind, count in {"stored": "1", "duplicate": "0", "rejected": "0", "refused": "0"}.items():
        expect(page.locator(f"#kinds .kind-{kind} b")).to_have_text(count)
    expect(page.locator("#sources button.marked")).to_have_count(0)


def test_an_event_whose_time_cannot_be_read_says_so(page: Page, served: Served):
    """It is stored, and looks like one that has just happened."""
    served.track("Paid", timestamp="02.01.2026")
    row(page, "Paid").click()
    expect(page.locator(".callout")).to_contain_text("its timestamp could not be read")


def test_the_numbers_are_those_of_the_collector(page: Page, served: Served):
    """By type and source, and a bar in the chart."""
    served.send(ORDER, {"type": "page", "userId": "u1"}, key="first-key-of-two")
    served.send({"type": "page", "userId": "u1"}, {"type": "page", "userId": "u1"}, key="second-key-of-two")
    expect(page.locator("#types .type-page b")).to_have_text("3")
    expect(page.locator("#types .type-track b")).to_have_text("1")
    expect(page.locator("#sources button")).to_have_count(2)
    expect(page.locator("#sources")).to_contain_text(re.compile(r"firs-.*2.*seco-.*2", re.DOTALL))
    expect(page.locator(".bars.stored")).to_have_attribute("d", re.compile("^M"))


# -- finding ----------------------------------------------------------------------------------------


@pytest.fixture
def shop(page: Page, served: Served) -> Page:
    """A page with a few events to choose from."""
    served.send(ORDER, key="web-write-key")
    served.send({"type": "identify", "userId": "u1", "traits": {"email": "michael@example.com"}}, key="web-write-key")
    served.send({"type": "page", "name": "Home", "anonymousId": "a-77"}, key="app-write-key")
    served.send({"type": "track", "event": "Signed Up", "userId": "u2"}, {"type": "track", "event": "Lost"})
    names(page, "Lost", "Signed Up", "Home", "", "Order Completed")
    return page


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("#filter-text", "MICHAEL@example", [""]),
        ("#filter-text", "a-1", ["Order Completed"]),
        ("#filter-name", "sign", ["Signed Up"]),
        ("#filter-user", "a-77", ["Home"]),
        ("#filter-user", "u1", ["", "Order Completed"]),
    ],
)
def test_what_is_typed_filters(shop: Page, served: Served, field: str, text: str, expected: list[str]):
    """The list, and what comes later; emptied, the field shows all again."""
    shop.fill(field, text)
    names(shop, *expected)
    served.track("Nothing of the kind", userId="u9")
    served.track("Sign of michael@example.com a-1", userId="u1 a-77")
    names(shop, "Sign of michael@example.com a-1", *expected)
    shop.fill(field, "")
    expect(rows(shop)).to_have_count(7)


@pytest.mark.parametrize(
    ("button", "expected"),
    [
        ("#types .type-page", ["Home"]),
        ("#kinds .kind-rejected", ["Lost"]),
        ("#sources .source-any >> text=app", ["Home"]),
    ],
)
def test_buttons_filter(shop: Page, button: str, expected: list[str]):
    """Pressed they show their own alone, and say so; released they show all again."""
    shop.click(button)
    names(shop, *expected)
    expect(shop.locator('[aria-pressed="true"]')).to_have_count(1)
    shop.click(button)
    expect(rows(shop)).to_have_count(5)
    expect(shop.locator('[aria-pressed="true"]')).to_have_count(0)


def test_filters_are_in_the_address(shop: Page):
    """What is found can be found again: after a reload, and by whoever gets the link."""
    shop.click("#types .type-track")
    shop.fill("#filter-user", "u2")
    names(shop, "Signed Up")
    assert shop.url.endswith("/?user=u2&type=track")
    shop.reload()
    names(shop, "Signed Up")
    shop.click("#filters-clear")
    expect(rows(shop)).to_have_count(5)


def test_filters_that_match_nothing_say_so(shop: Page):
    """And offer the way back."""
    shop.fill("#filter-name", "Nothing")
    expect(shop.locator("#blank")).to_contain_text("Nothing matches these filters")
    shop.locator("#blank").get_by_role("button", name="Show all").click()
    expect(rows(shop)).to_have_count(5)


def test_a_users_events_are_one_click_away(shop: Page):
    """From one of them."""
    row(shop, "Order Completed").click()
    shop.locator("#detail").get_by_role("button", name="u1").click()
    names(shop, "", "Order Completed")


# -- looking ----------------------------------------------------------------------------------------


def test_a_pause_holds_the_list_still(page: Page, served: Served):
    """What comes meanwhile is counted, and shown afterwards."""
    served.track("One")
    names(page, "One")
    page.click("#pause")
    expect(page.locator("#state")).to_have_text("Paused")
    served.track("Two")
    expect(page.locator("#held")).to_have_text("1 new")
    names(page, "One")
    expect(page.locator("#kinds .kind-stored b")).to_have_text("2")
    page.click("#pause")
    names(page, "Two", "One")
    expect(page.locator("#state")).to_have_text("Live")


def test_who_has_scrolled_down_is_left_in_peace(page: Page, served: Served):
    """New events do not move what somebody reads."""
    served.send(*({"type": "track", "event": f"Event {n}", "userId": "u1"} for n in range(100)))
    expect(page.locator("#kinds .kind-stored b")).to_have_text("100")
    page.locator("#list").evaluate("(list) => list.scrollTop = 1000")
    expect(row(page, "Event 70")).to_be_visible()
    before = row(page, "Event 70").bounding_box()
    served.track("New")
    expect(page.locator("#held")).to_have_text("1 new")
    assert row(page, "Event 70").bounding_box() == before
    page.click("#held")
    expect(row(page, "New")).to_be_visible()


def test_an_event_can_be_read_in_three_ways(page: Page, served: Served):
    """As the Python call that makes one like it, as a tree, and as JSON."""
    served.send(ORDER)
    row(page, "Order Completed").click()
    detail = page.locator("#detail")
    code = detail.locator(".sample code")
    expect(code).to_contain_text('analytics.track(\n    "Order Completed",\n    user_id="u1",\n')
    expect(code).to_contain_text('"coupon": None')
    tree = detail.locator(".tree")
    expect(tree).to_contain_text(re.compile("revenue.*39.95"))
    tree.locator("summary", has_text="products").click()
    expect(tree.locator("text=sku")).to_be_hidden()
    tree.locator("summary", has_text="products").click()
    expect(tree.locator("text=sku")).to_be_visible()
    detail.get_by_role("tab", name="Raw JSON").click()
    raw = json.loads(code.inner_text())
    assert raw["properties"] == ORDER["properties"]
    assert raw["messageId"] == "m1"


def test_numbers_keep_their_digits_in_the_tree(page: Page, served: Served):
    """JavaScript would round them."""
    served.post("/v1/track", b'{"event":"Big","userId":"u","properties":{"n":12345678901234567890.10}}')
    row(page, "Big").click()
    expect(page.locator(".tree .number")).to_have_text("12345678901234567890.10")


def test_code_can_be_copied(tab: Open, served: Served):
    """As it is, not as it is shown."""
    served.track("Copy\u202eme")
    page = tab(served.url, permissions=["clipboard-read", "clipboard-write"])
    rows(page).click()
    page.locator(".sample").hover()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == 'analytics.track("Copy\\u202eme", user_id="u1")'


def test_clear_empties_the_list_and_nothing_else(page: Page, served: Served):
    """What comes next appears, and the counts go on."""
    served.track("One")
    names(page, "One")
    page.click("#clear")
    expect(page.locator("#blank")).to_contain_text("Cleared")
    served.track("Two")
    names(page, "Two")
    expect(page.locator("#kinds .kind-stored b")).to_have_text("2")
    assert len(served.collector.events) == 2


def test_everything_can_be_done_from_the_keyboard(page: Page, served: Served):
    """Move, open, read, search, pause, close."""
    for name in ("One", "Two", "Three"):
        served.track(name)
    names(page, "Three", "Two", "One")
    detail, chosen = page.locator("#detail"), page.locator('.row[aria-selected="true"] .name')
    press = page.keyboard.press
    press("j")
    expect(chosen).to_have_text("Three")
    press("ArrowDown")
    press("j")
    press("j")
    expect(chosen).to_have_text("One")
    press("k")
    expect(chosen).to_have_text("Two")
    press("Enter")
    expect(detail).to_contain_text("Two")
    press("j")
    expect(detail.locator("h2")).to_have_text("One")
    press("r")
    expect(detail.get_by_role("tab", name="Raw JSON")).to_have_attribute("aria-selected", "true")
    press("Escape")
    expect(detail).to_be_hidden()
    press("g")
    expect(chosen).to_have_text("Three")
    press(" ")
    expect(page.locator("#state")).to_have_text("Paused")
    press("p")
    expect(page.locator("#state")).to_have_text("Live")
    press("/")
    expect(page.locator("#filter-text")).to_be_focused()
    page.keyboard.type("jpk?")  # letters are letters there
    expect(page.locator("#filter-text")).to_have_value("jpk?")
    press("Escape")
    press("Escape")
    expect(page.locator("#filter-text")).not_to_be_focused()
    expect(rows(page)).to_have_count(3)
    press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


# -- hostile events ---------------------------------------------------------------------------------

PAYLOADS = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    '"><iframe srcdoc="<script>parent.alert(1)</script>">',
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} <%= alert(1) %>",
    "__proto__",
    "hasOwnProperty",
]


def test_no_event_can_run_anything(page: Page, served: Served):
    """Names, users, keys and values are text, wherever they are shown."""
    elements = "() => document.querySelectorAll('img, iframe, script, svg').length"
    before = page.evaluate(elements)
    for text in PAYLOADS:
        properties = {text: text, "in": [{text: [text]}]}
        served.track(text, userId=text, anonymousId=text, properties=properties)
        served.send({"type": text, "event": text, text: text})
        served.send({"type": "page", "name": text, "category": text, "userId": text}, key=text)
    expect(rows(page)).to_have_count(3 * len(PAYLOADS))
    for text in PAYLOADS:
        page.fill("#filter-text", text)
        expect(rows(page)).to_have_count(3)
        expect(rows(page).filter(has_text=text)).to_have_count(3)
        for at in range(3):
            rows(page).nth(at).click()
            expect(page.locator("#detail h2")).to_contain_text(text)
            expect(page.locator("#detail .tree")).to_contain_text(text)
            page.keyboard.press("r")
            expect(page.locator("#detail .sample")).to_be_visible()
            page.keyboard.press("r")
        expect(rows(page).filter(has=page.locator(".type", has_text="track")).locator(".who")).to_have_text(text)
    assert page.evaluate(elements) == before
    assert page.evaluate("() => ({}).polluted === undefined && Object.prototype.constructor === Object")


def test_text_that_hides_or_turns_is_shown_as_escapes(page: Page, served: Served):
    """What looks like one name is one; the rest of the line stays where it is."""
    served.track("a\u202egnp.exe", userId="\u0000\u200b\ufeff", properties={"k\u2066": "v\u2028\U000e0041"})
    expect(rows(page).locator(".name")).to_have_text("a\\u202egnp.exe")
    expect(rows(page).locator(".who")).to_have_text("\\u0000\\u200b\\ufeff")
    rows(page).click()
    expect(page.locator(".tree")).to_contain_text(re.compile(r"k\\u2066.*v\\u2028\\u\{e0041\}"))
    page.keyboard.press("r")
    raw = page.locator("#detail .sample code")
    expect(raw).to_contain_text("a\\u202egnp.exe")
    assert not re.search("[\u0000\u200b\u2028\u202e\u2066\ufeff]", page.locator("body").inner_text())


def test_languages_are_left_as_they_are(page: Page, served: Served):
    """Only what cannot be seen is escaped: not other scripts, nor emoji of several parts."""
    name = "مرحبا · שלום · 家族 👨‍👩‍👧 · naïve"
    served.track(name)
    expect(rows(page).locator(".name")).to_have_text(name)


def test_huge_events_fit(page: Page, served: Served):
    """Long names, long strings, wide and deep structures: the page keeps its shape, and all can be reached."""
    deep: Any = "bottom"
    for _ in range(MAX_DEPTH - 1):
        deep = {"d": deep}
    served.track("N" * 5000, userId="U" * 5000)
    served.track("Wide", properties={"many": list(range(3000)), "long": "x" * 9000})
    served.track("Deep", properties=deep)
    expect(rows(page)).to_have_count(3)
    for at in range(3):
        rows(page).nth(at).click()
        expect(page.locator("#detail .tree")).to_be_visible()
        page.keyboard.press("r")
        page.keyboard.press("r")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("#detail").evaluate("(detail) => detail.scrollWidth <= detail.clientWidth")
    row(page, "Wide").click()
    page.locator(".tree summary", has_text="properties").click()
    page.locator(".tree summary", has_text="many").click()
    page.get_by_role("button", name="2,900 more").click()
    expect(page.get_by_role("button", name="2,800 more")).to_be_visible()
    page.get_by_role("button", name="more characters").click()
    expect(page.locator(".tree")).to_contain_text("x" * 9000)


# -- who may look -----------------------------------------------------------------------------------


def test_a_token_is_shown_once(tab: Open):
    """Then a cookie opens the page and its data, and the address no longer has the token."""
    served = Served(token="s3cret-token")
    try:
        page = tab(f"{served.url}/?token=s3cret-token&type=track")
        served.track("Seen")
        names(page, "Seen")
        assert page.url == f"{served.url}/?type=track"
        page.goto(served.url)
        names(page, "Seen")
        assert "token" not in page.evaluate("document.cookie")
        stranger = tab(served.url, expected="401|404")  # of the page, and of an icon
        expect(stranger.locator("body")).to_contain_text("/?token=…")
    finally:
        served.stop()


# -- a connection that breaks, and a flood ----------------------------------------------------------


class Process:
    """`millstream serve` as a process of its own, on a port that stays the same."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._pool = urllib3.PoolManager(retries=False, timeout=20)
        self.url = ""
        self.start("0")

    def start(self, port: str) -> None:
        command = [sys.executable, "-m", "millstream", "serve", "--port", port, "--data", str(self._data)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = re.search(r"http://\S+", self._process.stdout.readline())[0]

    def restart(self) -> None:
        self.start(self.url.rpartition(":")[2])

    def stop(self) -> None:
        self._pool.clear()
        self._process.terminate()
        self._process.communicate(timeout=20)

    def post(self, body: bytes) -> None:
        assert self._pool.request("POST", f"{self.url}/v1/batch", body=body).status == 200


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.stop()


def test_a_broken_connection_is_shown_and_heals(tab: Open, process: Process):
    """The page goes on by itself when the collector is back, and keeps what it has."""
    page = tab(process.url)
    process.post(json.dumps({"batch": [ORDER]}).encode())
    names(page, "Order Completed")
    started = time.monotonic()
    process.stop()
    assert time.monotonic() - started < 15, "an open page held up the stop"
    expect(page.locator("#state")).to_contain_text("Connection lost")
    process.restart()
    expect(page.locator("#state")).to_have_text("Live")
    process.post(json.dumps({"batch": [{**ORDER, "messageId": "m2", "event": "After"}]}).encode())
    names(page, "After", "Order Completed")
    row(page, "Order Completed").click()
    expect(page.locator(".callout")).to_contain_text("millstream query")


STALLS = """() => {
    window.stalls = [];
    let last = performance.now();
    const tick = () => {
        const now = performance.now();
        stalls.push(now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
}"""


def test_ten_thousand_events_a_second_do_not_freeze_the_page(tab: Open, process: Process):
    """Each is counted, the list stays at its bound, and the page answers all the time."""
    page = tab(process.url)
    expect(page.locator("#state")).to_have_text("Live")
    page.evaluate(STALLS)
    body = json.dumps(
        {"batch": [{k: v for k, v in ORDER.items() if k != "messageId"} | {"userId": f"u{n}"} for n in range(1000)]}
    ).encode()
    began = time.monotonic()
    for turn in range(50):
        process.post(body)
        page.wait_for_timeout(max(0.0, (began + (turn + 1) / 10 - time.monotonic()) * 1000))
    expect(page.locator("#kinds .kind-stored b")).to_have_text("50,000")
    expect(rows(page).first).to_be_visible()
    page.wait_for_function("() => document.querySelector('.row').ariaSetSize === '10000'")
    assert rows(page).count() < 100, "the list is virtual"
    longest = max(page.evaluate("stalls"))
    assert longest < 1000, "milliseconds between two frames"
    page.keyboard.press("j")
    expect(page.locator('.row[aria-selected="true"]')).to_have_count(1)


# -- every screen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen(page: Page, served: Served, scheme: Any):
    """Nothing is cut off sideways, everything can be reached, and text stands out from its ground."""
    page.emulate_media(color_scheme=scheme)
    served.send(ORDER, {"type": "track", "event": "Lost"}, {"type": "identify", "anonymousId": "a" * 60})
    served.send(ORDER)
    expect(rows(page)).to_have_count(4)
    fits = "() => document.documentElement.scrollWidth <= innerWidth && document.body.scrollHeight <= innerHeight"
    for width in (320, 390, 800, 1280):
        page.set_viewport_size({"width": width, "height": 700})
        expect(page.locator("#list")).to_be_visible()
        assert page.evaluate(fits), width
        assert page.evaluate(FAINT) == []
        rows(page).filter(has_text="duplicate").click()
        expect(page.locator("#detail .tree")).to_be_visible()
        assert page.evaluate(fits), width
        assert page.evaluate(FAINT) == []
        page.get_by_role("button", name="Close").click()
        expect(page.locator("#detail")).to_be_hidden()


# Elements with text of their own, whose contrast with the ground behind them is under what WCAG asks for.
FAINT = """() => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const bright = (colour) => {
        const [r, g, b] = channels(colour).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if ((channels(colour)[3] ?? 1) === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility()) continue;
        const [one, other] = [bright(getComputedStyle(element).color), bright(ground(element))].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        if (contrast < 4.5) faint.push(`${element.className || element.tagName}: ${contrast.toFixed(2)}`);
    }
    return faint;
}"""


def test_it_can_be_used_without_eyes(page: Page, served: Served):
    """Every control has a name, the list says what it is, and where one is in it."""
    served.send(ORDER)
    row(page, "Order Completed").click()
    expect(page.locator("#detail .tree")).to_be_visible()
    nameless = """() => [...document.querySelectorAll('button, input, [role=listbox], [role=tab], dialog')]
        .filter((one) => one.checkVisibility() && !one.labels?.length && !one.textContent.trim())
        .filter((one) => !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby'))
        .map((one) => one.outerHTML.slice(0, 80))"""
    assert page.evaluate(nameless) == []
    expect(page.get_by_role("listbox", name="Events, newest first")).to_have_attribute(
        "aria-activedescendant", re.compile("row-")
    )
    expect(rows(page)).to_have_attribute("aria-posinset", "1")
    expect(page.get_by_role("status")).to_have_text("Live")


# -- finding one's way ------------------------------------------------------------------------------


def test_filters_say_how_many_match(page: Page, served: Served):
    """Under filters the number of matches is shown; without any it is not."""
    matches = page.locator("#match-count")
    served.send(*({**ORDER, "messageId": f"m{n}", "userId": f"u{n % 2}"} for n in range(5)))
    expect(rows(page)).to_have_count(5)
    expect(matches).to_be_hidden()
    page.fill("#filter-user", "u1")
    expect(matches).to_have_text("2 match")
    page.fill("#filter-user", "nobody")
    expect(matches).to_have_text("0 match")
    served.track("One", userId="nobody")
    expect(matches).to_have_text("1 matches")


def test_an_identify_shows_its_traits(page: Page, served: Served):
    """A row without a name says what became known of the user, and obeys nothing that is in it."""
    served.send({"type": "identify", "userId": "u1", "traits": {"plan": "pro", "bad": "<b>\u202e", "deep": {"a": [1]}}})
    expect(rows(page).first.locator(".traits")).to_have_text('plan: pro, bad: <b>\\u202e, deep: {"a":[1]}')


def test_a_duplicate_leads_to_its_original(page: Page, served: Served):
    """The button opens the event that is stored, also if a filter keeps it from the list."""
    served.send(ORDER)
    served.send({**ORDER, "messageId": "other"})
    served.send({**ORDER, "userId": "u1"})
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Duplicate").click()
    expect(rows(page)).to_have_count(1)
    rows(page).first.click()
    page.get_by_role("button", name="Show the original").click()
    expect(page.locator("#detail .callout")).to_have_count(0)
    expect(page.locator("#detail")).to_contain_text("m1")
    expect(page.locator("#detail")).not_to_contain_text("other")


def test_an_event_is_copied_as_curl(tab: Open, served: Served, tmp_path: Path):
    """What is copied, typed into a shell, sends the same event once more, odd characters and large numbers included."""
    event = {**ORDER, "properties": {"text": "it's \u202e\x7f$(touch no) `x` 😀", "number": 12345678901234567890}}
    served.send(event)
    page = tab(served.url, permissions=["clipboard-read", "clipboard-write"])
    rows(page).first.click()
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert "\u202e" not in command
    subprocess.run(["bash", "-c", command], check=True, timeout=30, cwd=tmp_path, capture_output=True)
    expect(rows(page)).to_have_count(2)
    assert [*tmp_path.iterdir()] == []
    again = json.loads(served.get("/debug/events/2").data)["json"]
    sent = json.loads(again)
    assert (sent["properties"], sent["event"], sent["userId"]) == (event["properties"], event["event"], event["userId"])
    assert sent["messageId"] != event["messageId"]


def test_the_keyboard_skips_to_the_events(page: Page, served: Served):
    """The first stop of the Tab key is a link to the list, which is seen when it has the focus."""
    served.track("One")
    names(page, "One")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the events")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_be_focused()


def test_the_copy_button_is_seen_without_a_mouse(page: Page, served: Served):
    """It does not wait for a pointer to come by."""
    served.track("One")
    rows(page).first.click()
    page.mouse.move(0, 0)
    copy = page.locator(".sample .copy").first
    assert copy.evaluate("node => getComputedStyle(node).opacity") == "1"
