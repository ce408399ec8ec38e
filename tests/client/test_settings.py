"""Each setting has an effect, proven here; and each wrong value is refused by name."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millstream import (
    Analytics,
    AsyncAnalytics,
    Context,
    InvalidEvent,
    Plugin,
    QueueFull,
    RateLimitExpired,
    Request,
    Response,
    RetriesExhausted,
    SettingsError,
)
from millstream.destinations import TrackingAPI
from millstream.settings import OAuthSettings, Settings
from millstream.spool.inspect import lanes
from support.api import Api, stall, status
from support.processes import run_script, start_script
from support.proxy import Proxy

Make = Callable[..., Analytics]
Proof = Callable[[Api, Make], None]
PROOFS: dict[str, Proof] = {}


NAMES = [field.name for field in dataclasses.fields(Settings)]


def proves(name: str) -> Callable[[Proof], Proof]:
    def remember(proof: Proof) -> Proof:
        PROOFS[name] = proof
        return proof

    return remember


@pytest.mark.process
@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_an_effect(api: Api, client: Make, name: str) -> None:
    """Two values of a setting make a difference that can be seen from outside; a setting without a proof fails."""
    assert name in PROOFS, f"{name} has no proof in this file: write one, decorated with @proves({name!r})"
    PROOFS[name](api, client)


def test_there_are_no_proofs_of_nothing() -> None:
    """Each proof is about a setting that exists."""
    assert set(PROOFS) == set(NAMES)


@proves("write_key")
def _(api: Api, client: Make) -> None:
    for key in ("one", "two"):
        client(key).track("A", user_id="u").wait(timeout=10)
    assert [seen.json["writeKey"] for seen in api.requests] == ["one", "two"]


@proves("host")
def _(api: Api, client: Make) -> None:
    client(host=api.url.replace("127.0.0.1", "localhost")).track("A", user_id="u").wait(timeout=10)
    assert api.requests[0].header("host") == f"localhost:{api.port}"


@proves("path")
def _(api: Api, client: Make) -> None:
    client(path="/v1/import").track("A", user_id="u").wait(timeout=10)
    assert api.requests[0].path == "/v1/import"


@proves("max_retries")
def _(api: Api, client: Make) -> None:
    api.always = status(500)
    for retries in (0, 1):
        analytics = client(max_retries=retries)
        analytics.track("A", user_id="u")
        analytics.flush(timeout=10)
    assert [seen.header("x-retry-count") for seen in api.requests] == [None, None, "1"]


@proves("plugin_timeout")
def _(api: Api, client: Make) -> None:
    class Endless(Plugin):
        async def track(self, ctx: Context) -> None:
            await asyncio.get_running_loop().create_future()

    async def pending_after(plugin_timeout: float) -> int:
        async with AsyncAnalytics("key", host=api.url, plugin_timeout=plugin_timeout) as analytics:
            await analytics.register(Endless())
            analytics.track("A", user_id="u")
            pending = (await analytics.flush(timeout=0.5)).pending
            await analytics.close_and_flush(timeout=0)
            return pending

    assert [asyncio.run(pending_after(seconds)) for seconds in (0.01, 60.0)] == [0, 1]


@proves("flush_at")
def _(api: Api, client: Make) -> None:
    analytics = client(flush_at=3, flush_interval=300.0)
    for name in "ABC":
        assert api.requests == []
        analytics.track(name, user_id="u")
    api.wait_for(1)


@proves("flush_interval")
def _(api: Api, client: Make) -> None:
    client(flush_interval=300.0).track("A", user_id="u")
    client(flush_interval=0.05).track("B", user_id="u")
    api.wait_for(1)
    assert [event["event"] for event in api.events] == ["B"]


@proves("http_request_timeout")
def _(api: Api, client: Make) -> None:
    api.always = stall()
    quick = client(flush_at=1, http_request_timeout=0.1).track("A", user_id="u")
    slow = client(flush_at=1, http_request_timeout=60.0).track("B", user_id="u")
    with pytest.raises(RetriesExhausted):
        quick.wait(timeout=10)
    assert not slow.done()


@proves("disable")
def _(api: Api, client: Make) -> None:
    for disable in (True, False):
        client(disable=disable).track("A", user_id="u").wait(timeout=10)
    assert len(api.requests) == 1


@proves("http_client")
def _(api: Api, client: Make) -> None:
    client(http_client=lambda _: Response(200)).track("A", user_id="u").wait(timeout=10)
    assert api.requests == []


@proves("oauth_settings")
def _(api: Api, client: Make) -> None:
    api.always = lambda seen: status(
        200, b'{"access_token":"t","expires_in":3600,"token_type":"Bearer"}' if seen.path == "/token" else b""
    )
    oauth = OAuthSettings("id", key_id="kid", auth_server=api.url, signer=lambda _: b"signed", algorithm="RS256")
    for settings in (None, oauth):
        client(oauth_settings=settings).track("A", user_id="u").wait(timeout=10)
    kinds = [(seen.header("authorization") or "").split(" ")[0] for seen in api.requests if seen.path != "/token"]
    assert kinds == ["Basic", "Bearer"]


@proves("max_batch_events")
def _(api: Api, client: Make) -> None:
    for most in (None, 2):
        analytics = client(max_batch_events=most, flush_at=100, max_in_flight=1)
        for n in range(4):
            analytics.track(str(n), user_id="u")
        analytics.flush(timeout=10)
    assert [len(seen.events) for seen in api.requests] == [4, 2, 2]


@proves("max_in_flight")
def _(api: Api, client: Make) -> None:
    api.always = stall()
    analytics = client(max_in_flight=2, flush_at=1)
    for n in range(5):
        analytics.track(str(n), user_id="u")
    api.wait_for(2)
    assert api.stays_at(2, 0.2)


@proves("max_queue_events")
def _(api: Api, client: Make) -> None:
    analytics = client(max_queue_events=2, flush_interval=300.0)
    outcomes = [analytics.track("A", user_id="u").done() for _ in range(4)]
    assert outcomes == [False, False, True, True]


@proves("max_queue_bytes")
def _(api: Api, client: Make) -> None:
    analytics = client(max_queue_bytes=5_000, flush_interval=300.0)
    outcomes = [analytics.track("A", user_id="u", properties={"t": "x" * 2_000}).done() for _ in range(4)]
    assert outcomes == [False, False, True, True]


@proves("overflow")
def _(api: Api, client: Make) -> None:
    dropping = client(max_queue_events=1, flush_interval=300.0)
    raising = client(max_queue_events=1, flush_interval=300.0, overflow="raise")
    for analytics in (dropping, raising):
        analytics.track("A", user_id="u")
    assert dropping.track("B", user_id="u").done()
    with pytest.raises(QueueFull):
        raising.track("B", user_id="u")


@proves("max_total_backoff_duration")
def _(api: Api, client: Make) -> None:
    api.always = status(500)
    receipt = client(max_retries=20, max_total_backoff_duration=0.1).track("A", user_id="u")
    with pytest.raises(RetriesExhausted) as caught:
        receipt.wait(timeout=10)
    assert caught.value.attempts == 2


@proves("max_rate_limit_duration")
def _(api: Api, client: Make) -> None:
    api.always = status(429, retry_after=60)
    begin = time.monotonic()
    with pytest.raises(RateLimitExpired):
        client(max_rate_limit_duration=0.2).track("A", user_id="u").wait(timeout=10)
    assert time.monotonic() - begin < 5.0


@proves("gzip")
def _(api: Api, client: Make) -> None:
    for packed in (False, True):
        client(gzip=packed).track("A", user_id="u").wait(timeout=10)
    assert [seen.body[:2] == b"\x1f\x8b" for seen in api.requests] == [False, True]


@proves("proxy")
def _(api: Api, client: Make) -> None:
    proxy = Proxy()
    try:
        client(proxy=proxy.url).track("A", user_id="u").wait(timeout=10)
        assert len(proxy.seen) == 1
    finally:
        proxy.close()


@proves("context")
def _(api: Api, client: Make) -> None:
    analytics = client(context={"app": "shop", "locale": "de"})
    analytics.track("A", user_id="u", context={"locale": "fr"}).wait(timeout=10)
    context = api.events[0]["context"]
    assert (context["app"], context["locale"]) == ("shop", "fr")


@proves("integrations")
def _(api: Api, client: Make) -> None:
    client(integrations={"All": False}).track("A", user_id="u").wait(timeout=10)
    assert api.events[0]["integrations"] == {"All": False}


@proves("context_providers")
def _(api: Api, client: Make) -> None:
    analytics = client(context_providers=[lambda: {"request": "r1", "locale": "de"}])
    analytics.track("A", user_id="u", context={"locale": "fr"}).wait(timeout=10)
    context = api.events[0]["context"]
    assert (context["request"], context["locale"]) == ("r1", "fr")


@proves("debug")
def _(api: Api, client: Make) -> None:
    logger = logging.getLogger("millstream")
    before = logger.level, logger.handlers[:]
    try:
        client(debug=False)
        assert logger.level == before[0]
        client(debug=True)
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before[0])
        logger.handlers[:] = before[1]


@proves("destinations")
def _(api: Api, client: Make) -> None:
    other = TrackingAPI("other", host=api.url, path="/other", name="Other")
    client(destinations=[other], flush_interval=0.05).track("A", user_id="u")
    api.wait_for(2)
    assert {request.path for request in api.requests} == {"/v1/batch", "/other"}


@proves("on_invalid")
def _(api: Api, client: Make) -> None:
    with pytest.raises(InvalidEvent):
        client(on_invalid="raise").track("", user_id="u")
    assert client(on_invalid="report").track("", user_id="u").done()


@proves("exit_timeout")
def _(api: Api, client: Make) -> None:
    api.always = stall()
    script = """
        import sys
        from millstream import Analytics
        Analytics("key", host=sys.argv[1], exit_timeout=float(sys.argv[2])).track("A", user_id="u")
    """
    begin = time.monotonic()
    _, err = start_script(script, api.url, "0.1").communicate(timeout=30)
    assert "exit_timeout=0.1" in err
    assert time.monotonic() - begin < 4.9  # the default would be longer


@proves("handle_sigterm")
def _(api: Api, client: Make) -> None:
    script = """
        import os, signal, sys
        from millstream import Analytics
        handle_sigterm = sys.argv[2] == "True"
        Analytics("key", host=sys.argv[1], flush_interval=300, handle_sigterm=handle_sigterm).track("A", user_id="u")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    """
    for handle in (True, False):
        process = start_script(script, api.url, str(handle))
        process.communicate(timeout=30)
        assert (process.returncode, len(api.accepted)) == (-signal.SIGTERM, 1)


@proves("spool")
def _(api: Api, client: Make) -> None:
    api.always = status(503)
    with tempfile.TemporaryDirectory() as spool:
        for where, kept in ((None, 0), (spool, 1)):
            analytics = client(spool=where)
            analytics.track("A", user_id="u")
            assert analytics.close_and_flush(timeout=10).spooled == kept


@proves("spool_sync")
def _(api: Api, client: Make) -> None:
    with tempfile.TemporaryDirectory() as spool, pytest.MonkeyPatch.context() as patch:
        synced = threading.Semaphore(0)
        patch.setattr(os, "fdatasync", lambda _file: synced.release(), raising=False)
        client(spool=spool).track("A", user_id="u").wait(timeout=10)
        assert not synced.acquire(blocking=False)
        client(spool=spool, spool_sync="always", flush_interval=900.0).track("A", user_id="u")
        assert synced.acquire(blocking=False)
        client(spool=spool, spool_sync="interval:20ms", flush_interval=900.0).track("A", user_id="u")
        assert synced.acquire(timeout=10)


@proves("spool_max_bytes")
def _(api: Api, client: Make) -> None:
    for most, state in ((10, "off: the spool"), (10_000, "on")):
        with tempfile.TemporaryDirectory() as spool:
            analytics = client(spool=spool, spool_max_bytes=most)
            analytics.track("A", user_id="u").wait(timeout=10)
            assert (analytics.stats().spool or "").startswith(state)


@proves("spool_max_age")
def _(api: Api, client: Make) -> None:
    api.always = status(503)
    with tempfile.TemporaryDirectory() as spool:
        for age, failed in ((1000.0, 0), (0.0, 1)):
            analytics = client(spool=spool, spool_max_age=age)
            analytics.track("A", user_id="u")
            assert analytics.flush(timeout=10).failed == failed
            api.script(status(200))
            analytics.close_and_flush(timeout=10)


# -- what is refused ------------------------------------------------------------------------------------

UNSENDABLE = {"a": object()}  # found by encoding it, which names the path instead of the whole
WRONG: list[tuple[str, Any, str]] = [
    ("write_key", 5, "a str"),
    ("write_key", "", "pass it first"),
    ("host", "api.segment.io", "absolute URL"),
    ("host", 5, "str"),
    ("host", "http://[::1", "absolute URL"),
    ("host", "http://h:99999", "absolute URL"),
    ("path", None, "str"),
    ("max_retries", -1, "0 or more"),
    ("max_retries", 1.5, "an int"),
    ("flush_at", 0, "1 or more"),
    ("flush_at", True, "an int"),
    ("flush_interval", 10_000, "write 10"),
    ("flush_interval", 0, "above 0"),
    ("flush_interval", "10", "number of seconds"),
    ("flush_interval", float("nan"), "number of seconds"),
    ("http_request_timeout", 1000, "write 1"),
    ("http_request_timeout", -1, "0 or more"),
    ("disable", "no", "bool"),
    ("debug", "no", "bool"),
    ("http_client", 5, "send"),
    ("oauth_settings", {"client_id": "id"}, "OAuthSettings"),
    ("oauth_settings", OAuthSettings(""), "client_id"),
    ("max_batch_events", 2501, "2500"),
    ("max_batch_events", 0, "1 or more"),
    ("max_in_flight", 0, "1 or more"),
    ("max_queue_events", 0, "1 or more"),
    ("max_queue_bytes", None, "an int"),
    ("overflow", "drop_oldest", "'drop_newest' or 'block' or 'raise'"),
    ("max_total_backoff_duration", -1, "0 or more"),
    ("max_rate_limit_duration", "12h", "number of seconds"),
    ("gzip", 1, "bool"),
    ("proxy", "proxy:3128", "absolute URL"),
    ("context", [("a", 1)], "mapping"),
    ("context", UNSENDABLE, "send a str"),
    ("integrations", "All", "mapping"),
    ("context_providers", [5], "functions"),
    ("context_providers", dict, "sequence of functions"),
    ("context_providers", 5, "sequence of functions"),
    ("destinations", 5, "list of destinations"),
    ("on_invalid", "ignore", "'raise' or 'report'"),
    ("handle_sigterm", 1, "bool"),
    ("exit_timeout", 5000, "write 5"),
    ("plugin_timeout", 0, "above 0"),
    ("spool", 5, "path of a directory"),
    ("spool", "", "path of a directory"),
    ("spool_sync", "interval:0ms", "'interval:500ms'"),
    ("spool_sync", True, "'never', 'always'"),
    ("spool_max_bytes", 0, "1 or more"),
    ("spool_max_age", -1, "0 or more"),
]
SECRETS = {"write_key", "http_client", "oauth_settings"}
"""Their values are in no message."""


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG, ids=[f"{name}: {allowed}" for name, _, allowed in WRONG])
def test_a_wrong_value_is_refused_by_name(name: str, value: Any, allowed: str) -> None:
    """The message names the setting, the value (but never a key), and what is allowed."""
    with pytest.raises(SettingsError) as caught:
        Analytics(**{"write_key": "key", name: value})
    message = str(caught.value)
    assert name in message
    assert allowed in message
    if name not in SECRETS and value != UNSENDABLE:
        assert repr(value) in message


def test_every_setting_can_be_wrong() -> None:
    """Each setting has at least one value that is refused."""
    assert {name for name, _, _ in WRONG} == set(NAMES)


def test_an_unknown_setting_is_refused_with_a_hint() -> None:
    """A misspelt setting is an error that says what was meant; one in camel case as well."""
    with pytest.raises(SettingsError, match="did you mean flush_at"):
        Analytics("key", flush_att=1)
    with pytest.raises(SettingsError, match="did you mean flush_interval"):
        Analytics("key", flushInterval=1)


def test_a_secret_is_in_no_message() -> None:
    """A key of the wrong type is not shown, and settings are printed without theirs."""
    with pytest.raises(SettingsError) as caught:
        Analytics(b"secret")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Settings(write_key="secret"))


def test_the_environment_gives_key_and_host(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """$MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST count where the arguments are silent, and only there."""
    monkeypatch.setenv("MILLSTREAM_WRITE_KEY", "from-outside")
    monkeypatch.setenv("MILLSTREAM_HOST", api.url)
    with Analytics() as one, Analytics("mine", host=f"{api.url}/mine") as other:
        one.track("A", user_id="u").wait(timeout=10)
        other.track("B", user_id="u").wait(timeout=10)
    assert [(seen.path, seen.json["writeKey"]) for seen in api.requests] == [
        ("/v1/batch", "from-outside"),
        ("/mine/v1/batch", "mine"),
    ]


# -- white space, and what cannot be seen ---------------------------------------------------------------


def test_white_space_around_a_setting_is_left_out(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a variable often ends in a newline: key, host, path and proxy are used without it."""
    proxy = Proxy()
    try:
        settings = {"host": f" {api.url}\r\n", "path": "\t/v1/import ", "proxy": f"{proxy.url}\n"}
        with Analytics(" key\n", **settings) as analytics:  # type: ignore[arg-type]
            analytics.track("A", user_id="u").wait(timeout=10)
    finally:
        proxy.close()
    (seen,) = api.requests
    assert (seen.path, seen.json["writeKey"], seen.header("authorization")) == ("/v1/import", "key", "Basic a2V5Og==")
    assert seen.header("host") == f"127.0.0.1:{api.port}"
    assert len(proxy.seen) == 1
    monkeypatch.setenv("MILLSTREAM_WRITE_KEY", "from-outside\n")
    monkeypatch.setenv("MILLSTREAM_HOST", f"{api.url}\n")
    with Analytics() as analytics:
        analytics.track("A", user_id="u").wait(timeout=10)
    assert api.requests[1].json["writeKey"] == "from-outside"
    monkeypatch.setenv("MILLSTREAM_HOST", " ")
    monkeypatch.setenv("MILLSTREAM_DISABLE", "1\n")
    with Analytics() as analytics:
        analytics.track("A", user_id="u").wait(timeout=10)
    assert len(api.requests) == 2


