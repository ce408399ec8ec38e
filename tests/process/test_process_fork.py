"""Forks: parent and child each deliver their own events, once, by whatever means the child came to be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest

from support.api import Api
from support.background import Background
from support.processes import ended, run_script, start_script

pytestmark = pytest.mark.process

FORK = """
    import os, sys, threading
    from millstream import Analytics, MillstreamError
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
        except MillstreamError as exc:
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
        from millstream import Analytics
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


def test_a_childs_counters_start_at_zero(api: Api) -> None:
    """In the child, the counters know of nothing that the parent did."""
    out = run_script(
        """
        import os, sys
        from millstream import Analytics
        analytics = Analytics("key", host=sys.argv[1])
        analytics.track("Parent", user_id="u")
        child = os.fork()
        if not child:
            before = analytics.stats().accepted
            analytics.track("Child", user_id="u")
            print(before, analytics.stats().accepted)
            sys.exit()
        os.waitpid(child, 0)
        """,
        api.url,
    )
    assert out.split() == ["0", "1"]
    assert Counter(event["event"] for event in api.accepted) == {"Parent": 1, "Child": 1}


def test_a_child_that_never_uses_the_client_pays_nothing(api: Api) -> None:
    """Until a child uses the client it has no thread and no driver, and at its end it waits for nothing."""
    out = run_script(
        """
        import os, sys, threading
        from millstream import Analytics
        analytics = Analytics("key", host=sys.argv[1], flush_interval=300)
        analytics.track("Parent", user_id="u")
        child = os.fork()
        if not child:
            print(threading.active_count(), analytics._lifecycle._begun)
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        """,
        api.url,
    )
    assert out.split() == ["1", "False"]
    assert len(api.accepted) == 1


def test_grandchildren(api: Api) -> None:
    """A child of a child has a life of its own, whether its parent used the client or not."""
    run_script(
        """
        import os, sys
        from millstream import Analytics
        analytics = Analytics("key", host=sys.argv[1], flush_interval=300)
        analytics.track("Parent", user_id="u")
        for use in (True, False):
            child = os.fork()
            if not child:
                if use:
                    analytics.track("Child", user_id="u")
                grandchild = os.fork()
                if not grandchild:
                    analytics.track("Grandchild", user_id="u")
                    sys.exit()
                sys.exit(os.waitpid(grandchild, 0)[1])
            assert os.waitpid(child, 0)[1] == 0
        """,
        api.url,
    )
    assert Counter(event["event"] for event in api.accepted) == {"Parent": 1, "Child": 1, "Grandchild": 2}


FAMILY = ("Parent", "Child")


@pytest.mark.parametrize("client", ["Urllib3Client()", "None"])
def test_a_given_client_shares_no_connection_either(api: Api, client: str) -> None:
    """An HTTP client that was given serves both sides of a fork, each over connections of its own."""
    run_script(
        f"""
        import os, sys
        from millstream import Analytics, Urllib3Client
        analytics = Analytics("key", host=sys.argv[1], flush_at=1, http_client={client})
        analytics.track("Parent", user_id="u").wait(timeout=10)
        child = os.fork()
        for n in range(20):
            analytics.track("Parent" if child else "Child", user_id="u").wait(timeout=10)
        if child:
            assert os.waitpid(child, 0)[1] == 0
        """,
        api.url,
    )
    used = {name: {seen.connection for seen in api.requests if seen.events[0]["event"] == name} for name in FAMILY}
    assert len(api.accepted) == 41
    assert used["Parent"] & used["Child"] == set()


# -- multiprocessing --------------------------------------------------------------------------------

MODULE = """
    import multiprocessing, os, sys, time
    from concurrent.futures import ProcessPoolExecutor
    from millstream import Analytics
    analytics = Analytics("key", host=os.environ["API"], flush_interval=300, flush_at=1000)

    def work(n):
        analytics.track("Child", user_id="u", properties={"n": n})
        return n

    if __name__ == "__main__":
        how = multiprocessing.get_context(sys.argv[1])
        analytics.track("Parent", user_id="u")
"""
WAYS_TO_WORK = {
    "processes": """
        children = [how.Process(target=work, args=(n,)) for n in range(4)]
        for child in children: child.start()
        for child in children: child.join()
        assert [child.exitcode for child in children] == [0] * 4
    """,
    "pool": """
        with how.Pool(2) as pool:
            assert pool.map(work, range(4)) == [0, 1, 2, 3]
            pool.close()
            pool.join()
    """,
    "executor": """
        with ProcessPoolExecutor(2, mp_context=how) as pool:
            assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
    """,
    "failing": """
        children = [how.Process(target=work, args=(n,)) for n in range(4)] + [how.Process(target=work)]
        for child in children: child.start()
        for child in children: child.join()
        assert children[-1].exitcode == 1
    """,
}


