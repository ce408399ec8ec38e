"""`millstream suppress`: adding, removing and listing users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.program import Done

Program = Callable[..., Done]


def test_users_are_suppressed_listed_and_removed(millstream: Program, tmp_path: Path):
    """Each step says what it did; to do it twice is no error."""
    where = ("--data", str(tmp_path))
    assert millstream("suppress", *where).out == "No user is suppressed.\n"
    done = millstream("suppress", "--user", "a", "--user", "b\x1b", *where)
    assert (done.code, done.out) == (0, "a: suppressed\nb\\x1b: suppressed\n")
    assert millstream("suppress", "--user", "a", *where).out == "a: was suppressed already\n"
    assert [row["userId"] for row in millstream("suppress", "--json", *where).json] == ["a", "b\x1b"]
    done = millstream("suppress", "--user", "a", "--user", "x", "--remove", *where)
    assert done.out == "a: removed\nx: was not suppressed\n"
    assert millstream("suppress", "--user", "c", "--json", *where).json == {"suppressed": ["c"]}
    listed = millstream("suppress", *where).out.splitlines()
    assert [line.split()[1] for line in listed] == ["b\\x1b", "c"]


def test_wrong_usage_is_told(millstream: Program, tmp_path: Path):
    """A directory that is not there, a removal of nobody, an empty id, a damaged list."""
    assert "there is no directory" in millstream("suppress", "--data", str(tmp_path / "absent")).said
    done = millstream("suppress", "--remove", "--data", str(tmp_path))
    assert (done.code, "--remove needs a user" in done.said) == (2, True)
    assert "must not be empty" in millstream("suppress", "--user", "", "--data", str(tmp_path)).said
    (tmp_path / "suppressed.jsonl").write_text("nonsense\n")
    done = millstream("suppress", "--user", "a", "--data", str(tmp_path))
    assert (done.code, "line 1, names no suppressed user" in done.said) == (2, True)
