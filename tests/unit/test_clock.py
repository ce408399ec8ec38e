"""The clocks that delivery goes by."""

from __future__ import annotations

import time

import pytest

from millstream._clock import file_time, monotonic


def test_pauses_go_on_where_a_test_has_stopped_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that puts other functions into `time` stops neither the deadlines of delivery nor the ages of files."""
    before, written = monotonic(), file_time()
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert monotonic() >= before > 0.0
    assert file_time() >= written > 0.0
    if hasattr(time, "clock_gettime"):
        monkeypatch.setattr(time, "clock_gettime", lambda _: 0.0)
        assert monotonic() >= before


def test_both_clocks_count_as_the_systems_do() -> None:
    """A deadline may be compared with `time.monotonic`, and an age with what the file system says."""
    assert time.monotonic() <= monotonic() <= time.monotonic()
    assert abs(file_time() - time.time()) < 5.0
