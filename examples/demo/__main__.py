"""Run the demo: 0 if every event arrived once, 1 if not, 130 if it was interrupted."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import table
from .audit import Audit, audit, count_destinations, count_in_sql, drain, events_in
from .children import ROOT, Child, DemoError, interruptible
from .destinations import StandIn, configuration
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
            keep = _keep(console, options.data) if options.keep else None
            found = run(console, _emptied(options.data), sessions=options.sessions, seed=options.seed, keep=keep)
    except DemoError as exc:
        print(f"FAILED: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the shop and the collector are stopped", file=sys.stderr)
        return 130
    if keep is None:
        table.show(console, found, _shown(options.data))
    if options.json:
        options.json.write_text(json.dumps(asdict(found), default=str, indent=2))
    return 1 if found.problems else 0


def run(console: Console, data: Path, *, sessions: int, seed: int, keep: Callable[[Audit], None] | None) -> Audit:
    """A collector with its destinations, a shop that sends to it, visitors. What all of them have is counted."""
    store, report, second = data / "collector", data / "shop.json", data / "second"
    with ExitStack() as stack:
        another = stack.enter_context(Child("second collector", *_serve(second), log=data / "second.log"))
        webhook, mixpanel = (stack.enter_context(StandIn(name)) for name in ("webhook", "mixpanel"))
        urls = {"webhook": webhook.url, "mixpanel": mixpanel.url, "second": another.start(until=COLLECTOR)}
        config = configuration(data / "collector.toml", store, **urls)
        collector = stack.enter_context(
            Child("collector", *_serve(store), "--config", str(config), log=data / "collector.log")
        )
        host = collector.start(until=COLLECTOR)
        console.print(f"  collector  {host}")
        with _shop(data, MILLSTREAM_HOST=host, MILLSTREAM_WRITE_KEY="shop", SHOP_REPORT=str(report)) as shop:
            url = shop.start(until=r"Uvicorn running on (http://\S+)")
            console.print(f"  shop       {url}")
            mixpanel.down = True  # for the first half of the visits
            traffic = _drive(console, url, sessions, seed, mixpanel)
            shop.stop(codes=(0, STOPPED_BY_SIGNAL))
        if not report.exists():
            raise shop.error("wrote no report when it stopped")
        drained = drain(store)
        found = audit(
            traffic,
            json.loads(report.read_text()),
            events_in(store),
            count_destinations(store, second, webhook.received, mixpanel.received),
            count_in_sql(store),
        )
        found.problems.extend(drained)
        if keep is not None:
            keep(found)
        collector.stop()
        another.stop()
    return found


COLLECTOR = r"millstream collector: (http://\S+)"


def _serve(store: Path) -> tuple[str, ...]:
    return "millstream", "serve", "--port", "0", "--data", str(store)


def _shop(data: Path, **environment: str) -> Child:
    options = ("--port", "0", "--no-access-log", "--timeout-keep-alive", "60")
    return Child("shop", "uvicorn", "examples.shop.app:app", *options, log=data / "shop.log", **environment)


def _drive(console: Console, url: str, sessions: int, seed: int, mixpanel: StandIn) -> Traffic:
    columns = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("visitors ", total=sessions)
        deadline = 60 + sessions / 5

        def on_visit() -> None:
            progress.advance(task)
            mixpanel.down = progress.tasks[task].completed < sessions / 2

        return drive(url, sessions=sessions, seed=seed, seconds=deadline, on_visit=on_visit)


def _keep(console: Console, data: Path) -> Callable[[Audit], None]:
    """Return what shows the counts, and leaves the collector running until it is interrupted."""

    def keep(found: Audit) -> None:
        table.show(console, found, _shown(data))
        with suppress(KeyboardInterrupt):
            console.print("  The collector and its destinations are still there: look at its page. Ctrl-C ends them.")
            # In short waits: a signal between Python's last look for one and the wait is handled after it.
            while not threading.Event().wait(0.2):
                pass

    return keep


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=sys.modules[__package__].__doc__)
    parser.add_argument("--sessions", type=int, default=400, help="visitors, in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="other seeds bring other visitors")
    parser.add_argument("--data", type=Path, default=DATA, help="an empty directory (default: demo-data, emptied)")
    parser.add_argument("--keep", action="store_true", help="leave the collector running until Ctrl-C")
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
