"""The life of a process: import, end, fork."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from support.api import Api, stall, status
from support.background import Background
from support.processes import run_script, start_script

pytestmark = pytest.mark.process


def test_importing_starts_and_loads_nothing() -> None:
    """`import penstock` loads neither urllib3 nor msgspec, starts no thread and configures no logging."""
    out = run_script(
        """
        import logging, sys, threading
        import penstock
        print([name for name in ("urllib3", "msgspec", "asyncio") if name in sys.modules])
        print(threading.active_count(), logging.getLogger("penstock").handlers, logging.root.handlers)
        """
    )
    assert out.split("\n") == ["[]", "1 [] []", ""]


def test_making_a_client_starts_nothing() -> None:
    """A client that is made and never used starts no thread, and opens no connection."""
    out = run_script(
        """
        import os, threading
        from penstock import Analytics
        before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
        Analytics("key")
        after = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
        print(threading.active_count(), after - before)
        """
    )
    assert out.split() == ["1", "0"]


def test_a_script_that_just_ends_delivers_everything(api: Api) -> None:
    """Without flush or close, what was recorded is delivered at the end of the process."""
    run_script(
        """
        import sys
        from penstock import Analytics
        analytics = Analytics("key", host=sys.argv[1])
        for n in range(1000):
            analytics.track(str(n), user_id="u")
        """,
        api.url,
    )
    assert sorted(int(event["event"]) for event in api.accepted) == list(range(1000))


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "sys.exit()", "1 / 0"])
def test_however_it_ends(api: Api, end: str) -> None:
    """`sys.exit` and an exception nobody catches are ends like any other."""
    process = start_script(
        f"""
        import sys
        from penstock import Analytics
        analytics = Analytics("key", host=sys.argv[1])
        analytics.track("A", user_id="u")
        {end}
        """,
        api.url,
    )
    process.communicate(timeout=30)
    assert len(api.accepted) == 1


def test_events_of_the_last_moment(api: Api) -> None:
    """An event that is recorded while the process ends, in an exit hook of the application, is delivered too."""
    run_script(
        """
        import atexit, sys
        from penstock import Analytics
        analytics = Analytics("key", host=sys.argv[1])
        atexit.register(lambda: analytics.track("Last", user_id="u"))
        analytics.track("First", user_id="u")
        """,
        api.url,
    )
    assert sorted(event["event"] for event in api.accepted) == ["First", "Last"]


def test_the_end_does_not_wait_for_ever(api: Api) -> None:
    """A process ends after `exit_timeout`, and says in one line how many events it had to give up."""
    api.always = stall()
    process = start_script(
        """
        import sys
        from penstock import Analytics
        analytics = Analytics("key", host=sys.argv[1], exit_timeout=0.3)
        for n in range(3):
            analytics.track("A", user_id="u")
        """,
        api.url,
    )
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "3 events were not delivered within exit_timeout=0.3 s" in err


def test_a_retry_at_the_end_is_seen_through(api: Api) -> None:
    """Within `exit_timeout` a failed attempt is repeated, as at any other time."""
    api.script(status(429, retry_after=1))
    run_script(
        """
        import sys
        from penstock import Analytics
        Analytics("key", host=sys.argv[1]).track("A", user_id="u")
        """,
        api.url,
    )
    assert len(api.accepted) == 1


def test_a_client_nobody_holds_delivers(api: Api) -> None:
    """A client that its owner has forgotten still delivers what it was given."""
    run_script(
        """
        import gc, sys
        from penstock import Analytics
        def record():
            Analytics("key", host=sys.argv[1], flush_interval=300).track("A", user_id="u")
        record()
        gc.collect()
        """,
        api.url,
    )
    assert len(api.accepted) == 1


FORK = """
    import os, sys, threading
    from penstock import Analytics, PenstockError
    analytics = Analytics("key", host=sys.argv[1], flush_interval=300, flush_at={flush_at})
    mine = analytics.track("Parent", user_id="u")
    {before}
    pid = os.fork()
    if pid == 0:
        analytics.track("Child", user_id="u")
        {child}
    analytics.track("Parent Again", user_id="u")
    assert os.waitpid(pid, 0)[1] == 0
