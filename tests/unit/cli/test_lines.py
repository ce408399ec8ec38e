"""Events out of a stream: lines or documents, their numbers, their ids, and what is left out."""

from __future__ import annotations

import io
import json

import pytest

pytest.importorskip("typer")

from millstream.cli.lines import Line, items


def read(text: str | bytes, skip: int = 0) -> list[Line]:
    return list(items(io.BytesIO(text.encode() if isinstance(text, str) else text), skip=skip))


def told(found: list[Line]) -> list[tuple[str, object]]:
    return [(str(item), item.fault.split(":")[0] or item.event) for item in found]


def test_a_line_holds_an_event_a_list_or_a_batch() -> None:
    """Each form gives its events with the line's number and the bytes that have been read; empty lines count."""
    text = '\ufeff{"a":1}\n\n[{"a":2},{"a":3}]\n{"batch":[{"a":4}]}'
    found = read(text)
    assert [(item.number, item.event) for item in found] == [(1, {"a": 1}), (3, {"a": 2}), (3, {"a": 3}), (4, {"a": 4})]
    assert found[-1].end == len(text.encode())


def test_one_bad_line_stops_no_other() -> None:
    """What is no event is a fault in its place, with what is wrong."""
    assert told(read('{"a":1}\nnonsense\n3\n[4]\n{"a":5}')) == [
        ("line 1", {"a": 1}),
        ("line 2", "not JSON"),
        ("line 3", "neither an event nor a list of events"),
        ("line 4", "not a JSON object, as an event must be"),
        ("line 5", {"a": 5}),
    ]


def test_a_document_may_go_over_lines() -> None:
    """JSON whose first line is only its beginning is read value by value, and its events are counted."""
    text = json.dumps([{"a": 1}, {"a": 2}], indent=1) + '\n{"a":\n3}'
    assert told(read(text)) == [("event 1", {"a": 1}), ("event 2", {"a": 2}), ("event 3", {"a": 3})]


def test_a_first_line_that_is_cut_off_makes_no_document_of_the_others() -> None:
    """A whole line after a broken first one says that these are lines."""
    assert told(read('{"a":\n{"a":2}\n{"a":3}')) == [
        ("line 1", "not JSON"),
        ("line 2", {"a": 2}),
        ("line 3", {"a": 3}),
    ]


@pytest.mark.parametrize("text", ['{"a":1}\nnonsense\n{"a":3}', '{\n"a":1}\n3\n{"a":3}'])
def test_what_was_done_before_is_left_out(text: str) -> None:
    """`skip` leaves out so many lines or events, those with faults as well, and the numbers stay."""
    assert [item.number for item in read(text)] == [1, 2, 3]
    assert [item.number for item in read(text, skip=1)] == [2, 3]
    assert [(item.number, item.event) for item in read(text, skip=2)] == [(3, {"a": 3})]


def test_an_import_that_is_run_twice_makes_the_same_ids() -> None:
    """An event with a timestamp and no id gets one of its place and content, so equal events of two lines are two."""
    event = '{"timestamp":"2024-02-16T10:00:00Z","event":"A"}'
    first, second = (item.event for item in read(f"{event}\n{event}"))
    assert first is not None
    assert second is not None
    assert first["messageId"] != second["messageId"]
    assert [item.event for item in read(f"{event}\n{event}")] == [first, second]
    assert first["messageId"] == "2d1ae8d2-e74e-513f-babd-64dd855d6059", "as in imports of earlier versions"


@pytest.mark.parametrize("event", [{"event": "A"}, {"messageId": "mine", "timestamp": "2024-02-16T10:00:00Z"}])
def test_other_ids_are_left_as_they_are(event: dict[str, str]) -> None:
    """An event of now has a new id each time, and one that has an id keeps it."""
    assert read(json.dumps(event))[0].event == event


def test_what_is_no_utf8_is_a_fault() -> None:
    """A broken byte is told, in lines and in documents, and stops nothing before it."""
    assert told(read(b'{"a":1}\n{"a":"\xff"}'))[1][1] == "not JSON"
    assert [bool(item.fault) for item in read(b'[\n{"a":1}]\n"\xff"')] == [False, True]
