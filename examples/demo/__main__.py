"""Run the demo: 0 if every event arrived once, 1 if not, 130 if it was interrupted."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import table
from .audit import Audit, audit, events_in
from .children import ROOT, Child, DemoError, interruptible
from .traffic import Traffic, drive

DATA = ROOT / "demo-data"
STOPPED_BY_SIGNAL = -signal.SIGTERM
"""How uvicorn ends after it has shut down in good order: it passes the signal on."""


def main() -> int:
    options = _options()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for a terminal that has no µ
    console = Console(highlight=False)
    try:
        with interruptible():
            found = run(console, _emptied(options.data), sessions=options.sessions, seed=options.seed)
    except DemoError as exc:
        print(f"FAILED: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the shop and the collector are stopped", file=sys.stderr)
        return 130
    table.show(console, found, _shown(options.data))
    if options.json:
        options.json.write_text(json.dumps(asdict(found), default=str, indent=2))
    return 1 if found.problems else 0


def run(console: Console, data: Path, *, sessions: int, seed: int) -> Audit:
    """A collector, a shop that sends to it, visitors; then both are stopped, and what is left is counted."""
    store, report = data / "collector", data / "shop.json"
    serve = Child("collector", "millstream", "serve", "--port", "0", "--data", str(store), log=data / "collector.log")
    with serve as collector:
        host = collector.start(until=r"millstream collector: (http://\S+)")
        console.print(f"  collector  {host}")
        with _shop(data, MILLSTREAM_HOST=host, MILLSTREAM_WRITE_KEY="shop", SHOP_REPORT=str(report)) as shop:
            url = shop.start(until=r"Uvicorn running on (http://\S+)")
            console.print(f"  shop       {url}")
            traffic = _drive(console, url, sessions, seed)
            shop.stop(codes=(0, STOPPED_BY_SIGNAL))
        collector.stop()
    if not report.exists():
        raise shop.error("wrote no report when it stopped")
    return audit(traffic, json.loads(report.read_text()), events_in(store))


def _shop(data: Path, **environment: str) -> Child:
    options = ("--port", "0", "--no-access-log", "--timeout-keep-alive", "60")
    return Child("shop", "uvicorn", "examples.shop.app:app", *options, log=data / "shop.log", **environment)


def _drive(console: Console, url: str, sessions: int, seed: int) -> Traffic:
    columns = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("visitors ", total=sessions)
        deadline = 60 + sessions / 5
        return drive(url, sessions=sessions, seed=seed, seconds=deadline, on_visit=lambda: progress.advance(task))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=sys.modules[__package__].__doc__)
    parser.add_argument("--sessions", type=int, default=400, help="visitors, in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="other seeds bring other visitors")
    parser.add_argument("--data", type=Path, default=DATA, help="an empty directory (default: demo-data, emptied)")
    parser.add_argument("--json", type=Path, help="write the counts to this file, too")
    return parser.parse_args()


def _emptied(folder: Path) -> Path:
    """The directory, empty. Only the demo's own is emptied: any other might hold something of value."""
    if folder == DATA:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise DemoError(f"{folder} is not empty")
    return folder.resolve()


def _shown(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


if __name__ == "__main__":
    sys.exit(main())
