"""Settings: what a client needs, and how host and path become a URL."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

import millstream
from millstream import Analytics, Request, Response, SettingsError
from millstream.settings import Settings


@pytest.mark.parametrize("given", [(), (None,), ("",)])
def test_without_a_write_key_there_is_no_client(given: tuple[str, ...]) -> None:
    """N40, N73: a missing or empty write key is refused when the client is made, by name."""
    with pytest.raises(SettingsError, match="write_key"):
        Analytics(*given)


@pytest.mark.parametrize("host", ["", "foo", "foo.com", "//foo.com", "ftp://foo.com", "http://", "http:///v1"])
def test_a_host_must_be_an_absolute_url(host: str) -> None:
    """N42, L7, L8: a host without a scheme, or without a name, is refused when the client is made."""
    with pytest.raises(SettingsError, match="host"):
        Analytics("key", host=host)


@pytest.mark.parametrize(
    ("host", "path", "url"),
    [
        ("http://foo.com/", "bar/", "http://foo.com/bar"),
        ("http://foo.com", "/v1/batch", "http://foo.com/v1/batch"),
        ("http://foo.com", "a/b/c/d", "http://foo.com/a/b/c/d"),
        ("http://foo.com/", "/a", "http://foo.com/a"),
        ("http://localhost", "a", "http://localhost/a"),
        ("http://foo.com/a/", "", "http://foo.com/a"),
        ("http://foo.com", "", "http://foo.com"),
    ],
)
def test_host_and_path_become_one_url(client: Callable[..., Analytics], host: str, path: str, url: str) -> None:
    """N41, L4, L5, L6, L9, L10: host and path are joined by one slash, and a slash at the end goes."""
    assert _url_of(client, host=host, path=path) == url


def test_a_path_in_the_host_is_kept(client: Callable[..., Analytics]) -> None:
    """N41 (differs): a host with a path keeps it, because a proxy with a prefix would be missed otherwise."""
    assert _url_of(client, host="https://p.com/seg") == "https://p.com/seg/v1/batch"


def test_close_has_patience_by_default() -> None:
    """N14: with the defaults, `close_and_flush` waits 75 seconds."""
    assert Settings(write_key="key").patience == 75.0


def test_close_has_more_patience_with_a_long_interval() -> None:
    """N15: with a `flush_interval` of 120 seconds, `close_and_flush` waits 150."""
    assert Settings(write_key="key", flush_interval=120.0).patience == 150.0


def test_the_defaults_are_those_of_the_documentation() -> None:
    """N73 (differs): `max_retries` is 3 as documented, not the 10 of the latest release."""
    settings = Settings(write_key="key")
    assert (settings.max_retries, settings.flush_at, settings.flush_interval) == (3, 15, 10.0)
    assert (settings.http_request_timeout, settings.disable) == (10.0, False)
    assert settings.url == "https://api.segment.io/v1/batch"


def test_the_version_is_a_string() -> None:
    """N61: the library says its version."""
    assert millstream.__version__[0].isdigit()


def test_the_calls_take_what_the_types_say() -> None:
    """N74: every call but alias takes either id; alias needs both of its own, and has no `anonymous_id`."""
    for name in ("identify", "track", "page", "screen", "group"):
        assert {"user_id", "anonymous_id"} <= set(_parameters(name))
    alias = _parameters("alias")
    assert "anonymous_id" not in alias
    assert alias["user_id"].default is alias["previous_id"].default is inspect.Parameter.empty


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(Analytics, name)).parameters)


def _url_of(client: Callable[..., Analytics], **settings: str) -> str:
    seen: list[Request] = []

    def http(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    client(http_client=http, **settings).track("A", user_id="u").wait(timeout=10)
    return seen[0].url
