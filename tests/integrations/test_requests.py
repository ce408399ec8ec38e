"""What the middleware takes from a request, and what its options leave alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from millstream import Analytics, AsyncAnalytics, SettingsError
from millstream.integrations import asgi, wsgi

Ask = Callable[..., "Asked"]
BROWSER = {
    "HTTP_HOST": "shop.example.com",
    "HTTP_USER_AGENT": "Firefox",
    "HTTP_ACCEPT_LANGUAGE": "de-CH,de;q=0.9",
    "HTTP_REFERER": "https://shop.example.com/cart?token=secret#x",
    "REMOTE_ADDR": "203.0.113.77",
    "QUERY_STRING": "token=secret&utm_source=mail&utm_campaign=may",
    "PATH_INFO": "/kaffee/m\xc3\xbchle",
    "REQUEST_METHOD": "GET",
    "wsgi.url_scheme": "https",
}


class Asked:
    """One request that has been answered: the events that it has caused, and the answer's headers."""

    def __init__(self, options: dict[str, Any], environ: dict[str, Any], kind: str, status: str, events: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.errors: list[Any] = []
        self.headers: list[tuple[str, str]] = []
        analytics = Analytics(disable=True, on_invalid="report")
        for name in ("track", "page"):
            analytics.on(name, lambda ctx: self.events.append(ctx.event))
        analytics.on("error", self.errors.append)

        def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            for _ in range(events):
                analytics.track("Seen")
            start_response(status, [("Content-Type", kind)])
            return [b"body"]

        middleware = wsgi.MillstreamMiddleware(app, analytics, **options)
        body = middleware({**BROWSER, **environ}, lambda _, headers: self.headers.extend(headers))
        assert [*body] == [b"body"]

    @property
    def cookie(self) -> str | None:
        return dict(self.headers).get("Set-Cookie")

    @property
    def context(self) -> dict[str, Any]:
        context = self.events[0]["context"]
        return {key: value for key, value in context.items() if key != "library"}


@pytest.fixture
def ask() -> Ask:
    def ask(environ: dict[str, Any] | None = None, *, kind: str = "text/html; charset=utf-8", **options: Any) -> Asked:
        status, events = options.pop("status", "200 OK"), options.pop("events", 1)
        return Asked(options, environ or {}, kind, status, events)

    return ask


def test_the_context_of_a_request(ask: Ask) -> None:
    """All that is taken by default: query strings, which may hold secrets, are left out, and campaigns are not."""
    assert ask().context == {
        "ip": "203.0.113.77",
        "userAgent": "Firefox",
        "locale": "de-CH",
        "page": {
            "path": "/kaffee/m%C3%BChle",
            "url": "https://shop.example.com/kaffee/m%C3%BChle",
            "referrer": "https://shop.example.com/cart",
        },
        "campaign": {"name": "may", "source": "mail"},
    }


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"ip": "none"}, {"userAgent", "locale", "page", "campaign"}),
        ({"user_agent": False}, {"ip", "locale", "page", "campaign"}),
        ({"locale": False}, {"ip", "userAgent", "page", "campaign"}),
        ({"page": False}, {"ip", "userAgent", "locale", "campaign"}),
        ({"campaign": False}, {"ip", "userAgent", "locale", "page"}),
    ],
)
def test_each_part_can_be_left_out(ask: Ask, options: dict[str, Any], left: set[str]) -> None:
    """Each option leaves out what it names."""
    assert set(ask(**options).context) == left


def test_query_strings_are_sent_where_that_is_on(ask: Ask) -> None:
    """`query` sends the page's and the referrer's."""
    page = ask(query=True).context["page"]
    assert page["search"] == "?token=secret&utm_source=mail&utm_campaign=may"
    assert page["url"].endswith("m%C3%BChle?token=secret&utm_source=mail&utm_campaign=may")
    assert page["referrer"] == "https://shop.example.com/cart?token=secret#x"


@pytest.mark.parametrize(
    ("environ", "options", "ip"),
    [
        ({}, {"ip": "masked"}, "203.0.113.0"),
        ({"REMOTE_ADDR": "2001:db8:aaaa:bbbb::1"}, {"ip": "masked"}, "2001:db8:aaaa::"),
        ({"HTTP_X_FORWARDED_FOR": "198.51.100.1"}, {}, "203.0.113.77"),
        ({"HTTP_X_FORWARDED_FOR": "6.6.6.6, 198.51.100.1"}, {"trusted_proxies": 1}, "198.51.100.1"),
        ({"HTTP_X_FORWARDED_FOR": "198.51.100.1, 10.0.0.1"}, {"trusted_proxies": 2}, "198.51.100.1"),
        ({"HTTP_X_FORWARDED_FOR": "[2001:db8::1]:443"}, {"trusted_proxies": 1}, "2001:db8::1"),
        ({"HTTP_X_FORWARDED_FOR": "198.51.100.1:443"}, {"trusted_proxies": 3}, "198.51.100.1"),
        ({"HTTP_X_FORWARDED_FOR": "unknown"}, {"trusted_proxies": 1}, None),
        ({"REMOTE_ADDR": ""}, {}, None),
    ],
)
def test_the_address_is_the_visitors(
    ask: Ask, environ: dict[str, str], options: dict[str, Any], ip: str | None
) -> None:
    """What a client writes into X-Forwarded-For is not believed, what trusted proxies append is."""
    assert ask(environ, **options).context.get("ip") == ip