@pytest.mark.parametrize("way", WAYS_TO_WORK)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver(api: Api, tmp_path: Path, method: str, way: str) -> None:
    """A child of `multiprocessing`, which skips exit hooks, delivers all the same, however it was started and ends."""
    module = tmp_path / "module.py"
    module.write_text(dedent(MODULE) + dedent(WAYS_TO_WORK[way]).replace("\n", "\n    "), "utf-8")
    done = ended(start_script(module, method, API=api.url))
    assert done.code == 0, done.err
    assert sorted(event["properties"].get("n", -1) for event in api.accepted) == [-1, 0, 1, 2, 3]


POOL = """
    import multiprocessing, os, signal, sys
    from millstream import Analytics, flush_on_return
    analytics = Analytics(
        "key", host=os.environ["API"], flush_interval=300, flush_at=1000, spool=os.environ.get("SPOOL") or None
    )

    def work(n):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        analytics.track("Child", user_id="u", properties={"n": n})
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    @flush_on_return(analytics)
    def flushed(n):
        work(n)

    if __name__ == "__main__":
        how = multiprocessing.get_context(sys.argv[1])
"""
WAYS_OF_A_POOL = {
    "close and join": """
        pool = how.Pool(2)
        pool.map(work, range(20))
        pool.close()
        pool.join()
    """,
    "flush_on_return": """
        with how.Pool(2) as pool:
            pool.map(flushed, range(20))
    """,
    "a spool": """
        with how.Pool(2) as pool:
            pool.map(work, range(20))
        analytics.close(timeout=20)
        Analytics("key", host=os.environ["API"], spool=os.environ["SPOOL"]).close(timeout=20)
    """,
}


@pytest.mark.parametrize("way", WAYS_OF_A_POOL)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_multiprocessing(api: Api, tmp_path: Path, method: str, way: str) -> None:
    """Each of the three ways to keep the events of a Pool's children loses none; without a spool one line says so."""
    module = tmp_path / "module.py"
    module.write_text(dedent(POOL) + dedent(WAYS_OF_A_POOL[way]).replace("\n", "\n    "), "utf-8")
    spool = str(tmp_path / "spool") if way == "a spool" else ""
    done = ended(start_script(module, method, API=api.url, SPOOL=spool))
    assert done.code == 0, done.err
    assert sorted(event["properties"]["n"] for event in api.accepted) == list(range(20))
    lines = done.err.splitlines()
    assert len(lines) in ({0} if spool else {1, 2})  # in each child that has recorded something
    assert all(
        "pool.close() and pool.join(), or use flush_on_return on the task, or set spool" in line for line in lines
    )


def test_multiprocessing_that_comes_later(api: Api, tmp_path: Path) -> None:
    """It makes no difference when the application imports `multiprocessing`; we never do."""
    module = tmp_path / "module.py"
    source = (
        dedent(MODULE)
        .replace("import multiprocessing, os, sys, time", "import os, sys")
        .replace("from concurrent.futures import ProcessPoolExecutor\n", "")
        .replace("if __name__", "assert 'multiprocessing' not in sys.modules\nimport multiprocessing\nif __name__")
    )
    module.write_text(source + dedent(WAYS_TO_WORK["processes"]).replace("\n", "\n    "), "utf-8")
    done = ended(start_script(module, "fork", API=api.url))
    assert done.code == 0, done.err
    assert len(api.accepted) == 5


def test_a_child_with_a_dead_host_ends(api: Api, tmp_path: Path) -> None:
    """A child of `multiprocessing` waits for a dead host no longer than `exit_timeout`, and says what that costs."""
    module = tmp_path / "module.py"
    source = dedent(MODULE).replace("flush_interval=300", "exit_timeout=0.3")
    module.write_text(source + dedent(WAYS_TO_WORK["processes"]).replace("\n", "\n    "), "utf-8")
    done = ended(start_script(module, "fork", API="http://127.0.0.1:1"), timeout=20)
    assert done.code == 0
    assert done.err.count("1 event was not delivered within exit_timeout=0.3 s") == 5
