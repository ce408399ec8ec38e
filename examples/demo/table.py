"""The audit, for people: what to look at first comes first, and it fits into 80 columns."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .audit import Audit

WIDTH_WITH_COSTS = 72


def show(console: Console, audit: Audit, data: Path) -> None:
    """Print the audit; `data` is where the demo has left its files."""
    console.print(_table(audit, with_costs=console.width >= WIDTH_WITH_COSTS))
    if audit.destinations:
        console.print(_destinations(audit))
    console.print(_facts(audit))
    console.print()
    for problem in audit.problems:
        console.print(Padding(Text(problem, "red"), (0, 2)))
    if audit.problems:
        console.print(f"  FAILED: see above, and the logs in {data}", style="bold red", soft_wrap=True)
    else:
        console.print("  Every event arrived, everywhere, and none twice.", style="bold green")
    console.print(f"\n  The events are in {data}/collector. One of them:", soft_wrap=True)
    console.print(
        f"  grep -hm1 'Order Completed' {data}/collector/events-*.jsonl | python3 -m json.tool\n", soft_wrap=True
    )


def _table(audit: Audit, *, with_costs: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, footer_style="bold")
    table.add_column("event", "all")
    for name, total in (
        ("recorded", audit.recorded),
        ("received", audit.received),
        ("lost", audit.lost),
        ("duplicates", audit.duplicates),
    ):
        table.add_column(name, f"{total:,}", justify="right")
    for name in ("p50 µs", "p99 µs") if with_costs else ():
        table.add_column(name, justify="right")
    for row in audit.rows:
        counts = [f"{count:,}" for count in (row.recorded, row.received, row.lost, row.duplicates)]
        costs = [f"{cost:.0f}" for cost in (row.p50, row.p99)]
        table.add_row(row.type, *counts, *(costs if with_costs else ()))
    return table


def _destinations(audit: Audit) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("destination")
    for name in ("expected", "received", "lost", "duplicates", "503s"):
        table.add_column(name, justify="right")
    for each in audit.destinations:
        counts = (each.expected, each.received, each.lost, each.duplicates, each.refused)
        table.add_row(each.name, *(f"{count:,}" for count in counts))
    return table


def _facts(audit: Audit) -> Table:
    track = next(row for row in audit.rows if row.type == "track")
    facts = Table.grid(padding=(0, 2), pad_edge=True)
    facts.add_column()
    facts.add_column(style="bold")
    for name, fact in (
        ("requests served", f"{audit.served:,} for {audit.sessions:,} visitors, in {audit.seconds:.1f} s"),
        ("events delivered", f"{audit.delivered:,} in {audit.batches:,} batches, {audit.retries:,} retries"),
        ("cost of track()", f"{track.p50:.1f} µs (p50), {track.p99:.1f} µs (p99)"),
        ("orders", f"{audit.orders:,} of {audit.revenue:,} EUR; their events say {audit.revenue_received:,} EUR"),
        ("in SQL", "DuckDB is not installed" if audit.in_sql is None else f"{audit.in_sql:,} events"),
    ):
        facts.add_row(name, fact)
    return facts
