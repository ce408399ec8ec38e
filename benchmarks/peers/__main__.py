"""Makes the environments, asks the questions, and writes the page. See `--help`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .drivers import DRIVERS
from .page import Results, write
from .questions import QUESTIONS, SCALING, Question

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
PACKAGES = {
    "millstream": ["--editable", f"{ROOT}[async]"],
    "segment": ["segment-analytics-python==2.4.0"],
    "rudderstack": ["rudder-sdk-python==2.1.9"],
    "posthog": ["posthog==7.91.1"],
    "least": ["orjson==3.13.0"],
}
"""What is installed for each client, in an environment of its own."""
SHORTEST = 0.05
"""The share of a question's events that `--quick` asks for."""


@dataclass
class Sink:
    """The server, in a process of its own."""

    process: subprocess.Popen[str]
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self._read()['port']}"

    def do(self, what: str, **how: Any) -> dict[str, Any]:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **how}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said


@contextmanager
def sink() -> Iterator[Sink]:
    """Serve, on the second core if there is one."""
    command = [sys.executable, str(HERE / "sink.py")]
    process = subprocess.Popen(pinned(command, 1), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Sink(process)
    finally:
        process.kill()
        process.communicate()


def pinned(command: list[str], core: int) -> list[str]:
    """The command, on one core alone, where that can be said."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return command if len(cores) < 2 else ["taskset", "-c", str(cores[core]), *command]


def environments(where: Path) -> dict[str, Path]:
    """An interpreter for each client; made if they are missing."""
    found = {}
    for name, packages in PACKAGES.items():
        python = where / name / "bin" / "python"
        if not (where / name / "ready").exists():
            print(f"installing {' '.join(packages)}", file=sys.stderr)
            venv.create(where / name, with_pip=True, clear=True)
            quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([str(python), *quiet, *packages], check=True)
            (where / name / "ready").touch()
        found[name] = python
    return found


def run(python: Path, driver: str, question: Question, at: Sink) -> dict[str, float]:
    """One process, once."""
    at.do("reset")
    at.do("behave", **question.sink)
    module = [str(python), "-m", "benchmarks.peers.client"]
    command = pinned([*module, driver, question.scenario, at.url, json.dumps(question.options)], 0)
    # What the others log of an outage, a line for each event, is not shown.
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if question.outage:
        time.sleep(question.outage)
        at.do("behave")
    out, _ = process.communicate(timeout=300)
    if process.returncode or not out:
        raise RuntimeError(f"{driver} failed at {question.title!r}")
    measured: dict[str, float] = json.loads(out.splitlines()[-1])
    came = at.do("report") if question.checked or question.outage else {}
    at.do("behave")
    if question.checked and came["events"] != question.options["events"]:
        measured["lost"] = question.options["events"] - came["events"]
    if question.outage:
        measured["lost"] = measured["events"] - came["events"]
    return measured


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each.get(key, 0.0) for each in runs) for key in {k for each in runs for k in each}}


def imports(pythons: Mapping[str, Path], runs: int) -> dict[str, dict[str, float]]:
    """How long `import` takes, and how many modules come with it; in processes of their own."""
    code = "import sys,time;b=len(sys.modules);t=time.perf_counter();import %s;from %s import *;"
    code += "print((time.perf_counter()-t)*1000,len(sys.modules)-b)"
    found = {}
    for name in ("millstream", "segment", "rudderstack", "posthog"):
        module = DRIVERS[name].module
        command = [str(pythons[name]), "-c", code.replace("from %s import *;", "") % module]
        if name == "millstream":  # its names are loaded when they are first used: then
            command[-1] = code.replace("import *", "import Analytics") % (module, module)
        out = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(runs)]
        found[name] = {
            "import ms": statistics.median(float(ms) for ms, _ in out),
            "modules": float(out[0][1]),
        }
    return found


def main() -> None:
    """Ask everything, in turns, and write what came."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="times that each question is asked; medians are shown")
    parser.add_argument("--quick", action="store_true", help="few events, one run, nothing written: does it work?")
    parser.add_argument("--environments", type=Path, default=ROOT / ".bench", help="where they are, or are made")
    chosen = parser.parse_args()
    pythons = environments(chosen.environments)
    runs = 1 if chosen.quick else chosen.runs
    results = Results(pythons)
    with sink() as at:
        for question in QUESTIONS:
            asked = shorter(question) if chosen.quick else question
            found: dict[str, list[dict[str, float]]] = {name: [] for name in asked.drivers}
            for _ in range(1 if asked.once else runs):  # in turns, so that a busy moment is everybody's
                for name in asked.drivers:
                    found[name].append(run(pythons[name.partition(",")[0]], name, asked, at))
            results.answers[question.title] = {name: median(each) for name, each in found.items()}
            print(results.table(question), flush=True)
        for scale in SCALING:
            for name in scale.drivers:
                for value in scale.values[: 2 if chosen.quick else None]:
                    if value <= scale.most.get(name, value):
                        options = {"events": 20_000, **scale.options, scale.option: value}
                        asked = Question(scale.title, "", "burst", (), options, checked=False)
                        measured = run(pythons[name.partition(",")[0]], name, asked, at)
                        results.scaled.setdefault(scale.title, {}).setdefault(name, []).append(
                            (value, measured["CPU µs"], measured["peak MB"])
                        )
            print(scale.title, results.scaled[scale.title], flush=True)
    results.imports = imports(pythons, 1 if chosen.quick else 7)
    if not chosen.quick:
        write(results, ROOT / "docs" / "explanation")


def shorter(question: Question) -> Question:
    """The same with few events, to see whether it works."""
    options = {
        key: max(1, int(value * SHORTEST)) if key == "events" else value for key, value in question.options.items()
    }
    return Question(**{**vars(question), "options": options})


if __name__ == "__main__":
    main()
