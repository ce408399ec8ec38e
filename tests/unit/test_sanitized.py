"""The compiled parts under the address and undefined-behaviour sanitizers, with the tests that hold them to Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import millstream
from support.needs import needs

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its sanitizers are those of gcc on Linux"),
]

SRC = Path(millstream.__file__).parent
TESTS = Path(__file__).parents[1]
FLAGS = ("-shared", "-fPIC", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# The module is put in the place of the one that was compiled for use, before anything can import that.
RUN = """
import importlib.util, sys, pytest
name, path, tests = sys.argv[1:]
spec = importlib.util.spec_from_file_location(name, path)
module = sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
code = pytest.main(["-p", "no:cacheprovider", "-rs", tests])
assert sys.modules[name] is module
sys.exit(code)
"""


@pytest.fixture
def compiler() -> str:
    found = shutil.which("gcc")
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    needs(found and headers.exists(), "no gcc with Python's headers found: apt-get install gcc")
    return str(found)


@pytest.mark.parametrize(
    ("name", "tests"),
    [
        ("millstream._core.events._fastpath", "unit/_core/events/test_fastpath.py"),
        ("millstream.collector._validate", "collector/test_collector_validate.py"),
    ],
)
def test_no_bytes_lead_the_compiled_parts_astray(tmp_path: Path, compiler: str, name: str, tests: str) -> None:
    """They read and write nothing that is not theirs, whatever the examples are; and say what the pure way says."""
    source = SRC.joinpath(*name.split(".")[1:]).with_suffix(".c")
    library = tmp_path / f"{source.stem}.so"
    include = f"-I{sysconfig.get_path('include')}"
    subprocess.run([compiler, *FLAGS, include, str(source), "-o", str(library)], check=True, timeout=100)
    runtime = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    sanitized = {
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaves memory to the system when it ends
        "PYTHONMALLOC": "malloc",  # Python's own allocator has no edges that a sanitizer could see
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, name, str(library), str(TESTS / tests)],
        env={**os.environ, **sanitized},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        cwd=TESTS.parent,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    assert "skipped" not in done.stdout
    assert "passed" in done.stdout
