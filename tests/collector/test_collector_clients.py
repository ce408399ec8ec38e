"""The libraries that people have send here unchanged: only their host is another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from load import Process

from millstream.collector.request import source_of
from support.auth_server import pem
from support.needs import needs

pytestmark = pytest.mark.process

NODE = Path(__file__).parent / "node"
SIX = ["identify", "track", "page", "screen", "group", "alias"]


def stored(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(data.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, cwd=NODE)
    assert done.returncode == 0, done.stdout + done.stderr


def check(events: list[dict[str, Any]], key: str) -> None:
    """All six came whole, each once, at about this time."""
    assert [event["type"] for event in events] == SIX
    assert len({event["messageId"] for event in events}) == 6
    identify, track, page, screen, group, alias = events
    traits = identify.get("traits") or identify["context"]["traits"]  # where RudderStack's has them
    assert traits["name"] == "Michael Bolton"
    assert traits["created"].startswith("1970-01-01T00:00:00")
    assert track["event"] == "Item Purchased"
    assert track["properties"] == {"revenue": 39.95, "title": "Café ✓"}
    assert (page["name"], screen["name"], screen["anonymousId"]) == ("Docs", "Inbox", "a1")
    assert (group["groupId"], group["traits"]) == ("g1", {"plan": "free"})
    assert (alias["previousId"], alias["userId"]) == ("a1", "u1")
    now = datetime.now(timezone.utc)
    for event in events:
        assert event["sourceId"] == source_of(key)
        assert "writeKey" not in event
        when = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
        assert abs(when - now) < timedelta(minutes=2)


@pytest.fixture
def node() -> str:
    """Node, with the library installed; `make test` does that."""
    found = shutil.which("node")
    needs(found, "no Node found: apt-get install nodejs")
    needs((NODE / "node_modules").is_dir(), "Segment's library is not installed: npm ci --prefix tests/collector/node")
    return str(found)


def test_segments_node_library(node: str, tmp_path: Path) -> None:
    """`@segment/analytics-node`, which this project's library is modelled on."""
    with Process(tmp_path) as collector:
        run(node, NODE / "six_calls.mjs", collector.url)
        collector.end()
    check(stored(tmp_path), "node-key")


def test_segments_node_library_with_oauth(node: str, tmp_path: Path) -> None:
    """It gets its token here, too: another implementation of the same protocol as ours."""
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "private.pem").write_text(pem(key))
    (tmp_path / "app.public.pem").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    data = tmp_path / "data"
    with Process(data, "--oauth-key", f"app/key1={tmp_path}/app.public.pem") as collector:
        run(node, NODE / "six_calls.mjs", collector.url, "app", "key1", tmp_path / "private.pem")
        collector.end()
    check(stored(data), "node-key")


CALLS = """
import datetime, importlib, sys
host, library, packed = sys.argv[1:]
failed = []
note = lambda error, _: failed.append(error)
client = importlib.import_module(library).Client("python-key", host=host, gzip=packed == "gzip", on_error=note)
client.identify("u1", traits={"name": "Michael Bolton", "created": datetime.datetime(1970, 1, 1)})
client.track("u1", "Item Purchased", properties={"revenue": 39.95, "title": "Café ✓"})
client.page("u1", "Node", "Docs")
client.screen(None, None, "Inbox", anonymous_id="a1")
client.group("u1", "g1", traits={"plan": "free"})
client.alias("a1", "u1")
client.flush()
client.join()
assert not failed, failed
"""


@pytest.mark.parametrize(
    ("library", "packed"), [("segment.analytics.client", "gzip"), ("rudderstack.analytics.client", "plain")]
)
def test_segments_python_library_and_rudderstacks(library: str, packed: str, tmp_path: Path) -> None:
    """`segment-analytics-python` and `rudder-sdk-python`, one with compression and one without."""
    with Process(tmp_path) as collector:
        run(sys.executable, "-c", CALLS, collector.url, library, packed)
        collector.end()
    check(stored(tmp_path), "python-key")
