"""Calls from wherever Python may come to: signal handlers, `__del__`, many threads, greenlets. None deadlocks."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from support.api import Api, stall
from support.processes import ended, run_script, start_script, until_ready

pytestmark = pytest.mark.process

GEVENT = "from gevent import monkey; monkey.patch_all()"
EVERYWHERE = """
    {patch}
    import gc, signal, sys, threading, time
    from millstream import Analytics
    analytics = Analytics(
        "key", host=sys.argv[1], spool=sys.argv[2] or None, flush_at=50, max_queue_events=10**6, max_queue_bytes=10**9
    )
    receipts = {{"Main": [], "Signal": [], "Del": []}}

    def record(name):
        receipts[name].append(analytics.track(name, user_id="u"))

    inside = []
    def interrupt(*_):
        if not inside:  # or a slow machine would do nothing else
            inside.append(True)
            record("Signal")
            inside.pop()

    class Dying:
        def __init__(self):
            self.me = self  # so that only the garbage collector finds it, in whatever thread it runs
        def __del__(self):
            record("Del")

    def work():
        for n in range(2000):
            record("Main")
            Dying()

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads: thread.start()
    work()
    for thread in threads: thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    while len(receipts["Del"]) < 18000:  # another thread may be collecting
        gc.collect()
        time.sleep(0.01)
    result = analytics.close(timeout=30)
    stats = analytics.stats()
    every = [receipt for some in receipts.values() for receipt in some]
    assert all(receipt.outcome.error is None for receipt in every)
    assert (stats.accepted, stats.delivered, result.pending) == (len(every), len(every), 0)
    print({{name: len(some) for name, some in receipts.items()}})
"""


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
@pytest.mark.parametrize("patch", ["", GEVENT], ids=["threads", "gevent"])
def test_calls_from_everywhere(api: Api, tmp_path: Path, patch: str, spooled: bool) -> None:
    """Nine threads record, while a signal handler interrupts them and records, and so do dying objects: all arrives."""
    out = run_script(EVERYWHERE.format(patch=patch), api.url, str(tmp_path) if spooled else "")
    recorded = eval(out)
    assert (recorded["Main"], recorded["Del"]) == (18_000, 18_000)
    assert recorded["Signal"] > 0
    assert Counter(event["event"] for event in api.accepted) == recorded
    assert len({event["messageId"] for event in api.accepted}) == len(api.accepted)


@pytest.mark.parametrize("overflow", ["drop_newest", "raise", "block"])
def test_a_signal_handler_and_a_full_queue(api: Api, overflow: str) -> None:
    """A handler that finds the queue full is treated like any other caller, whatever it has interrupted."""
    run_script(
        f"""
        import signal, sys
        from millstream import Analytics, QueueFull
        analytics = Analytics("key", host=sys.argv[1], max_queue_events=10, flush_at=5, overflow={overflow!r})
        refused = 0
        def record(name):
            global refused
            try:
                analytics.track(name, user_id="u")
            except QueueFull:
                refused += 1
        inside = []
        def interrupt(*_):
            if not inside:
                inside.append(True)
                record("Signal")
                inside.pop()
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for n in range(2000):
            record("Main")
        signal.setitimer(signal.ITIMER_REAL, 0)
        analytics.flush(timeout=20)
        stats = analytics.stats()
        assert stats.pending == 0
        assert stats.accepted == stats.delivered + stats.dropped
        assert (stats.dropped > 0, refused > 0) == ({overflow == "drop_newest"}, {overflow == "raise"})
        """.replace("import signal, sys", "import logging, signal, sys; logging.disable()"),
        api.url,
    )


@pytest.mark.parametrize("moment", ["start(self); raise KeyboardInterrupt", "raise KeyboardInterrupt"])
def test_ctrl_c_while_the_worker_starts(api: Api, moment: str) -> None:
    """Ctrl-C in the very moment in which the worker is started, just before or just after, costs no event."""
    run_script(
        f"""
        import sys, threading
        from millstream import Analytics
        analytics = Analytics("key", host=sys.argv[1])
        start = threading.Thread.start
        def interrupted(self):
            {moment}
        threading.Thread.start = interrupted
        try:
            analytics.track("A", user_id="u")
        except KeyboardInterrupt:
            threading.Thread.start = start
        analytics.track("B", user_id="u")
        """,
        api.url,
    )
    assert [event["event"] for event in api.accepted] == ["A", "B"]


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="its tracing does not tell of every step")
def test_a_call_that_is_cut_off_anywhere(api: Api) -> None:
    """Wherever a signal's exception cuts a call off, even with a lock in hand, the end delivers what was recorded."""
    run_script(
        """
        import sys
        from millstream import Analytics
        analytics = Analytics("key", host=sys.argv[1], flush_interval=300)

        class CutOff(BaseException): pass

        def cut_off_at(step):
            def trace(frame, what, _):
                nonlocal step
                if frame.f_code.co_name != "accept":
                    return trace
                frame.f_trace_opcodes = True
                if what == "opcode":
                    step -= 1
                    if step == 0:
                        sys.settrace(None)
                        raise CutOff
                return trace
            return trace

        for step in range(1, 150):
            analytics.track("Recorded", user_id="u")
            sys.settrace(cut_off_at(step))
            try:
                analytics.track("Cut Off", user_id="u")
            except CutOff:
                continue
            finally:
                sys.settrace(None)
            break
        assert step > 30
        """,
        api.url,
    )
    assert len([event for event in api.accepted if event["event"] == "Recorded"]) > 30


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flush_at": 1},
        {"max_queue_events": 5},
        {"max_queue_events": 5, "overflow": "raise"},
        {"spool": True},
        {"spool": True, "max_queue_events": 5},
    ],
    ids=["plain", "at once", "full", "raise", "spool", "spool, full"],
)
@pytest.mark.parametrize("client", ["Analytics", "AsyncAnalytics"])
def test_a_signal_handler_that_raises(api: Api, tmp_path: Path, client: str, settings: dict[str, object]) -> None:
    """A handler that raises inside a call (a soft time limit) leaves no event counted and not queued."""
    if "spool" in settings:
        settings = {**settings, "spool": str(tmp_path)}
    run_script(
        f"""
        import asyncio, logging, random, signal, sys, time
        from millstream import Analytics, AsyncAnalytics, QueueFull
        logging.disable()
        analytics = {client}("key", host=sys.argv[1], **{settings})

        class TimeIsUp(Exception): pass

        def interrupt(*_):
            raise TimeIsUp

        signal.signal(signal.SIGALRM, interrupt)
        cut = 0

        def record():
            global cut
            for n in range(10):  # what happens once: the worker starts, a full queue is logged
                try:
                    analytics.track("A", user_id="u")
                except QueueFull:
                    pass
            for n in range(400):
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-5, 3e-4))
                    until = time.monotonic() + 1  # or for ever, should the exception be swallowed
                    while time.monotonic() < until:
                        try:
                            analytics.track("A", user_id="u")
                        except QueueFull:
                            pass
                except TimeIsUp:
                    cut += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)

        async def main():
            record()
            return await analytics.flush(timeout=30)

        if {client == "Analytics"}:
            record()
            result = analytics.flush(timeout=30)
        else:
            result = asyncio.run(main())
        stats = analytics.stats()
        assert cut > 350  # now and then user code, of which a log handler is some, swallows it
        assert (result.pending, stats.pending, stats.queue_bytes) == (0, 0, 0), (result, stats)
        assert stats.accepted == stats.delivered + stats.dropped, stats
        print(stats.delivered)
        """,
        api.url,
    )
    assert len({event["messageId"] for event in api.accepted}) == len(api.accepted)


