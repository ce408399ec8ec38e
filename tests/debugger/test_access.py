"""Who may see the page and its data."""

from __future__ import annotations

import pytest

from millstream.collector.debugger.access import Access, Forbidden
from millstream.errors import SettingsError

HERE = "127.0.0.1"
AWAY = "203.0.113.7"
TOKEN = "s3cret-token"


def answer(guard: Access, client: str = HERE, shown: str = "", *, page: bool = False, **headers: str) -> int:
    """200, or the status of the refusal."""
    try:
        guard.check(
            {"host": "localhost:7070"} | {k.replace("_", "-"): v for k, v in headers.items()}, client, shown, page=page
        )
    except Forbidden as forbidden:
        return forbidden.status
    return 200


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        (AWAY, 403),
        ("::ffff:203.0.113.7", 403),
        ("", 403),
        ("testclient", 403),
    ],
)
def test_without_a_token_only_this_machine_may_look(client, status):
    """Whatever address the collector is bound to."""
    assert answer(Access(), client) == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:7070", 200),
        ("my.localhost:7070", 200),
        ("127.0.0.1:7070", 200),
        ("192.168.1.5", 200),
        ("[::1]:7070", 200),
        ("events.example.com", 200),
        ("EVENTS.example.com:8443", 200),
        ("rebound.example.com", 403),
        ("localhost.example.com", 403),
        ("127.0.0.1.example.com", 403),
        ("events.example.com.evil.example", 403),
        ("user@localhost.evil.example", 403),
        ("", 403),
        ("[::1", 403),
        ("a b", 403),
    ],
)
def test_the_page_is_served_under_its_own_names_alone(host, status):
    """A site whose name was pointed at this address comes under its own name, and sees nothing."""
    assert answer(Access(hosts=["events.example.com"]), host=host) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:7070", 200),
        ("http://LOCALHOST:7070", 200),
        ("https://events.example.com", 200),
        ("http://localhost:3000", 403),
        ("http://127.0.0.1:7070", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_other_origins_see_nothing(origin, status):
    """Neither other sites, nor other applications on this machine."""
    assert answer(Access(hosts=["events.example.com"]), origin=origin) == status


@pytest.mark.parametrize(
    ("site", "data", "page"),
    [("same-origin", 200, 200), ("none", 200, 200), ("cross-site", 403, 200), ("same-site", 403, 200)],
)
def test_other_sites_may_link_to_the_page_and_no_more(site, data, page):
    """A link leads to the page; a script or an image of another site that names the data does not get it."""
    assert answer(Access(), sec_fetch_site=site) == data
    assert answer(Access(), sec_fetch_site=site, page=True) == page


@pytest.mark.parametrize("client", [HERE, AWAY])
def test_a_token_is_asked_of_everybody(client):
    """Also on this machine, which others may share."""
    guard = Access(TOKEN)
    assert answer(guard, client) == 401
    assert answer(guard, client, TOKEN) == 200
    assert answer(guard, client, authorization=f"Bearer {TOKEN}") == 200
    assert answer(guard, client, authorization=f"bearer  {TOKEN}") == 200
    assert answer(guard, client, cookie=f"a=b; {guard.cookie}={guard.cookie_value}; c") == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"shown": "s3cret"},
        {"shown": TOKEN + "x"},
        {"shown": "tökén"},
        {"authorization": "Bearer s3cret"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"millstream={TOKEN}"},
        {"cookie": ";;=;"},
    ],
)
def test_a_wrong_token_opens_nothing(wrong):
    """Nor a piece of the right one, nor the right one in the wrong place."""
    assert answer(Access(TOKEN), **wrong) == 401


def test_the_cookie_is_not_the_token_and_each_token_has_its_own():
    """Cookies are shared by all ports of a host."""
    one, other = Access(TOKEN), Access("another")
    assert TOKEN not in one.cookie + one.cookie_value
    assert one.cookie != other.cookie
    assert answer(other, cookie=f"{other.cookie}={one.cookie_value}") == 401


def test_an_empty_cookie_or_token_opens_nothing():
    """What is absent never equals what is asked."""
    guard = Access(TOKEN)
    assert answer(guard, cookie=f"{guard.cookie}=") == 401
    assert answer(guard, authorization="Bearer ") == 401
    assert not Access().shows_token("")


def test_a_refusal_says_what_to_do():
    """The one who may look is told how."""
    with pytest.raises(Forbidden, match=r"--allow-host events\.example\.com"):
        Access().check({"host": "events.example.com"}, HERE)
    with pytest.raises(Forbidden, match="--token"):
        Access().check({"host": "localhost"}, AWAY)
    with pytest.raises(Forbidden, match=r"/\?token="):
        Access(TOKEN).check({"host": "localhost"}, HERE)


@pytest.mark.parametrize("token", ["", "two words", "a;b", "a&b", "tökén"])
def test_a_token_fits_into_an_address(token):
    """Otherwise it would be refused, and nobody could see why."""
    with pytest.raises(SettingsError, match="token"):
        Access(token)


@pytest.mark.parametrize("hosts", [["https://events.example.com"], ["events.example.com:8080"], ["*"], [""]])
def test_a_host_is_a_name(hosts):
    """Without scheme, port or wildcard: what would never match is refused."""
    with pytest.raises(SettingsError, match="hosts"):
        Access(hosts=hosts)


def test_hosts_are_a_collection():
    """One name alone would be taken for its letters."""
    with pytest.raises(SettingsError, match=r"hosts=\[name\]"):
        Access(hosts="example.com")
