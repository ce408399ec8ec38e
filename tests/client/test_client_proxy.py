"""Proxies and certificates: by setting and by environment, for http and https."""

from __future__ import annotations

import ssl
import sys
from base64 import b64encode
from collections.abc import Callable

import pytest

from millstream import Analytics, AsyncAnalytics, MissingExtra, RetriesExhausted, SettingsError, Urllib3Client
from support.api import Api
from support.faults import PEM, STRANGER
from support.processes import ended, run_script, start_script
from support.proxy import Proxy, Socks

pytestmark = pytest.mark.process
Make = Callable[..., Analytics]
BASIC = "Basic " + b64encode(b"user:s@cret").decode()

SEND = """
    import sys
    from millstream import Analytics, Urllib3Client
    host, pem = sys.argv[1:]
    options = {"http_client": Urllib3Client(ca_certs=pem)} if pem else {}
    with Analytics("key", host=host, **options) as analytics:
        analytics.track("A", user_id="u").wait(timeout=10)
"""
SEND_ASYNC = """
    import asyncio, sys
    from millstream import AsyncAnalytics

    async def main():
        async with AsyncAnalytics("key", host=sys.argv[1]) as analytics:
            await analytics.track("A", user_id="u")

    asyncio.run(main())
"""
KINDS = pytest.mark.parametrize("source", [SEND, SEND_ASYNC], ids=["Analytics", "AsyncAnalytics"])


def test_a_proxy_by_setting(api: Api, client: Make, proxy: Proxy) -> None:
    """With `proxy=` the request goes to the proxy, which passes it on."""
    client(proxy=proxy.url).track("A", user_id="u").wait(timeout=10)
    assert proxy.seen[0].startswith(f"POST {api.url}/v1/batch ")
    assert api.requests[0].header("via")


def test_https_goes_through_a_tunnel(tls_api: Api, client: Make, proxy: Proxy) -> None:
    """For https the proxy opens a tunnel, and sees neither key nor events."""
    analytics = client(host=tls_api.url, http_client=Urllib3Client(proxy=proxy.url, ca_certs=PEM))
    analytics.track("A", user_id="u").wait(timeout=10)
    assert proxy.seen[0].startswith("CONNECT 127.0.0.1:")
    assert "authorization" not in proxy.seen[0].lower()
    assert len(tls_api.events) == 1


def test_a_proxy_that_is_gone_is_no_answer(api: Api, client: Make, proxy: Proxy) -> None:
    """Without its proxy a client fails: it never goes round it."""
    proxy.close()
    with pytest.raises(RetriesExhausted):
        client(proxy=proxy.url).track("A", user_id="u").wait(timeout=10)
    assert api.requests == []


def test_http_proxy_in_the_environment(api: Api, proxy: Proxy) -> None:
    """$HTTP_PROXY counts for http."""
    run_script(SEND, api.url, "", http_proxy=proxy.url)
    assert len(proxy.seen) == len(api.events) == 1


def test_https_proxy_in_the_environment(tls_api: Api, proxy: Proxy) -> None:
    """$HTTPS_PROXY counts for https, and $HTTP_PROXY does not."""
    run_script(SEND, tls_api.url, PEM, HTTPS_PROXY=proxy.url, http_proxy="http://127.0.0.1:9")
    assert proxy.seen[0].startswith("CONNECT ")
    assert len(tls_api.events) == 1


@KINDS
def test_all_proxy_in_the_environment(api: Api, proxy: Proxy, source: str) -> None:
    """$ALL_PROXY counts where no other is named for the scheme."""
    run_script(source, api.url, "", ALL_PROXY=proxy.url)
    run_script(source, api.url, "", ALL_PROXY="http://127.0.0.1:9", http_proxy=proxy.url)
    assert len(proxy.seen) == len(api.events) == 2


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "*",
        "example.com,127.0.0.1",
        "127.0.0.1:{port}",
        "10.0.0.0/8, 127.0.0.0/8",
        "127.0.0.1/8",
        "::/0,0.0.0.0/0",
    ],
)
def test_no_proxy_in_the_environment(api: Api, proxy: Proxy, name: str) -> None:
    """Hosts in $NO_PROXY are reached directly: names, addresses, with a port or without, and networks."""
    run_script(SEND, api.url, "", http_proxy=proxy.url, NO_PROXY=name.format(port=api.port))
    assert proxy.seen == []
    assert len(api.events) == 1


@pytest.mark.parametrize("name", ["10.0.0.0/8", "example.com/8", "127.0.0.1:1", "/", "::/0"])
def test_others_in_no_proxy(api: Api, proxy: Proxy, name: str) -> None:
    """What is in $NO_PROXY and is not this host sends nothing round the proxy."""
    run_script(SEND, api.url, "", http_proxy=proxy.url, NO_PROXY=name)
    assert len(proxy.seen) == len(api.events) == 1


