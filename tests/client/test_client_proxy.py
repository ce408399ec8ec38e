"""Proxies: by setting and by environment, for http and https."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest

from millstream import Analytics, RetriesExhausted, Urllib3Client
from support.api import Api
from support.faults import PEM
from support.processes import run_script
from support.proxy import Proxy

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


@pytest.mark.parametrize("name", ["127.0.0.1", "*", "example.com,127.0.0.1"])
def test_no_proxy_in_the_environment(api: Api, proxy: Proxy, name: str) -> None:
    """Hosts in $NO_PROXY are reached directly."""
    run_script(SEND, api.url, "", http_proxy=proxy.url, NO_PROXY=name)
    assert proxy.seen == []
    assert len(api.events) == 1


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
