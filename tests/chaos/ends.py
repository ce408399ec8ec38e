"""Ends processes that go on recording, without a spool, and counts at the other end what had been recorded.

A victim records from several threads, and writes an event's name down a pipe when its call has returned: what is in the
pipe survives the victim. It gets SIGTERM, comes to its end, or is forked, at a random moment, and its API takes 20 ms.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from support.api import Answer, Api
from support.processes import child

WAYS = ("SIGTERM", "exit", "fork")

VICTIM = """
import os, sys, threading, time
from millstream import Analytics
host, way, pause, first, lasts = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
analytics = Analytics("key", host=host, exit_timeout=30)

def record(name):
    number = 0
    while True:
        number += 1
        receipt = analytics.track(f"{name}.{number}", user_id="u")
        if receipt.outcome is None or receipt.outcome.error is None:
            os.write(1, f"{name}.{number}\\n".encode())
        if pause:
            time.sleep(pause)

def start(family):
    for name in "abc":
        threading.Thread(target=record, args=(family + name,), daemon=True).start()

start("parent-")
time.sleep(first)
os.write(2, b"ready\\n")
child = os.fork() if way == "fork" else None
if child == 0:
    start("child-")
if way == "SIGTERM":
    record("parent-main")
time.sleep(lasts)
if child:
    os.waitpid(child, 0)
"""


@dataclass
class Tally:
    """What became of the victims of one way to end. Numbers are those of events."""

    ends: int = 0
    events: int = 0
    lost: int = 0
    twice: int = 0
    said: int = 0


def end(rounds: int, seed: int, ways: Sequence[str] = WAYS) -> dict[str, Tally]:
    """End so many victims in each way, and count what became of their events."""
    rng = random.Random(seed)
    tallies = {way: Tally() for way in ways}
    for number in range(rounds):
        for way, tally in tallies.items():
            one(way, tally, rng, pause=0.0 if number % 4 == 3 else 0.001)
    return tallies


def one(way: str, tally: Tally, rng: random.Random, *, pause: float) -> None:
    """Let one process record events, and end it; a quarter of them record as fast as they can."""
    api = Api()
    api.always = Answer(delay=0.02)
    try:
        moments = [str(rng.uniform(0.02, 0.15)) for _ in range(2)]
        process = child(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", VICTIM, api.url, way, str(pause), *moments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        assert process.stderr is not None
        assert os.read(process.stderr.fileno(), 6) == b"ready\n"
        if way == "SIGTERM":
            process.terminate()
        told, said = process.communicate(timeout=90)
        assert process.returncode == (-signal.SIGTERM if way == "SIGTERM" else 0), (process.returncode, said)
        arrived = Counter(event["event"] for event in api.accepted)
    finally:
        api.close()
    names = set(told.splitlines())
    tally.ends += 1 + (way == "fork")
    tally.events += len(names)
    tally.lost += len(names - set(arrived))
    tally.twice += sum(count > 1 for count in arrived.values())
    tally.said += bool(said)


def table(tallies: dict[str, Tally]) -> Sequence[str]:
    """The tallies, for people."""
    head = f"{'the end is':<12}{'ends':>8}{'events':>12}{'lost':>8}{'twice':>8}{'told of':>10}"
    rows = [f"{way:<12}{t.ends:>8,}{t.events:>12,}{t.lost:>8,}{t.twice:>8,}{t.said:>10,}" for way, t in tallies.items()]
    return [head, *rows]
