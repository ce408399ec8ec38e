"""What importing and making a client does to a process: nothing; and a client that nobody holds."""

from __future__ import annotations

from pathlib import Path

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


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
def test_clients_that_nobody_closes_leak_nothing(api: Api, tmp_path: Path, spooled: bool) -> None:
    """A client that is made for each request, and never closed, ends its thread and its files when it has delivered."""
    run_script(
        """
        import os, sys, threading, time
        from millstream import Analytics
        def files():
            return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
        def more():
            return threading.active_count() - 1, files() - before
        before = files()
        for n in range(50):
            Analytics("key", host=sys.argv[1], spool=sys.argv[2] or None).track("A", user_id="u")
        deadline = time.monotonic() + 20
        while more() != (0, 0) and time.monotonic() < deadline:
            time.sleep(0.02)
        print(*more())
        os._exit(0) if more() == (0, 0) else sys.exit(1)  # delivered, and not by the end
        """.replace("print(*more())", "print(*more(), flush=True)"),
        api.url,
        str(tmp_path / "spool") if spooled else "",
    )
    assert len(api.accepted) == 50


def test_clients_of_an_event_loop_that_nobody_closes_leak_nothing(api: Api) -> None:
    """The same on an event loop, where a client has connections, and no thread."""
    run_script(
        """
        import asyncio, os, sys, time
        from millstream import AsyncAnalytics
        def files():
            return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
        async def main():
            await asyncio.sleep(0)
            before = files()
            for n in range(50):
                AsyncAnalytics("key", host=sys.argv[1]).track("A", user_id="u")
                await asyncio.sleep(0)
            deadline = time.monotonic() + 20
            while files() > before and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            assert files() <= before, files() - before
        asyncio.run(main())
        """,
        api.url,
    )
    assert len(api.accepted) == 50


def test_a_client_nobody_holds_leaves_an_http_client_alone(api: Api) -> None:
    """An HTTP client of the application's, which other clients may share, is not closed with one that is forgotten."""
    run_script(
        """
        import gc, sys, time
        from millstream import Analytics, Urllib3Client
        class Mine(Urllib3Client):
            closed = 0
            def close(self):
                Mine.closed += 1
                super().close()
        mine = Mine()
        def record():
            return Analytics("key", host=sys.argv[1], http_client=mine).track("A", user_id="u")
        record().wait(20)
        record().wait(20)
        gc.collect()
        assert not Mine.closed
        """,
        api.url,
    )
    assert len(api.accepted) == 2
