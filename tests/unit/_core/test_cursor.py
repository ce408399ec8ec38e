"""The cursor: what is settled, as it grows, as it is stored, and what is read of a damaged line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millstream._core.cursor import (
    Cursor,
    Mark,
    Progress,
    Ranges,
    channel_notes,
    decode_cursor,
    encode_cursor,
    note,
    notes,
    sealed,
    unsealed,
)
from millstream._core.record import Place, Record

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda pair: (pair[0], sum(pair))))


def tiled(sizes: list[int], start: int) -> list[Record]:
    """Records that leave no position out, as a read returns them."""
    records: list[Record] = []
    for number, size in enumerate(sizes):
        records.append(Record(start, start + size, b'{"type":"track","messageId":"%d"}' % number))
        start += size
    return records


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(0, 50), st.data())
def test_a_cursor_says_what_is_settled(sizes: list[int], start: int, data: st.DataObject):
    """In whatever order records are settled, stored and loaded: those are settled, and no others."""
    records = tiled(sizes, start)
    progress = Progress(Cursor(start))
    settled = data.draw(st.permutations(records).map(lambda each: each[: len(each) * 2 // 3]))
    for record in settled:
        progress.settle(record)
        stored = decode_cursor(encode_cursor(progress.cursor, 7))
        assert stored == (progress.cursor, 7)
        progress = Progress(stored[0])
    positions = {position for record in settled for position in range(record.start, record.end)}
    end = start + sum(sizes)
    assert {position for position in range(start, end + 3) if position in progress} == positions
    assert progress.low == next(position for position in range(start, end + 1) if position not in positions)
    for mark in [progress.cursor.mark] if progress.cursor.mark else []:
        assert mark.end <= progress.low
        assert any(mark.matches(record) and mark.start == record.start for record in settled)


def test_a_mark_knows_its_record():
    """By its bytes and its end; its id is for people."""
    record = Record(5, 90, b'{"type":"track","messageId":"m1","n":1}')
    mark = Mark.of(record)
    assert (mark.id, mark.start, mark.end) == ("m1", 5, 90)
    assert mark.matches(record)
    assert not mark.matches(Record(5, 90, b'{"type":"track","messageId":"m1","n":2}'))
    assert not mark.matches(record._replace(end=91))


def test_a_gap_is_settled_without_a_record():
    """What a read has left out belongs to no record, where none follows."""
    progress = Progress(Cursor(10))
    progress.skip(20, 30)
    assert progress.cursor == Cursor(10, ((20, 30),))
    progress.skip(10, 20)
    assert progress.cursor == Cursor(30)
    progress.skip(0, 12)  # once more, what has been settled
    assert progress.cursor == Cursor(30)


@given(st.binary(max_size=40).filter(lambda text: b"\n" not in text), st.data())
def test_a_damaged_line_is_known(text: bytes, data: st.DataObject):
    """A line that is cut, or has another byte, is none."""
    line = sealed(text)
    assert unsealed(line) == text
    cut = data.draw(st.integers(0, len(text) + 8))
    assert unsealed(line[:cut]) in {None, text}
    at = data.draw(st.integers(0, len(line) - 2))
    assert unsealed(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]) is None


def test_a_line_with_another_content_is_no_cursor():
    """Its checksum is right, and what it says is none: a newer release may have written it."""
    for text in (b"", b"{}", b"[1]", b'[1,{"low":"x"}]', b"\xff"):
        assert decode_cursor(sealed(text)) is None


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


@given(RANGES, st.sampled_from(["Segment.io", "a b", "Ä/%"]))
def test_a_channel_s_note_is_none_of_all(ranges: list[tuple[int, int]], channel: str):
    """What one channel has settled is told from what all have, whatever its name is."""
    places = [Place(None, start, end) for start, end in ranges]
    data = b"".join(note([place], channel) for place in places) + note([Place(None, 900, 901)])
    assert list(notes(data)) == [(900, 901)]
    found = channel_notes(data + b"1 2 x y\n3 1 x\n7 8 torn")
    assert list(found.get(channel, Ranges())) == list(Ranges(ranges))
    assert set(found) <= {channel}


def test_rubbish_among_the_notes_is_passed_over():
    """A line that is no range, or one that ends before it begins, says nothing."""
    assert list(notes(b"\n1 5\nx\n7\n9 8\n 1 2\n\xff\n" + b"9" * 500 + b" 1\n20 30\n40 50")) == [(1, 5), (20, 30)]
