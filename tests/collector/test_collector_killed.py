"""Real processes, killed and starved: whatever was answered 200 is on the disk, once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from load import Load, Process, stored

from support.ports import reserved_port

pytestmark = pytest.mark.process


def wait_for(load: Load, batches: int) -> None:
    for _ in range(batches):
        assert load.enough.acquire(timeout=30), "nothing is answered any more"


@pytest.mark.timeout(120)
def test_a_collector_killed_under_load_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """Four times SIGKILL, and a new start on the same directory and port; clients repeat what was not answered."""
    with reserved_port() as port:
        collector = Process(tmp_path, port=port)
        load = Load(port)
        try:
            for _ in range(4):
                wait_for(load, 30)
                assert collector.end(signal.SIGKILL)[0] == -signal.SIGKILL
                collector = Process(tmp_path, port=port)
            wait_for(load, 30)
            load.stop()
            code, said, _ = collector.end()
        finally:
            load.stop()
            collector.__exit__(None, None, None)
    assert code == 0
    assert "stopped; requests: " in said
    counts = Counter(stored(tmp_path))
    assert set(load.answered) <= counts.keys()
    assert {each for each, count in counts.items() if count > 1} == set()
    assert load.statuses == {200, 0}


@pytest.mark.timeout(120)
def test_a_collector_stopped_under_load_finishes_what_it_has_begun(tmp_path: Path) -> None:
    """SIGTERM: what is answered is on the disk, and nobody gets half an answer."""
    with Process(tmp_path) as collector:
        load = Load(collector.port)
        wait_for(load, 50)
        code, said, err = collector.end()
        load.stop()
    assert (code, err) == (0, "")
    kept = stored(tmp_path)
    assert set(load.answered) <= set(kept)
    assert f"events stored: {len(kept):,}," in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False).returncode
    ):
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.timeout(120)
def test_a_full_disk_is_503_until_there_is_room(small_disk: Path) -> None:
    """While it is full nothing is promised; when there is room all goes on, with not a line torn, lost or doubled."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 400_000)
    with Process(small_disk) as collector:
        load = Load(collector.port, clients=4)
        try:
            while 503 not in load.statuses:
                load.enough.acquire(timeout=0.1)
            filler.unlink()
            while load.enough.acquire(blocking=False):
                pass
            wait_for(load, 8)
        finally:
            load.stop()
        code, said, _ = collector.end()
    assert code == 0
    assert "not stored: " in said
    kept = stored(small_disk)
    assert len(kept) == len(set(kept))
    assert set(load.answered) <= set(kept)