def test_a_socks_proxy(api: Api, client: Make, socks: Socks) -> None:
    """With a SOCKS proxy the connection goes through it; user and password in its URL are for it."""
    url = socks.url.replace("://", "://user:s%40cret@")
    client(proxy=url).track("A", user_id="u").wait(timeout=10)
    assert socks.seen == [("user", "s@cret", "127.0.0.1")]
    assert len(api.events) == 1


def test_https_through_a_socks_proxy(tls_api: Api, client: Make, socks: Socks) -> None:
    """So does https, and the certificate is checked as ever."""
    http_client = Urllib3Client(proxy=socks.url, ca_certs=PEM)
    client(host=tls_api.url, http_client=http_client).track("A", user_id="u").wait(timeout=10)
    with pytest.raises(RetriesExhausted, match="certificate"):
        client(host=tls_api.url, proxy=socks.url).track("B", user_id="u").wait(timeout=10)
    assert [event["event"] for event in tls_api.events] == ["A"]
    assert socks.seen == [("", "", "127.0.0.1")] * 2


def test_a_socks_proxy_in_the_environment(api: Api, socks: Socks) -> None:
    """$ALL_PROXY may name one."""
    run_script(SEND, api.url, "", ALL_PROXY=socks.url)
    assert len(socks.seen) == len(api.events) == 1


def test_a_socks_proxy_without_what_speaks_to_it(
    api: Api, client: Make, socks: Socks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra a SOCKS proxy is refused, with the command that helps; never is it gone round."""
    monkeypatch.setitem(sys.modules, "socks", None)
    with pytest.raises(MissingExtra, match=r"pip install 'millstream\[socks\]'"):
        client(proxy=socks.url)
    monkeypatch.setenv("ALL_PROXY", socks.url)
    with pytest.raises(RetriesExhausted, match=r"millstream\[socks\]"):
        client().track("A", user_id="u").wait(timeout=10)
    assert api.requests == socks.seen == []


def test_aiohttp_speaks_no_socks(api: Api, socks: Socks) -> None:
    """AsyncAnalytics refuses a SOCKS proxy, and says what sends through one."""
    with pytest.raises(SettingsError, match=r"http_client=Urllib3Client\(\)"):
        AsyncAnalytics("key", host=api.url, proxy=socks.url)
    done = ended(start_script(SEND_ASYNC.replace("host=", "max_retries=0, host="), api.url, ALL_PROXY=socks.url))
    assert "http_client=Urllib3Client()" in done.err
    assert api.requests == socks.seen == []
    run_script(
        SEND_ASYNC.replace("host=", "http_client=Urllib3Client(), host=").replace(
            "AsyncAnalytics\n", "AsyncAnalytics, Urllib3Client\n", 1
        ),
        api.url,
        ALL_PROXY=socks.url,
    )
    assert len(socks.seen) == len(api.events) == 1


@KINDS
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_authorities_in_the_environment(tls_api: Api, source: str, variable: str) -> None:
    """Certificates that these variables name are trusted."""
    run_script(source, tls_api.url, "", **{variable: PEM})
    assert len(tls_api.events) == 1


@KINDS
def test_other_authorities_in_the_environment(tls_api: Api, source: str) -> None:
    """With REQUESTS_CA_BUNDLE no others are; and if there is no such file, it is named."""
    script = source.replace("host=", "max_retries=0, host=")
    done = ended(start_script(script, tls_api.url, "", REQUESTS_CA_BUNDLE=STRANGER, SSL_CERT_FILE=PEM))
    assert "self-signed certificate" in done.err
    done = ended(start_script(script, tls_api.url, "", REQUESTS_CA_BUNDLE="/no/such/file.pem"))
    assert "$REQUESTS_CA_BUNDLE names a file that does not exist" in done.err
    assert tls_api.events == []


def test_an_option_wins_over_authorities_in_the_environment(
    tls_api: Api, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options of the HTTP client that say whose certificates are trusted are not added to."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", STRANGER)
    client(host=tls_api.url, http_client=Urllib3Client(ca_certs=PEM)).track("A", user_id="u").wait(timeout=10)
    context = ssl.create_default_context(cafile=PEM)
    client(host=tls_api.url, http_client=Urllib3Client(ssl_context=context)).track("B", user_id="u").wait(timeout=10)
    assert len(tls_api.events) == 2


def test_a_setting_wins_over_the_environment(
    api: Api, client: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`proxy=` is used whatever the environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    client(proxy=proxy.url).track("A", user_id="u").wait(timeout=10)
    assert len(proxy.seen) == len(api.events) == 1


def test_a_proxys_password_stays_with_the_proxy(api: Api, client: Make, proxy: Proxy) -> None:
    """User and password in a proxy's URL are for the proxy, and in no message."""
    url = proxy.url.replace("://", "://user:s%40cret@")
    client(proxy=url).track("A", user_id="u").wait(timeout=10)
    assert f"proxy-authorization: {BASIC}".lower() in proxy.seen[0].lower()
    proxy.close()
    with pytest.raises(RetriesExhausted) as caught:
        client(proxy=url).track("A", user_id="u").wait(timeout=10)
    assert "cret" not in str(caught.value)
