"""The thread that is kept ready for the end of the process."""

from __future__ import annotations

import threading

import pytest

from millstream._delivery.process.exit_thread import ExitThread

PATIENCE = 30.0


def refuse(_: object) -> None:
    raise RuntimeError("can't create new thread at interpreter shutdown")


def test_jobs_are_done_elsewhere_one_after_the_other() -> None:
    """A job runs on the one thread, and its result can be waited for, for so long and no longer."""
    thread, go = ExitThread(), threading.Event()
    first = thread.do(lambda: go.wait(PATIENCE) and threading.get_ident())
    second = thread.do(threading.get_ident)
    assert first is not None
    assert second is not None
    assert first.result(0.0) is None
    go.set()
    assert first.result(PATIENCE) == second.result(PATIENCE) != threading.get_ident()
    thread.dismiss()


def test_a_job_that_raises_leaves_the_thread_for_the_next() -> None:
    """What a job raises is raised to the caller that waits for it, and the jobs behind it are done."""
    thread = ExitThread()
    fails, works = thread.do(lambda: {}.pop("none")), thread.do(lambda: 1)
    assert fails is not None
    assert works is not None
    with pytest.raises(KeyError):
        fails.result(PATIENCE)
    assert works.result(PATIENCE) == 1
    thread.dismiss()


def test_without_a_thread_there_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be started the caller is told to do it itself; `prepare` has then nothing to say."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    thread = ExitThread()
    thread.prepare()
    assert thread.do(lambda: 1) is None


def test_after_a_dismissal_there_is_another_thread() -> None:
    """The thread ends with what it was given before; a job that comes later gets a new one."""
    thread = ExitThread()
    before = thread.do(lambda: "before")
    thread.dismiss()
    thread.dismiss()
    after = thread.do(lambda: "after")
    assert before is not None
    assert after is not None
    assert (before.result(PATIENCE), after.result(PATIENCE)) == ("before", "after")
    thread.dismiss()
