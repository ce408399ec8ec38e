"""URLs that a user gives: which are taken, and what of them is shown."""

from __future__ import annotations

import pytest

from millstream.urls import hidden, objection, redacted


@pytest.mark.parametrize("url", ["http://h", "https://h:8080/base/", "http://[::1]:80", "https://u:p@h", "HTTP://h"])
def test_a_base_url_is_taken(url: str) -> None:
    """A scheme and a host are enough; a port, a path and a user may be there."""
    assert objection(url) == ""


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("h.example", "absolute URL"),
        ("ftp://h", "absolute URL"),
        ("http://", "absolute URL"),
        ("http://h:0", "absolute URL"),
        ("http://h:99999", "absolute URL"),
        ("http://u:p#1@h:x", "percent-encode special characters in its user and password"),
        ("http://h?", "without a ?query"),
        ("http://h/#", "without a ?query"),
        ("http://h /", "without spaces"),
        ("http://h\\x", "backslashes"),
        ("http://h\u200b", "invisible"),
    ],
)
def test_what_would_go_elsewhere_has_its_remedy(url: str, says: str) -> None:
    """Each URL that cannot be used is refused with what to change."""
    assert says in objection(url)


def test_the_schemes_are_those_that_are_asked_for() -> None:
    """A proxy may be one of SOCKS; then `http` is what cannot be used."""
    assert objection("socks5://h:1080", "socks5") == ""
    assert objection("http://h", "socks5")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h:80/path", "https://h:80/path"),
        ("https://me:s3cret@h/path", "https://…@h/path"),
        ("me:s3cret@h", "…@h"),
        ("https://me:s3c@ret@h", "https://…@h"),
        ("https://me:s3c/ret@h", "https://…@h"),
        ("https://me:s3cret", "https://me:…"),
        ("https://h/?token=s3cret#s3cret", "https://h/?…"),
        ("https://me:s3cret\uff20h", "https://…@h"),
    ],
)
def test_no_secret_is_shown(url: str, shown: str) -> None:
    """Users, passwords and queries are left out, also where the URL is not one, and the host stays."""
    assert redacted(url) == shown


def test_urls_in_a_librarys_text_lose_their_users() -> None:
    """Every URL that an error quotes is cleaned, and the rest of the text is left."""
    text = "cannot connect to http://me:s3cret@h:1/x and //you@i, see http://docs/@tag"
    assert hidden(text) == "cannot connect to http://…@h:1/x and //…@i, see http://docs/@tag"
