"""SIGTERM: what was recorded is delivered, the process ends by the signal, and nobody else's handler is touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from support.api import Api, stall
from support.processes import ended, run_script, start, start_script, until_ready

pytestmark = pytest.mark.process

HEAD = """
    import asyncio, gc, os, signal, sys, threading, time
    from millstream import Analytics, AsyncAnalytics
    def make(cls=Analytics, **settings):
        return cls("key", host=sys.argv[1], flush_interval=300, **settings)
    def ready():
        print("ready", flush=True)
    def ours():
        return signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
"""


def started(api: Api, body: str) -> subprocess.Popen[str]:
    return until_ready(start_script(dedent(HEAD) + dedent(body), api.url))


def told(body: str) -> list[str]:
    """What a script prints that has no need of a server."""
    return run_script(dedent(HEAD) + dedent(body), "http://127.0.0.1:1").split()


# -- it delivers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "doing",
    [
        "time.sleep(60)",
        "while True: pass",
        "while True: analytics.track('Later', user_id='u')",
        "analytics.register(Slow())",
        "threading.Event().wait()",
    ],
    ids=["sleeps", "computes", "records", "loads a plugin", "waits for a lock"],
)
def test_sigterm_delivers(api: Api, doing: str) -> None:
    """Whatever the program does, what it recorded before SIGTERM is delivered, and its status is that of SIGTERM."""
    process = started(
        api,
        f"""
        from millstream import Plugin
        class Slow(Plugin):
            def load(self, ctx, analytics):
                time.sleep(60)
        analytics = make()
        for n in range(100):
            analytics.track("Before", user_id="u")
        ready()
        {doing}
        """,
    )
    process.terminate()
    done = ended(process)
    assert done.code == -signal.SIGTERM
    assert len([event for event in api.accepted if event["event"] == "Before"]) == 100


@pytest.mark.parametrize(
    "doing",
    ["ready(); await asyncio.sleep(60)", "ready(); await analytics.flush()", "ready(); time.sleep(60)", "pass"],
    ids=["sleeps", "flushes", "blocks the loop", "is over"],
)
def test_sigterm_delivers_with_an_event_loop(api: Api, doing: str) -> None:
    """An event loop goes on while SIGTERM delivers, and delivers on it; or without it, when it is over."""
    blocked = "time.sleep" in doing
    process = started(
        api,
        f"""
        analytics = make(AsyncAnalytics, exit_timeout={0.3 if blocked else 20})
        async def main():
            for n in range(100):
                analytics.track("A", user_id="u")
            {doing}
        asyncio.run(main())
        ready()
        time.sleep(60)
        """,
    )
    process.terminate()
    done = ended(process)
    assert done.code == -signal.SIGTERM
    assert len(api.accepted) == (0 if blocked else 100)
    assert done.err.count("100 events were not delivered within exit_timeout=0.3 s") == blocked


def test_sigterm_does_not_wait_for_ever(api: Api) -> None:
    """With a stalled host SIGTERM ends the process after `exit_timeout`; one line says how many events are lost."""
    api.always = stall()
    process = started(
        api,
        """
        analytics = make(exit_timeout=0.3, http_request_timeout=60)
        analytics.track("A", user_id="u")
        ready()
        time.sleep(60)
        """,
    )
    process.terminate()
    done = ended(process, timeout=20)
    assert done.code == -signal.SIGTERM
    assert done.err.startswith("1 event was not delivered within exit_timeout=0.3 s (1 event failed at ")
    assert done.err.count("\n") == 1


def test_a_second_sigterm_ends_at_once(api: Api) -> None:
    """Whoever sends SIGTERM again while the first one delivers has the process end, by SIGTERM."""
    api.always = stall()
    process = started(
        api,
        """
        analytics = make(exit_timeout=60)
        analytics.track("A", user_id="u")
        ready()
        time.sleep(60)
        """,
    )
    process.terminate()
    api.wait_for(1)
    process.terminate()
    assert ended(process, timeout=20) == (-signal.SIGTERM, "", "")


def test_sigterm_without_threads(api: Api) -> None:
    """Where no thread can be started SIGTERM delivers all the same."""
    process = started(
        api,
        """
        threading.stack_size(1 << 46)
        analytics = make()
        analytics.track("A", user_id="u")
        ready()
        time.sleep(60)
        """,
    )
    process.terminate()
    assert ended(process).code == -signal.SIGTERM
    assert len(api.accepted) == 1


def test_sigterm_at_the_end(api: Api) -> None:
    """SIGTERM while the end of the process delivers lets it finish, and then ends the process."""
    held = api.hold()
    process = start_script(dedent(HEAD) + 'make().track("A", user_id="u")', api.url)
    api.wait_for(1)
    process.terminate()
    assert api.stays_at(1, 0.2)
    held.release()
    assert ended(process).code == -signal.SIGTERM
    assert len(api.accepted) == 1


def test_the_program_ends_before_sigterm_does(api: Api) -> None:
    """A program that comes to its end while SIGTERM delivers has that delivered too, and ends by SIGTERM."""
    held = api.hold()
    process = started(
        api,
        """
        analytics = make()
        analytics.track("A", user_id="u")
        ready()
        time.sleep(0.5)
        analytics.track("B", user_id="u")
        """,
    )
    process.terminate()
    api.wait_for(1)
    assert not api.stays_at(1, 10)  # the request with what the end of the program found
    held.release()
    assert ended(process).code == -signal.SIGTERM
    assert sorted(event["event"] for event in api.accepted) == ["A", "B"]


# -- whose it is --------------------------------------------------------------------------------------


def test_another_handler_stays() -> None:
    """A handler that is there before the client, SIG_IGN included, stays; nothing of ours runs."""
    out = told(
        """
        def mine(*_): pass
        for handler in (mine, signal.SIG_IGN):
            signal.signal(signal.SIGTERM, handler)
            analytics = make()
            print(signal.getsignal(signal.SIGTERM) is handler)
        """
    )
    assert out == ["True", "True"]


def test_a_handler_that_python_does_not_know_stays() -> None:
    """A handler that a server in C installed stays: Python believes there is none, the operating system knows."""
    process = until_ready(
        start_script(
            dedent(HEAD)
            + dedent(
                """
                import ctypes
                libc = ctypes.CDLL(None)
                libc.signal(int(signal.SIGTERM), ctypes.cast(libc._exit, ctypes.c_void_p))  # ends with status 15
                assert not ours()
                analytics = make()
                ready()
                time.sleep(60)
                """
            ),
            "http://127.0.0.1:1",
        )
    )
    process.terminate()
    assert ended(process).code == int(signal.SIGTERM)


def test_a_handler_that_comes_later_has_the_signal_to_itself(api: Api) -> None:
    """A handler that is installed over ours decides alone: the process goes on if it wants that."""
    process = started(
        api,
        """
        analytics = make()
        analytics.track("A", user_id="u")
        def mine(*_):
            ready()
        signal.signal(signal.SIGTERM, mine)
        ready()
        time.sleep(60)
        """,
    )
    process.terminate()
    until_ready(process)
    assert (api.requests, process.poll()) == ([], None)
    process.kill()
    ended(process)


def test_a_handler_that_calls_ours(api: Api) -> None:
    """A handler that calls the one it replaced has what there is sent, and goes on: ours neither ends nor closes."""
    process = started(
        api,
        """
        analytics = make()
        analytics.track("A", user_id="u")
        def mine(*_):
            ours(*_)
        ours = signal.signal(signal.SIGTERM, mine)
        ready()
        while not analytics.stats().delivered:
            time.sleep(0.01)
        print(signal.getsignal(signal.SIGTERM) is mine)
        analytics.track("B", user_id="u")
        """,
    )
    process.terminate()
    assert ended(process) == (0, "True\n", "")
    assert [event["event"] for event in api.accepted] == ["A", "B"]


def test_a_handler_that_gives_the_signal_back(api: Api) -> None:
    """A handler that puts ours back and sends the signal once more ends the process, with everything delivered."""
    process = started(
        api,
        """
        analytics = make()
        analytics.track("A", user_id="u")
        def mine(*_):
            analytics.track("In The Handler", user_id="u")
            signal.signal(signal.SIGTERM, before)
            os.kill(os.getpid(), signal.SIGTERM)
        before = signal.signal(signal.SIGTERM, mine)
        ready()
        time.sleep(60)
        """,
    )
    process.terminate()
    assert ended(process).code == -signal.SIGTERM
    assert len(api.accepted) == 2


@pytest.mark.parametrize(
    "how",
    [
        "make(handle_sigterm=False)",
        "make(disable=True)",
        "thread = threading.Thread(target=make); thread.start(); thread.join()",
        "make().close()",
        "asyncio.run(make(AsyncAnalytics).close_and_flush())",
        "make(); gc.collect()",
    ],
)
def test_where_it_is_not_installed(how: str) -> None:
    """Not if it is not wanted, nor by a client that is disabled, made off the main thread, closed or gone."""
    assert told(f"{how}\nprint(ours())") == ["False"]


def test_it_stays_for_those_that_are_left() -> None:
    """One handler serves all clients, and goes with the last of them."""
    out = told(
        """
        one, two, three = make(), make(handle_sigterm=False), make(AsyncAnalytics)
        for client in (one, two):
            client.close()
            print(ours())
        asyncio.run(three.close())
        print(ours())
        """
    )
    assert out == ["True", "True", "False"]


# -- children and containers ------------------------------------------------------------------------

CHILD = """
    analytics = make(exit_timeout={patience})
    analytics.track("Parent", user_id="u")
    told, tells = os.pipe()
    child = os.fork()
    if not child:
        {use}
        os.write(tells, b"1" if ours() else b"0")
        time.sleep(60)
    print(os.read(told, 1).decode(), flush=True)
    os.kill(child, signal.SIGTERM)
    print(os.waitpid(child, 0)[1], flush=True)
    {parent}
