"""`millstream transform`: events before and after a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.program import Done

pytestmark = pytest.mark.process
Program = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stored events, beside a module in the directory that the command runs in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text(
        "def double(event):\n    return [event, event]\n\n\ndef pick(event):\n    return event['properties']['x']\n"
    )
    folder = tmp_path / "events"
    folder.mkdir()
    events = [
        {"type": "track", "event": name, "userId": "u", "messageId": f"m-{n}", "properties": {},
         "receivedAt": f"2026-11-24T0{n}:00:00.000Z", "timestamp": "2026-11-24T00:00:00.000Z"}
        for n, name in enumerate(["A", "B", "A", "A"])
    ]  # fmt: skip
    (folder / "events-00000000000000000000.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    return folder


def test_events_before_and_after(millstream: Program, data: Path):
    """The first of those that are chosen, each with what the function makes of it."""
    done = millstream("transform", "rules:double", "--data", str(data), "--event", "A", "-n", "2")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [line["before"]["messageId"] for line in lines] == ["m-0", "m-2"]
    assert [[each["messageId"] for each in line["after"]] for line in lines] == [["m-0:0", "m-0:1"], ["m-2:0", "m-2:1"]]


def test_what_fails_is_shown(millstream: Program, data: Path):
    """With the exception and its place; a function that is not there is wrong usage."""
    done = millstream("transform", "rules:pick", "--data", str(data), "--limit", "1")
    assert (done.code, json.loads(done.out)["failed"]) == (1, "KeyError: 'x' (rules.py, line 6)")
    done = millstream("transform", "rules:absent", "--data", str(data))
    assert (done.code, "AttributeError: rules has no absent" in done.said) == (2, True)
