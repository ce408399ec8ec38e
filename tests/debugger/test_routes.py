"""The page and its data over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from millstream.collector import Collector
from millstream.collector.debugger.subscriber import BOOT
from support.background import Background
from support.watched import Served

pytestmark = pytest.mark.process

STATIC = {
    path.name: path.read_text("utf-8") for path in files("millstream.collector.debugger").joinpath("static").iterdir()
}
DATA = ["/debug/events", "/debug/events/1", "/debug/app.js", "/debug/style.css"]
TRACK = {"type": "track", "event": "Paid", "userId": "u1", "messageId": "m1"}
TOKEN = "s3cret-token"


@pytest.fixture
def locked() -> Iterator[Served]:
    served = Served(token=TOKEN, hosts=["events.example.com"])
    yield served
    served.stop()


# -- the page ---------------------------------------------------------------------------------------


def test_the_page_may_run_its_own_script_and_nothing_else(served: Served):
    """Whatever an event could smuggle into the page, the browser would not run it or send anything away."""
    headers = served.get("/").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/debug/app.js", "text/javascript"),
        ("/debug/style.css", "text/css"),
        ("/debug/events/1", "application/json"),
    ],
)
def test_every_answer_is_what_it_says(served: Served, path: str, kind: str):
    """No browser has to guess, and all of it is under the same policy."""
    served.track()
    answer = served.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_page_needs_nothing_from_elsewhere():
    """One page, one script, one style sheet: they name no other host."""
    assert set(STATIC) == {"index.html", "app.js", "style.css"}
    for name, text in STATIC.items():
        assert set(re.findall(r"https?://[^\s'\"`)]+", text)) <= {"http://www.w3.org/2000/svg"}, name


@pytest.mark.parametrize(
    "door",
    [
        r"(?:inner|outer)HTML",
        r"insertAdjacentHTML",
        r"document\.write",
        r"\beval\(",
        r"new Function",
        r"DOMParser",
        r"createContextualFragment",
        r"srcdoc",
        r"\bstyle=",
        r"javascript:",
    ],
)
def test_no_text_can_become_markup(door: str):
    """The script has no door through which the text of an event could become part of the page's code."""
    assert not re.search(door, STATIC["app.js"])


def test_the_page_has_no_code_within():
    """What the policy would refuse is not there."""
    assert not re.search(r"<script(?![^>]* src=)|\bon\w+=|<style|\bstyle=", STATIC["index.html"])


def test_the_page_works_under_a_prefix():
    """Mounted in another application, it asks for its files beside itself."""
    served = Served(mounted_at="/events")
    try:
        page = served.get("/events/").data.decode()
        linked = re.findall(r'(?:href|src)="([^":#]+)"', page)
        assert [served.get(f"/events/{path}").status for path in linked] == [200, 200]
    finally:
        served.stop()
    assert not re.search(r'(?:href|src)="/', page)
    assert not re.search(r'["`]/debug', STATIC["app.js"])


# -- the stream -------------------------------------------------------------------------------------


def test_what_was_and_what_comes_is_streamed(served: Served):
    """First what is remembered, then each event as it comes."""
    served.track("Before")
    watcher = served.watch()
    assert watcher.status == 200
    assert watcher.next("hello")["last"] == 1
    assert watcher.names(1) == ["Before"]
    served.track("After")
    assert watcher.names(1) == ["After"]
    watcher.close()


def test_what_is_not_kept_is_streamed_with_its_reason(served: Served):
    """Rejected, duplicate and refused: what Segment does not show."""
    watcher = served.watch()
    served.send(TRACK, {"type": "track", "event": "Lost"})
    served.send(TRACK)
    served.post("/v1/batch", b"{")
    seen: list[dict[str, Any]] = []
    while len(seen) < 4:
        seen += watcher.next("rows")["rows"]
    assert [(row["kind"], row.get("name"), row.get("reason")) for row in seen] == [
        ("stored", "Paid", None),
        ("rejected", "Lost", "no_user_anon_id"),
        ("duplicate", "Paid", None),
        ("refused", None, "invalid_json"),
    ]
    watcher.close()


