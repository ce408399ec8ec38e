"""The end of a process: what was recorded is delivered, in time; and what cannot be is said, once."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from support.api import Answer, Api, drop, reset, stall, status
from support.processes import ended, run_script, start_script, until_ready

pytestmark = pytest.mark.process

SYNC = """
    import atexit, os, signal, socket, sys, threading, time
    from millstream import Analytics
    analytics = Analytics("key", host=sys.argv[1], **{settings})
    {before}
    for n in range({events}):
        analytics.track(str(n), user_id="u")
    {then}
"""
ASYNC = """
    import asyncio, atexit, os, signal, socket, sys, threading, time
    from millstream import AsyncAnalytics
    analytics = AsyncAnalytics("key", host=sys.argv[1], **{settings})
    {before}
    async def main():
        for n in range({events}):
            analytics.track(str(n), user_id="u")
    asyncio.run(main())
    {then}
"""
BOTH = pytest.mark.parametrize("client", [SYNC, ASYNC], ids=["Analytics", "AsyncAnalytics"])
NO_THREADS = "threading.stack_size(1 << 46)  # more than there is: no thread can be started"
NO_NAMES = "socket.getaddrinfo = lambda *_, **__: time.sleep(60)  # a name server that does not answer"


def script(client: str, events: int = 3, *, before: str = "", then: str = "", **settings: object) -> str:
    return client.format(settings=settings, events=events, before=before, then=then)


# -- what is delivered ------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_script_that_just_ends_delivers_everything(api: Api, client: str, host: str) -> None:
    """Without flush or close, 2,000 events are delivered to a slow server, also when a name must be looked up first."""
    api.always = Answer(delay=0.1)
    run_script(script(client, 2000), f"http://{host}:{api.port}")
    assert sorted(int(event["event"]) for event in api.accepted) == list(range(2000))


@BOTH
@pytest.mark.parametrize("end", ["sys.exit()", "raise SystemExit(3)", "1 / 0"])
def test_however_it_ends(api: Api, client: str, end: str) -> None:
    """`sys.exit` and an exception that nobody catches are ends like any other, and keep their status."""
    done = ended(start_script(script(client, then=end), api.url))
    assert done.code == {"sys.exit()": 0, "raise SystemExit(3)": 3, "1 / 0": 1}[end]
    assert len(api.accepted) == 3


@BOTH
def test_without_threads_too(api: Api, client: str) -> None:
    """Where no thread can be started, whoever ends the process sends what there is."""
    run_script(script(client, 200, before=NO_THREADS), api.url)
    assert len(api.accepted) == 200


@BOTH
@pytest.mark.parametrize("main", [0, 1], ids=["unused", "used"])
def test_events_of_exit_hooks(api: Api, client: str, main: int) -> None:
    """What the application records in its own exit hooks is delivered, whether they run before ours or after it."""
    source = f"""
    import atexit
    atexit.register(lambda: [analytics.track(name, user_id="u") for name in ("X", "Y")])  # runs after ours
    {script(client, main, before='atexit.register(lambda: analytics.track("Z", user_id="u"))')}
    """
    run_script(source, api.url)
    names = ["X", "Y", "Z"] + ["0"] * main
    assert Counter(event["event"] for event in api.accepted) == Counter(names)


@BOTH
def test_an_exit_hook_may_wait_for_its_event(api: Api, client: str) -> None:
    """In an exit hook that runs after ours, an event has its outcome when the call returns."""
    hook = 'atexit.register(lambda: print(analytics.track("X", user_id="u").wait(0).event["event"]))'
    assert run_script(f"    import atexit\n    {hook}\n{script(client)}", api.url) == "X\n"


FIRST = {
    "Analytics": "Analytics('key', host=sys.argv[1]).track('A', user_id='u')",
    "AsyncAnalytics": "AsyncAnalytics('key', host=sys.argv[1]).track('A', user_id='u')",
    "closed": "exec('with Analytics(\\'key\\', host=sys.argv[1]) as a: a.track(\\'A\\', user_id=\\'u\\')')",
    "on a loop": "asyncio.run(main())",
}


@pytest.mark.parametrize("way", FIRST)
def test_the_first_client_made_in_an_exit_hook(api: Api, way: str) -> None:
    """The first client of a process may be made in an exit hook, after which no hook of ours can run: it delivers."""
    run_script(
        f"""
        import asyncio, atexit, sys
        from millstream import Analytics, AsyncAnalytics
        async def main():
            async with AsyncAnalytics('key', host=sys.argv[1]) as analytics:
                analytics.track('A', user_id='u')
        atexit.register(lambda: {FIRST[way]})
        """,
        api.url,
    )
    assert [event["event"] for event in api.accepted] == ["A"]


def test_an_import_in_an_exit_hook(api: Api) -> None:
    """The library may even be imported there, in a program that has loaded `threading` before."""
    run_script(
        """
        import atexit, sys, threading
        @atexit.register
        def hook():
            from millstream import Analytics
            Analytics("key", host=sys.argv[1]).track("A", user_id="u")
        """,
        api.url,
    )
    assert [event["event"] for event in api.accepted] == ["A"]


def test_a_client_made_while_threads_are_waited_for(api: Api) -> None:
    """A client that a thread makes when the main program is over, and before the exit hooks, is one like any other."""
    out = run_script(
        """
        import sys, threading
        def work():
            threading.main_thread().join()
            from millstream import Analytics
            analytics = Analytics("key", host=sys.argv[1], flush_interval=300)
            for n in range(10):
                analytics.track("A", user_id="u")
            print(analytics.stats().pending)
        threading.Thread(target=work).start()
        """,
        api.url,
    )
    assert (out, len(api.accepted)) == ("10\n", 10)


TEARDOWN = {
    "Analytics": "analytics",
    "AsyncAnalytics": "on_a_loop",
    "one that is made there": "Analytics('key', host=host)",
}


@pytest.mark.parametrize("client", TEARDOWN)
def test_an_event_at_interpreter_teardown(api: Api, client: str) -> None:
    """What a `__del__` records when the interpreter is torn down is lost, with one line, and no traceback."""
    source = f"""
        import sys
        from millstream import Analytics, AsyncAnalytics
        host = sys.argv[1]
        analytics, on_a_loop = Analytics("key", host=host), AsyncAnalytics("key", host=host)
        class Dying:
            def __del__(self):
                client = {TEARDOWN[client]}
                client.track("A", user_id="u")
                client.track("B", user_id="u")
        dying = Dying()
    """
    done = ended(start_script(source, api.url))
    assert (done.code, done.err) == (0, "1 event not accepted: the process is ending\n")
    assert api.requests == []


def test_each_client_is_ended_on_its_own(api: Api) -> None:
    """Whatever one client's end meets, a log that raises above all, the next one delivers."""
    dead = Api()
    dead.always = stall()
    done = ended(
        start_script(
            """
            import logging, sys
            from millstream import Analytics
            class Handler(logging.Handler):
                def emit(self, record):
                    raise LookupError("no request")
            logging.getLogger().addHandler(Handler())
            clients = [Analytics("key", host=host, exit_timeout=2, flush_interval=300) for host in sys.argv[1:] * 2]
            for client in clients:
                client.track("A", user_id="u")
            """,
            dead.url,
            api.url,
        )
    )
    dead.close()
    assert done.code == 0
    assert len(api.accepted) == 2
    lines = [line for line in done.err.splitlines() if not line.startswith("1 request to ")]
    assert [line[:36] for line in lines] == ["1 event was not delivered within exi"] * 2
    assert all("(logging this raised LookupError)" in line for line in lines)


