"""Scripts in processes of their own: what only a whole process can show."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

DECIDED_OUTSIDE = ("PENSTOCK_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def run_script(source: str, *arguments: str, timeout: float = 40.0, **environment: str) -> str:
    """Run Python source in a process of its own, and return what it printed.

    Fails if the process fails, does not end, or says anything on its standard error.
    """
    done = start_script(source, *arguments, **environment)
    try:
        out, err = done.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        done.kill()
        out, err = done.communicate()
        raise AssertionError(f"the script did not end in {timeout:g} s\n{out}\n{err}") from None
    assert done.returncode == 0, f"the script ended with {done.returncode}\n{out}\n{err}"
    assert not err, f"the script said on its standard error:\n{err}"
    return out


def start_script(source: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The same, without waiting for its end."""
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith(DECIDED_OUTSIDE)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", dedent(source), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **environment},
    )
