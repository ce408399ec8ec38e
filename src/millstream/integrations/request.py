"""What a web request says of its visitor: ids and context for the events that are recorded while it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any, Literal, NamedTuple, Protocol, TypedDict
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4

from .._logging import warn
from ..errors import SettingsError
from ..identity import Identity

__all__ = ["Capture", "CaptureArgs", "Head", "Visit", "quoted", "record_page"]

ANONYMOUS_COOKIE = "ajs_anonymous_id"
USER_COOKIE = "ajs_user_id"
EXCLUDED = (
    "/static/*", "/media/*", "/assets/*", "/favicon.ico", "/robots.txt", "/sitemap*.xml", "/.well-known/*",
    "/health*", "/ready*", "/live*", "/ping", "/metrics", "/admin/*", "/api/*",
)  # fmt: skip
MAX_ID = 255
MAX_TEXT = 2048
"""Characters of a header that go into an event: a visitor must not be able to make it too large to send."""
CAMPAIGN = {
    "utm_campaign": "name",
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_term": "term",
    "utm_content": "content",
    "utm_id": "id",
}
IP = Literal["full", "masked", "none"]


class CaptureArgs(TypedDict, total=False):
    """The options of the framework integrations as keyword arguments; `Capture` says what each does."""

    user_id: Callable[[Any], object] | None
    cookie: bool
    cookie_domain: str | None
    cookie_max_age: int
    user_cookie: bool
    ip: IP
    user_agent: bool
    locale: bool
    page: bool
    campaign: bool
    query: bool
    opt_out: bool
    trusted_proxies: int
    page_events: bool
    exclude: Sequence[str]


@dataclass(frozen=True)
class Capture:
    """What is taken from a web request, and what is left alone."""

    user_id: Callable[[Any], object] | None = None
    """Returns the id of the user who is logged in, or None; called with the request when an event is recorded."""
    cookie: bool = True
    """Set the cookie `ajs_anonymous_id` where an event has needed a new anonymous id. Without it each request of such
    a visitor has an id of its own."""
    cookie_domain: str | None = None
    """The cookie's domain, such as `example.com` for all its hosts; None: this host alone."""
    cookie_max_age: int = 31_536_000
    """Seconds for which the browser keeps the cookie."""
    user_cookie: bool = True
    """Take the user id from the cookie `ajs_user_id`, where `user_id` returns none."""
    ip: IP = "full"
    """`masked` keeps the first 24 bits of an IPv4 address and 48 of an IPv6 address; `none` leaves it out."""
    user_agent: bool = True
    """Send `context.userAgent`."""
    locale: bool = True
    """Send `context.locale`, from Accept-Language."""
    page: bool = True
    """Send `context.page`: path, url, referrer."""
    campaign: bool = True
    """Send `context.campaign`, from utm parameters."""
    query: bool = False
    """Send query strings, which may hold secrets, in `context.page` and page events."""
    opt_out: bool = False
    """Send no context and no page event, and set no cookie, for requests with `Sec-GPC: 1` or `DNT: 1`."""
    trusted_proxies: int = 0
    """Proxies before this server that append to X-Forwarded-For; 0: the address of the connection counts."""
    page_events: bool = False
    """Record a `page` event for each HTML page that is served."""
    exclude: Sequence[str] = EXCLUDED
    """Paths without page events: patterns with `*`."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Capture:
        """Return these options, checked.

        Raises:
            SettingsError: there is no such option, or its value cannot be used.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                near = get_close_matches(name, known, 1)
                raise SettingsError(
                    f"there is no option {name!r}" + (f"; did you mean {near[0]}?" if near else f"; there are {known}")
                )
        made = cls(**options)
        made._check()
        return made

    def _check(self) -> None:
        for field in fields(self):
            if isinstance(field.default, bool) and not isinstance(getattr(self, field.name), bool):
                raise SettingsError(f"{field.name} must be True or False, got {getattr(self, field.name)!r}")
        if self.user_id is not None and not callable(self.user_id):
            raise SettingsError("user_id must be a function of the request that returns an id or None")
        if self.ip not in {"full", "masked", "none"}:
            raise SettingsError(f"ip must be 'full', 'masked' or 'none', got {self.ip!r}")
        for name in ("trusted_proxies", "cookie_max_age"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise SettingsError(f"{name} must be a whole number from 0, got {value!r}")
        if isinstance(self.exclude, str):
            raise SettingsError("exclude must be a sequence of patterns, got a str")
        domain = self.cookie_domain
        if domain is not None and not (domain.isascii() and domain.replace("-", "").replace(".", "").isalnum()):
            raise SettingsError(f"cookie_domain must be a host name, got {domain!r}")


class Head(NamedTuple):
    """The head of a request, whatever server it came to."""

    method: str
    scheme: str
    host: str
    path: str
    """Percent-encoded."""
    query: str
    peer: str
    """The address at the other end of the connection; empty if it has none."""
    header: Callable[[str], str]
    """The value of a header whose name is given in lower case; an empty text if there is none."""


class Pages(Protocol):
    """The part of a client that records page events."""

    def page(self, name: str | None = None, *, properties: Mapping[str, Any] | None = None) -> object: ...


class Visit:
    """One request: whose events are recorded while it is answered. Nothing is read before an event asks for it.

    Args:
        head: of the request.
        capture: what to take from it.
        user_id: returns the id of the user who is logged in, or None.
    """

    def __init__(self, head: Head, capture: Capture, user_id: Callable[[], object] | None = None) -> None:
        self._head = head
        self._capture = capture
        self._find_user = user_id
        self._cookies: dict[str, str] | None = None
        self._made: str | None = None
        self._context: dict[str, Any] | None = None
        self.identity = Identity(self._user_id, self._anonymous_id, None, self._context_of, self._new_visitor)

    def set_cookie(self) -> str | None:
        """Return the value of a `Set-Cookie` header for the response; None if none is needed."""
        capture = self._capture
        if self._made is None or not capture.cookie or self._opted_out():
            return None
        parts = [f"{ANONYMOUS_COOKIE}={self._made}", "Path=/", f"Max-Age={capture.cookie_max_age}", "SameSite=Lax"]
        if capture.cookie_domain is not None:
            parts.append(f"Domain={capture.cookie_domain}")
        if self._scheme() == "https":
            parts.append("Secure")
        return "; ".join(parts)

    def is_page(self, status: int, content_type: str) -> bool:
        """Whether this answer is a page that a person has asked for, and page events are wanted."""
        head, header = self._head, self._head.header
        return (
            self._capture.page_events
            and head.method == "GET"
            and 200 <= status < 300
            and content_type.lower().startswith("text/html")
            and header("sec-fetch-dest") in {"", "document"}
            and "prefetch" not in (header("sec-purpose") or header("purpose"))
            and header("x-requested-with") != "XMLHttpRequest"
            and not any(fnmatchcase(head.path, pattern) for pattern in self._capture.exclude)
            and not self._opted_out()
        )

    def page(self) -> dict[str, str]:
        """Return path, url, and if there are any search and referrer."""
        head, referrer = self._head, self._head.header("referer")
        url = f"{self._scheme()}://{head.host}{head.path}"
        found = {"path": head.path, "url": url, "referrer": referrer if self._capture.query else _bare(referrer)}
        if self._capture.query and head.query:
            found |= {"search": f"?{head.query}", "url": f"{url}?{head.query}"}
        return {name: value[:MAX_TEXT] for name, value in found.items() if value}

    # -- what an event asks for -----------------------------------------------------------------------------

    def _user_id(self) -> object:
        found = None if self._find_user is None else self._find_user()
        if found is None and self._capture.user_cookie:
            return self._cookie(USER_COOKIE)
        return found

    def _anonymous_id(self) -> str | None:
        return self._made or self._cookie(ANONYMOUS_COOKIE)

    def _new_visitor(self) -> str:
        if self._made is None:
            self._made = str(uuid4())  # not to be guessed, unlike a message id
        return self._made

    def _context_of(self) -> dict[str, Any]:
        if self._context is None:
            self._context = {} if self._opted_out() else self._read_context()
        return self._context

    def _read_context(self) -> dict[str, Any]:
        capture, header = self._capture, self._head.header
        found: dict[str, Any] = {}
        if capture.ip != "none" and (address := self._address()):
            found["ip"] = address
        if capture.user_agent and (agent := header("user-agent")):
            found["userAgent"] = agent[:MAX_TEXT]
        if capture.locale and (locale := header("accept-language").partition(",")[0].partition(";")[0].strip()) != "*":
            found |= {"locale": locale[:MAX_ID]} if locale else {}
        if capture.page:
            found["page"] = self.page()
        if capture.campaign and "utm_" in self._head.query:
            given = dict(parse_qsl(self._head.query[: 4 * MAX_TEXT]))
            found["campaign"] = {key: given[name][:MAX_ID] for name, key in CAMPAIGN.items() if name in given}
        return found

    def _address(self) -> str | None:
        chain = [one.strip() for one in self._head.header("x-forwarded-for").split(",") if one.strip()]
        trusted = self._capture.trusted_proxies
        chain = [*chain, self._head.peer] if trusted else [self._head.peer]
        text = chain[max(0, len(chain) - 1 - trusted)]
        if text.startswith("["):
            text = text[1:].partition("]")[0]
        elif text.count(":") == 1:
            text = text.partition(":")[0]
        try:
            address = ip_address(text)
        except ValueError:  # a Unix socket, or nonsense
            return None
        if self._capture.ip == "full":
            return str(address)
        bits = 24 if isinstance(address, IPv4Address) else 48
        return str(ip_network(f"{address}/{bits}", strict=False).network_address)

    def _scheme(self) -> str:
        forwarded = self._head.header("x-forwarded-proto") if self._capture.trusted_proxies else ""
        return forwarded if forwarded in {"http", "https"} else self._head.scheme

    def _opted_out(self) -> bool:
        return self._capture.opt_out and "1" in {self._head.header("sec-gpc"), self._head.header("dnt")}

    def _cookie(self, name: str) -> str | None:
        """Return the id in a cookie: bare or as JSON, as the versions of analytics.js write it."""
        if self._cookies is None:
            pairs = (pair.partition("=") for pair in self._head.header("cookie").split(";"))
            self._cookies = {key.strip(): unquote(value.strip()) for key, _, value in pairs}
        value = self._cookies.get(name, "").strip('"')
        return value if 0 < len(value) <= MAX_ID and value.isprintable() and value != "null" else None


def record_page(analytics: Pages, visit: Visit) -> None:
    """Record a page event; what that raises is logged, because the page is more important."""
    try:
        analytics.page(properties=visit.page())
    except Exception as exc:  # noqa: BLE001 - a setting has event calls raise
        warn(f"the page event of a request was not recorded: {type(exc).__name__}: {exc}")


def quoted(path: str) -> str:
    """Return a path as it stands in a URL."""
    return quote(path, safe="/:@!$&'()*+,;=~-._", errors="replace")


def _bare(url: str) -> str:
    try:
        return urlsplit(url)._replace(query="", fragment="").geturl()
    except ValueError:  # no URL
        return ""
