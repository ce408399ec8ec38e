"""One process of the soak: clients with settings of all kinds, used by threads and forked children or on a loop.

    python -m chaos.visitor '{"seed": 1, …}'          see Plan

Its wall clock jumps, and names get lost. At the end it says in a file what became of every event that it recorded.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millstream import FlushResult, Receipt, Stats

EVENT_PAUSE = 0.02
"""Seconds between two calls of one thread, at most."""
PATIENCE = (0.2, 2.0, 5.0)
"""Seconds that a client is given to close."""


@dataclass(frozen=True)
class Plan:
    """What a visitor does. Where it reports to is a directory; each process writes one file there."""

    seed: int
    seconds: float
    hosts: list[str]
    certificate: str
    spools: list[str]
    reports: str


@dataclass
class Report:
    """What a process says of itself.

    `adopted` are events that others have left in a spool. `cut_short` says that an event loop ended under clients that
    nobody had closed: what was under way then is sent again, because nobody is left to read the answers.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    adopted: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    longest: float = 0.0
    clients: int = 0
    forked: bool = False
    cut_short: bool = False

    def write(self, directory: str) -> None:
        Path(directory, f"{os.getpid()}.json").write_text(json.dumps(vars(self)))


class Page:
    """One client, and what was recorded with it in this process."""

    def __init__(self, client: Any, settings: dict[str, Any]) -> None:
        self.client = client
        self.settings = settings
        self.receipts: list[Receipt] = []
        self.longest = 0.0
        self.problems: list[str] = []
        self.ended: dict[str, str] = {}  # what listeners have heard of: others' events as well
        client.on("track", lambda context: self._on_end(context, "delivered"))
        client.on("error", self._on_error)

    def record(self, rng: random.Random) -> None:
        """Record an event, and look at the numbers now and then."""
        from millstream import QueueFull

        begun = time.perf_counter()
        try:
            receipt = self.client.track(
                "Soak", user_id="u", properties={"filling": "x" * int(rng.expovariate(1 / 300))}
            )
        except QueueFull:
            return
        self.receipts.append(receipt)
        if self.settings["overflow"] != "block":
            self.longest = max(self.longest, time.perf_counter() - begun)
        if rng.random() < 0.05:
            self._check_bounds(self.client.stats())

    def on_closed(self, result: FlushResult) -> None:
        """What has no outcome has to be in the caller's hands, or in the spool."""
        unsent = {event["messageId"] for event in result.unsent}
        left = {receipt.message_id for receipt in self.receipts if fate(receipt) == "kept"}
        if not self.settings["spool"]:
            self._check(unsent == left, f"{len(unsent)} handed back, {len(left)} left without an outcome")

    def close_up(self, report: Report) -> None:
        """Put into the report what became of them."""
        mine = {receipt.message_id: fate(receipt) for receipt in self.receipts}
        adopted = {name: kind for name, kind in self.ended.items() if name not in mine}
        report.outcomes |= mine
        report.adopted |= adopted
        report.longest = max(report.longest, self.longest)
        report.clients += 1
        stats = self.client.stats()
        looked = Counter(mine.values()) + Counter(adopted.values())
        told = Counter(delivered=stats.delivered, dropped=stats.dropped)
        for kind, number in told.items():
            self._check(looked[kind] == number, f"{number} {kind} by the counters, {looked[kind]} by the receipts")
        if not self.settings["spool"]:
            self._check(stats.accepted == len(mine), f"{stats.accepted} accepted of {len(mine)}")
            left = looked["failed"] + looked["kept"]
            self._check(stats.failed + stats.pending == left, f"{stats} where {left} failed or were handed back")
        report.problems += self.problems

    def _check_bounds(self, stats: Stats) -> None:
        in_memory = stats.pending - stats.spooled
        # What is read back from a spool goes over by what is recorded while it is read.
        events, size = (30, 64 * 1024) if self.settings["spool"] else (0, 0)
        self._check(
            stats.accepted == stats.delivered + stats.failed + stats.dropped + stats.pending, f"no sum: {stats}"
        )
        self._check(in_memory <= self.settings["max_queue_events"] + events, f"over the bound: {stats}")
        self._check(stats.queue_bytes <= self.settings["max_queue_bytes"] + size, f"over the bound: {stats}")

    def _check(self, true: bool, problem: str) -> None:
        if not true and len(self.problems) < 3:
            self.problems.append(f"{problem} ({self.settings})")

    def _on_end(self, context: Any, kind: str) -> None:
        self.ended[context.event["messageId"]] = kind

    def _on_error(self, event: Any) -> None:
        if event.code == "delivery_failure":
            self._on_end(event.context, "failed")
        elif event.context is None and event.code in {"internal", "listener"}:
            self.problems.append(f"{event.code}: {event.reason!r}")


def fate(receipt: Receipt) -> str:
    """What became of an event: delivered, failed, dropped; or kept, by the spool or by whoever closed the client."""
    from millstream import Abandoned

    outcome = receipt.outcome
    return "kept" if outcome is None or isinstance(outcome.error, Abandoned) else outcome.kind


def settings(plan: Plan, rng: random.Random) -> dict[str, Any]:
    """Those of one client."""
    return {
        "host": rng.choice(plan.hosts),
        "spool": rng.choice([None, None, *plan.spools]),
        "flush_at": rng.choice([1, 5, 15, 100]),
        "flush_interval": rng.uniform(0.05, 1.0),
        "max_in_flight": rng.randint(1, 4),
        "max_retries": rng.randint(0, 3),
        "http_request_timeout": rng.uniform(1.0, 2.0),
        "gzip": rng.random() < 0.3,
        "max_queue_events": rng.choice([30, 300, 3000]),
        "max_queue_bytes": rng.choice([50_000, 5_000_000]),
        "overflow": rng.choice(["drop_newest", "drop_newest", "raise", "block"]),
        "exit_timeout": 2.0,
    }


