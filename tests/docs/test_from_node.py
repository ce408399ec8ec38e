"""The table from Node to Python: every Python form in it runs."""

from __future__ import annotations

import ast
import asyncio
import atexit
import re
import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import urllib3

import millstream
from millstream._core.context import Context
from support.api import Api

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "from-node.md"
TEXT = PAGE.read_text()


def rows() -> Iterator[tuple[str, str]]:
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 2 and cells[0] not in {"Node", "---"}:
            yield cells[0], cells[1]


def runnable(cell: str) -> list[str]:
    """The code spans of a cell that are whole Python, and do more than name something."""
    return [code for code in re.findall(r"`([^`]+)`", cell) if does_something(code)]


def does_something(code: str) -> bool:
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return False
    return not (code.startswith("await") or all(is_name(node) for node in tree.body))


def is_name(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Name)


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


ROWS = [(node, code) for node, cell in rows() for code in runnable(cell)]


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def namespace(api: Api, monkeypatch: pytest.MonkeyPatch, private_key: str) -> Iterator[dict[str, Any]]:
    """What the page says is imported, and clients that talk to a server on loopback unless they say otherwise."""
    monkeypatch.setenv("MILLSTREAM_WRITE_KEY", "WRITE_KEY")
    monkeypatch.setenv("MILLSTREAM_HOST", api.url)
    made: list[millstream.Analytics] = []

    class Analytics(millstream.Analytics):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            made.append(self)

    names = {name: getattr(millstream, name) for name in millstream.__all__} | {"Analytics": Analytics}

    async def awaited() -> None:
        async with millstream.AsyncAnalytics() as client:
            await client.track("Invoked", user_id="u")

    yield names | {
        "analytics": Analytics(),
        "asyncio": asyncio,
        "atexit": atexit,
        "awaited": awaited,
        "context": Context(b'{"type":"track","event":"Seen"}', "id-1"),
        "datetime": datetime,
        "millstream": millstream,
        "plugin_a": millstream.enrichment(name="plugin_a")(lambda ctx: ctx),
        "plugin_b": millstream.after(name="plugin_b")(print),
        "private_key": private_key,
        "timezone": timezone,
        "unflushed": [],
        "urllib3": urllib3,
    }
    for analytics in made:
        analytics.close_and_flush(timeout=5)


@pytest.mark.parametrize(("node", "code"), ROWS, ids=[f"{node[:40]}: {code[:40]}" for node, code in ROWS])
def test_every_python_form_runs(node: str, code: str, namespace: dict[str, Any]):
    """The Python beside a piece of Node does what the row says, without an error."""
    namespace["analytics"].on("error", pytest.fail if "Big" not in code else print)
    exec(code, namespace)
    result = namespace["analytics"].close_and_flush(timeout=10)
    assert result.unsent == []


@pytest.fixture
def _handlers() -> Iterator[None]:
    """The samples may take over signals; the tests take them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("block", blocks())
def test_every_sample_runs(block: str, namespace: dict[str, Any], api: Api):
    """The samples of the page run as they stand, and what they record arrives."""
    exec(block, namespace)
    namespace["analytics"].track("After The Sample", user_id="u")
    namespace["analytics"].close_and_flush(timeout=10)
    expected = "after the sample" if "Lowercase" in block else "After The Sample"
    if "call_after_close" not in block:
        assert expected in [event.get("event") for event in api.events]
