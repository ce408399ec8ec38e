"""What is shown of an event in a list, and which events a filter keeps."""

from __future__ import annotations

import json

import msgspec
import pytest

from millstream.collector.debugger.rows import SHOWN, RowFilter, row_of
from millstream.collector.events import Accepted, Rejection
from millstream.collector.feed import Entry
from support.watched import NOON, accepted, rejected


def entry(event: Accepted | Rejection, kind: str = "stored", source: str = "dev-1") -> Entry:
    reason = event.reason if isinstance(event, Rejection) else ""
    return Entry(7, kind, source, NOON.timestamp() + 0.25, event.line, reason)


def shown(event: Accepted | Rejection, kind: str = "stored", **options) -> dict:
    return json.loads(msgspec.json.encode(row_of(entry(event, kind), **options)))


def test_a_row_says_what_came():
    """Who did what, when, from where; what an event has not is left out."""
    assert shown(accepted(anonymousId="a1")) == {
        "id": 7,
        "at": int(NOON.timestamp() * 1000) + 250,
        "kind": "stored",
        "type": "track",
        "name": "Paid",
        "user": "u1",
        "anonymous": "a1",
        "source": "dev-1",
    }


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ({"type": "track", "event": "Paid", "name": "x"}, "Paid"),
        ({"type": "page", "name": "Home", "category": "Docs"}, "Docs · Home"),
        ({"type": "screen", "name": "Inbox"}, "Inbox"),
        ({"type": "page"}, ""),
        ({"type": "group", "groupId": "acme"}, "acme"),
        ({"type": "alias", "previousId": "old"}, "old"),
        ({"type": "identify", "traits": {"name": "x"}}, ""),
    ],
)
def test_each_type_has_its_name(event, name):
    """The name is what tells one event of a type from another."""
    assert shown(accepted(event)).get("name", "") == name


def test_the_event_itself_comes_where_it_is_asked_for():
    """Byte for byte, so that no number loses a digit."""
    event = Accepted("track", "m", b'{"type":"track","event":"e","n":12345678901234567890.10}')
    assert msgspec.json.encode(row_of(entry(event), whole=True)).endswith(b'"event":%b}' % event.line)


@pytest.mark.parametrize("line", [b"", b"[1]", b'"text"', b"{", b"[" * 100_000 + b"]" * 100_000])
def test_a_rejected_event_can_be_anything(line):
    """What is not even an object still has its row, with the reason."""
    row = row_of(entry(Rejection(0, "event_not_object", line), "rejected"))
    assert (row.type, row.reason) == ("", "event_not_object")


def test_what_should_be_text_can_be_anything():
    """A list shows what came instead of a name, and no more of it than fits."""
    row = shown(rejected(type=5, event={"a": [1]}, userId=["u"] * 1000), "rejected")
    assert (row["type"], row["name"]) == ("5", '{"a":[1]}')
    assert len(row["user"]) == SHOWN
    assert row["user"].endswith("…")


def test_a_refused_request_has_no_event():
    """Its line is an answer, not an event."""
    row = shown(Rejection(0, "invalid_json", b'{"event":"no","code":"invalid_json"}'), "refused")
    assert row == {"id": 7, "at": row["at"], "kind": "refused", "source": "dev-1", "reason": "invalid_json"}


PAID = entry(accepted(properties={"note": 'Grüße "x"', "n": 1}))
WRONG = entry(rejected(type="track", event="Lost"), "rejected", "prod-2")


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ({}, [PAID, WRONG]),
        ({"kinds": ["stored"]}, [PAID]),
        ({"kinds": ["rejected", "refused"]}, [WRONG]),
        ({"kinds": ["nonsense"]}, []),
        ({"types": ["track"]}, [PAID, WRONG]),
        ({"types": ["page"]}, []),
        ({"sources": ["prod-2"]}, [WRONG]),
        ({"name": "pai"}, [PAID]),
        ({"name": "PAID"}, [PAID]),
        ({"user": "U1"}, [PAID]),
        ({"user": "u1", "name": "Lost"}, []),
        ({"text": "note"}, [PAID]),
        ({"text": "grüsse"}, [PAID]),
        ({"text": '"x"'}, [PAID]),
        ({"text": "no_user"}, [WRONG]),
        ({"text": "nowhere"}, []),
    ],
)
def test_a_filter_keeps_what_is_wanted(wanted, kept):
    """All conditions must hold, each by any of its values; capitals make no difference."""
    wants = RowFilter(**wanted)
    assert [each for each in (PAID, WRONG) if wants.keep(each)] == kept


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("text", ["Grüße", "привет", "🚰", 'a "quote"', "back\\slash", "tab\there"])
def test_text_is_found_however_json_writes_it(text, escaped):
    """One client escapes what is not ASCII, another does not."""
    line = json.dumps({"type": "track", "properties": {"x": text}}, ensure_ascii=escaped).encode()
    assert RowFilter(text=text).keep(entry(Accepted("track", "m", line)))
