"""`make demo` as somebody meets it who has just cloned the repository: a real shop, real traffic, a real collector."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "examples.demo"]


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def is_open(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port)) == 0


def test_every_event_of_a_small_run_is_counted_at_both_ends(tmp_path: Path) -> None:
    """What the shop recorded is what the collector has on disk, and the printed totals are those."""
    data, counts = tmp_path / "data", tmp_path / "counts.json"
    done = run("--sessions", "20", "--data", str(data), "--json", str(counts))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = json.loads(counts.read_text())
    recorded = sum(row["recorded"] for row in found["rows"])
    assert found["problems"] == []
    assert recorded > 100
    assert recorded == found["delivered"] == sum(row["received"] for row in found["rows"])
    assert recorded == sum(len(file.read_bytes().splitlines()) for file in (data / "collector").glob("events-*.jsonl"))
    assert found["in_sql"] in {recorded, None}
    assert found["requests"] == found["served"] > 80
    assert re.search(rf"all +{recorded:,} +{recorded:,} +0 +0", done.stdout)
    assert "Every event arrived, everywhere, and none twice." in done.stdout


def test_three_destinations_get_every_event_once_though_one_was_down(tmp_path: Path) -> None:
    """A webhook, a second collector and Mixpanel's stand-in get what is stored; the last one after it was down."""
    counts = tmp_path / "counts.json"
    done = run("--sessions", "20", "--data", str(tmp_path / "data"), "--json", str(counts))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    destinations = {each["name"]: each for each in json.loads(counts.read_text())["destinations"]}
    assert set(destinations) == {"webhook", "second", "mixpanel"}
    for each in destinations.values():
        assert each["expected"] == each["received"] > 100
        assert (each["lost"], each["duplicates"], each["problems"]) == (0, 0, [])
    assert destinations["mixpanel"]["refused"] > 0


def test_with_keep_the_collector_stays_until_it_is_interrupted(tmp_path: Path) -> None:
    """With --keep the counts are shown while everything still runs, and Ctrl-C ends all of it."""
    command = [*DEMO, "--sessions", "5", "--keep", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout
        url = demo.stdout.readline().split()[-1]
        assert any("still there" in line for line in iter(demo.stdout.readline, ""))
        assert is_open(url)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    assert not is_open(url)


def test_its_output_fits_into_80_columns(tmp_path: Path) -> None:
    """Piped, without a terminal to ask for its width, no line but those with the reader's own paths is longer."""
    lines = run("--sessions", "5", "--data", str(tmp_path / "data")).stdout.splitlines()
    assert len(lines) > 15
    assert [line for line in lines if len(line) > 80 and str(tmp_path) not in line] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path, number: int) -> None:
    """Ctrl-C in the middle of the traffic stops the shop and the collector before the demo itself ends."""
    command = [*DEMO, "--sessions", "5000", "--data", str(tmp_path / "data")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as demo:
        assert demo.stdout
        urls = [demo.stdout.readline().split()[-1] for _ in ("collector", "shop")]
        assert all(is_open(url) for url in urls)
        demo.send_signal(number)
        _, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (130, "interrupted; the shop and the collector are stopped\n")
    assert not any(is_open(url) for url in urls)


def test_a_child_that_does_not_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    """Who watches reads what is wrong, not a traceback of the demo."""
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('no uvicorn today')")
    done = run("--sessions", "5", "--data", str(tmp_path / "data"), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "FAILED: the second collector did not start (exit code 1)" in done.stderr
    assert "no uvicorn today" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """The demo empties its own directory, and no other."""
    (tmp_path / "diary.txt").write_text("dear diary")
    done = run("--data", str(tmp_path))
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert (tmp_path / "diary.txt").read_text() == "dear diary"
