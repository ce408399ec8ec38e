"""An event in one line: what is shown of each kind, and that nothing in it is obeyed or breaks the line."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("rich")

from rich.text import Text

from millstream.cli.oneline import one_line


def words(event: dict[str, Any], **how: Any) -> list[str]:
    return one_line(event, **how).plain.split()


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"type": "track", "event": "Paid", "userId": "u"}, ["track", "Paid", "u"]),
        ({"type": "page", "category": "Docs", "name": "Home", "anonymousId": "a"}, ["page", "Docs", "Home", "a"]),
        ({"type": "screen", "name": "Home", "userId": "u"}, ["screen", "Home", "u"]),
        ({"type": "group", "groupId": 7, "userId": "u"}, ["group", "7", "u"]),
        ({"type": "alias", "previousId": "old", "userId": "new"}, ["alias", "old", "→", "new"]),
        ({"type": "identify", "userId": "u", "anonymousId": "a", "traits": {"n": 1}}, ["identify", "u", "n:", "1"]),
    ],
)
def test_each_kind_shows_what_it_is_about(event: dict[str, Any], shown: list[str]) -> None:
    """What happened, by whom (the user before the anonymous one), and what belongs to it."""
    assert words(event) == ["?", *shown]


def test_fields_that_are_missing_or_wrong_break_nothing() -> None:
    """Any JSON object can be shown: the line has a question mark for a time that is none, and no details."""
    assert words({}) == ["?"]
    assert words({"type": ["x"], "timestamp": 3, "properties": "none", "userId": None}) == ["?", "['x']"]
    assert words({"type": "track", "timestamp": "0001-01-01T00:00:00Z"})[-1] == "track"


def test_an_events_text_is_not_obeyed() -> None:
    """Control characters and line ends are shown, in names, in keys and in values."""
    event = {"type": "track", "event": "a\x1b[2Jb", "userId": "u\n", "properties": {"k\r": "v\u202e"}}
    plain = one_line(event).plain
    assert plain.isprintable()
    assert r"a\x1b[2Jb" in plain
    assert r"\u202e" in plain


def test_numbers_are_as_they_came() -> None:
    """An exact number keeps its digits."""
    assert "price: 1.10" in one_line({"type": "track", "properties": {"price": Decimal("1.10")}}).plain


def test_a_line_is_no_wider_than_it_may_be() -> None:
    """What does not fit is cut with an ellipsis; the verdict stands before the details."""
    event = {"type": "track", "event": "A", "properties": {"long": "x" * 200}}
    line = one_line(event, verdict=Text("rejected"), width=80)
    assert line.cell_len == 80
    assert line.plain.endswith("…")
    assert "rejected" in line.plain