"""


def test_a_forked_child_that_never_used_the_client_dies_at_once(api: Api) -> None:
    """In a forked child SIGTERM does what it does by default, whatever its parent has left to deliver."""
    api.always = stall()
    out = told_of(api, CHILD.format(use="", patience=60, parent="os._exit(0)"))
    assert out == ["0", str(int(signal.SIGTERM))]
    assert api.requests == []


def test_a_forked_child_that_used_the_client_delivers(api: Api) -> None:
    """In a forked child the handler is there from the first event on, and delivers what the child recorded."""
    use = 'analytics.track("Child", user_id="u")'
    out = told_of(api, CHILD.format(use=use, patience=10, parent=""))
    assert out == ["1", str(int(signal.SIGTERM))]
    assert sorted(event["event"] for event in api.accepted) == ["Child", "Parent"]


def test_a_forked_childs_own_handler_stays(api: Api) -> None:
    """A handler that a child installs before it uses the client stays."""
    use = "signal.signal(signal.SIGTERM, lambda *_: os._exit(9)); " + 'analytics.track("Child", user_id="u")'
    out = told_of(api, CHILD.format(use=use, patience=10, parent=""))
    assert out == ["1", str(9 << 8)]


def told_of(api: Api, body: str) -> list[str]:
    return run_script(dedent(HEAD) + dedent(body), api.url).split()


UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def can_be_first() -> bool:
    """Whether this machine lets us have process ids of our own."""
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*UNSHARE, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0
    )


@pytest.mark.skipif(not can_be_first(), reason="this machine lets nobody have process ids of their own")
def test_the_first_process_of_a_container(api: Api) -> None:
    """The process with id 1 is immune to SIGTERM's default: it delivers, and ends with the status 143 all the same."""
    body = """
        analytics = make()
        analytics.track(str(os.getpid()), user_id="u")
        ready()
        signal.pause()
    """
    process = until_ready(start([*UNSHARE, sys.executable, "-c", dedent(HEAD) + dedent(body), api.url]))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii")
    os.kill(int(children), signal.SIGTERM)
    assert ended(process).code == 128 + signal.SIGTERM
    assert [event["event"] for event in api.accepted] == ["1"]
