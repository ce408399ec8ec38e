"""The demo's verdict: it is worth something only if it can be bad."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from examples.demo.audit import Audit, audit
from examples.demo.traffic import Traffic

REPORT: dict[str, Any] = {
    "requests": 9,
    "orders": {"order-1": "19.90"},
    "events": {"track": ["a", "b"], "page": ["c"]},
    "microseconds": {"track": {"p50": 7.0, "p99": 30.0}, "page": {"p50": 6.0, "p99": 20.0}},
    "stats": {"accepted": 3, "delivered": 3, "requests": 1, "retries": 0},
}
STORED: list[dict[str, Any]] = [
    {
        "type": "track",
        "messageId": "a",
        "event": "Order Completed",
        "properties": {"order_id": "order-1", "revenue": Decimal("19.90")},
    },
    {"type": "track", "messageId": "b", "event": "Cart Viewed", "properties": {}},
    {"type": "page", "messageId": "c", "name": "Home", "properties": {}},
]


@pytest.fixture
def report() -> dict[str, Any]:
    return deepcopy(REPORT)


@pytest.fixture
def stored() -> list[dict[str, Any]]:
    return deepcopy(STORED)


def judged(report: dict[str, Any], stored: list[dict[str, Any]], *failures: str) -> Audit:
    return audit(Traffic(sessions=2, requests=9, seconds=1.0, failures=list(failures)), report, stored)


def test_equal_counts_are_no_problem(report: dict[str, Any], stored: list[dict[str, Any]]) -> None:
    """Three events recorded, the same three on disk: nothing to say."""
    found = judged(report, stored)
    assert found.problems == []
    assert (found.recorded, found.received, found.lost, found.duplicates) == (3, 3, 0, 0)
    assert found.revenue == found.revenue_received == Decimal("19.90")


def test_one_missing_event_is_a_problem(report: dict[str, Any], stored: list[dict[str, Any]]) -> None:
    """It is counted as lost, and named."""
    found = judged(report, stored[:-1])
    assert found.lost == 1
    assert found.problems == ["events that are missing in the collector: 1 (page c)"]


def test_a_missing_event_is_not_made_good_by_another(report: dict[str, Any], stored: list[dict[str, Any]]) -> None:
    """Equal sums are not enough: events are compared by their ids."""
    stored[-1]["messageId"] = "z"
    found = judged(report, stored)
    assert found.recorded == found.received
    assert len(found.problems) == 2


def test_an_event_received_twice_is_a_problem(report: dict[str, Any], stored: list[dict[str, Any]]) -> None:
    """It is one event received, and one duplicate."""
    found = judged(report, [*stored, stored[-1]])
    assert (found.received, found.lost, found.duplicates) == (3, 0, 1)
    assert "page c" in found.problems[0]


def test_a_cent_is_a_problem(report: dict[str, Any], stored: list[dict[str, Any]]) -> None:
    """Money arrives as it was spent."""
    stored[0]["properties"]["revenue"] = Decimal("19.91")
    assert judged(report, stored).problems == [
        "orders whose event differs from the shop's books: 1 (order-1: 19.90 in the books, 19.91 in the event)"
    ]


@pytest.mark.parametrize("name", ["accepted", "delivered"])
def test_the_librarys_own_count_has_to_agree(report: dict[str, Any], stored: list[dict[str, Any]], name: str) -> None:
    """stats() is believed no more than the rest."""
    report["stats"][name] = 2
    assert judged(report, stored).problems == [f"the shop recorded 3 events, its stats() say {name}=2"]


def test_a_request_that_the_shop_did_not_serve_is_a_problem(
    report: dict[str, Any], stored: list[dict[str, Any]]
) -> None:
    """The visitors count their requests themselves."""
    report["requests"] = 8
    assert judged(report, stored).problems == ["visitors sent 9 requests, the shop served 8"]


def test_of_many_failed_requests_some_are_shown(report: dict[str, Any], stored: list[dict[str, Any]]) -> None:
    """Enough to start looking, and how many there are."""
    problems = judged(report, stored, *"vwxyz").problems
    assert problems == ["requests that failed: 5 (v; w; x; …)"]


def test_an_empty_run_proves_nothing(report: dict[str, Any]) -> None:
    """Zero of zero events is not a success."""
    report.update(orders={}, events={"track": []}, stats=dict.fromkeys(report["stats"], 0))
    assert judged(report, []).problems == ["nothing was recorded"]
