"""What importing and making a client does to a process: nothing; and a client that nobody holds."""

from __future__ import annotations

import pytest

from support.api import Api
from support.processes import run_script

pytestmark = pytest.mark.process


def test_importing_starts_and_loads_nothing() -> None:
    """`import millstream` loads neither urllib3 nor msgspec, starts no thread and configures no logging."""
    out = run_script(
        """
        import logging, sys, threading
        import millstream
        print([name for name in ("urllib3", "msgspec", "asyncio") if name in sys.modules])
        print(threading.active_count(), logging.getLogger("millstream").handlers, logging.root.handlers)
        """
    )
    assert out.split("\n") == ["[]", "1 [] []", ""]


def test_making_a_client_starts_nothing() -> None:
    """A client that is made and never used starts no thread, and opens no connection."""
    out = run_script(
        """
        import os, threading
        from millstream import Analytics
        before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
        Analytics("key")
        after = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
        print(threading.active_count(), after - before)
        """
    )
    assert out.split() == ["1", "0"]


def test_a_client_nobody_holds_delivers(api: Api) -> None:
    """A client that its owner has forgotten still delivers what it was given."""
    run_script(
        """
        import gc, sys
        from millstream import Analytics
        def record():
            Analytics("key", host=sys.argv[1], flush_interval=300).track("A", user_id="u")
        record()
        gc.collect()
        """,
        api.url,
    )
    assert len(api.accepted) == 1
