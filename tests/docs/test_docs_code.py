"""The code on the pages runs, against a real collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT, Page, page, pages

from millstream.warehouse import query

pytestmark = pytest.mark.process

ELSEWHERE = "how-to/frameworks"  # these have tests of their own: with their frameworks, in tests/frameworks
RUNNING = [
    page
    for page in pages()
    if page.blocks("python") and page.path.name != "from-node.md" and ELSEWHERE not in page.path.as_posix()
]
# Addresses that the pages show, because a reader has such ones and a test has not.
COLLECTORS = ("https://events.eu1.segmentapis.com", "https://collector.example.com", "http://127.0.0.1:7070")
PROXY = "proxy.example.com:8886"
MAY_STAND_STILL = 8
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


def stored(directory: Path) -> None:
    """Fill a collector's directory with what the pages speak of."""
    users = [{"type": "identify", "userId": f"u{n}", "traits": {"email": f"u{n}@example.com"}} for n in (1, 2)]
    signed_up = [{"type": "track", "event": "Signed Up", "userId": f"u{n}"} for n in (1, 2)]
    properties = {"revenue": 39.95, "coupon": "MAY", "products": [{"sku": "a"}, {"sku": "b"}]}
    ordered = {"type": "track", "event": "Order Completed", "userId": "u1", "properties": properties}
    directory.mkdir(exist_ok=True)
    with (directory / "events-00000000000000000000.jsonl").open("w") as file:
        for number, event in enumerate([*users, *signed_up, ordered]):
            when = f"2026-01-02T12:0{number}:00.000Z"
            file.write(json.dumps({**event, "messageId": f"m{number}", "timestamp": when, "receivedAt": when}) + "\n")


@pytest.mark.parametrize("page", RUNNING, ids=str)
def test_the_code_of_a_page_runs(page: Page, collector, proxy, tmp_path: Path):
    """What a page shows in Python can be run from top to bottom, and ends without an error."""
    file = tmp_path / page.path.with_suffix(".py").name.replace("-", "_")
    script = script_of(page, collector=collector.url, proxy=proxy.url)
    file.write_text(script)
    stored(tmp_path / "millstream-data")
    env = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    env |= {"MILLSTREAM_WRITE_KEY": "key", "MILLSTREAM_HOST": collector.url}
    env.pop("MILLSTREAM_ON_INVALID", None)  # set by our plugin of pytest; the code on a page has the default
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "\ndef test_" in script else []
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *runner, str(file)],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{page}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{page}:\n{done.stderr}"


def test_the_first_code_a_reader_sees_delivers(collector, tmp_path: Path):
    """The examples in the README deliver their two and four events, and the second says so."""
    readme = page("README.md")
    script = script_of(readme, collector=collector.url, proxy="")
    env = os.environ | {"MILLSTREAM_HOST": collector.url}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.endswith(": 4 events delivered\n")
    assert [event["type"] for event in collector.events] == ["identify", "track"] * 2 + ["page", "group"]


def test_few_blocks_stand_still():
    """Code that no test runs is the exception, and each says why."""
    still = [f"{page}:{block.line}" for page in pages() for block in page.blocks("python") if block.not_run]
    assert len(still) <= MAY_STAND_STILL, still


@pytest.mark.parametrize("shown", [page for page in pages() if page.blocks("sql")], ids=str)
def test_the_questions_on_a_page_have_answers(shown: Page, tmp_path: Path):
    """What a page shows in SQL finds something in a store that has such events."""
    stored(tmp_path)
    for block in shown.blocks("sql"):
        with query(tmp_path, block.code) as result:
            assert list(result), f"{shown}:{block.line}"


def test_every_block_says_its_language():
    """A block without a language would escape the tests that run the others."""
    known = {"python", "sh", "json", "toml", "text", "sql", "ini", "dockerfile"}
    assert [f"{page}:{block.line}" for page in pages() for block in page.blocks() if block.language not in known] == []


def test_proxies_are_really_used(collector, proxy, tmp_path: Path):
    """A proxy is used when it is named, and is told who asks where its URL says so."""
    shown = page("docs/how-to/proxies-and-tls.md")
    file = tmp_path / "through_a_proxy.py"
    file.write_text(script_of(shown, collector=collector.url, proxy=proxy.url))
    env = os.environ | {"MILLSTREAM_WRITE_KEY": "key", "MILLSTREAM_HOST": collector.url}
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