def test_a_retry_at_the_end_is_seen_through(api: Api) -> None:
    """Within `exit_timeout` a failed attempt is repeated, as at any other time."""
    api.script(status(429, retry_after=1))
    done = ended(start_script(script(SYNC), api.url))
    assert (done.code, done.err.splitlines()[1:]) == (0, [])  # one line about the first attempt
    assert len(api.accepted) == 3


def test_a_loop_in_another_thread_delivers(api: Api) -> None:
    """A client whose event loop still runs, in a daemon thread, delivers there, to a host that must be looked up."""
    run_script(
        """
        import asyncio, sys, threading
        from millstream import AsyncAnalytics
        analytics = AsyncAnalytics("key", host=sys.argv[1])
        recorded = threading.Event()
        async def main():
            analytics.track("A", user_id="u")
            recorded.set()
            await asyncio.sleep(60)
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        recorded.wait()
        """,
        f"http://localhost:{api.port}",
    )
    assert len(api.accepted) == 1


# -- what is not ------------------------------------------------------------------------------------


def refuse() -> None:
    """Nobody listens."""


@BOTH
@pytest.mark.parametrize(("how", "timeout"), [(refuse, 0.3), (stall, 0.3), (reset, 0.3), (drop, 0.3), (stall, 0.01)])
def test_the_end_does_not_wait_for_ever(api: Api, client: str, how: object, timeout: float) -> None:
    """Whatever the host does, the process ends after `exit_timeout`; one line says how many are lost, and why."""
    if how is not refuse:
        api.always = how()
    url = "http://127.0.0.1:1" if how is refuse else api.url
    done = ended(start_script(script(client, exit_timeout=timeout, http_request_timeout=60.0), url), timeout=20)
    assert done.code == 0
    assert re.fullmatch(
        rf"3 events were not delivered within exit_timeout={timeout} s "
        r"\(3 events failed at http://[\d.:]+: Abandoned after TransportError \([\w ]+\); check [^)]+\); "
        r"a longer exit_timeout gives them more time, and a spool keeps them for the next start",
        done.err.splitlines()[-1],  # before it there may be one about the first attempt
    )


@BOTH
@pytest.mark.parametrize("hindrance", [NO_NAMES, NO_THREADS], ids=["no names", "no threads"])
def test_whatever_hangs(api: Api, client: str, hindrance: str) -> None:
    """A name server that does not answer holds up the end as little as a host does; nor does a stalled host, without
    threads."""
    api.always = stall()
    url = "http://millstream.example" if hindrance is NO_NAMES else api.url
    source = script(client, before=hindrance, exit_timeout=0.3, http_request_timeout=60.0)
    done = ended(start_script(source, url), timeout=20)
    assert done.code == 0
    assert done.err.splitlines()[-1].startswith("3 events were not delivered within exit_timeout=0.3 s")


