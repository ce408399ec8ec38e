"""Each framework's example, under its real server: a page is never broken by an event, and no event is another's."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from shops import ROOT, RunningShop, Shop, Visitor

from support.api import Api, status
from support.servers import served

Start = Callable[..., RunningShop]
VISITORS = 50
ENDS_WELL = {0, -signal.SIGTERM}


def named(api: Api, name: str) -> list[dict[str, Any]]:
    return [event for event in api.accepted if event.get("event") == name]


def end(running: RunningShop) -> str:
    """Stop the server as a service manager does. Returns what it has said."""
    ended = running.server.stop()
    assert ended.code in ENDS_WELL, ended.out
    assert "Traceback" not in ended.out, ended.out
    return ended.out


def test_a_visitor_without_an_id_gets_one(shop: Shop, start: Start, api: Api) -> None:
    """The first event of a visitor has an anonymous id, which a cookie keeps for the next ones."""
    running = start()
    visitor = running.visitor()
    for path in (*shop.buy, *shop.buy):
        visitor.post(f"{path}/teapot")
    kept = visitor.cookies["ajs_anonymous_id"]
    end(running)
    bought = named(api, "Item Purchased")
    assert len(bought) == 2 * len(shop.buy)
    assert {event["anonymousId"] for event in bought} == {kept}
    assert "userId" not in {key for event in bought for key in event}


def test_the_cookies_of_analytics_js_are_understood(shop: Shop, start: Start, api: Api) -> None:
    """Ids that the browser's library has set are the events' ids, and no cookie is set."""
    running = start()
    visitor = running.visitor()
    visitor.post(f"{shop.buy[0]}/teapot", Cookie="ajs_user_id=%22u-7%22; ajs_anonymous_id=a-7")
    assert "ajs_anonymous_id" not in visitor.cookies
    end(running)
    (bought,) = named(api, "Item Purchased")
    assert (bought.get("userId"), bought["anonymousId"]) == ("u-7", "a-7")


def test_events_have_the_context_of_their_request(shop: Shop, start: Start, api: Api) -> None:
    """Address, user agent, locale, page and campaign are those of the request; a query string stays where it is."""
    running = start()
    running.visitor().post(
        f"{shop.buy[0]}/teapot?utm_source=mail&utm_campaign=may&token=secret",
        User_Agent="Firefox", Accept_Language="de-CH, de;q=0.9", Referer="https://example.com/a?token=secret",
    )  # fmt: skip
    end(running)
    context = named(api, "Item Purchased")[0]["context"]
    port, path = running.server.port, f"{shop.buy[0]}/teapot"
    assert {key: context.get(key) for key in ("ip", "userAgent", "locale", "campaign", "page")} == {
        "ip": "127.0.0.1",
        "userAgent": "Firefox",
        "locale": "de-CH",
        "campaign": {"name": "may", "source": "mail"},
        "page": {"path": path, "url": f"http://127.0.0.1:{port}{path}", "referrer": "https://example.com/a"},
    }


def test_pages_are_recorded_where_that_is_on(start: Start, api: Api) -> None:
    """A page that a person opens is a page event; a prefetch and what a script fetches are none."""
    running = start()  # which has asked once itself
    visitor = running.visitor()
    visitor.get("/")
    visitor.get("/", Sec_Purpose="prefetch")
    visitor.get("/", Sec_Fetch_Dest="empty")
    end(running)
    pages = [event for event in api.accepted if event["type"] == "page"]
    assert [event["properties"]["path"] for event in pages] == ["/", "/"]
    assert visitor.cookies["ajs_anonymous_id"] in {event["anonymousId"] for event in pages}


@pytest.mark.parametrize("ill", ["a wrong key", "a dead host"])
def test_pages_are_served_without_the_host(shop: Shop, start: Start, api: Api, ill: str) -> None:
    """With a wrong key and with a host that is down each page is served, and the server says what is lost."""
    if ill == "a wrong key":
        api.always = status(401)
    else:
        api.refuse()
    running = start()
    visitor = running.visitor()
    for path in (*shop.login, *shop.buy):
        visitor.post(f"{path}/teapot")
    said = end(running)
    assert "event" in said
    assert "k3y-of-the-shop" not in said


@pytest.mark.parametrize("login_at", [0, -1], ids=["first login", "last login"])
def test_events_never_mix_their_users(shop: Shop, start: Start, api: Api, login_at: int) -> None:
    """Fifty visitors at once: each event has the user, and the anonymous id, of the visitor who caused it."""
    running = start()
    visitors = [running.visitor() for _ in range(VISITORS)]

    def visit(number: int, visitor: Visitor) -> None:
        item = f"item-{number}"
        visitor.post(f"{shop.buy[0]}/before-{item}")
        visitor.post(f"{shop.login[login_at]}/{number + 1}")
        for path in shop.buy:
            visitor.post(f"{path}/{item}")
        visitor.get(f"/report?user={item}")

    with ThreadPoolExecutor(VISITORS) as pool:
        for visited in [pool.submit(visit, number, visitor) for number, visitor in enumerate(visitors)]:
            visited.result()
    end(running)
    assert len({event["messageId"] for event in api.accepted}) == len(api.accepted)
    users = {}
    for number, visitor in enumerate(visitors):
        anonymous = visitor.cookies["ajs_anonymous_id"]
        theirs = [event for event in api.accepted if event.get("anonymousId") == anonymous]
        items = Counter(event["properties"]["item"] for event in theirs if event["type"] == "track")
        assert {item.removeprefix("before-") for item in items} == {f"item-{number}"}
        known = {event["userId"] for event in theirs if "userId" in event}
        assert len(known) == 1
        users[number] = known.pop()
        before = [event for event in theirs if event.get("properties", {}).get("item") == f"before-item-{number}"]
        assert before
        assert not any("userId" in event for event in before)
        after = [event for event in theirs if event.get("properties", {}).get("item") == f"item-{number}"]
        assert all(event["userId"] == users[number] for event in after)
        assert sum(event["event"] == "Item Purchased" for event in after) == len(shop.buy)
        assert sum(event["event"] == "Line Read" for event in after) == 3
        (identified,) = (event for event in theirs if event["type"] == "identify")
        assert identified["userId"] == users[number]
        assert identified["traits"]
    assert len({*users.values()}) == VISITORS


def test_forked_workers_deliver(shop: Shop, start: Start, api: Api) -> None:
    """Several workers, with `--preload` forked from one that has loaded the application: each event arrives once."""
    running = start(*shop.forks.split())
    running.server.ask(workers=2)
    visitors = [running.visitor() for _ in range(20)]
    for number, visitor in enumerate(visitors):
        visitor.post(f"{shop.buy[0]}/item-{number}")
    end(running)
    bought = Counter(event["properties"]["item"] for event in named(api, "Item Purchased"))
    assert bought == {f"item-{number}": 1 for number in range(20)}


def test_a_reload_loses_nothing(shop: Shop, start: Start, api: Api) -> None:
    """A server that starts its workers again delivers what they had, and goes on."""
    if shop.command.startswith("gunicorn"):
        running = start()
        running.visitor().post(f"{shop.buy[0]}/before")
        running.server.reload()
        running.server.wait_for("Booting worker", 2)
        running.visitor().post(f"{shop.buy[0]}/after")
        end(running)
    else:  # these reload by starting again
        for item in ("before", "after"):
            running = start()
            running.visitor().post(f"{shop.buy[0]}/{item}")
            end(running)
    assert Counter(event["properties"]["item"] for event in named(api, "Item Purchased")) == {"before": 1, "after": 1}


def test_uvicorn_reloads(api: Api, tmp_path: Path) -> None:
    """A change of the code has uvicorn start a new process: what the old one had is delivered."""
    source = (ROOT / "examples" / "frameworks" / "starlette_app.py").read_text()
    command = "uvicorn --fd {fd} --reload --reload-dir . shop:app"
    variables = {"MILLSTREAM_WRITE_KEY": "key", "MILLSTREAM_HOST": api.url}
    with served(tmp_path, *command.split(), sources={"shop": source}, **variables) as server:
        server.ask(least=1)
        Visitor(server.port).post("/buy/before")
        (tmp_path / "shop.py").write_text(f"{source}\n")
        server.wait_for("Application startup complete", 2)
        Visitor(server.port).post("/buy/after")
        assert server.stop().code in ENDS_WELL
    assert Counter(event["properties"]["item"] for event in named(api, "Item Purchased")) == {"before": 1, "after": 1}
