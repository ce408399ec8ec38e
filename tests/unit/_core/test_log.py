"""The log's format: where records are, which are done with, and what is passed over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millstream._core.log import Place, Ranges, Stretch, joined, note, notes, records, valid

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda pair: (pair[0], sum(pair))))


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


@given(RANGES)
def test_ranges_are_the_set_of_their_positions(ranges: list[tuple[int, int]]):
    """In any order, overlapping or not: what was added is in it, and nothing else; no two ranges touch."""
    made = Ranges(ranges)
    expected = {position for start, end in ranges for position in range(start, end)}
    assert {position for position in range(100) if position in made} == expected
    flat = [edge for pair in made for edge in pair]
    assert flat == sorted(set(flat))


@given(RANGES, st.integers(0, 40))
def test_a_note_says_what_is_done_with(ranges: list[tuple[int, int]], torn: int):
    """Notes are read as they were written; one that was half written costs itself alone."""
    places = [Place(None, start, end) for start, end in ranges]
    whole = b"".join(note([place]) for place in places)
    assert list(notes(whole)) == list(Ranges(ranges))
    half = note([Place(None, 12_345, 67_890)])[: torn % 12]
    assert list(notes(whole + half + note([Place(None, 1000, 1010)]))) == list(Ranges([*ranges, (1000, 1010)]))


def test_rubbish_among_the_notes_is_passed_over():
    """A line that is no range, or one that ends before it begins, says nothing."""
    assert list(notes(b"\n1 5\nx\n7\n9 8\n 1 2\n\xff\n" + b"9" * 500 + b" 1\n20 30\n40 50")) == [(1, 5), (20, 30)]


def test_stretches_join_where_one_begins_where_the_other_ends():
    """Of one lane only, and only if nothing is between them."""
    lane, other = object(), object()
    first, second = Stretch.of(Place(lane, 0, 10)), Stretch.of(Place(lane, 10, 25))
    both = joined(first, second)
    assert both is not None
    assert (both.start, both.end, both.count) == (0, 25, 2)
    assert joined(second, first) is None
    assert joined(first, Stretch.of(Place(other, 10, 25))) is None
