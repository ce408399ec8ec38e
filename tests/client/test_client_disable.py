"""disable: what still happens, and what does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from millstream import Analytics, InvalidEvent
from support.api import Api
from support.background import Heard

Make = Callable[..., Analytics]


def test_without_a_key() -> None:
    """A disabled client needs no write key."""
    analytics = Analytics(disable=True)
    assert analytics.track("A", user_id="u").wait(timeout=1)


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_by_environment(api: Api, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """$MILLSTREAM_DISABLE disables, and needs no key either."""
    monkeypatch.setenv("MILLSTREAM_DISABLE", value)
    with Analytics(host=api.url) as analytics:
        analytics.track("A", user_id="u").wait(timeout=1)
    assert api.requests == []


@pytest.mark.parametrize("value", ["", "0", "false", "no", "off"])
def test_not_by_environment(api: Api, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A value of $MILLSTREAM_DISABLE that says no disables nothing."""
    monkeypatch.setenv("MILLSTREAM_DISABLE", value)
    with Analytics("key", host=api.url) as analytics:
        analytics.track("A", user_id="u")
    assert len(api.accepted) == 1


def test_calls_are_checked(client: Make) -> None:
    """A call that would be refused is refused: tests find it."""
    with pytest.raises(InvalidEvent):
        client(disable=True).track("")


def test_everything_succeeds_at_once(api: Api, client: Make) -> None:
    """Receipts are done, callbacks and listeners are called, flush and close return; nothing is kept or sent."""
    analytics, callback, heard = client(disable=True), Heard(), Heard()
    analytics.on("track", heard)
    receipt = analytics.track("A", user_id="u", callback=callback)
    assert receipt.done()
    assert receipt.wait(timeout=1).event["event"] == "A"
    assert len(callback.calls) == len(heard.calls) == 1
    assert analytics.flush(timeout=1).pending == 0
    assert analytics.close(timeout=1).unsent == []
    stats = analytics.stats()
    assert (stats.accepted, stats.delivered, stats.pending, stats.queue_bytes) == (1, 1, 0, 0)
    assert api.requests == []