# -- gevent -------------------------------------------------------------------------------------------


def gevent_script(body: str, **settings: object) -> str:
    return f"""
    {GEVENT}
    import gevent, os, signal, sys, time
    from millstream import Analytics
    analytics = Analytics("key", host=sys.argv[1], **{settings})
    for n in range(100):
        analytics.track("A", user_id="u")
    {body}
    """


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "assert analytics.flush(timeout=10).delivered == 100",
        "assert analytics.close(timeout=10).delivered == 100",
        "analytics.track('A', user_id='u').wait(timeout=10)",
        "gevent.joinall([gevent.spawn(analytics.track, 'A', user_id='u') for _ in range(100)])",
    ],
    ids=["ends", "flush", "close", "wait", "greenlets"],
)
def test_under_gevent(api: Api, end: str) -> None:
    """In a program that gevent has patched, delivery, waiting and the end of the process work as elsewhere."""
    run_script(gevent_script(end, flush_interval=300), f"http://localhost:{api.port}")
    assert len(api.accepted) == {"pass": 100}.get(end, 100 + ("'A'" in end) + 99 * ("joinall" in end))


def test_a_fork_under_gevent(api: Api) -> None:
    """After a fork, too: each delivers its own events once."""
    body = "child = os.fork(); analytics.track('B', user_id='u'); child and os.waitpid(child, 0)"
    run_script(gevent_script(body, flush_interval=300), api.url)
    assert Counter(event["event"] for event in api.accepted) == {"A": 100, "B": 2}


@pytest.mark.parametrize("doing", ["gevent.sleep(60)", "time.sleep(60)", "gevent.wait([gevent.spawn(time.sleep, 60)])"])
def test_sigterm_under_gevent(api: Api, doing: str) -> None:
    """SIGTERM delivers, wherever the hub is, and ends the process by SIGTERM."""
    body = f"print('ready', flush=True); {doing}"
    process = until_ready(start_script(gevent_script(body, flush_interval=300), api.url))
    process.terminate()
    done = ended(process)
    assert (done.code, done.err) == (-15, "")
    assert len(api.accepted) == 100


def test_a_stalled_host_under_gevent(api: Api) -> None:
    """The end does not wait for ever there either."""
    api.always = stall()
    done = ended(start_script(gevent_script("pass", exit_timeout=0.3, http_request_timeout=60), api.url), timeout=20)
    assert done.code == 0
    assert done.err.startswith("100 events were not delivered within exit_timeout=0.3 s")