def test_a_visitor_without_an_id_gets_a_cookie_with_the_first_event(ask: Ask) -> None:
    """One id for all events of the request, kept by a cookie that analytics.js can read; no event, no cookie."""
    asked = ask(events=2)
    first, second = (event["anonymousId"] for event in asked.events)
    assert first == second
    assert UUID(first).version == 4
    assert asked.cookie == f"ajs_anonymous_id={first}; Path=/; Max-Age=31536000; SameSite=Lax; Secure"
    assert ask(events=0).cookie is None
    assert ask(cookie=False).cookie is None
    other = ask({"wsgi.url_scheme": "http"}, cookie_domain="example.com", cookie_max_age=60).cookie
    assert other is not None
    assert other.endswith("; Path=/; Max-Age=60; SameSite=Lax; Domain=example.com")


@pytest.mark.parametrize(
    ("cookie", "ids"),
    [
        ("ajs_anonymous_id=a-1; ajs_user_id=u-1", ("u-1", "a-1")),
        ("ajs_anonymous_id=%22a-1%22; ajs_user_id=%22u-1%22", ("u-1", "a-1")),
        ('ajs_anonymous_id="a-1"; ajs_user_id=null', (None, "a-1")),
        ("ajs_user_id=u-1", ("u-1", None)),
        (f"ajs_anonymous_id=a-1; ajs_user_id={'x' * 300}", (None, "a-1")),
        ("ajs_anonymous_id=a-1; ajs_user_id=a%0Ab", (None, "a-1")),
    ],
)
def test_cookies_of_analytics_js(ask: Ask, cookie: str, ids: tuple[str | None, str | None]) -> None:
    """Both spellings are read, what is no id is none, and a visitor who has an id gets no cookie."""
    asked = ask({"HTTP_COOKIE": cookie})
    event = asked.events[0]
    assert (event.get("userId"), event.get("anonymousId")) == ids
    assert asked.cookie is None
    assert "userId" not in ask({"HTTP_COOKIE": cookie}, user_cookie=False).events[0]


def test_the_applications_user_goes_before_the_cookie(ask: Ask) -> None:
    """A function that finds the user decides; one that finds none leaves it to the cookie; one that raises is told."""
    cookie = {"HTTP_COOKIE": "ajs_user_id=u-1"}
    assert ask(cookie, user_id=lambda environ: environ["PATH_INFO"][1:4]).events[0]["userId"] == "kaf"
    assert ask(cookie, user_id=lambda _: None).events[0]["userId"] == "u-1"
    asked = ask(cookie, user_id=lambda environ: environ["nothing"])
    assert [error.code for error in asked.errors] == ["context_provider"]
    assert "anonymousId" in asked.events[0]


def test_those_who_opt_out_are_left_alone(ask: Ask) -> None:
    """With `opt_out` a visitor who says so has no context, no cookie and no page event."""
    for header in ("HTTP_SEC_GPC", "HTTP_DNT"):
        asked = ask({header: "1"}, opt_out=True, page_events=True)
        assert (asked.context, asked.cookie, len(asked.events)) == ({}, None, 1)
        assert ask({header: "1"}).cookie


@pytest.mark.parametrize(
    ("environ", "more", "recorded"),
    [
        ({}, {}, True),
        ({"REQUEST_METHOD": "POST"}, {}, False),
        ({"HTTP_SEC_FETCH_DEST": "document"}, {}, True),
        ({"HTTP_SEC_FETCH_DEST": "empty"}, {}, False),
        ({"HTTP_SEC_PURPOSE": "prefetch;prerender"}, {}, False),
        ({"HTTP_X_REQUESTED_WITH": "XMLHttpRequest"}, {}, False),
        ({"PATH_INFO": "/static/a.html"}, {}, False),
        ({"PATH_INFO": "/healthz"}, {}, False),
        ({"PATH_INFO": "/static/a.html"}, {"exclude": ["/intern/*"]}, True),
        ({"PATH_INFO": "/intern/a"}, {"exclude": ["/intern/*"]}, False),
        ({}, {"kind": "application/json"}, False),
        ({}, {"status": "404 Not Found"}, False),
        ({}, {"page_events": False}, False),
    ],
)
def test_page_events_are_for_pages(ask: Ask, environ: dict[str, str], more: dict[str, Any], recorded: bool) -> None:
    """Where they are on, a page that a person has opened is one; the visitor's cookie is set with it."""
    asked = ask(environ, events=0, **{"page_events": True, **more})
    assert [event["type"] for event in asked.events] == ["page"] * recorded
    assert (asked.cookie is not None) == recorded


