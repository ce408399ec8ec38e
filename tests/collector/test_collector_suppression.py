"""Suppressed users: none of their events is kept, and nothing of them is shown."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from asgi_client import call

from millstream import SettingsError
from millstream.collector import Collector
from millstream.collector.suppression import SuppressionList

NOON = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)


def ask(collector: Collector, events: list[dict[str, Any]], **headers: str) -> tuple[int, dict[str, Any]]:
    """Send a batch, and return the status and the body of the answer."""
    answered = call(collector, "POST", "/v1/batch", {"writeKey": "key", "batch": events}, **headers)
    return answered.status, answered.json


def paid(user: Any, number: int, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Paid", "userId": user, "messageId": f"m-{number}", **more}


def stored(directory: Path) -> list[Any]:
    lines = [line for file in sorted(directory.glob("events-*.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line)["userId"] for line in lines]


def test_no_event_of_a_suppressed_user_is_kept(tmp_path: Path):
    """By userId, a number or a string, and by the previousId of an alias; the others of the batch are kept."""
    SuppressionList(tmp_path).add(["gone", "17"], NOON)
    collector = Collector(tmp_path, dedup_window=0)
    events = [
        paid("here", 1),
        paid("gone", 2, properties={"secret": "s3cret"}),
        paid(17, 3),
        {"type": "alias", "userId": "new", "previousId": "gone", "messageId": "m-4"},
        paid("gone too", 5),
        {"type": "track", "event": "Paid", "anonymousId": "gone", "messageId": "m-6", "userId": "here"},
    ]
    assert ask(collector, events) == (200, {"success": True})
    counts = collector.counts.snapshot()
    collector.close()
    assert stored(tmp_path) == ["here", "gone too", "here"]
    assert (counts["stored"], counts["rejected_by_reason"]) == (3, {"user_suppressed": 3})
    everything = "".join(
        file.read_text() for file in tmp_path.rglob("*") if file.is_file() and file.name != "suppressed.jsonl"
    )
    assert "s3cret" not in everything


def test_strict_mode_names_the_place_of_each_event(tmp_path: Path):
    """Beside events that are not valid, each has the place that it had in its request."""
    SuppressionList(tmp_path).add(["gone"], NOON)
    collector = Collector(tmp_path)
    status, answer = ask(
        collector, [paid("gone", 1), {"type": "track"}, paid("here", 2), paid("gone", 3)], x_strict_mode="1"
    )
    collector.close()
    assert status == 400
    assert [(each["index"], each["reason"]) for each in answer["rejected"]] == [
        (0, "user_suppressed"),
        (1, "no_user_anon_id"),
        (3, "user_suppressed"),
    ]
    assert answer["stored"] == 1


def test_a_list_that_changes_is_read_again(tmp_path: Path):
    """At most once a second; one that became unreadable leaves the users suppressed, and is an error in the log."""
    now = 0.0
    watched = SuppressionList(tmp_path, lambda: now)
    assert not watched.users()
    other = SuppressionList(tmp_path)
    assert other.add(["a", "b", "a"], NOON) == ["a", "b"]
    assert other.add(["b", "c"], NOON) == ["c"]
    assert not watched.users()
    now = 1.0
    assert set(watched.users()) == {"a", "b", "c"}
    assert other.remove(["b", "x"]) == ["b"]
    now = 2.0
    assert set(watched.users()) == {"a", "c"}
    assert [(each.user_id, each.suppressed_at) for each in other.read()] == [
        ("a", "2026-11-30T12:00:00.000Z"),
        ("c", "2026-11-30T12:00:00.000Z"),
    ]


def test_a_list_that_cannot_be_read_changes_nothing_while_the_collector_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """To keep the events of suppressed users would be the worse mistake; a start is refused."""
    now = 0.0
    file = tmp_path / "suppressed.jsonl"
    SuppressionList(tmp_path).add(["a"], NOON)
    watched = SuppressionList(tmp_path, lambda: now)
    file.write_text('{"userId":"a"}\nnonsense\n')
    now = 1.0
    assert set(watched.users()) == {"a"}
    assert "line 2, names no suppressed user" in caplog.text
    with pytest.raises(SettingsError, match=r"suppressed\.jsonl, line 2, names no suppressed user"):
        Collector(tmp_path)


def test_two_processes_may_change_the_list(tmp_path: Path):
    """Each reads it under a lock before it changes it, so that neither loses what the other has added."""
    one, two = SuppressionList(tmp_path), SuppressionList(tmp_path)
    one.add(["a"], NOON)
    two.add(["b"], NOON)
    one.add(["c"], NOON)
    assert [each.user_id for each in two.read()] == ["a", "b", "c"]
