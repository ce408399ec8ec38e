"""What each client loses when its process ends without a flush, and when it is killed.

    python -m benchmarks.peers.loss

Measured are the clients that are installed in the environment that runs this.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .drivers import Millstream, PostHog, Rudder, Segment

EVENTS = 1000
SINK = Path(__file__).with_name("sink.py")
CLIENTS: dict[str, Any] = {"millstream": Millstream, "segment": Segment, "rudderstack": Rudder, "posthog": PostHog}


def child(name: str, how: str, host: str, spool: str) -> None:
    """Record events and end: without a flush, or by SIGKILL. `next` is the start after that: nothing but a flush."""
    driver: Any = Millstream(spool=spool) if spool else CLIENTS[name]()
    client = driver.make(host, EVENTS + 1)
    if how == "next":
        driver.flush(client)
        return
    for n in range(EVENTS):
        driver.track(client, f"user-{n}", "Item Purchased", {"revenue": 39.95, "n": n})
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    sink = subprocess.Popen([sys.executable, str(SINK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert sink.stdin is not None
    assert sink.stdout is not None
    host = f"http://127.0.0.1:{json.loads(sink.stdout.readline())['port']}"

    def ask(what: str) -> dict[str, int]:
        sink.stdin.write(json.dumps({"do": what}) + "\n")  # type: ignore[union-attr]
        sink.stdin.flush()  # type: ignore[union-attr]
        answer: dict[str, int] = json.loads(sink.stdout.readline())  # type: ignore[union-attr]
        return answer

    installed = [name for name, driver in CLIENTS.items() if importlib.util.find_spec(driver.module.partition(".")[0])]
    print(f"{'':24}{'lost at exit':>14}{'lost at SIGKILL':>17}   of {EVENTS:,} events")
    for name, spooled in [("millstream", True), *((name, False) for name in installed)]:
        lost = []
        for how in ("exit", "killed"):
            ask("reset")
            with tempfile.TemporaryDirectory() as folder:
                for step in (how, "next") if spooled else (how,):
                    command = [sys.executable, "-m", __spec__.name, name, step, host, folder if spooled else ""]
                    subprocess.run(command, check=False, timeout=120)
            before, came = -1, 0
            while came > before:  # what is in the sink's sockets has arrived
                time.sleep(0.5)
                before, came = came, ask("report")["events"]
            lost.append(EVENTS - came)
        print(f"{name + (', spool' if spooled else ''):24}{lost[0]:>14,}{lost[1]:>17,}")
    sink.kill()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(*sys.argv[1:])
    else:
        main()