def test_white_space_around_oauth_settings_is_left_out(api: Api) -> None:
    """The ids come from the same files and variables."""
    api.always = lambda seen: status(
        200, b'{"access_token":"t","expires_in":3600,"token_type":"Bearer"}' if seen.path == "/token" else b""
    )
    signed: list[bytes] = []
    oauth = OAuthSettings(
        "id\n",
        key_id=" kid",
        auth_server=f"{api.url}\n",
        signer=lambda data: signed.append(data) or b"s",
        algorithm="RS256",
    )
    with Analytics("key", host=api.url, oauth_settings=oauth) as analytics:
        analytics.track("A", user_id="u").wait(timeout=10)
    header, claims = (json.loads(base64.urlsafe_b64decode(part + b"==")) for part in signed[0].split(b"."))
    assert (header["kid"], claims["iss"], claims["aud"]) == ("kid", "id", api.url)


INVISIBLE: list[tuple[str, str, str]] = [
    ("write_key", "key\nkey", "line break"),
    ("write_key", "key\0", "invisible"),
    ("write_key", "key\u200b", "invisible"),
    ("write_key", "key\ud800", "invisible"),
    ("write_key", " \n", "pass it first"),
    ("host", "https://api.seg\nment.io", "invisible"),
    ("host", "https://api.segment.io\u200b", "invisible"),
    ("host", "https://api segment.io", "percent-encode"),
    ("host", "https://api.segment.io\\x", "backslashes"),
    ("host", "https://\ud800.io", "invisible"),
    ("host", "https://api.segment.io?region=eu", "without a ?query"),
    ("host", "https://api.segment.io/#eu", "without a ?query and a #fragment"),
    ("host", "https://api.segment.io?", "without a ?query"),
    ("path", "/v1/batch?key=1", "without ?query"),
    ("path", "/v1/batch#1", "without ?query"),
    ("path", "/v1/bat\nch", "invisible"),
    ("path", "/v1 /batch", "percent-encode"),
    ("path", "/\ud800", "invisible"),
    ("proxy", "http://proxy:3128?x=1", "without a ?query"),
    ("proxy", "http://pro\txy:3128", "invisible"),
    ("spool", "/var/\0", "path of a directory"),
    ("spool", "/var/\ud800", "path of a directory"),
    ("spool", b"/var/events", "path of a directory"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("name", "value", "allowed"), INVISIBLE, ids=ascii)
def test_what_would_go_elsewhere_is_refused(name: str, value: Any, allowed: str) -> None:
    """Text that makes every request fail, or go to another address, is refused when the client is made, and the
    message can be printed."""
    with pytest.raises(SettingsError) as caught:
        Analytics(**{"write_key": "key", name: value})
    message = str(caught.value)
    assert allowed in message
    assert name in message
    message.encode()


@pytest.mark.parametrize("field", ["client_id", "key_id", "scope"])
def test_what_is_invisible_in_oauth_settings_is_refused(field: str) -> None:
    """So are texts that no authorization server knows."""
    texts = {"client_id": "id", "key_id": "kid", field: "one\ntwo"}
    oauth = OAuthSettings(**texts, signer=lambda _: b"signed", algorithm="RS256")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=f"{field} is 'one.*invisible"):
        Analytics("key", oauth_settings=oauth)


