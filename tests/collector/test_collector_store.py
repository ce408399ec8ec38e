"""The file of JSON lines: all of a request or nothing of it, and never two lines in one."""

from __future__ import annotations

import errno
import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.collector import JSONLines
from penstock.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As on a full disk: the system takes what fits, then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JSONLines]:
    store = JSONLines(tmp_path / "made" / "here")
    yield store
    store.close()


def test_lines_are_appended_in_order(store: JSONLines) -> None:
    """Each line ends with a line break, and what is returned from is in the file."""
    store.append([b'{"a":1}', b'{"a":2}'])
    store.append([b'{"a":3}'])
    assert store.path.read_bytes() == b'{"a":1}\n{"a":2}\n{"a":3}\n'
    assert store.path.name.startswith("events-")
    assert store.path.suffix == ".jsonl"


def test_a_write_that_fails_half_way_leaves_nothing_behind(store: JSONLines) -> None:
    """A disk that fills up in the middle of a request costs that request, not the lines around it."""
    store.append([b"before"])
    with file_size_limit(10), pytest.raises(OSError, match=r".*") as caught:
        store.append([b"x" * 20, b"y" * 20])
    assert caught.value.errno == errno.EFBIG
    assert store.path.read_bytes() == b"before\n"
    store.append([b"after"])
    assert store.path.read_bytes() == b"before\nafter\n"


def test_stores_in_one_directory_do_not_share_a_file(tmp_path: Path) -> None:
    """Two collectors on one directory must not cut off each other's lines."""
    stores = [JSONLines(tmp_path) for _ in range(3)]
    for number, store in enumerate(stores):
        store.append([b"%d" % number])
        store.close()
    assert len({store.path for store in stores}) == 3
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"0\n", b"1\n", b"2\n"]


def test_lines_of_many_threads_do_not_mix(store: JSONLines) -> None:
    """One store may be used from several threads: each request's lines stay together."""

    def write(name: bytes) -> None:
        for _ in range(50):
            store.append([name * 400, name * 400])

    threads = [threading.Thread(target=write, args=(name,)) for name in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = store.path.read_bytes().splitlines()
    assert len(lines) == 400
    assert {len(line) for line in lines} == {400}
    assert all(first == second for first, second in zip(lines[::2], lines[1::2], strict=True))


def test_a_directory_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    """It is a setting that is wrong, known when the collector is made and not at the first event."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot keep events in .*file/below: Not a directory"):
        JSONLines(tmp_path / "file" / "below")


def test_a_closed_store_refuses(store: JSONLines) -> None:
    """After `close` nothing is written into whatever file has the number now."""
    store.close()
    store.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        store.append([b"late"])
