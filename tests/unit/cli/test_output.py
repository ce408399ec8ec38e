"""What a terminal would obey, shown instead."""

from __future__ import annotations

import pytest

pytest.importorskip("rich")

from millstream.cli.output import printable, progress


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é and 語", "plain, é and 語"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\tand", r"two\nlines\tand"),
        ("\u202egnirts", r"\u202egnirts"),
        ("\x9b1m", r"\x9b1m"),
        ("half \ud83d", r"half \ud83d"),
        (r"a \ stays", r"a \ stays"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    """Escapes, line ends, reversals and half characters become visible, and every other text stays as it is."""
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_without_a_terminal_progress_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A log file or a pipe gets no bar, and the work is told nothing else."""
    with progress("events", 10) as advance:
        advance(5, "half")
    assert capsys.readouterr() == ("", "")
