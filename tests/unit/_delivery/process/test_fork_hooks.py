"""Children that Python's own hooks do not reach, by the modules that make them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from millstream._delivery.process import fork_hooks


def module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(content)
    return made


def after() -> None:
    pass


@pytest.mark.parametrize("taken", [False, True])
def test_uwsgi_without_its_decorators_has_one_hook(taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook of uWSGI is set if it is free, and that of the application is never taken away."""
    uwsgi: Any = module("uwsgi", **({"post_fork_hook": print} if taken else {}))
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    monkeypatch.setitem(sys.modules, "uwsgidecorators", None)
    fork_hooks.on_fork(after)
    assert uwsgi.post_fork_hook is (print if taken else after)


def test_uwsgi_with_its_decorators_is_asked_through_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """`postfork` keeps the hooks of others, so it is used where it is there."""
    hooks: list[object] = []
    monkeypatch.setitem(sys.modules, "uwsgi", module("uwsgi"))
    monkeypatch.setitem(sys.modules, "uwsgidecorators", module("uwsgidecorators", postfork=hooks.append))
    fork_hooks.on_fork(after)
    assert hooks == [after]


def test_what_is_not_used_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without multiprocessing, Celery and uWSGI nothing is imported, and no child is a daemon."""
    for name in ("uwsgi", "celery.signals", "multiprocessing.util", "multiprocessing.process"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = set(sys.modules)
    fork_hooks.on_fork(after)
    fork_hooks.watch(object(), after)
    assert not fork_hooks.of_multiprocessing()
    assert not fork_hooks.is_daemon()
    assert set(sys.modules) == before
