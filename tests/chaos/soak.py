"""The soak: every fault at random, over clients of all kinds in threads, on loops and across forks.

    visitors ──▶ gateways, in all weathers ──▶ a collector (`millstream serve`)
       │                 │                           │
       └─ what became    └─ whose answers            └─ what is stored
          of each event     got lost

At the end the three are held against each other. What one event says of itself, the others must confirm.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chaos.visitor import Plan, Report
from chaos.weather import Gateway, gateways
from support.faults import NOWHERE, PEM

AT_ONCE = 3
"""Visitors at a time."""
TESTS = Path(__file__).parents[1]
PATIENCE = 75.0
"""Seconds that a visitor may take to end."""

HEIR = """
import sys
from millstream import Analytics
result = Analytics("key", host=sys.argv[1], spool=sys.argv[2]).close_and_flush(timeout=50)
assert not (result.failed or result.dropped or result.pending), result
"""


@dataclass
class Reckoning:
    """What was recorded, and what became of it. All numbers but the first three are those of events."""

    processes: int = 0
    forks: int = 0
    clients: int = 0
    longest: float = 0.0  # seconds, one call of `track`
    fates: dict[str, set[str]] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)  # stored, and sent again
    suffered: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def recorded(self) -> int:
        return sum(map(len, self.fates.values()))

    def table(self) -> Sequence[str]:
        """For people."""
        rows: list[tuple[str, object]] = [
            ("processes, and forks of them", f"{self.processes:,}, {self.forks:,}"),
            ("clients", self.clients),
            ("faults, kinds of them", f"{self.suffered.total():,}, {len(self.suffered)}"),
            ("longest track() in ms", f"{self.longest * 1000:.1f}"),
            ("events recorded", self.recorded),
            *((f"  {kind}", len(self.fates.get(kind, ()))) for kind in ("delivered", "failed", "dropped", "kept")),
            ("events in the collector", len(self.stored)),
            ("  delivered, as their clients know", len(self.stored & self.fates.get("delivered", set()))),
            ("  failed or handed back, the answer lost", len(self.stored - self.fates.get("delivered", set()))),
            ("delivered, and not in the collector", len(self.fates.get("delivered", set()) - self.stored)),
            ("sent again, the answer lost", len(self.again)),
            ("differences", len(self.problems)),
        ]
        return [
            f"{what:<44}{number:>12,}" if isinstance(number, int) else f"{what:<44}{number:>12}"
            for what, number in rows
        ]


def soak(seconds: float, seed: int, directory: Path) -> Reckoning:
    """Let it rain for so many seconds, and count."""
    rng = random.Random(seed)
    (directory / "reports").mkdir(parents=True)
    spools = [str(directory / f"spool-{n}") for n in "ab"]
    with ExitStack() as stack:
        collector = stack.enter_context(collecting(directory / "collected"))
        doors = gateways(collector, rng)
        for door in doors:
            stack.callback(door.close)
        plain, secure = doors
        hosts = [plain.url, f"http://{NOWHERE}:{plain.port}", secure.url]
        over = threading.Event()
        stormy = [threading.Thread(target=door.suffer, args=(over,)) for door in doors]
        lanes = [
            Lane(Plan(rng.randrange(1 << 30), seconds, hosts, PEM, spools, str(directory / "reports")), over)
            for _ in range(AT_ONCE)
        ]
        for thread in [*stormy, *lanes]:
            thread.start()
        over.wait(seconds)
        over.set()
        for thread in [*stormy, *lanes]:
            thread.join()
        problems = [problem for lane in lanes for problem in lane.problems]
        problems += [problem for spool in spools for problem in run("an heir", "-c", HEIR, plain.url, spool)]
    return reckon(directory, doors, problems)


class Lane(threading.Thread):
    """Visitors, one after another; which they are depends on the seed alone."""

    def __init__(self, plan: Plan, over: threading.Event) -> None:
        super().__init__()
        self._plan = plan
        self._over = over
        self.problems: list[str] = []

    def run(self) -> None:
        rng = random.Random(self._plan.seed)
        ends = time.monotonic() + self._plan.seconds
        while not self._over.is_set():
            stays = min(rng.uniform(1.0, 10.0), max(1.0, ends - time.monotonic()))
            plan = Plan(**{**asdict(self._plan), "seed": rng.randrange(1 << 30), "seconds": stays})
            self.problems += run(f"the visitor of seed {plan.seed}", "-m", "chaos.visitor", json.dumps(asdict(plan)))


def run(who: str, *arguments: str) -> list[str]:
    """Run a process of ours, and its children, to their end. Returns what is wrong with them."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stderr=subprocess.PIPE, text=True, cwd=TESTS, start_new_session=True
    )
    try:
        _, said = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        said = where_they_hang(process)
        return [f"{who}, or a child of it, does not end: {said}"]
    failed = process.returncode != 0 or "Traceback" in said
    return [f"{who} ended with {process.returncode}: {said}"] if failed else []