def test_hostile_headers_make_no_event_too_large(ask: Ask) -> None:
    """Long headers are cut, and what is no URL or language is left out."""
    long = "x" * 100_000
    asked = ask({"HTTP_USER_AGENT": long, "HTTP_REFERER": f"https://[{long}", "HTTP_ACCEPT_LANGUAGE": "*"})
    assert asked.errors == []
    assert len(asked.context["userAgent"]) == 2048
    assert "locale" not in asked.context
    assert "referrer" not in asked.context["page"]


@pytest.mark.parametrize("path", ["/\udcff", "/\0", "//x?y#z", "/é", ""])
def test_a_strange_path_breaks_nothing(path: str) -> None:
    """Whatever a server makes of a request's path, the page is served and its event has a path that can be sent."""
    analytics = Analytics(disable=True, on_invalid="raise")
    events: list[dict[str, Any]] = []
    analytics.on("track", lambda ctx: events.append(ctx.event))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        analytics.track("Seen")
        await send({"type": "http.response.start", "status": 200})

    async def send(_: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"h\xff")]}
    asyncio.run(asgi.MillstreamMiddleware(app, analytics, page_events=True)(scope, send, send))  # type: ignore[arg-type]
    assert events[0]["context"]["page"].get("path", "").isascii()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page_event": True}, "did you mean page_events"),
        ({"cookie": "no"}, "cookie must be True or False"),
        ({"user_id": "u"}, "user_id must be a function"),
        ({"ip": False}, "'full', 'masked' or 'none'"),
        ({"trusted_proxies": True}, "trusted_proxies must be a whole number"),
        ({"exclude": "/a"}, "exclude must be a sequence"),
        ({"cookie_domain": "a; HttpOnly"}, "cookie_domain must be a host name"),
    ],
)
def test_wrong_options_are_refused_at_the_start(options: dict[str, Any], message: str) -> None:
    """An option that does not exist, or a value that cannot be used, is an error where the application is made."""
    for middleware in (wsgi.MillstreamMiddleware, asgi.MillstreamMiddleware):
        with pytest.raises(SettingsError, match=message):
            middleware(lambda *_: None, Analytics(disable=True), **options)  # type: ignore[arg-type,return-value]


def test_wsgi_needs_a_client_that_does_not_await() -> None:
    """An AsyncAnalytics is refused, with the remedy."""
    with pytest.raises(SettingsError, match="use Analytics"):
        wsgi.MillstreamMiddleware(lambda *_: [], AsyncAnalytics(disable=True))


# -- bodies ---------------------------------------------------------------------------------------------


def test_a_streamed_body_is_made_as_the_visitors() -> None:
    """Each piece has the visitor's identity, and so has `close`; what runs in between has not."""
    analytics = Analytics(disable=True, on_invalid="report")
    seen: list[Any] = []
    analytics.on("track", lambda ctx: seen.append((ctx.event["event"], ctx.event.get("userId"))))

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(2):
                analytics.track("Piece")
                yield b"piece"

        def close(self) -> None:
            analytics.track("Closed")

    def app(_: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Body()

    middleware = wsgi.MillstreamMiddleware(app, analytics)
    body: Any = middleware({**BROWSER, "HTTP_COOKIE": "ajs_user_id=u"}, lambda *_: None)
    for _ in body:
        analytics.track("Between", user_id="server")
    body.close()
    assert seen == [("Piece", "u"), ("Between", "server")] * 2 + [("Closed", "u")]


# -- lifespan -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes_part", [True, False], ids=["with a lifespan", "without"])
@pytest.mark.parametrize("flushing", [asgi.MillstreamMiddleware, asgi.FlushOnShutdown])
def test_the_end_of_the_server_delivers(takes_part: bool, flushing: Any) -> None:
    """The client is flushed before the server is told that the application has ended, also for one that has no end."""
    said: list[str] = []

    class Client:
        async def flush(self, timeout: float | None = None) -> Any:
            said.append("flushed")
            return type("Result", (), {"pending": 0})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert takes_part, "only HTTP"
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    async def main() -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> Any:
            return {"type": next(messages)}

        async def send(message: Any) -> None:
            said.append(message["type"])

        await flushing(app, Client())({"type": "lifespan"}, receive, send)

    asyncio.run(main())
    assert said == ["lifespan.startup.complete", "flushed", "lifespan.shutdown.complete"]