# -- passwords --------------------------------------------------------------------------------------------

USABLE = ["http://user:hush@proxy:3128", "http://user:hu@hush@proxy:3128", "http://hush@proxy:3128"]
UNUSABLE = [
    "http://user:hush@",
    "http://user:hush@proxy:port",
    "http://user:hush@[::1",
    "http://user:hush/x@proxy:3128",
    "http://user:hush?x@proxy:3128",
    "http://user:hush#x@proxy:3128",
    "http://user:\nhush@proxy:3128",
    "http://user:hush\uff20proxy:3128",
    "http://user:hush%40proxy:3128",
    "http://user:hush",
    "http:/user:hush@proxy:3128",
    "ftp://user:hush@proxy",
    "//user:hush@proxy",
    "user:hush@proxy:3128",
    "user:hush",
    "http://proxy:3128?password=hush",
    "http://hush@proxy:port",
]


def oauth_at(url: str) -> OAuthSettings:
    return OAuthSettings("id", key_id="kid", auth_server=url, signer=lambda _: b"", algorithm="RS256")


@pytest.mark.parametrize("url", USABLE + UNUSABLE, ids=ascii)
def test_a_password_is_not_printed(url: str) -> None:
    """Settings and requests are printed without the passwords in their URLs."""
    printed = [Settings(host=url), Settings(proxy=url), oauth_at(url), Request("POST", url, {}, b"")]
    assert [value for value in map(repr, printed) if "hush" in value] == []


