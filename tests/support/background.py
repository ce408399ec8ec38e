"""Work on another thread, whose result or exception a test can wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

PATIENCE = 30.0


class Background:
    """Runs `fn(*args)` on a thread of its own, from now on."""

    def __init__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(fn, args, kwargs), daemon=True)
        self._thread.start()

    def _run(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        try:
            self._result = fn(*args, **kwargs)
        except BaseException as exc:
            self._error = exc

    def running(self) -> bool:
        """Whether it is still at it."""
        return self._thread.is_alive()

    def result(self, timeout: float = PATIENCE) -> Any:
        """What it returned, or raises what it raised."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"no result after {timeout:g} s"
        if self._error is not None:
            raise self._error
        return self._result


class Heard:
    """A listener or callback that remembers its calls, and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.threads: list[int] = []
        self._news = threading.Condition()

    def __call__(self, *args: Any) -> None:
        with self._news:
            self.threads.append(threading.get_ident())
            self.calls.append(args)
            self._news.notify_all()

    def wait_for(self, n: int = 1, timeout: float = PATIENCE) -> list[tuple[Any, ...]]:
        """All calls, when there have been so many."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.calls) >= n, timeout)
        assert came, f"waited {timeout:g} s for {n} calls; {len(self.calls)} came"
        return self.calls
