"""The numbers as a page, with what they mean and what they do not."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from .charts import bars, lines, short
from .questions import QUESTIONS, SCALING, Question

__all__ = ["Results", "write"]

Answers = dict[str, dict[str, float]]


@dataclass
class Results:
    """What was measured: for each question, for each client."""

    pythons: Mapping[str, Path]
    answers: dict[str, Answers] = field(default_factory=dict[str, Answers])
    scaled: dict[str, dict[str, list[tuple[float, float, float]]]] = field(default_factory=dict)
    imports: Answers = field(default_factory=dict[str, dict[str, float]])

    def table(self, question: Question) -> str:
        """The answers to one question."""
        return table(self.answers[question.title], question.columns)


def table(answers: Answers, columns: tuple[str, ...]) -> str:
    """Clients down, numbers across."""
    rows = [f"| | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, measured in answers.items():
        cells = [short(measured[column]) if column in measured else "–" for column in columns]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def write(results: Results, where: Path) -> None:
    """The page and its pictures."""
    first = results.answers[QUESTIONS[0].title]
    pictures = {
        "calls": bars("Calls per second, one thread", "", {k: v["calls/s"] for k, v in first.items()}),
        "cpu": bars("CPU for each delivered event", "µs", {k: v["CPU µs"] for k, v in first.items()}),
    }
    for number, scale in enumerate(SCALING):
        series = {name: [(x, y) for x, y, _ in line] for name, line in results.scaled[scale.title].items()}
        pictures[f"scale-{number}"] = lines(scale.title, scale.axis, "µs", series)
    folder = where / "performance"
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture)
    (where / "performance.md").write_text(page(results))


def page(results: Results) -> str:
    """The text."""
    parts = [
        "# Performance",
        "What calls and deliveries cost, beside other clients, in one run on one machine."
        " The whole page is written by `make bench`, which installs the others into environments of their own.",
        f"Measured on {datetime.now(timezone.utc):%Y-%m-%d}: {machine()}.",
        "| client | version |\n| --- | --- |\n"
        + "\n".join(f"| {name} | {version(name, python)} |" for name, python in results.pythons.items()),
        "`least` is no library: the least code that could work, without validation, limits, retries or receipts,"
        " over one raw socket. It shows what the machine allows.",
        "Clients have their default settings, but for a queue in which all events have room."
        " `millstream, spool` has every event on disk before its call returns;"
        " `millstream, plugins` has a plugin of each of the five types, and a callback on every event.",
        "![Calls per second](performance/calls.svg)",
        "![CPU for each event](performance/cpu.svg)",
    ]
    for question in QUESTIONS:
        parts += [f"## {question.title}", question.why, results.table(question)]
    parts += ["## Import", "What `import` takes in a fresh process, until a client can be made.",
              table(results.imports, ("import ms", "modules"))]  # fmt: skip
    parts += [
        "## How cost grows",
        "The CPU of the whole process for each event, as the work grows."
        " A flat line is what one wants: a queue that is long, or read by many, costs no more for each event.",
    ]
    for number, scale in enumerate(SCALING):
        parts.append(f"![{scale.title}](performance/scale-{number}.svg)")
        peaks = {
            name: f"{short(line[0][2])} to {short(line[-1][2])} MB"
            for name, line in results.scaled[scale.title].items()
        }
        parts.append(
            "Peak memory, from the first to the last: " + ", ".join(f"{k} {v}" for k, v in peaks.items()) + "."
        )
    parts += [
        "## Method, and what this does not show",
        "The client has one core to itself, the server another; both talk over loopback. Every number is the median of"
        " several runs (of one, for outages, memory and idle clients), and the clients take turns, so that a busy"
        " moment is everybody's. Times of a call include the interpreter's switches to the client's own threads.",
        "Loopback has no latency, unless the question adds some: real networks make requests slower and large batches"
        " more worth it. Peers do different things in a call: one that queues the event as it is encodes it later,"
        " on its own thread, and sees what the caller has changed meanwhile. Numbers of other machines differ;"
        " the ratios hold better.",
        "On a machine that others share, the same code takes half as much again in one process as in the next, by where"
        " its memory comes to lie in the caches: differences of less than that mean nothing.",
        "Where a call's time goes, what was tried, and what is in the way of more:"
        " [what a call costs](../decisions/0022-measure-each-step-of-a-call-and-keep-the-fastest.md),"
        " [one look is compiled](../decisions/0023-compile-the-check-for-plain-values-optionally.md),"
        " [plain HTTP libraries](../decisions/0030-send-through-the-public-api-of-urllib3-and-aiohttp.md)."
        " With plugins, there are four hooks and two contexts for each event:"
        " [keep no generator while an event waits for its outcome]"
        "(../decisions/0027-keep-no-generator-while-an-event-waits-for-its-outcome.md).",
    ]
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """What this was measured on."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def version(name: str, python: Path) -> str:
    """Of the package, as pip knows it."""
    package = {"millstream": "millstream", "segment": "segment-analytics-python", "rudderstack": "rudder-sdk-python",
               "posthog": "posthog", "least": "orjson"}[name]  # fmt: skip
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    versions = {each["name"].lower(): each["version"] for each in json.loads(out)}
    return f"{package} {versions[package]}"