@pytest.mark.parametrize("url", UNUSABLE, ids=ascii)
@pytest.mark.parametrize("name", ["host", "proxy", "auth_server"])
def test_a_password_is_in_no_message(name: str, url: str) -> None:
    """A URL that cannot be used is named without its password, also if nobody knows where that ends."""
    given: dict[str, Any] = {"oauth_settings": oauth_at(url)} if name == "auth_server" else {name: url}
    with pytest.raises(SettingsError, match=f"{name} is .* it must be an? .*URL") as caught:
        Analytics("key", **given)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_what_has_no_password_is_shown_whole() -> None:
    """A message names the value, where it holds no secret."""
    for url in ("https://api.segment.io/v1/@me", "http://[::1]:8080/x", "http://127.0.0.1:7070"):
        assert url in repr(Settings(host=url))
        assert url in repr(Request("POST", url, {}, b""))
    assert "proxy=None" in repr(Settings())


def test_a_library_that_quotes_a_url_gives_no_password_away(client: Make) -> None:
    """What an HTTP client raises is part of a message; URLs in it are shown without user and password."""

    def send(_: Request) -> Response:
        raise ConnectionError("cannot connect to proxy http://user:hush@proxy:3128")

    with pytest.raises(RetriesExhausted) as caught:
        client(http_client=send).track("A", user_id="u").wait(timeout=10)
    assert "cannot connect to proxy http://…@proxy:3128" in str(caught.value)
    assert "hush" not in str(caught.value)