@BOTH
def test_no_time_at_all(api: Api, client: str) -> None:
    """With `exit_timeout=0` the end waits for nothing, and says what that costs."""
    held = api.hold()
    done = ended(start_script(script(client, exit_timeout=0), api.url))
    held.release()
    assert done.code == 0
    assert done.err.startswith("3 events were not delivered within exit_timeout=0 s")


def test_several_clients_end_together(api: Api) -> None:
    """One client's dead host takes no time from another; five of them take no longer than one."""
    dead = Api()
    dead.always = stall()
    begin = time.monotonic()
    done = ended(
        start_script(
            """
            import sys
            from millstream import Analytics
            for host in [sys.argv[1]] * 5 + [sys.argv[2]]:
                Analytics("key", host=host, exit_timeout=2, flush_interval=300).track("A", user_id="u")
            """,
            dead.url,
            api.url,
        )
    )
    took = time.monotonic() - begin
    dead.close()
    assert (done.code, done.err.count("1 event was not delivered within")) == (0, 5)
    assert len(api.accepted) == 1
    assert took < 8


def test_when_the_time_is_used_up(api: Api) -> None:
    """An event that comes when `exit_timeout` is used up is refused, and that is said once."""
    api.always = stall()
    hook = 'atexit.register(lambda: print([analytics.track("X", user_id="u").outcome.error for _ in range(3)]))'
    done = ended(start_script(f"    import atexit\n    {hook}\n{script(SYNC, exit_timeout=0.3)}", api.url))
    assert done.out.count("ClientClosed") == 3
    assert [line.split(":")[0] for line in done.err.splitlines()[1:]] == ["later events are not delivered"]


def test_with_a_spool_they_wait_for_the_next_start(api: Api, tmp_path: Path) -> None:
    """With a spool nothing that the end has no time for is lost, not even what an exit hook records then."""
    api.always = stall()
    hook = 'atexit.register(lambda: [analytics.track("X", user_id="u") for _ in range(3)])'
    source = f"    import atexit\n    {hook}\n{script(SYNC, exit_timeout=0.3, spool=str(tmp_path))}"
    assert ended(start_script(source, api.url)).code == 0
    assert api.accepted == []
    api.always = Answer()
    run_script(script(SYNC, 0, spool=str(tmp_path), then="analytics.flush(timeout=30)"), api.url)
    assert Counter(event["event"] for event in api.accepted) == {"0": 1, "1": 1, "2": 1, "X": 3}


def test_what_was_counted_before_is_said_at_the_end(api: Api) -> None:
    """What the log has not said yet, being silent for a minute after each line, it says at the end."""
    api.always = status(400)
    source = script(SYNC, 1, flush_at=1, then='analytics.flush(); analytics.track("B", user_id="u"); analytics.flush()')
    lines = ended(start_script(source, api.url)).err.splitlines()
    assert [line[:18] for line in lines] == [
        "1 event failed at ",
        "1 event failed at ",
    ]


# -- Ctrl-C -----------------------------------------------------------------------------------------


@BOTH
def test_ctrl_c_delivers(api: Api, client: str) -> None:
    """A program that Ctrl-C ends delivers what it has recorded; its status is that of Python."""
    process = until_ready(start_script(script(client, then='print("ready", flush=True); time.sleep(60)'), api.url))
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == -signal.SIGINT
    assert len(api.accepted) == 3


@BOTH
def test_a_second_ctrl_c_ends_at_once(api: Api, client: str) -> None:
    """Whoever presses Ctrl-C again while the end delivers has it end: with one line, and no second traceback."""
    api.always = stall()
    source = script(client, then='print("ready", flush=True); time.sleep(60)', flush_interval=300.0, exit_timeout=60)
    process = until_ready(start_script(source, api.url))
    process.send_signal(signal.SIGINT)
    api.wait_for(1)
    process.send_signal(signal.SIGINT)
    done = ended(process, timeout=30)
    assert done.code == -signal.SIGINT
    assert (done.err.count("Traceback"), done.err.splitlines()[-2:]) == (
        1,
        [
            "KeyboardInterrupt",
            "3 events were not delivered: the end of the process was interrupted (KeyboardInterrupt) (no outcome yet)",
        ],
    )


def test_ctrl_c_in_a_flush_reaches_the_caller(api: Api) -> None:
    """KeyboardInterrupt ends a wait at once; the end of the process still delivers what it can."""
    held = api.hold()
    process = start_script(
        """
        import sys
        from millstream import Analytics
        analytics = Analytics("key", host=sys.argv[1])
        analytics.track("A", user_id="u")
        try:
            analytics.flush(timeout=60)
        except KeyboardInterrupt:
            print("ready", flush=True)
        """,
        api.url,
    )
    api.wait_for(1)
    process.send_signal(signal.SIGINT)
    until_ready(process)
    held.release()
    assert ended(process).code == 0
    assert len(api.accepted) == 1
