"""The clock and the ids of event calls."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from datetime import datetime, timezone

import pytest

from millstream._clock import reset_after_fork, stamp
from millstream._core.events.timestamps import from_epoch

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def milliseconds(text: str) -> int:
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def test_a_stamp_is_the_time_now() -> None:
    """The time is that of the call, in UTC with milliseconds."""
    before = time.time_ns() // 1_000_000
    text, _ = stamp()
    also = from_epoch(time.time())
    after = time.time_ns() // 1_000_000
    assert TIME.fullmatch(text)
    assert TIME.fullmatch(also)
    assert before <= milliseconds(text) <= milliseconds(also) <= after


def test_an_id_is_a_uuid_of_version_7() -> None:
    """An id has RFC 9562's version and variant, the time of its stamp in front, and the form that others write."""
    for _ in range(1_000):
        text, fresh = stamp()
        parsed = uuid.UUID(fresh)
        assert str(parsed) == fresh
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122
        assert parsed.int >> 80 == milliseconds(text)


def test_every_random_bit_is_used() -> None:
    """Each of the 74 bits that are neither time nor form is 0 in some ids and 1 in others."""
    drawn = [uuid.UUID(stamp()[1]).int for _ in range(5_000)]
    for _ in range(100):
        reset_after_fork()
        drawn.append(uuid.UUID(stamp()[1]).int)
    random = ((1 << 76) - (1 << 64)) | ((1 << 62) - 1)
    ones = zeros = 0
    for value in drawn:
        ones |= value
        zeros |= ~value
    assert ones & zeros & random == random


def test_threads_share_no_id() -> None:
    """No two calls get the same id, whichever threads they are made in."""
    drawn: list[list[str]] = [[] for _ in range(8)]

    def draw(mine: list[str]) -> None:
        mine.extend(stamp()[1] for _ in range(5_000))

    threads = [threading.Thread(target=draw, args=(mine,)) for mine in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [fresh for mine in drawn for fresh in mine]
    assert len(set(ids)) == len(ids) == 40_000


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of threads that other tests may have left
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_shares_no_id_with_its_parent() -> None:
    """What is left of the parent's randomness is not used again in a forked child, nor in another."""
    stamp()  # the parent has a pool now
    children = []
    for _ in range(3):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, " ".join(stamp()[1][15:] for _ in range(300)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            children.append(pipe.read().split())
        assert os.waitpid(child, 0)[1] == 0
    parts = [part for child in children for part in child] + [stamp()[1][15:] for _ in range(300)]
    assert len(set(parts)) == len(parts) == 1_200