"""
WAYS = {
    "flush": "analytics.flush(timeout=10); os._exit(0)",
    "close": "analytics.close(timeout=10); os._exit(0)",
    "exit": "sys.exit(0)",
}


@pytest.mark.parametrize("flush_at", [1, 100])
@pytest.mark.parametrize("way", WAYS)
def test_after_a_fork_each_delivers_its_own_once(api: Api, way: str, flush_at: int) -> None:
    """What was recorded before the fork is the parent's, what the child records is the child's, and all arrive once."""
    run_script(FORK.format(flush_at=flush_at, before="", child=WAYS[way]), api.url)
    assert Counter(event["event"] for event in api.accepted) == {"Parent": 1, "Child": 1, "Parent Again": 1}
    assert len({event["messageId"] for event in api.accepted}) == 3


def test_after_a_fork_connections_are_not_shared(api: Api) -> None:
    """A child has its own connections, so that no answer reaches the wrong process."""
    before = "mine.wait(timeout=10)"
    run_script(FORK.format(flush_at=1, before=before, child=WAYS["flush"]), api.url)
    connections = {seen.events[0]["event"]: seen.connection for seen in api.requests}
    assert connections["Parent"] == connections["Parent Again"] != connections["Child"]


def test_a_parents_receipt_does_not_wait_in_the_child(api: Api) -> None:
    """In the child, a receipt of the parent's raises instead of waiting for ever."""
    held = api.hold()
    child = """
        try:
            mine.wait(timeout=10)
        except PenstockError as exc:
            os._exit(0 if "fork" in str(exc) else 3)
        os._exit(4)
    """.strip()
    running = Background(run_script, FORK.format(flush_at=1, before="", child=child), api.url)
    api.wait_for(1)
    held.release()
    running.result(timeout=30)
    arrived = Counter(event["event"] for event in api.accepted)
    assert (arrived["Parent"], arrived["Parent Again"]) == (1, 1)


def test_a_fork_while_others_record(api: Api) -> None:
    """Children that are forked in the middle of a burst from other threads deliver, and so does the parent."""
    run_script(
        """
        import os, sys, threading
        from penstock import Analytics
        analytics = Analytics("key", host=sys.argv[1], flush_at=5)
        def record():
            for n in range(200):
                analytics.track("Parent", user_id="u")
        threads = [threading.Thread(target=record) for _ in range(4)]
        for thread in threads: thread.start()
        children = []
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                for n in range(20):
                    analytics.track("Child", user_id="u")
                os._exit(0 if analytics.flush(timeout=10).delivered == 20 else 5)
            children.append(pid)
        for thread in threads: thread.join()
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        """,
        api.url,
    )
    assert Counter(event["event"] for event in api.accepted) == {"Parent": 800, "Child": 100}
    assert len({event["messageId"] for event in api.accepted}) == 900


def test_a_signal_handler_may_record(api: Api) -> None:
    """A handler that interrupts `track` and calls it as well neither deadlocks nor loses an event."""
    out = run_script(
        """
        import signal, sys
        from penstock import Analytics
        analytics = Analytics("key", host=sys.argv[1], flush_at=50)
        inside = 0
        def handler(*_):
            global inside
            inside += 1
            analytics.track("Signal", user_id="u")
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for n in range(20000):
            analytics.track("Main", user_id="u")
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(inside, analytics.close(timeout=20).pending)
        """,
        api.url,
    )
    inside, pending = map(int, out.split())
    assert (inside > 0, pending) == (True, 0)
    assert Counter(event["event"] for event in api.accepted) == {"Main": 20_000, "Signal": inside}


def test_ctrl_c_in_a_flush_reaches_the_caller(api: Api) -> None:
    """KeyboardInterrupt ends a wait at once; the exit hook still delivers what it can."""
    held = api.hold()
    process = start_script(
        """
        import sys
        from penstock import Analytics
        analytics = Analytics("key", host=sys.argv[1])
        analytics.track("A", user_id="u")
        try:
            analytics.flush(timeout=60)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """,
        api.url,
    )
    api.wait_for(1)
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "interrupted"
    held.release()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert len(api.accepted) == 1
