"""A server on loopback, and clients that deliver to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import settings

from millstream import Analytics
from support.api import Api
from support.faults import PEM
from support.marks import FIXTURES, Watch
from support.processes import end_children
from support.proxy import Proxy, Socks

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
DECIDED_OUTSIDE = ("MILLSTREAM_WRITE_KEY", "MILLSTREAM_HOST", "MILLSTREAM_DISABLE", *PROXIES, *AUTHORITIES)

collect_ignore = ["frameworks", "neighbours"]  # in environments of their own: `make test-frameworks`

# The same examples in every run, so that a red one is about the change at hand.
# MILLSTREAM_HYPOTHESIS=deep looks for others. How long an example takes says more of the machine than of the code.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("deep", derandomize=False, deadline=None)
settings.load_profile(os.environ.get("MILLSTREAM_HYPOTHESIS", "same"))

watch = Watch()


def pytest_configure(config: pytest.Config) -> None:
    """Before 3.12, aiohttp's `session.close()` does not wait until its TLS connections are closed (its documentation:
    "Graceful Shutdown"); a loop that ends at once leaves them to the garbage collector. Leaks of ours show with the
    newest aiohttp."""
    if tuple(int(part) for part in version("aiohttp").split(".")[:2]) < (3, 12):
        config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a server are marked so, before `-m` chooses."""
    for item in items:
        if not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("server")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    watch.begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A test that starts a process or listens on a port says so by its mark: without one it is a fast test."""
    yield
    missing = watch.missing({mark.name for mark in item.iter_markers()})
    assert not missing, f"mark this test: @pytest.mark.{missing.pop()}"


# Where SIGINT is ignored (a background job of a shell, many CI systems), children would ignore it, too: they inherit
# that, and not a handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_child_outlives_its_test() -> Iterator[None]:
    """Processes that a test has started are ended with it, also when it fails."""
    yield
    end_children()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens to be in the environment decides no test."""
    for name in DECIDED_OUTSIDE:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def api() -> Iterator[Api]:
    """A Tracking API on loopback that answers as scripted, and with 200 otherwise."""
    server = Api()
    yield server
    server.close()


@pytest.fixture
def tls_api() -> Iterator[Api]:
    """The same over TLS, with the certificate of `faults.PEM`."""
    server = Api(tls=PEM)
    yield server
    server.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy on loopback, which passes on and opens tunnels."""
    server = Proxy()
    yield server
    server.close()


@pytest.fixture
def socks() -> Iterator[Socks]:
    """A SOCKS proxy on loopback."""
    server = Socks()
    yield server
    server.close()


@pytest.fixture
def client(api: Api) -> Iterator[Callable[..., Analytics]]:
    """Makes clients of `api`, and closes them when the test is over.

    Unless asked for there are no retries, and one request at a time: so events come in the order of the calls.
    """
    made: list[Analytics] = []

    def make(write_key: str = "key", **settings: Any) -> Analytics:
        analytics = Analytics(write_key, **{"host": api.url, "max_retries": 0, "max_in_flight": 1, **settings})
        made.append(analytics)
        return analytics

    yield make
    for analytics in made:
        analytics.close_and_flush(timeout=0.2)