class Havoc:
    """What happens to the process itself, before millstream is loaded: its wall clock is set, names are not found."""

    def __init__(self, rng: random.Random) -> None:
        from support.faults import Names

        self._rng = rng
        self._shift = 0
        self._names = Names()
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + self._shift
        time.time_ns = lambda: real_ns() + self._shift * 10**9
        self._names.__enter__()

    def wreak(self, over: threading.Event) -> None:
        while not over.wait(self._rng.uniform(0.2, 1.0)):
            self._shift = self._rng.choice([-3600, 0, 3600])
            type(self._names).lost = self._rng.random() < 0.3
        self.end()

    def end(self) -> None:
        self._shift = 0
        type(self._names).lost = False


def visit_in_threads(plan: Plan, rng: random.Random, havoc: Havoc) -> None:
    """Several clients, several threads, and children of the whole."""
    from millstream import Analytics
    from millstream.http.urllib3 import Urllib3Client

    chosen = [settings(plan, rng) for _ in range(rng.randint(1, 3))]
    pages = [Page(Analytics("key", http_client=Urllib3Client(ca_certs=plan.certificate), **s), s) for s in chosen]
    BOOK.pages = pages
    over = threading.Event()
    threads = [threading.Thread(target=havoc.wreak, args=(over,))]
    threads += [threading.Thread(target=keep_recording, args=(pages, random.Random(rng.random()), over)) for _ in "ab"]
    for thread in threads:
        thread.start()
    children = list(keep_forking(plan, pages, rng, havoc))
    over.set()
    for thread in threads:
        thread.join()
    statuses = [os.waitpid(child, 0)[1] for child in children]
    if any(statuses):
        pages[0].problems.append(f"children ended with {statuses}")
    if rng.random() < 0.7:  # else the end of the process does it
        for page in pages:
            page.on_closed(page.client.close_and_flush(timeout=rng.choice(PATIENCE)))


def keep_forking(plan: Plan, pages: list[Page], rng: random.Random, havoc: Havoc) -> Iterator[int]:
    """A child now and then, until it is time to go."""
    ends = time.monotonic() + plan.seconds
    while time.monotonic() < ends:
        time.sleep(rng.uniform(0.2, 1.0))
        if rng.random() < 0.4:
            yield fork(plan, pages, rng.randrange(1 << 30), havoc)


def keep_recording(pages: list[Page], rng: random.Random, over: threading.Event) -> None:
    while not over.wait(rng.uniform(0, EVENT_PAUSE)):
        rng.choice(pages).record(rng)


def fork(plan: Plan, pages: list[Page], seed: int, havoc: Havoc) -> int:
    """A child that uses the same clients for a moment, and closes them."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        havoc.end()
        rng = random.Random(seed)
        mine = [Page(page.client, page.settings) for page in pages]
        for _ in range(rng.randint(1, 30)):
            rng.choice(mine).record(rng)
        for page in mine:
            page.on_closed(page.client.close_and_flush(timeout=rng.choice(PATIENCE)))
        report = Report(forked=True)
        for page in mine:
            page.close_up(report)
        report.write(plan.reports)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def visit_on_a_loop(plan: Plan, rng: random.Random, havoc: Havoc) -> None:
    """Several clients, and several tasks, on one event loop."""
    import asyncio

    from millstream import AsyncAnalytics

    async def keep_recording(pages: list[Page], rng: random.Random, ends: float) -> None:
        while time.monotonic() < ends:
            await asyncio.sleep(rng.uniform(0, EVENT_PAUSE))
            rng.choice(pages).record(rng)

    async def main() -> list[Page]:
        chosen = [settings(plan, rng) for _ in range(rng.randint(1, 3))]
        for each in chosen:
            each["overflow"] = rng.choice(["drop_newest", "raise"])
            each["host"] = rng.choice([host for host in plan.hosts if host.startswith("http:")])
        pages = [Page(AsyncAnalytics("key", **each), each) for each in chosen]
        ends = time.monotonic() + plan.seconds
        await asyncio.gather(*(keep_recording(pages, random.Random(rng.random()), ends) for _ in "ab"))
        BOOK.cut_short = rng.random() < 0.3
        if not BOOK.cut_short:
            for page in pages:
                page.on_closed(await page.client.close_and_flush(timeout=rng.choice(PATIENCE)))
        return pages

    over = threading.Event()
    thread = threading.Thread(target=havoc.wreak, args=(over,))
    thread.start()
    BOOK.pages = asyncio.run(main())
    over.set()
    thread.join()


class Book:
    """All pages of this process, for its last moment."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.cut_short = False

    def report(self, directory: str) -> None:
        report = Report(cut_short=self.cut_short)
        for page in self.pages:
            page.close_up(report)
        report.write(directory)


BOOK = Book()


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # whoever thinks that we hang wants to know where
    rng = random.Random(plan.seed)
    atexit.register(BOOK.report, plan.reports)  # before millstream is loaded, and so after it has delivered at exit
    havoc = Havoc(random.Random(plan.seed + 1))
    visit: Callable[[Plan, random.Random, Havoc], None] = visit_on_a_loop if rng.random() < 0.3 else visit_in_threads
    visit(plan, rng, havoc)


if __name__ == "__main__":
    main()
