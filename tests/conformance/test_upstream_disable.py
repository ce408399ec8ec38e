"""disable: everything is checked, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable

from millstream import Analytics, Response
from support.api import Api
from support.background import Heard

Make = Callable[..., Analytics]


def test_a_disabled_client_calls_back_without_a_request(api: Api, client: Make) -> None:
    """N4: no `http_request`, and the callback has no error."""
    analytics, requests, callback = client(disable=True), Heard(), Heard()
    analytics.on("http_request", requests)
    analytics.track("A", user_id="u", callback=callback)
    ((error, ctx),) = callback.wait_for()
    assert (error, ctx.event["event"]) == (None, "A")
    assert requests.calls == []
    assert api.requests == []


def test_an_enabled_client_uses_its_http_client(client: Make) -> None:
    """N5: with `disable=False` the HTTP client is called once."""
    assert _calls_of(client, disable=False) == 1


def test_a_disabled_client_does_not_use_its_http_client(client: Make) -> None:
    """N6: with `disable=True` the HTTP client is never called."""
    assert _calls_of(client, disable=True) == 0


def _calls_of(client: Make, *, disable: bool) -> int:
    http = Heard()
    analytics = client(http_client=lambda request: http(request) or Response(200), disable=disable)
    analytics.track("A", user_id="u")
    analytics.close_and_flush(timeout=10)
    return len(http.calls)
