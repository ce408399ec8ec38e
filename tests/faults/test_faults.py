"""Whatever the host does: calls stay fast, memory stays bounded, every event is accounted for, and it passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from faults.trial import MAX_BYTES, MAX_EVENTS, Trial
from support.faults import FAULTS

SLOW = 0.5
"""Seconds that a call of `track` never takes, however busy the machine. On a quiet one it is less than 0.01."""
HELD_UP = 2
"""Calls of a trial's 450 that the machine may hold up all the same: the library would hold up more."""

ALSO_ASYNC = [fault for fault, each in FAULTS.items() if not each.tls]
CASES: dict[str, dict[str, Any]] = {fault: {"fault": fault} for fault in FAULTS}
CASES |= {f"{fault}, no retries": {"fault": fault, "max_retries": 0} for fault in FAULTS}
CASES |= {f"{fault}, asyncio": {"fault": fault, "driver": "asyncio"} for fault in ALSO_ASYNC}
EACH = pytest.mark.parametrize("case", CASES)


@EACH
def test_calls_stay_fast_and_memory_bounded(case: str, trial: Callable[..., Trial]) -> None:
    """While the fault lasts, `track` waits for nothing, and the queue never holds more than it may."""
    during = trial(case, **CASES[case])
    assert sorted(during.took)[-1 - HELD_UP] < SLOW
    assert max(sample.pending for sample in during.samples) <= MAX_EVENTS
    assert max(sample.queue_bytes for sample in during.samples) <= MAX_BYTES
    if "max_retries" not in CASES[case]:  # else the queue empties itself
        assert during.stats().dropped > 0, "the queue was never full"


@EACH
def test_the_same_client_delivers_when_it_is_over(case: str, trial: Callable[..., Trial]) -> None:
    """When the fault ends, the client delivers without a restart; every event has one outcome, and the server agrees.

    What the client counts as delivered, and nothing else, the server has accepted, each event once.
    """
    after = trial(case, **CASES[case])
    after.recover()
    stats, looked = after.stats(), after.looked_at()
    assert looked == Counter(delivered=stats.delivered, failed=stats.failed, dropped=stats.dropped) + Counter()
    assert stats.accepted == len(after.receipts) == looked.total()
    assert (stats.pending, stats.queue_bytes) == (0, 0)
    arrived = Counter(event["messageId"] for event in after.api.accepted)
    assert set(arrived) == after.ids("delivered")
    assert set(arrived.values()) == {1}
