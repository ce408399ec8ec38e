"""The code on the pages runs, against a real collector."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT, Page, page, pages

pytestmark = pytest.mark.process

RUNNING = [page for page in pages() if page.blocks("python") and page.path.name != "from-node.md"]  # has its own test
# Addresses that the pages show, because a reader has such ones and a test has not.
COLLECTORS = ("https://events.eu1.segmentapis.com", "https://collector.example.com", "http://127.0.0.1:7070")
PROXY = "proxy.example.com:8886"
MAY_STAND_STILL = 6
"""Blocks that are not run, in all pages together: few, or the reader is on their own."""


def script_of(page: Page, *, collector: str, proxy: str) -> str:
    """All of a page's Python, in order, each line under the number that it has on the page."""
    lines = [""] * page.text.count("\n")
    for block in page.blocks("python"):
        if not block.not_run:
            for number, line in enumerate(block.code.splitlines(), block.line - 1):
                lines[number] = line
    script = "\n".join(lines)
    for shown in COLLECTORS:
        script = script.replace(shown, collector)
    return script.replace(PROXY, proxy.removeprefix("http://"))


@pytest.mark.parametrize("page", RUNNING, ids=str)
def test_the_code_of_a_page_runs(page: Page, collector, proxy, tmp_path: Path):
    """What a page shows in Python can be run from top to bottom, and ends without an error."""
    file = tmp_path / page.path.with_suffix(".py").name.replace("-", "_")
    file.write_text(script_of(page, collector=collector.url, proxy=proxy.url))
    env = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    env |= {"PENSTOCK_WRITE_KEY": "key", "PENSTOCK_HOST": collector.url}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(file)],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{page}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{page}:\n{done.stderr}"


def test_the_first_code_a_reader_sees_delivers(collector, tmp_path: Path):
    """The example in the README delivers its four events, and says so."""
    readme = page("README.md")
    script = script_of(readme, collector=collector.url, proxy="")
    env = os.environ | {"PENSTOCK_HOST": collector.url}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.endswith(": 4 events delivered\n")
    assert [event["type"] for event in collector.events] == ["identify", "track", "page", "group"]


def test_the_readme_example_is_about_ten_lines():
    """The first example can be read at a glance."""
    (block,) = page("README.md").blocks("python")
    assert len(block.code.splitlines()) <= 10


def test_few_blocks_stand_still():
    """Code that no test runs is the exception, and each says why."""
    still = [f"{page}:{block.line}" for page in pages() for block in page.blocks("python") if block.not_run]
    assert len(still) <= MAY_STAND_STILL, still


def test_every_block_says_its_language():
    """A block without a language would escape the tests that run the others."""
    known = {"python", "sh", "json", "toml", "text"}
    assert [f"{page}:{block.line}" for page in pages() for block in page.blocks() if block.language not in known] == []


def test_proxies_are_really_used(collector, proxy, tmp_path: Path):
    """A proxy is used when it is named, and is told who asks where its URL says so."""
    shown = page("docs/how-to/proxies-and-tls.md")
    file = tmp_path / "through_a_proxy.py"
    file.write_text(script_of(shown, collector=collector.url, proxy=proxy.url))
    env = os.environ | {"PENSTOCK_WRITE_KEY": "key", "PENSTOCK_HOST": collector.url}
    subprocess.run([sys.executable, str(file)], env=env, cwd=tmp_path, timeout=50, check=True)
    assert ["proxy-authorization" in headers for headers in proxy.seen] == [False, True]
    assert [event["event"] for event in collector.events].count("Went Through A Proxy") == 2


def test_shell_commands_name_targets_that_exist():
    """`make something` on a page is something the Makefile can make."""
    makefile = (ROOT / "Makefile").read_text()
    for shown in pages():
        for block in shown.blocks("sh"):
            for line in block.code.splitlines():
                if line.startswith("make "):
                    assert f"\n{line.split()[1]}:" in makefile, f"{shown}: {line}"
