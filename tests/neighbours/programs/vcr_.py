"""vcrpy: a client first used within a cassette, one used before, one that is played to, and one used after."""

from __future__ import annotations

import tempfile
from pathlib import Path

import vcr
from events import deliver, plain, say, settings

from millstream import Analytics

PATH = str(Path(tempfile.mkdtemp(), "cassette.yaml"))


def paths(cassette) -> list[str]:
    return [request.path for request in cassette.requests]


one_by_one = {"max_in_flight": 1}  # VCR takes its patches away for a moment with every connection: not for two threads
before = Analytics("key", **settings(**one_by_one))
before.track("Before", user_id="u").wait(timeout=10)
with vcr.use_cassette(PATH, record_mode="all") as cassette:
    plain()
    learnt = deliver(**one_by_one)
    recorded = paths(cassette)
    before.track("Within", user_id="u").wait(timeout=10)
    seen_of_another = len(paths(cassette)) - len(recorded)
with vcr.use_cassette(PATH, record_mode="none", match_on=["method", "path"]) as cassette:
    played = {**deliver(**one_by_one), "count": cassette.play_count}
before.track("After", user_id="u").wait(timeout=10)
before.close_and_flush(timeout=10)
say(learnt, seen=recorded, seen_of_another=seen_of_another, played=played, after=deliver())
