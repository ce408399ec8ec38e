"""The plugin of pytest, in a test run of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.process


def run(folder: Path, source: str, *options: str, on_invalid: str = "") -> tuple[int, str]:
    (folder / "test_it.py").write_text(dedent(source))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *options]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env.pop("MILLSTREAM_ON_INVALID", None)  # set by the plugin in the process of this test
    if on_invalid:
        env["MILLSTREAM_ON_INVALID"] = on_invalid
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_fixtures_are_there(tmp_path: Path) -> None:
    """Without a conftest, without an import; each test has its own."""
    code, said = run(
        tmp_path,
        """
        from millstream import Analytics

        def test_a_whole_collector(collector):
            Analytics("key", host=collector.url, flush_at=1).track("Paid", user_id="u1")
            assert collector.wait_for("Paid", timeout=20)["userId"] == "u1"

        def test_another_one(collector, capture):
            assert collector.events == capture.events == []
            capture.client().track("Paid", user_id="u1")
            assert capture.wait_for("Paid", timeout=20)
        """,
    )
    assert (code, "2 passed" in said) == (0, True), said


def test_a_failure_shows_the_test_and_not_our_code(tmp_path: Path) -> None:
    """What the reader wants to see is the line that waited in vain, and what came."""
    code, said = run(
        tmp_path,
        """
        def test_in_vain(capture):
            capture.client().track("Paid", user_id="u1").wait(timeout=20)
            capture.wait_for("Left", timeout=0)
        """,
    )
    assert code == 1
    assert ">       capture.wait_for" in said
    assert "track 'Paid' by u1" in said
    assert "def wait_for" not in said


def test_who_does_not_use_it_does_not_notice_it(tmp_path: Path) -> None:
    """Nothing is loaded that pytest does not load, no thread runs, and a fixture of the same name goes first."""
    code, said = run(
        tmp_path,
        """
        import sys, threading
        import pytest

        @pytest.fixture
        def collector():
            return "mine"

        def test_it(collector):
            assert collector == "mine"
            heavy = {"uvicorn", "starlette", "httptools", "msgspec", "urllib3", "ssl", "asyncio", "duckdb"}
            assert not heavy & set(sys.modules), heavy & set(sys.modules)
            assert threading.active_count() == 1
        """,
        "-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:timeout",
    )  # fmt: skip
    assert code == 0, said


def test_it_can_be_left_out(tmp_path: Path) -> None:
    """As any plugin."""
    code, said = run(tmp_path, "def test_it(capture): ...", "-p", "no:millstream")
    assert code == 1
    assert "fixture 'capture' not found" in said


def test_a_program_that_has_imported_millstream_may_run_pytest(tmp_path: Path) -> None:
    """pytest would warn that it cannot rewrite what has been imported; with warnings as errors it would not start."""
    (tmp_path / "test_it.py").write_text("def test_it(): ...")
    # As when it is installed from a wheel: then pytest sees that the plugin's package has a module `millstream`.
    wheel = tmp_path / "wheel-1.dist-info"
    wheel.mkdir()
    (wheel / "METADATA").write_text("Name: wheel\nVersion: 1\n")
    (wheel / "entry_points.txt").write_text("[pytest11]\nwheel = json\n")
    (wheel / "RECORD").write_text("millstream/__init__.py,,\n")
    code = "import millstream, pytest, sys; sys.exit(pytest.main(['-q', '-W', 'error', '-p', 'no:cacheprovider']))"
    command = [sys.executable, "-W", "error", "-c", code]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_it_loads_no_server_and_no_pytest() -> None:
    """Whoever imports millstream.testing in a helper pays for what they use."""
    code = (
        "import sys, millstream.testing\n"
        "heavy = {'pytest', 'uvicorn', 'starlette', 'msgspec', 'urllib3', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in millstream.testing.__all__: getattr(millstream.testing, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_calls_raise_in_tests(tmp_path: Path) -> None:
    """An invalid event fails the test, also with a client that a conftest has made; what the user has set counts."""
    (tmp_path / "conftest.py").write_text("from millstream import Analytics\nanalytics = Analytics(disable=True)\n")
    source = """
        import os
        import pytest
        from conftest import analytics
        from millstream import Analytics, InvalidEvent

        def test_it():
            for client in (analytics, Analytics(disable=True)):
                with pytest.raises(InvalidEvent):
                    client.track("Paid")
        """
    code, said = run(tmp_path, source, on_invalid="")
    assert (code, "1 passed" in said) == (0, True), said
    code, said = run(tmp_path, source, on_invalid="report")
    assert (code, "1 failed" in said) == (1, True), said
