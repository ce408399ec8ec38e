"""The process under test: a driver, a scenario, and one JSON object on standard output that says what was measured."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .drivers import DRIVERS, Driver

Measured = dict[str, float]
LATE = 10.0
"""Seconds that a client is given after an outage to deliver what it has."""


def properties(number: int, size: int) -> dict[str, Any]:
    """What an order is made of: texts, numbers, a time, a list of objects; `size` characters of filling."""
    return {
        "order_id": f"o-{number}",
        "revenue": 39.95,
        "currency": "EUR",
        "coupon": None,
        "at": datetime.now(timezone.utc),
        "note": "grüße aus köln",
        "products": [{"sku": "45790-32", "price": 19.5, "quantity": 1}, {"sku": "46493-32", "price": 20.45}],
        "filling": "x" * size,
    }


def percentile(sorted_values: list[int], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))] / 1000


def burst(driver: Driver, host: str, *, events: int, threads: int = 1, size: int = 200) -> Measured:
    """So many events as fast as they go, then a flush."""
    client = driver.make(host, events + 1000)
    mine = events // threads
    times: list[list[int]] = [[] for _ in range(threads)]

    def work(which: int) -> None:
        track, clock, took = driver.track, time.perf_counter_ns, times[which]
        for number in range(which * mine, (which + 1) * mine):
            props = properties(number, size)
            begin = clock()
            track(client, "u-1", "Order Completed", props)
            took.append(clock() - begin)

    gc.collect()
    begin, cpu = time.perf_counter(), time.process_time()
    if threads == 1:
        work(0)
    else:
        workers = [threading.Thread(target=work, args=(which,)) for which in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    called = time.perf_counter() - begin
    driver.flush(client)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    all_times = sorted(each for one in times for each in one)
    done = mine * threads
    return {
        "p50 µs": percentile(all_times, 0.5),
        "p99 µs": percentile(all_times, 0.99),
        "max ms": all_times[-1] / 1e6,
        "calls/s": done / called,
        "delivered/s": done / wall,
        "CPU µs": cpu / done * 1e6,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def queued(driver: Driver, host: str, *, events: int) -> Measured:
    """So many events for a host that is away: what does one cost in memory?"""
    client = driver.make(host, events + 1000)
    driver.track(client, "u-1", "Order Completed", properties(0, 200))
    gc.collect()
    before = resident()
    for number in range(events):
        driver.track(client, "u-1", "Order Completed", properties(number, 200))
    return {"bytes/event": (resident() - before) / events}


def outage(driver: Driver, host: str, *, seconds: float) -> Measured:
    """A thousand events a second, from an outage's begin to after its end: how long is a call held up?"""
    client = driver.make(host, 100_000)
    longest, number, begin = 0, 0, time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds:
        if number / 1000 > now:
            time.sleep(0.0005)
            continue
        props = properties(number, 200)
        start = time.perf_counter_ns()
        driver.track(client, "u-1", "Order Completed", props)
        longest = max(longest, time.perf_counter_ns() - start)
        number += 1
    thread = threading.Thread(target=driver.flush, args=(client,), daemon=True)
    thread.start()
    thread.join(LATE)
    return {"events": number, "longest ms": longest / 1e6}


def idle(driver: Driver, host: str, *, seconds: float) -> Measured:
    """One event, and then nothing: what goes on?"""
    client = driver.make(host, 1000)
    driver.track(client, "u-1", "Order Completed", properties(0, 200))
    time.sleep(12)  # beyond every client's flush interval
    wakes, cpu = switches(), time.process_time()
    time.sleep(seconds)
    return {
        "wake-ups/s": (switches() - wakes - 1) / seconds,
        "CPU ms/s": (time.process_time() - cpu) / seconds * 1000,
        "threads": threading.active_count() - 1,
    }


def loop(driver: Driver, host: str, *, rate: int, seconds: float) -> Measured:
    """An asyncio application that records so many events a second: how late does its loop get?"""
    lags: list[int] = []

    async def main() -> None:
        client = driver.make(host, 100_000)
        over = time.perf_counter() + seconds

        async def heart() -> None:
            while time.perf_counter() < over:
                begin = time.perf_counter_ns()
                await asyncio.sleep(0.001)
                lags.append(max(0, time.perf_counter_ns() - begin - 1_000_000))

        beating = asyncio.create_task(heart())
        begin, number = time.perf_counter(), 0
        while (now := time.perf_counter()) < over:
            while number < (now - begin) * rate:
                driver.track(client, "u-1", "Order Completed", properties(number, 200))
                number += 1
            await asyncio.sleep(0)
        await beating
        await asyncio.to_thread(driver.flush, client)

    asyncio.run(main())
    lags.sort()
    return {"lag p50 ms": percentile(lags, 0.5) / 1000, "lag p99 ms": percentile(lags, 0.99) / 1000}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def switches() -> int:
    """How often threads of this process have begun to wait."""
    lines = [line for task in Path("/proc/self/task").iterdir() for line in (task / "status").read_text().split("\n")]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


SCENARIOS: dict[str, Callable[..., Measured]] = {
    "burst": burst, "queued": queued, "outage": outage, "idle": idle, "loop": loop,
}  # fmt: skip

if __name__ == "__main__":
    name, scenario, where, options = sys.argv[1:5]
    print(json.dumps(SCENARIOS[scenario](DRIVERS[name], where, **json.loads(options))), flush=True)
    os._exit(0)  # what a client does at the end of its process is another question
