"""What holds beside every tool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.api import Api, Seen

Run = Callable[..., dict[str, Any]]
"""Runs a program, and returns what it says: the fixture `run`."""
EVENTS = 100
A_REQUEST = 10
ALL_DELIVERED = {"accepted": EVENTS, "delivered": EVENTS, "failed": 0, "dropped": 0, "pending": 0}


def batches(api: Api) -> list[Seen]:
    """The requests that the client has made."""
    return [seen for seen in api.requests if seen.path == "/v1/batch"]


def assert_told(learnt: dict[str, Any]) -> None:
    """The caller has learnt that all is delivered, in as many requests as it takes."""
    assert learnt["errors"] == {}
    assert learnt["stats"] == ALL_DELIVERED
    assert learnt["requests"] == EVENTS // A_REQUEST


def assert_arrived(events: list[dict[str, Any]]) -> None:
    """Each event is there once, and as it was recorded."""
    assert sorted(event["properties"]["number"] for event in events) == list(range(EVENTS))
    assert len({event["messageId"] for event in events}) == EVENTS
    for event in events:
        number = event["properties"]["number"]
        assert (event["type"], event["event"], event["userId"]) == ("track", "Item Purchased", f"user-{number}")
        assert event["properties"] == {
            "number": number,
            "price": 39.95,
            "name": "Käse & Brot",
            "tags": ["a", None, True],
        }


def assert_delivered(api: Api, learnt: dict[str, Any]) -> None:
    """All events have arrived, once, in as many requests as the client counts; and the caller knows."""
    assert_told(learnt)
    assert_arrived(api.accepted)
    assert len(batches(api)) == learnt["requests"]
