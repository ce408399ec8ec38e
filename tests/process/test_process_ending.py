"""The gate at the end of a process: every event whose call returned is delivered, or counted in the last line."""

from __future__ import annotations

import signal
import subprocess
from textwrap import dedent

import pytest

from support.api import Answer, Api
from support.processes import Ended, ended, start_script, until_ready

pytestmark = pytest.mark.process

RECORDING = """
    {patch}
    import asyncio, os, signal, sys, threading, time
    from millstream import Analytics, AsyncAnalytics
    analytics = {client}("key", host=sys.argv[1])

    def record(name):
        for n in range(10**9):
            receipt = analytics.track(name + str(n), user_id="u")
            if receipt.outcome is None or receipt.outcome.error is None:
                os.write(1, f"{{name}}{{n}}\\n".encode())  # one step: what is in the pipe had returned
            yield

    def run(name, pause=0.0):
        for _ in record(name):
            time.sleep(pause) if pause else None

    async def await_(name):
        for _ in record(name):
            await asyncio.sleep(0.001)
    {doing}
"""
SEVERAL = "[threading.Thread(target=run, args=(name, {pause}), daemon={daemon}).start() for name in 'abc']"
WAYS = {
    "one thread": ("Analytics", "run('a', 0.001)"),
    "threads, as fast as they can": ("Analytics", SEVERAL.format(pause=0, daemon=True) + "; run('d')"),
    "threads that the main thread waits for": ("Analytics", SEVERAL.format(pause=0.001, daemon=False)),
    "an event loop": ("AsyncAnalytics", "asyncio.run(await_('a'))"),
    "an event loop and threads": (
        "AsyncAnalytics",
        SEVERAL.format(pause=0.001, daemon=True) + "; asyncio.run(await_('d'))",
    ),
    "greenlets": (
        "Analytics",
        "import gevent; gevent.joinall([gevent.spawn(run, name, 0.001) for name in 'abc'])",
    ),
}


def recording(api: Api, client: str, doing: str, *, patch: str = "") -> subprocess.Popen[str]:
    return start_script(RECORDING.format(client=client, doing=doing, patch=patch), api.url)


def all_arrived(api: Api, done: Ended) -> None:
    """Every event whose call had returned has arrived, once, and nothing was said."""
    names = [event["event"] for event in api.accepted]
    told = [line for line in done.out.splitlines(keepends=True) if line.endswith("\n")]
    lost = {line.strip() for line in told} - set(names)
    assert (lost, done.err) == (set(), "")
    assert len(names) == len(set(names))


@pytest.mark.parametrize("way", WAYS)
def test_sigterm_delivers_all_that_was_recorded(api: Api, way: str) -> None:
    """Programs that go on recording while SIGTERM delivers lose no event whose call had returned."""
    api.always = Answer(delay=0.02)
    patch = "from gevent import monkey; monkey.patch_all()" if way == "greenlets" else ""
    process = recording(api, *WAYS[way], patch=patch)
    api.wait_for(3)
    process.terminate()
    done = ended(process)
    assert done.code == -signal.SIGTERM
    all_arrived(api, done)


@pytest.mark.parametrize("pause", [0, 0.001])
def test_an_exit_delivers_what_daemon_threads_record(api: Api, pause: float) -> None:
    """Daemon threads that still record when the program ends lose no event whose call had returned."""
    api.always = Answer(delay=0.02)
    threads = SEVERAL.format(pause=pause, daemon=True)
    done = ended(recording(api, "Analytics", f"{threads}; time.sleep(0.2)"))
    assert done.code == 0
    all_arrived(api, done)


def test_an_exit_hook_may_wait_for_a_thread_that_records(api: Api) -> None:
    """A daemon thread that an exit hook waits for goes on when the end has delivered, and its events arrive."""
    hook = """
    import atexit
    told = threading.Event()
    thread = threading.Thread(target=lambda: told.wait() and print(analytics.track("Late", user_id="u").wait(0).id))
    thread.daemon = True
    """
    source = f"""
    import atexit
    atexit.register(lambda: (told.set(), thread.join()))  # runs after ours
    import sys, threading
    from millstream import Analytics
    {dedent(hook).strip().replace(chr(10), chr(10) + "    ")}
    analytics = Analytics("key", host=sys.argv[1])
    thread.start()
    """
    done = ended(start_script(source, api.url))
    assert (done.code, done.err) == (0, "")
    assert [event["event"] for event in api.accepted] == ["Late"]