# -- the moment at which settings count ---------------------------------------------------------------------


@pytest.mark.process
def test_a_relative_spool_is_where_the_client_was_made(api: Api, tmp_path: Path) -> None:
    """A daemon forks and changes its directory before its first event: the next start finds that event all the same."""
    api.always = stall()
    script = """
        import os, sys
        from millstream import Analytics
        os.chdir(sys.argv[2])
        analytics = Analytics("key", host=sys.argv[1], spool="events", exit_timeout=0.1)
        if os.fork():
            os.wait()
        else:
            os.chdir("/")
            analytics.track("A", user_id="u")
            os._exit(0)
    """
    _, err = start_script(script, api.url, os.fspath(tmp_path)).communicate(timeout=30)
    assert not err
    assert sum(lane.events for lane in lanes(tmp_path / "events")) == 1


@pytest.mark.process
def test_a_relative_spool_needs_a_directory_to_begin_in(tmp_path: Path) -> None:
    """If the working directory is gone, the client says so when it is made."""
    script = """
        import os, sys
        from millstream import Analytics, SettingsError
        os.chdir(sys.argv[1])
        os.rmdir(sys.argv[1])
        try:
            Analytics("key", spool="events")
        except SettingsError as exc:
            print(exc)
    """
    (tmp_path / "gone").mkdir()
    assert "make it absolute" in run_script(script, os.fspath(tmp_path / "gone"))


def test_settings_do_not_change() -> None:
    """Settings are frozen: a client goes by what it was made with."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(write_key="key").flush_at = 2  # type: ignore[misc]