def test_write_keys_are_shown_shortened(served: Served):
    """Neither the page nor its data has a whole write key."""
    served.send(TRACK | {"writeKey": "development-key"}, {"writeKey": "development-key"}, key="development-key")
    watcher = served.watch("/debug/events?whole=1")
    rows = watcher.next("rows")
    assert rows["rows"][0]["source"].startswith("deve-")
    told = json.dumps([rows, watcher.next("stats"), *(served.get(f"/debug/events/{n}").json() for n in (1, 2))])
    assert "development-key" not in told
    watcher.close()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=pai", ["Paid"]),
        ("type=page", ["Home"]),
        ("type=page&type=track", ["Paid", "Lost", "Home"]),
        ("kind=rejected", ["Lost"]),
        ("user=U2", ["Home"]),
        ("text=needle", ["Home"]),
        ("last=1", ["Home"]),
        ("source=nobody", []),
        ("unknown=1", ["Paid", "Lost", "Home"]),
    ],
)
def test_a_stream_can_be_filtered(served: Served, query: str, names: list[str]):
    """By the query of its address, so that what is not wanted is not sent."""
    home = {"type": "page", "name": "Home", "userId": "u2", "properties": {"hidden": "needle"}}
    served.send(TRACK)
    served.send({"type": "track", "event": "Lost"})
    served.send(home)
    watcher = served.watch(f"/debug/events?{query}")
    seen: list[str] = []
    # The counts come after all that was there already.
    while (message := watcher.message())["event"] != "stats":
        seen += [row["name"] for row in json.loads(message["data"]).get("rows", [])]
    assert seen == names
    watcher.close()


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_stream_goes_on_where_it_was_cut(served: Served, how: str):
    """A browser sends the id of the last message by itself; other clients may put it in the address."""
    served.track("One")
    watcher = served.watch()
    while (message := watcher.message())["event"] != "rows":
        pass
    watcher.close()
    served.track("Two")
    last = message["id"]
    again = served.watch(**{"Last-Event-ID": last}) if how == "header" else served.watch(f"/debug/events?after={last}")
    assert again.names(1) == ["Two"]
    again.close()


def test_whole_events_are_streamed_where_asked_for(served: Served):
    """For a program that wants them all, not one by one."""
    served.track("Paid", properties={"n": 1})
    watcher = served.watch("/debug/events?whole=1")
    (row,) = watcher.next("rows")["rows"]
    assert (row["event"]["event"], row["event"]["properties"]) == ("Paid", {"n": 1})
    watcher.close()


def test_the_counts_come_every_second(served: Served):
    """Also while nothing happens, so that a watcher knows that it is connected."""
    served.track()
    watcher = served.watch()
    first, second = watcher.next("stats"), watcher.next("stats")
    assert first["kinds"] == second["kinds"] == {"stored": 1}
    assert second["at"] > first["at"]
    watcher.close()


def test_a_watcher_who_does_not_read_holds_up_nobody(served: Served):
    """Events are taken as before, and later he is told how many went by."""
    watcher = served.watch("/debug/events?whole=1")
    watcher.next("hello")
    padding = "x" * 1000
    batches, size = 45, 400
    for number in range(batches):
        served.send(*({"type": "track", "event": f"{number}", "userId": "u", "p": padding} for _ in range(size)))
    assert len(served.collector.events) == batches * size
    seen = skipped = 0
    while seen + skipped < batches * size:
        message = watcher.next("rows")
        skipped += message["skipped"]
        seen += len(message["rows"])
    assert skipped > 0
    assert message["rows"][-1]["name"] == f"{batches - 1}"
    watcher.close()


@pytest.mark.parametrize(
    "path",
    [
        "/debug/events?last=x&kind=&type=%ff&text=%00",
        "/debug/events?last=99999999999999999999&after=%2d-&name=%22",
        "/debug/events?after=" + "9" * 400,
        f"/debug/events?after={BOOT}-{'9' * 5000}&last={'9' * 5000}",
        "/debug/events/" + "9" * 400,
        "/debug/events/" + "9" * 5000,
        "/debug/events/0",
        "/debug/events/-1",
        "/debug/../../app.py",
        "/debug/app.py",
        "/debug/",
    ],
    ids=lambda path: path.replace(BOOT, "this process"),  # of which each has its own
)
def test_no_question_is_too_odd(served: Served, path: str):
    """A query that makes no sense is one without it; a path that makes none is not found."""
    watcher = served.watch(path)
    assert watcher.status == (200 if "?" in path else 404)
    watcher.close()
    assert served.get("/").status == 200


@pytest.mark.parametrize("host", ["localhost/?", "localhost#", "localhost/..", "127.0.0.1:x", "[::1]:7070?"])
def test_a_host_that_is_no_name_changes_no_path(served: Served, host: str):
    """What stands in the header Host decides who may look, and never at which file."""
    answer = served.get("/debug/app.js", Host=host)
    assert answer.status in {200, 403}
    assert (answer.status == 403) or answer.data.decode() == STATIC["app.js"]


def test_the_head_of_the_stream_ends(served: Served):
    """Who asks for the headers alone gets them, and no stream."""
    answer = served.head("/debug/events")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_watchers_do_not_hold_up_the_stop(served: Served):
    """An open page ends with the collector, in good order."""
    watcher = served.watch()
    watcher.next("stats")
    stopping = Background(served.stop)
    with pytest.raises(EOFError):
        watcher.next("never")
    stopping.result(timeout=20)
    watcher.close()


def test_a_watcher_who_leaves_is_forgotten():
    """His stream ends when the server hears of it, not with the next event."""
    started, *parts = asked("/debug/events")
    assert started["status"] == 200
    assert all(part["more_body"] for part in parts)


