"""`millstream plan check`: what stored events would break."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.program import Done

Program = Callable[..., Done]


def paid(hour: int, **properties: Any) -> dict[str, Any]:
    return {
        "type": "track", "event": "Paid", "userId": "u", "messageId": f"m-{hour}", "properties": properties,
        "timestamp": "2026-11-01T00:00:00.000Z", "receivedAt": f"2026-11-24T{hour:02}:00:00.000Z", "sourceId": "shop",
    }  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    schema = {
        "additionalProperties": False,
        "properties": {
            **{name: {} for name in ("type", "event", "userId", "messageId", "timestamp")},
            "properties": {"required": ["total"], "properties": {"items": {"items": {"required": ["sku"]}}}},
        },
    }
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"rules": [{"type": "TRACK", "key": "Paid", "version": 1, "jsonSchema": schema}]}))
    return file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "events"
    folder.mkdir()
    events = [
        paid(8, total=1),
        paid(9),
        paid(10, total=1, items=[{}, {"sku": "a"}, {}]),
        {**paid(11), "event": "So\x1bld"},
        paid(12),
    ]
    (folder / "events-00000000000000000000.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    return folder


def test_a_table_shows_what_would_be_broken(millstream: Program, plan: Path, data: Path):
    """Most often first, list items as one; what the collector has added to an event breaks nothing."""
    done = millstream("plan", "check", str(plan), "--data", str(data))
    assert done.code == 1
    rows = [" ".join(line.split()) for line in done.out.splitlines() if "2026-11-24" in line]
    assert rows == [
        "2 Paid missing_property properties.total is missing 2026-11-24T12:00:00.000Z",
        "1 Paid missing_property properties.items.*.sku is missing 2026-11-24T10:00:00.000Z",
        "1 So\\x1bld unplanned_event the plan has no event 'So\\x1bld' 2026-11-24T11:00:00.000Z",
    ]
    assert done.out.splitlines()[-1] == "4 of 5 events break the plan."


def test_the_result_as_json_of_some_time(millstream: Program, plan: Path, data: Path):
    """Only what was received then; the exit code is 0 if all of it keeps the plan."""
    done = millstream("plan", "check", str(plan), "--data", str(data), "--since", "2026-11-24T10:00Z", "--json")
    assert (done.code, done.json["events"], done.json["broken"], done.json["unreadable"]) == (1, 3, 3, 0)
    assert done.json["violations"][0] == {
        "events": 1,
        "kind": "missing_property",
        "event": "Paid",
        "path": "properties.items.*.sku",
        "message": "properties.items.*.sku is missing",
        "last": "2026-11-24T10:00:00.000Z",
    }
    done = millstream("plan", "check", str(plan), "--data", str(data), "--until", "2026-11-24T09:00Z")
    assert (done.code, done.out) == (0, "0 of 1 events break the plan.\n")


def test_what_cannot_be_read_is_counted(millstream: Program, plan: Path, data: Path):
    """A damaged line is no event, and is not passed over in silence."""
    file = next(data.iterdir())
    file.write_text(file.read_text() + "nonsense\n")
    done = millstream("plan", "check", str(plan), "--data", str(data))
    assert "1 stored events cannot be read" in done.said


def test_a_wrong_plan_is_wrong_usage(millstream: Program, tmp_path: Path, data: Path):
    """The message names the file."""
    file = tmp_path / "wrong.json"
    file.write_text('{"rules": [{"type": "TRACK", "key": "A"}]}')
    done = millstream("plan", "check", str(file), "--data", str(data))
    assert done.code == 2
    assert f"{file}: rule 0 of the tracking plan (A) needs a JSON schema" in done.said
