"""Who may write, and how much: buckets in virtual time."""

from __future__ import annotations

import pytest
from msgspec import Raw

from millstream.collector.admission import Admission, Rate
from millstream.collector.request import RequestRefused


def test_a_bucket_holds_a_second_and_fills_at_its_rate() -> None:
    """100 a second: a hundred at once, then one every ten milliseconds."""
    rate = Rate(100)
    assert [rate.take("a", 1, 50.0) for _ in range(100)] == [0.0] * 100
    wait = rate.take("a", 1, 50.0)
    assert wait == pytest.approx(0.01)
    assert rate.take("a", 1, 50.0 + wait + 1e-6) == 0.0
    assert rate.take("a", 1, 50.0 + wait + 1e-6) > 0.0


def test_a_batch_is_let_in_as_a_whole_and_paid_for_afterwards() -> None:
    """A batch larger than a second's events would otherwise never be let in."""
    rate = Rate(100)
    assert rate.take("a", 2500, 50.0) == 0.0
    wait = rate.take("a", 1, 50.0)
    assert wait == pytest.approx(24.01)
    assert rate.take("a", 2500, 50.0 + wait + 0.01) == 0.0


def test_who_waits_as_long_as_told_is_let_in() -> None:
    """The answer to Retry-After is never a second refusal, if nobody else came."""
    rate = Rate(3)
    now = 100.0
    for count in (1, 7, 2, 30, 1, 5):
        if wait := rate.take("a", count, now):
            now += wait + 1e-6
            assert rate.take("a", count, now) == 0.0


def test_an_empty_batch_is_free() -> None:
    """It carries nothing."""
    rate = Rate(1)
    rate.take("a", 100, 50.0)
    assert rate.take("a", 0, 50.0) == 0.0


def test_the_long_run_is_the_rate() -> None:
    """Whoever sends as much as he is let in gets what is configured, and a second's worth at the start."""
    rate = Rate(50)
    let_in = sum(10 for step in range(10_000) if not rate.take("a", 10, 1000 + step / 100))
    assert 50 * 100 <= let_in <= 50 * 100 + 50 + 10


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    """A debt of years can only be a mistake."""
    rate = Rate(1)
    rate.take("a", 10, 2_000_000_000.0)
    assert rate.take("a", 1, 1_000_000_000.0) == 0.0


def test_made_up_keys_do_not_fill_the_memory() -> None:
    """Where no keys are configured, anybody can send with any number of them."""
    rate = Rate(1)
    for number in range(25_000):
        rate.take(str(number), 5, 50.0)
    assert len(rate._full_at) <= 10_000
    assert rate.take("24999", 1, 50.0) > 0.0


class TokenVerifier:
    def accepts(self, token: str, now: float) -> bool:
        return token == "good" and now < 100


@pytest.mark.parametrize(
    ("authorization", "now", "reason"),
    [
        ("Bearer good", 50.0, ""),
        ("bearer  good ", 50.0, ""),
        ("Bearer good", 150.0, "invalid_token"),
        ("Bearer bad", 50.0, "invalid_token"),
        ("Basic Z29vZDo=", 50.0, "invalid_token"),
        ("", 50.0, "invalid_token"),
    ],
)
def test_with_oauth_a_token_is_needed_beside_the_key(authorization: str, now: float, reason: str) -> None:
    """A token lets in, and does not say who: the key in the body does."""
    gate = Admission({"k"}, tokens=TokenVerifier())
    headers = {"authorization": authorization}
    if reason:
        with pytest.raises(RequestRefused) as caught:
            gate.admit(headers, Raw(b'"k"'), 1, now)
        assert (caught.value.status, caught.value.reason) == (401, reason)
    else:
        assert gate.admit(headers, Raw(b'"k"'), 1, now)
        with pytest.raises(RequestRefused, match="not known here"):
            gate.admit(headers, Raw(b'"other"'), 1, now)
