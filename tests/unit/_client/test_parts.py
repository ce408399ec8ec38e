"""The parts of a delivery: that what the settings say fits together."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.units import parts, receipt


@pytest.mark.parametrize("key", ["k", 'a "key" of {many} bytes' * 20])
def test_a_full_batch_is_within_the_limit(key: str) -> None:
    """The largest batch that is cut makes a request body of at most 500,000 bytes, whatever the write key's length."""
    made = parts(write_key=key)
    batcher = made.policy.batcher()
    event = receipt(note="x" * 997)
    batcher.put([event] * 600, 0.0)
    batch = batcher.cut(0.0)
    body = made.destination.request(batch.items, 1, 1e9).body
    assert 500_000 - len(event.data) - 1 <= len(body) <= 500_000


def test_an_answer_is_waited_for_longer_than_the_request_lasts() -> None:
    """The engine gives an attempt up only after the HTTP client has: else every late answer is a second delivery."""
    made = parts(http_request_timeout=3.0)
    assert made.destination.request([], 1, 1e9).timeout == 3.0
    assert made.policy.send_timeout > 3.0


def test_events_rest_where_there_is_a_disk(tmp_path: Path) -> None:
    """Events whose retries are exhausted rest only with a spool; without one they fail. A disabled client has none."""
    on_disk = parts(spool=str(tmp_path))
    assert on_disk.spool is not None
    on_disk.spool.release()
    assert on_disk.policy.keeps
    assert not parts().policy.keeps
    assert parts(spool=str(tmp_path), disable=True).spool is None
