"""The parts of a request, sorted by what their verdicts ask for."""

from __future__ import annotations

import pytest

from millstream._core.delivery.verdicts import Delivered, Limited, PartVerdict, Refused, Retry, sort_parts
from millstream.errors import Rejected, TransportError

BUSY, SLOWER, BAD = Rejected(503), Rejected(429), Rejected(400)


def test_each_part_goes_where_its_verdict_says() -> None:
    """Every part is in exactly one pile, in the order of the request; refused ones with the same error are together."""
    worse = Rejected(400, b"worse")
    said: list[PartVerdict] = [Delivered(), Refused(BAD), Retry(BUSY), Refused(worse), Refused(BAD), Delivered()]
    found = sort_parts("abcdef", said)
    assert found.delivered == ["a", "f"]
    assert found.refused == {BAD: ["b", "e"], worse: ["d"]}
    assert found.again == ["c"]


def test_the_longest_wait_counts_for_all() -> None:
    """One part that has to wait makes all of them wait, for as long as the most patient one, wherever it stands."""
    short, long, again = Limited(5.0, SLOWER), Limited(30.0, SLOWER), Retry(BUSY)
    for said in ([short, again, long], [long, again, short], [again, long, short]):
        found = sort_parts("abc", said)
        assert found.retry is long
        assert found.again == ["a", "b", "c"]


def test_without_a_limit_the_last_retry_counts() -> None:
    """What the last part met is what an exhausted batch names."""
    last = Retry(TransportError("no answer"))
    assert sort_parts("ab", [Retry(BUSY), last]).retry is last


def test_nothing_to_retry_is_no_retry() -> None:
    """A request whose parts all have an outcome asks for no further attempt."""
    found = sort_parts("ab", [Delivered(), Refused(BAD)])
    assert found.retry is None
    assert found.again == []


def test_a_verdict_is_missing() -> None:
    """A destination that judges fewer parts than it was given is an error, and no part passes for delivered."""
    with pytest.raises(ValueError, match="shorter"):
        sort_parts("abc", [Delivered(), Delivered()])
