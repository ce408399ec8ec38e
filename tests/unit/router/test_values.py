"""References in a configuration: the environment and files, in values alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.errors import SettingsError
from millstream.router.values import resolved

ENVIRONMENT = {"KEY": "s3cret", "EMPTY": "", "QUOTES": '"; port = 1'}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain", "plain"),
        ("${KEY}", "s3cret"),
        ("Bearer ${KEY}", "Bearer s3cret"),
        ("${KEY:-other}", "s3cret"),
        ("${NONE:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${NONE:-}", ""),
        ("$${KEY}", "${KEY}"),
        ("$KEY", "$KEY"),
        ("${QUOTES}", '"; port = 1'),
        (7, 7),
        (True, True),
        (["${KEY}", {"a": "${KEY}"}], ["s3cret", {"a": "s3cret"}]),
    ],
)
def test_references_are_resolved_in_values(written: object, value: object) -> None:
    """Variables stand for their text, with a default for one that is not set or empty, at any depth."""
    assert resolved(written, "token", ENVIRONMENT) == value


def test_a_file_is_read_without_white_space_around_it(tmp_path: Path) -> None:
    """A secret in a file often ends in a newline; the path may come from the environment."""
    (tmp_path / "secret").write_text(" s3cret\n")
    assert resolved("file:${DIR}/secret", "token", {"DIR": str(tmp_path)}) == "s3cret"


def test_what_is_missing_is_named_by_its_place(tmp_path: Path) -> None:
    """The error says which value refers to what, and how to mend it."""
    with pytest.raises(SettingsError, match=r"destinations\.a\.token refers to \$NONE, which is not set"):
        resolved({"a": {"token": "${NONE}"}}, "destinations", {})
    with pytest.raises(SettingsError, match=r"token refers to the file .*/none, which cannot be read: No such file"):
        resolved(f"file:{tmp_path}/none", "token", {})