def where_they_hang(process: subprocess.Popen[str]) -> str:
    """Have them say where they are, and end them."""
    os.killpg(process.pid, signal.SIGUSR1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[1]


@contextmanager
def collecting(data: Path) -> Generator[str]:
    """A collector on loopback, by its URL."""
    command = [sys.executable, "-m", "millstream", "serve", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the collector does not start"
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def reckon(directory: Path, doors: Sequence[Gateway], problems: list[str]) -> Reckoning:
    """Hold the visitors' reports, the gateways' books and the collector's files against each other."""
    reports = [Report(**json.loads(path.read_text())) for path in sorted((directory / "reports").iterdir())]
    lines = [
        line
        for path in sorted((directory / "collected").glob("events-*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    taken: Counter[str] = sum((door.stored for door in doors), Counter())
    unread: set[str] = set().union(*(door.unread for door in doors))
    fate_of: dict[str, str] = {}
    for report in reports:
        fate_of |= report.outcomes
    for report in reports:  # what one has left, another has adopted
        fate_of |= {name: kind for name, kind in report.adopted.items() if fate_of.get(name) != "delivered"}
    kept = {name for report in reports for name, kind in report.outcomes.items() if kind == "kept" or report.cut_short}
    result = Reckoning(
        processes=sum(not report.forked for report in reports),
        forks=sum(report.forked for report in reports),
        clients=sum(report.clients for report in reports),
        longest=max((report.longest for report in reports), default=0.0),
        stored={json.loads(line)["messageId"] for line in lines},
        again={name for name, times in taken.items() if times > 1},
        suffered=sum((door.suffered for door in doors), Counter()),
        problems=[*problems, *(problem for report in reports for problem in report.problems)],
    )
    for name, kind in fate_of.items():
        result.fates.setdefault(kind, set()).add(name)
    delivered = result.fates.get("delivered", set())
    differences = {
        "were delivered and are not in the collector": delivered - result.stored,
        "are in the collector and were recorded by nobody": result.stored - set(fate_of),
        "are in the collector without a request that took them": result.stored ^ set(taken),
        "came again although their answer was read": result.again - unread - kept,
        "arrived, and their clients do not know it": result.stored - delivered - unread - kept,
    }
    result.problems += [
        f"{len(names)} events {what}: {sorted(names)[:3]}" for what, names in differences.items() if names
    ]
    return result


def told(problems: list[str]) -> list[str]:
    """The commonest of them, each once, and not the whole of a long story."""
    return [f"{times} × {problem[:400]} … {problem[-2000:]}" if len(problem) > 2400 else f"{times} × {problem}"
            for problem, times in Counter(problems).most_common(8)]  # fmt: skip


def say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Soak, print, and say whether all agree."""
    parser = argparse.ArgumentParser(prog="make soak", description="Every fault at random, and every event counted.")
    parser.add_argument("--seconds", type=float, default=180.0, help="of bad weather (default: 180)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed, the same faults and clients")
    chosen = parser.parse_args()
    say(f"{chosen.seconds:g} seconds of every fault at random; seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as directory:
        result = soak(chosen.seconds, chosen.seed, Path(directory))
    say(*result.table(), *told(result.problems))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
