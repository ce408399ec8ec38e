"""The log's format: what a record is, and where."""

from __future__ import annotations

from millstream._core.record import Place, Stretch, joined, records, valid


def test_records_are_what_is_between_newlines_and_nuls():
    """Room that was reserved and never written does not run into the record after it."""
    data = b'{"a":1}\n\0\0\0{"b":2}\n\n{"torn'
    assert list(records(data, 100)) == [(100, b'{"a":1}'), (111, b'{"b":2}'), (120, b'{"torn')]


def test_a_record_is_an_event():
    """An object with a type and an id, that is JSON and UTF-8 from one end to the other."""
    assert valid(b'{"type":"track","messageId":"1","x":"\xc3\xa4"}')
    for piece in (
        b"",
        b"[]",
        b'{"type":"track"}',
        b'{"type":1,"messageId":"1"}',
        b'{"type":"track","messageId":"1"',
        b'{"type":"track","messageId":"1","x":"\xff"}',
        b'{"type":"track","messageId":"1","x":"\\q"}',
        b"[" * 100_000,
    ):
        assert not valid(piece), piece[:50]


def test_stretches_join_where_one_begins_where_the_other_ends():
    """Of one lane only, and only if nothing is between them."""
    lane, other = object(), object()
    first, second = Stretch.of(Place(lane, 0, 10)), Stretch.of(Place(lane, 10, 25))
    both = joined(first, second)
    assert both is not None
    assert (both.start, both.end, both.count) == (0, 25, 2)
    assert joined(second, first) is None
    assert joined(first, Stretch.of(Place(other, 10, 25))) is None
