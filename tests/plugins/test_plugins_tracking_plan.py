"""A tracking plan as a plugin of the library."""

from __future__ import annotations

import logging

import pytest

from millstream import Analytics, Dropped, PluginError, SettingsError
from millstream.plan import Plan, Violation
from millstream.plugins import tracking_plan
from support.api import Api

PLAN = Plan.parse(
    {
        "rules": [
            {
                "type": "TRACK",
                "key": "Paid",
                "version": 1,
                "jsonSchema": {
                    "properties": {
                        "properties": {
                            "properties": {"total": {"type": "number"}, "card": {}},
                            "required": ["total"],
                            "additionalProperties": False,
                        }
                    }
                },
            }
        ]
    }
)


def test_each_kind_of_violation_has_its_mode(api: Api):
    """What is warned of is sent; what is dropped or blocked is not, and the receipt says why."""
    seen: list[Violation] = []
    with Analytics("key", host=api.url) as analytics:
        analytics.register(
            tracking_plan(
                PLAN, unplanned_events="drop", unplanned_properties="allow", other_violations="block",
                on_violation=seen.append,
            )
        )  # fmt: skip
        good = analytics.track("Paid", user_id="u", properties={"total": 1, "extra": True})
        unplanned = analytics.track("Sold", user_id="u")
        wrong = analytics.track("Paid", user_id="u", properties={"total": "1"})
        page = analytics.page("Sold", user_id="u")
        analytics.flush()
        errors = [receipt.context().failed_delivery() for receipt in (good, unplanned, wrong, page)]
    assert [event.get("event") for event in api.accepted] == ["Paid", None]
    assert errors[0] is errors[3] is None
    assert isinstance(errors[1], Dropped)
    assert "tracking plan: the plan has no event 'Sold'" in str(errors[1])
    assert isinstance(errors[2], PluginError)
    assert "properties.total must be number, and is string" in str(errors[2])
    assert [each.kind for each in seen] == ["unplanned_event", "wrong_type"]


def test_a_warning_is_logged_once_and_noted_in_each_event(api: Api, caplog: pytest.LogCaptureFixture):
    """Without any mode everything is sent, one line in the log tells of each kind, and no value is in it."""
    with caplog.at_level(logging.WARNING, "millstream"), Analytics("key", host=api.url) as analytics:
        analytics.register(tracking_plan(PLAN))
        receipts = [analytics.track("Paid", user_id="u", properties={"total": "s3cret"}) for _ in range(3)]
        analytics.flush()
        notes = [[log for log in receipt.wait(10).logs() if log.level == "warn"] for receipt in receipts]
    assert len(api.accepted) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "an event 'Paid' breaks the tracking plan: properties.total must be number, and is string"
    ]
    assert [[note.extras["path"] for note in each] for each in notes] == [["properties.total"]] * 3


def test_a_wrong_mode_is_refused():
    """When the plugin is made."""
    with pytest.raises(SettingsError, match="other_violations must be one of"):
        tracking_plan(PLAN, other_violations="refuse")  # type: ignore[arg-type]
