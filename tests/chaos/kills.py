"""Kills processes at random moments, and counts at the other end what had been recorded.

A victim records events as fast as it can, and writes the number of each down a pipe when its call has returned: what
is in the pipe survives the victim. It delivers to an API that is well, slow, away or ill, is killed with SIGKILL at a
random moment, and the next victim opens the same spool. The last process of all is left to end in peace.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.api import Answer, Api, status

WEATHER = ("well", "slow", "away", "ill")
"""What a victim's API is like: it answers; it takes 200 ms; nobody listens; it answers 500."""

VICTIM = """
import os, sys
from millstream import Analytics
host, spool, first, forks = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
analytics = Analytics("key", host=host, spool=spool, flush_interval=0.05, http_request_timeout=2)
number = first
if forks:
    analytics.track("before the fork", user_id="u", properties={"number": number})
    os.write(1, b"%d\\n" % number)
    if os.fork() == 0:
        number += 1_000_000
for number in range(number + 1, number + 1_000_000):
    analytics.track("chaos", user_id="u", properties={"number": number, "filling": "x" * (number % 700)})
    os.write(1, b"%d\\n" % number)
"""

HEIR = """
import sys
from millstream import Analytics
result = Analytics("key", host=sys.argv[1], spool=sys.argv[2]).close_and_flush(timeout=60)
print(result.delivered, result.failed, result.dropped, result.pending)
"""


@dataclass
class Tally:
    """What happened to the victims of one kind of weather. Numbers are those of events."""

    kills: int = 0
    forks: int = 0
    returned: list[int] = field(default_factory=list)
    lost: int = 0
    duplicated: int = 0


@dataclass(frozen=True)
class Arrived:
    """What came: for each event's number, the ids it came with, and how often."""

    ids: dict[int, Counter[str]]

    @classmethod
    def at(cls, api: Api) -> Arrived:
        ids: dict[int, Counter[str]] = {}
        for event in api.accepted:
            ids.setdefault(event["properties"]["number"], Counter())[event["messageId"]] += 1
        return cls(ids)


def kill(rounds: int, seed: int, directory: Path) -> dict[str, Tally]:
    """Kill so many victims, and count what became of their events, by the weather they met."""
    rng = random.Random(seed)
    tallies = {weather: Tally() for weather in WEATHER}
    api = Api()
    try:
        for number in range(rounds):
            weather = WEATHER[number % len(WEATHER)]
            forks = rng.random() < 0.25
            tally = tallies[weather]
            tally.kills += 1 + forks
            tally.forks += forks
            tally.returned += victim(api, weather, directory, number * 10_000_000, rng, forks=forks)
        api.always = Answer()
        told = inherit(api, directory)
        arrived = Arrived.at(api)
    finally:
        api.close()
    assert told.split()[1:] == ["0", "0", "0"], f"the last process kept something back: {told}"
    for tally in tallies.values():
        tally.lost = sum(number not in arrived.ids for number in tally.returned)
        tally.duplicated = sum(sum(arrived.ids[n].values()) > 1 for n in tally.returned if n in arrived.ids)
    two_ids = [number for number, ids in arrived.ids.items() if len(ids) > 1]
    assert not two_ids, f"events came again with another id: {two_ids[:5]}"
    return tallies


def victim(api: Api, weather: str, directory: Path, first: int, rng: random.Random, *, forks: bool) -> list[int]:
    """Let one process record events, kill it, and return the numbers of the calls that had returned."""
    api.always = {"slow": Answer(delay=0.2), "ill": status(500)}.get(weather, Answer())
    host = "http://127.0.0.1:9" if weather == "away" else api.url
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, host, os.fspath(directory), str(first), str(forks)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    told = process.stdout.fileno()
    try:
        ready, _, _ = select.select([told], [], [], 30)
        assert ready, "the victim does nothing"
        enough = rng.expovariate(1 / 1500)  # calls, so that a busy machine changes little
        lines = b""
        while lines.count(b"\n") < enough:
            lines += os.read(told, 1 << 16)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    lines += b"".join(rest(told))
    process.wait(30)
    process.stdout.close()
    return [int(line) for line in lines.split()]


def rest(descriptor: int) -> Iterator[bytes]:
    """What is in a pipe whose writers are gone."""
    while data := os.read(descriptor, 1 << 16):
        yield data


def inherit(api: Api, directory: Path) -> str:
    """Let the last process deliver what is left, and return what it said."""
    done = subprocess.run(
        [sys.executable, "-c", HEIR, api.url, os.fspath(directory)],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return done.stdout


def table(tallies: dict[str, Tally]) -> Sequence[str]:
    """The tallies, for people."""
    head = f"{'the API is':<12}{'kills':>8}{'forks':>8}{'events':>10}{'lost':>8}{'duplicated':>12}"
    rows = [
        f"{weather:<12}{t.kills:>8,}{t.forks:>8,}{len(t.returned):>10,}{t.lost:>8,}{t.duplicated:>12,}"
        for weather, t in tallies.items()
    ]
    return [head, *rows]