# -- while the gate is closed -------------------------------------------------------------------------

COMMANDED = """
    import asyncio, gc, logging, os, signal, sys, threading, time
    from millstream import Analytics, AsyncAnalytics, Plugin, Urllib3Client

    def say(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    def track(name, **fields):  # what became of the call
        say(name, analytics.track(name, user_id="u", **fields).outcome)

    def listen():
        for line in sys.stdin:
            threading.Thread(target=exec, args=(line, globals()), daemon=True).start()

    settings = {{"exit_timeout": {exit_timeout}, "flush_interval": 300}}
    {before}
    analytics = Analytics("key", host=sys.argv[1], **settings)
    {after}
    analytics.track("First", user_id="u"{first})
    threading.Thread(target=listen, daemon=True).start()
    say("ready")
    while True:
        time.sleep(60)
"""


class Ending:
    """A process that got SIGTERM, and whose gate is closed until `release`: the last request waits for its answer."""

    def __init__(
        self, api: Api, *, exit_timeout: float = 30, before: str = "", after: str = "", first: str = "", rest: str = ""
    ) -> None:
        flush, self._last = api.hold(), api.hold()
        source = COMMANDED.format(exit_timeout=exit_timeout, before=before, after=after, first=first)
        self.process = until_ready(start_script(source, api.url, stdin=subprocess.PIPE))
        self.process.terminate()
        api.wait_for(1)  # the flush, while callers go on
        self.ask(f"track('Rest'{rest})", "Rest None")
        flush.release()
        assert [event["event"] for event in api.wait_for(2)[1].events][:1] == ["Rest"]

    def ask(self, command: str, answer: str) -> None:
        """Have a thread of the process do this, and wait for its word."""
        self.tell(command)
        self.hear(answer)

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self, answer: str) -> None:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        assert answer in line, line

    def release(self) -> Ended:
        self._last.release()
        return ended(self.process)


REFUSED = "ClientClosed('the process is ending: events are no longer accepted')"


def test_a_call_waits(api: Api) -> None:
    """An outermost call on a thread of the application does not return while the last events are delivered."""
    ending = Ending(api)
    ending.tell("track('Waits')")
    ending.ask("say([t.name for t in threading.enumerate() if t.name == 'x'])", "[]")  # other code goes on
    done = ending.release()
    assert done == (-signal.SIGTERM, "", "")
    assert [event["event"] for event in api.accepted] == ["First", "Rest"]


NESTED = "Analytics('key', host=sys.argv[1], context_providers=[lambda: track('It') or {}]).track('Outer', user_id='u')"
NEVER = {
    "an event loop": "asyncio.run(coroutine())",
    "__del__": "Dying()",
    "a signal handler": "os.kill(os.getpid(), signal.SIGUSR1)",
    "a bound signal handler": "os.kill(os.getpid(), signal.SIGUSR2)",
    "nested": NESTED,
    "a listener": "analytics.emit('shop:mine')",
}
CALLERS = """
    async def coroutine():
        track("It")
    class Dying:
        def __del__(self):
            track("It")
        def handle(self, *_):
            track("It")
    signal.signal(signal.SIGUSR1, lambda *_: track("It"))
    kept = Dying()
    signal.signal(signal.SIGUSR2, kept.handle)
"""


@pytest.mark.parametrize("where", NEVER)
def test_a_call_that_may_not_wait_is_not_accepted(api: Api, where: str) -> None:
    """Where a call may hold what delivery needs, it fails at once, with ClientClosed; the last line counts it."""
    ending = Ending(
        api, before=CALLERS, after='analytics.on("shop:mine", lambda: track("It"))' if where == "a listener" else ""
    )
    if where == "a listener":
        ending.tell(NEVER[where])  # no listener runs any more
        ending.ask("say('done')", "done")
        assert ending.release() == (-signal.SIGTERM, "", "")
        return
    ending.ask(NEVER[where], REFUSED)
    done = ending.release()
    assert (done.code, done.err) == (-signal.SIGTERM, "1 event not accepted: the process is ending\n")
    assert [event["event"] for event in api.accepted] == ["First", "Rest"]