def asked(target: str, **scope: Any) -> list[dict[str, Any]]:
    """What an application sends to a client that asks for this and leaves at once."""
    path, _, query = target.partition("?")
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "scheme": "http", "root_path": "", "headers": headers} | scope
    messages = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def ask() -> None:
        collector = Collector.in_memory(token=TOKEN)
        target = {"path": path, "query_string": query.encode(), "client": ("127.0.0.1", 1)}
        bearer = [*scope["headers"], (b"authorization", f"Bearer {TOKEN}".encode())]
        await asyncio.wait_for(collector({**scope, **target, "headers": bearer}, receive, send), 20)
        collector.close()

    asyncio.run(ask())
    return sent


# -- one event --------------------------------------------------------------------------------------


def test_an_event_can_be_looked_at(served: Served):
    """As JSON in its own digits, and as the call that makes one like it."""
    served.post("/v1/track", b'{"event":"Paid","userId":"u1","properties":{"price":12345678901234567890.10}}')
    found = served.get("/debug/events/1").json()
    assert (found["row"]["id"], found["row"]["name"]) == (1, "Paid")
    assert '    "price": 12345678901234567890.10\n' in found["json"]
    assert '    properties={"price": 12345678901234567890.10},\n' in found["call"]


def test_a_rejected_event_says_why(served: Served):
    """In words, and without a call: none would make it."""
    served.send({"type": "track", "event": "Lost"})
    found = served.get("/debug/events/1").json()
    assert found["why"] == "it has neither userId nor anonymousId"
    assert found["call"] == ""
    assert json.loads(found["json"])["event"] == "Lost"


def test_an_event_that_is_gone_is_404(served: Served):
    """The page says then that it is no longer remembered."""
    assert served.get("/debug/events/1").status == 404


# -- who may see it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", *DATA])
def test_other_names_and_origins_see_nothing(served: Served, path: str):
    """DNS rebinding leads to a refusal, whatever it asks for."""
    assert served.get(path, Host="rebound.example.com").status == 403
    assert served.get(path, Origin="https://evil.example").status == 403


@pytest.mark.parametrize("path", ["/", *DATA])
def test_with_a_token_nothing_is_seen_without_it(locked: Served, path: str):
    """Neither the page nor anything that it is made of."""
    locked.track()
    assert locked.get(path).status == 401
    if path != "/debug/events":  # it does not end
        assert locked.get(path, Authorization=f"Bearer {TOKEN}").status == 200
    watcher = locked.watch(path, Authorization=f"Bearer {TOKEN}")
    assert watcher.status == 200
    watcher.close()


def test_a_browser_shows_the_token_once(locked: Served):
    """The address with the token sets a cookie that scripts cannot read and other sites cannot use."""
    answer = locked.get(f"/?token={TOKEN}")
    assert answer.status == 200
    name, _, rest = answer.headers["set-cookie"].partition("=")
    value, *attributes = [part.strip() for part in rest.split(";")]
    assert sorted(attribute.lower() for attribute in attributes) == ["httponly", "path=/", "samesite=strict"]
    assert TOKEN not in answer.headers["set-cookie"]
    assert locked.get("/", Cookie=f"{name}={value}").status == 200
    assert "set-cookie" not in locked.get("/", Cookie=f"{name}={value}").headers


def test_behind_tls_the_cookie_is_for_tls():
    """It does not travel in the open where the page did not."""
    started, *_ = asked(f"/?token={TOKEN}", scheme="https")
    assert dict(started["headers"])[b"set-cookie"].endswith(b"; Secure")


def test_a_wrong_token_sets_no_cookie(locked: Served):
    """And shows nothing."""
    answer = locked.get("/?token=wrong")
    assert (answer.status, answer.headers.get("set-cookie")) == (401, None)


def test_events_are_taken_under_any_name(locked: Served):
    """Host, Origin and the page's token are no business of the Tracking API: libraries reach it by any name."""
    body = json.dumps({"batch": [TRACK]}).encode()
    answer = locked.post("/v1/batch", body, Host="tracking.internal", Origin="https://shop.example.com")
    assert answer.status == 200


ODD = [
    '{"type":null,"type":"track","event":"Dup","userId":"u","messageId":null,"messageId":"m1"}',
    '{"type":"page","userId":"u","x":1e999}',
    '{"type":"page","userId":"u","x":' + "[" * 960 + "]" * 960 + "}",
    '{"type":"page","name":"Last","userId":"u"}',
]


def test_no_event_breaks_off_what_is_told_of_the_others(served: Served):
    """A watcher, with whole events or without, hears of each; what cannot be shown is a row without its event."""
    served.post("/v1/batch", f'{{"batch":[{",".join(ODD)}]}}'.encode())
    for query in ("", "?whole=1", "?whole=1&text=last", "?text=event_too_deep"):
        watcher = served.watch(f"/debug/events{query}")
        rows = []
        while len(rows) < (1 if "text" in query else 4):
            rows += watcher.next("rows")["rows"]
        watcher.close()
        if query == "?whole=1":
            assert [row.get("reason", "") for row in rows] == ["", "", "number_too_large", "event_too_deep"]
            assert [row.get("event", {}).get("type") for row in rows] == ["track", "page", None, None]
            assert rows[0]["event"]["messageId"] == "m1"
    for number in range(1, 5):
        assert served.get(f"/debug/events/{number}").status == 200