def test_what_runs_on_threads_of_ours_does_not_wait(api: Api) -> None:
    """An HTTP client that records events of its own while the last request is sent does not wait for itself."""
    before = """
    real = Urllib3Client()
    def send(request):
        if b"Rest" in request.body:
            track("It")
        return real.send(request)
    settings["http_client"] = send
    """
    ending = Ending(api, before=before)
    ending.hear(REFUSED)
    done = ending.release()
    assert (done.code, done.err) == (-signal.SIGTERM, "1 event not accepted: the process is ending\n")


def test_plugins_run_and_callbacks_do_not(api: Api) -> None:
    """From the gate on hooks of plugins run; callbacks, listeners and the log do not."""
    after = """
    class After(Plugin):
        name, type = "after", "after"
        def track(self, ctx):
            say("after", ctx.event["event"])
    analytics.register(After())
    analytics.on("track", lambda ctx: say("listener", ctx.event["event"]))
    class Handler(logging.Handler):
        def emit(self, record):
            say("log", record.getMessage())
    logging.getLogger().addHandler(Handler())
    """
    called = ", callback=lambda *_: say('callback')"
    ending = Ending(api, after=after, first=called, rest=called)
    done = ending.release()
    assert (done.code, done.err) == (-signal.SIGTERM, "")
    assert sorted(done.out.splitlines()) == ["after First", "after Rest", "callback", "listener First"]


def test_a_forked_child_has_no_gate(api: Api) -> None:
    """A child that is forked while the gate is closed records and delivers as usual."""
    ending = Ending(api)
    child = "os.fork() or (analytics.track('Child', user_id='u'), say(analytics.flush(20)), os._exit(0))"
    ending.ask(child, "delivered=1")
    ending.release()
    assert "Child" in [event["event"] for event in api.accepted]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(api: Api, number: signal.Signals) -> None:
    """Ctrl-C or another SIGTERM while the gate is closed ends the process at once, by that signal."""
    ending = Ending(api, exit_timeout=300)
    ending.process.send_signal(number)
    assert ended(ending.process, timeout=20).code == -number


WORKER_WAITS = {
    "its own lock that a callback takes": ("lock = threading.Lock()", ", callback=lambda *_: lock.acquire()"),
    "the log's lock": (
        """
    handler = logging.StreamHandler()
    logging.getLogger("app").addHandler(handler)
    lock = handler.lock
    """,
        ", callback=lambda *_: logging.getLogger('app').warning('x')",
    ),
}


@pytest.mark.parametrize("what", WORKER_WAITS)
def test_a_caller_that_holds_what_delivery_needs(api: Api, what: str) -> None:
    """It delays the end to `exit_timeout`, and the last line counts the events that this costs."""
    before, callback = WORKER_WAITS[what]
    first = api.hold()
    source = COMMANDED.format(exit_timeout=0.5, before=before, after="", first=callback)
    process = until_ready(start_script(source, api.url, stdin=subprocess.PIPE))
    assert process.stdin
    assert process.stdout
    records = "[track('Rest') or time.sleep(0.01) for _ in range(10**9)]"
    process.stdin.write(f"lock.acquire(); say('held'); threading.main_thread().join(0.1); {records}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "held\n"
    process.terminate()
    api.wait_for(1)
    first.release()
    done = ended(process, timeout=30)
    assert done.code == -signal.SIGTERM
    recorded = 1 + done.out.count("Rest None\n")
    lost = recorded - len(api.requests[0].events)  # when their outcome was told, the worker was held up
    assert lost > 0
    assert done.err.startswith(f"{lost:,} events were not delivered within exit_timeout=0.5 s (no outcome yet)")
    assert done.err.count("\n") == 1
