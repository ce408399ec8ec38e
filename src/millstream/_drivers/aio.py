"""The asyncio driver: the worker's turns are callbacks of the caller's own event loop. It has no thread.

    call ──▶ mailbox ──▶ a turn, if none is coming yet ──▶ a task per request, and per hook that awaits
                           ▲                                     │
                           └───────────── their ends ────────────┘

The loop is found when it is first needed: a client may be made, and even used, before there is one. What a loop leaves
behind when it ends goes back into the mailbox, for the next loop; or for the inline driver, which this one is wherever
there is no loop: at the end of the process above all.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from .._core.actions import Send
from .._core.oauth import Ask
from .._core.pipeline import Answer
from .._core.receipt import Receipt
from .._core.ticket import Ticket
from ..errors import AuthError, MillstreamError
from ..http import as_response, is_async
from ..types import FlushResult, HTTPClient, Request
from .aio_runner import AsyncRunner
from .courier import Command
from .disabled import DisabledDriver
from .inline import CLOSE_GRACE, TAKE_OVER_GRACE, InlineDriver
from .own_loop import Here, OwnLoop, Synchronous
from .standby import Job, Standby
from .tether import Done, Tether
from .tokens import Tokens, bare, converse
from .worker import LINGER, earliest

if TYPE_CHECKING:
    from ..log import Spool
    from .ending import EndingGate

__all__ = ["AsyncDisabledDriver", "AsyncDriver"]

LOOK_PAUSE = 0.001
"""Seconds between two looks whether a loop's last request has ended."""


class AsyncDriver(InlineDriver):
    """Delivers on the event loop of whoever calls.

    Args:
        plugin_timeout: seconds for one hook that is awaited.
        make_exit_client: makes what sends requests when there is no loop.
        rest: what every driver needs.
    """

    SLICE = 0.002
    LINGER = LINGER
    YIELDS = True

    def __init__(self, *, plugin_timeout: float, make_exit_client: Callable[[], HTTPClient], **rest: Any) -> None:
        super().__init__(**rest)
        self._plugin_timeout = plugin_timeout
        self._make_exit_client = make_exit_client
        self._exit_client: HTTPClient | None = None
        self._own_loop = OwnLoop()
        self._tether = Tether(self._tell, self._on_loop_end)
        self._standby = Standby()
        self._begun: Job[FlushResult] | None = None  # the flush or close that has begun
        self._hooks = AsyncRunner(self._emitter, self._deliver, self._end, self._baton, self._wait_for_hook)
        self._runner = self._hooks
        self._scheduled: asyncio.AbstractEventLoop | None = None  # on it a turn is coming
        self._timer: asyncio.TimerHandle | None = None
        self._timed: asyncio.AbstractEventLoop | None = None  # on it fewer than `_rouse_at` events have time
        self._answers_late: list[HTTPClient] = []  # whose `send` is no `async def`, but returns awaitables

    # -- what callers await ---------------------------------------------------------------------------

    async def aflush(self, timeout: float) -> FlushResult:
        """Send everything submitted before now, and wait for its outcome, `timeout` seconds at most."""
        return await self._ticketed("flush", timeout, self._on_flush)

    async def aclose(self, timeout: float) -> FlushResult:
        """The same, and then stop. What has no outcome at the deadline is given up, and returned."""
        deadline = self._clock() + timeout
        result = await self._ticketed(
            "close_and_flush", timeout, lambda ticket: self._on_close(ticket, deadline), grace=CLOSE_GRACE
        )
        loop, winding_up = self._tether.loop, self._tether.wind_up(max(0.0, deadline - self._clock()))
        if loop is None or self._tether.here():
            await winding_up
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(winding_up, loop))
        return result

    def awaited(self, receipt: Receipt) -> Generator[Any, None, None]:
        """Wait for one event's outcome, for `await receipt`."""
        self._need_loop("await receipt")
        yield from super().awaited(receipt)

    def wait(self, receipt: Receipt, timeout: float | None) -> None:
        """Wait for one event's outcome, on a thread without an event loop."""
        if _get_running_loop() is not None:
            raise MillstreamError("Receipt.wait would block the event loop: await it instead (`await receipt`)")
        super().wait(receipt, timeout)

    def hurry(self) -> None:
        """Have the loop send at once what there is, if there is a loop."""
        if self._tether.runs():
            self._tell(self._hurry)

    def begin_flush(self, timeout: float) -> None:
        """Begin a `flush` at the end of the process, also where there is no loop."""
        super().begin_flush(timeout)
        self._begin(super().flush, timeout)

    def begin_close(self, timeout: float) -> None:
        """Begin what `close` will wait for, also where there is no loop."""
        self._begin(self._close_here, timeout)

    def _begin(self, what: Callable[[float], FlushResult], timeout: float) -> None:
        loop = self._tether.loop
        if loop is None or not self._tether.runs():
            self._begun = self._standby.do(lambda: what(timeout))
        elif (
            not threading.main_thread().is_alive()
        ):  # from then on executors refuse work, and looking up a name is some
            loop.call_soon_threadsafe(loop.set_default_executor, Here())

    def close(self, timeout: float) -> FlushResult:
        """For the end of the process: deliver what is left, without an event loop if need be."""
        return self._close_here(timeout) if self._tether.runs() else self._without_loop(self._close_here, timeout)

    def flush(self, timeout: float) -> FlushResult:
        """The same, but do not stop: in a thread, for a process that is told to end."""
        flush = super().flush
        return flush(timeout) if self._tether.runs() else self._without_loop(flush, timeout)

    def detach(self, gate: EndingGate, until: float) -> Iterator[None]:
        """Leave the event loop, in steps that all clients take together.

        First no request is sent any more; then those in flight have ended; then the loop is stopped, and whatever
        delivers next does so on a private loop.
        """
        loop = self._tether.loop
        if loop is None or not self._tether.runs():
            return
        held = threading.Event()
        self._tell(self._on_hold)
        self._tell(held.set)
        yield
        held.wait(max(0.0, until - self._clock()))
        while self._tether.at_work and self._clock() < until:
            time.sleep(LOOK_PAUSE)
        yield
        if gate.stop(loop, until):
            self._tether.release()
        self._tell(self._on_release)

    def avoid_loop(self) -> None:
        """Deliver without the event loop that runs in this thread: the call is to return with the outcome."""
        self._tether.avoid(_get_running_loop())

    def retire(self, then: Callable[[], object], *, hang_up: bool) -> None:
        """Deliver what is left and end, if the loop runs."""
        if self._tether.runs():
            self._tell(lambda: self._on_retire(then, hang_up=hang_up))

    def _without_loop(self, what: Callable[[float], FlushResult], timeout: float) -> FlushResult:
        """Do this where whatever hangs hangs by itself; but there need not be such a thread."""
        begun, self._begun = self._begun, None
        job = begun or self._standby.do(lambda: what(timeout))
        if job is None:
            return what(timeout)
        return job.result(timeout + CLOSE_GRACE + TAKE_OVER_GRACE) or self._undecided()

    def _close_here(self, timeout: float) -> FlushResult:
        try:
            return super().close(timeout)
        finally:
            self._own_loop.close()
            self._standby.dismiss()

    def _on_loop_end(self) -> None:
        if self._ledger.totals().pending:
            self._standby.get_ready()

    def unplug(self, name: str) -> None:
        """Stop running the plugin of this name for the events that come from now on."""
        self._tell(lambda: self._change(lambda: self._runner.timeline.remove(name)))

    async def unplugged(self, name: str) -> None:
        """Wait until no hook of it runs for those that came before: not in a hook, and for `plugin_timeout` at most."""
        if self._loop_thread == threading.get_ident() or self._tether.is_ours():
            return
        loop = asyncio.get_running_loop()
        quiet = loop.create_future()

        def passed() -> None:  # in a turn of its own: the last event's destinations are only just being called
            self._tell(lambda: self._hooks.when_quiet(name, lambda: _resolve(loop, quiet)))

        self._tell(lambda: self._change(lambda: self._after_plugins(passed)))
        await asyncio.wait([quiet], timeout=self._plugin_timeout)

    async def _ticketed(
        self, what: str, timeout: float, command: Callable[[Ticket], object], grace: float = 0.0
    ) -> FlushResult:
        self._need_loop(what)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        ticket = Ticket(lambda: _resolve(loop, done))
        self._tell(lambda: command(ticket))
        try:
            await asyncio.wait([done], timeout=timeout + grace)  # whoever cancels this stops waiting, and nothing else
        finally:
            if not done.done():
                self._tell(lambda: self._ledger.withdraw(ticket))
        return self._result(ticket)

    def _need_loop(self, what: str) -> None:
        """See that there is a loop that will do what is to be waited for."""
        self._refuse_on_worker(what)
        if self._tether.is_ours():
            raise MillstreamError(
                f"{what} in a callback or hook would wait for itself: do it in a task of its own (asyncio.create_task)"
            )
        loop = self._tether.get() or self._tether.tie(asyncio.get_running_loop())
        if not loop.is_running():
            raise MillstreamError(
                f"{what}: the client belongs to another event loop, which does not run and is not closed either; "
                "close it (asyncio.run does), or make a client for each loop"
            )

    # -- turns ----------------------------------------------------------------------------------------

    def submit(self, receipt: Receipt) -> None:
        """Hand over an accepted event. Without a loop it waits in the mailbox until there is one."""
        self._mailbox.put(receipt)
        if self._mailbox.qsize() >= self._rouse_at or _get_running_loop() is not self._timed:
            self._nudge()

    def _nudge(self) -> None:
        loop = self._tether.get()
        if loop is None:
            self._standby.get_ready()
            return
        if self._scheduled is loop:
            return
        self._scheduled = loop
        try:
            if _get_running_loop() is loop:
                loop.call_soon(self._on_turn, loop)
            else:
                loop.call_soon_threadsafe(self._on_turn, loop)
        except RuntimeError:  # closed at this very moment: the mail waits for the next one
            self._scheduled = None
        except BaseException:  # a signal handler's, before or after the turn was asked for
            self._scheduled = None
            raise

    def _on_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._scheduled is loop:
            self._scheduled = None  # first: who puts something from here on has to ask for a turn
        if self._tether.here() is not loop:
            return
        until: float | None = self._clock() + 0.05
        if self._pumping.acquire(blocking=False):  # else a thread that waited while no loop ran is still at it
            try:
                until = self._pump()
            finally:
                self._pumping.release()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if until is not None and self._tether.loop is loop:
            self._timer = loop.call_later(max(0.0, until - self._clock()), self._on_time, loop)
        self._timed, self._rouse_at = loop, self._enough()
        if not self._mailbox.empty():  # from another thread, which has seen the number from before
            self._nudge()

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """It is time for a turn, but first for what the same moment has woken.

        A loop wakes at whole milliseconds, and then all that slept on it. A turn and its request take one: what came
        after them was late by 1.3 ms in 1 of 100 cases, and is by 0.9 where it comes before. Once round the loop are
        the callbacks of futures, twice the tasks that wait for them.
        """
        loop.call_soon(loop.call_soon, self._on_turn, loop)

    def _pump(self) -> float | None:
        self._loop_thread = threading.get_ident()
        try:
            return self._guarded_turn()
        finally:
            self._loop_thread = None

    def _block(self, event: threading.Event, deadline: float | None) -> None:
        """Wait while the loop does the work; without one, do it here."""
        while self._tether.runs() and not event.is_set():
            pause = earliest(0.1, None if deadline is None else deadline - self._clock()) or 0.0
            if pause <= 0.0:
                return
            event.wait(pause)
        if not event.is_set():
            self._tether.release()
            super()._block(event, deadline)

    def _hurry(self) -> None:
        self._flush()
        self._after_plugins(self._flush)  # those that are still with them are meant as well

    def _after_plugins(self, command: Command) -> None:
        """Do this when all events that came before it are out of the hooks that come before delivery."""
        line = self._hooks.line
        self._after_held(lambda: line.ready(line.join(), command))

    # -- requests -------------------------------------------------------------------------------------

    def _send(self, send: Send) -> None:
        if self._tether.here() is None:
            super()._send(send)
            return
        request, client = self._request(send), self._http()
        self._tether.spawn(
            self._answer(request, client),
            lambda answer, exc: self._tell(self._report(send, request, answer, exc)),
            lambda: self._engine.recalled(send, self._clock()),
            timeout=send.deadline - self._clock() + 1.0,  # the engine has given it up by then
        )

    def _ask(self, tokens: Tokens, ask: Ask) -> None:
        client = tokens.client or self._http()
        if self._tether.here() is None:
            self._obtain(tokens, ask, Synchronous(client, self._own_loop))()
            return

        def done(response: Any, exc: BaseException | None) -> None:
            error = exc if isinstance(exc, AuthError) else AuthError(f"the token request failed: {type(exc).__name__}")
            if exc is None:
                self._tell(lambda: tokens.responded(ask, response))
            else:
                self._tell(lambda: tokens.failed(ask, bare(error)))

        self._tether.spawn(
            converse(
                tokens.dialog(ask), partial(_in_thread, tokens.sign), lambda request: self._answer(request, client)
            ),
            done,
            lambda: tokens.failed(ask, AuthError("the event loop ended before the authorization server answered")),
            timeout=ask.deadline - self._clock() + 1.0,
        )

    async def _answer(self, request: Request, client: HTTPClient) -> Any:
        if is_async(client) or client in self._answers_late:
            answer = client.send(request)
        else:
            answer = await asyncio.get_running_loop().run_in_executor(None, client.send, request)
            if inspect.isawaitable(answer):
                self._answers_late.append(client)
        return await answer if inspect.isawaitable(answer) else answer

    def _report(self, send: Send, request: Request, answer: object, exc: BaseException | None) -> Command:
        if exc is None:
            try:
                response = as_response(answer)
                return lambda: self._on_response(send, request, response)
            except Exception as bad:  # noqa: BLE001 - reported like any other
                exc = bad
        return self._no_answer(send, request, exc)

    def _http(self) -> HTTPClient:
        if self._tether.here() is not None:
            return super()._http()
        if self._exit_client is None:
            self._exit_client = Synchronous(self._make_exit_client(), self._own_loop)
        return self._exit_client

    def _hang_up(self) -> None:
        clients = (self._client, self._exit_client, None if self._tokens is None else self._tokens.client)
        for client in clients:
            closing: object = None if client is None else client.close()
            if inspect.isawaitable(closing):
                self._wait_for(closing, partial(self._told, "http_client"))

    def _sync(self, spool: Spool) -> None:
        loop = self._tether.here()
        if loop is None:
            super()._sync(spool)
        else:
            loop.run_in_executor(None, spool.sync_now)

    # -- what hooks and callbacks have left to await ----------------------------------------------------

    def _wait_for_hook(
        self, awaitable: Awaitable[Any], done: Callable[[Answer], object], again: Callable[[], object]
    ) -> None:
        def end(value: Any, exc: BaseException | None) -> None:
            self._tell(lambda: done((value, exc)))

        if self._tether.here() is not None:
            self._tether.spawn(awaitable, end, again, self._plugin_timeout)
        else:
            self._wait_here(awaitable, lambda value, exc: done((value, exc)), self._plugin_timeout)

    def _see_to(self, awaitable: Awaitable[object]) -> None:
        # In a turn: a callback may be called in any thread.
        self._tell(lambda: self._wait_for(awaitable, partial(self._told, "callback")))

    def _told(self, code: str, _: object, exc: BaseException | None) -> None:
        if exc is not None:
            self._emitter.fault(code, exc)

    def _wait_for(self, awaitable: Awaitable[Any], done: Done) -> None:
        if self._tether.here() is not None:
            self._tether.spawn(awaitable, done)
        else:
            self._wait_here(awaitable, done, None)

    def _wait_here(self, awaitable: Awaitable[Any], done: Done, timeout: float | None) -> None:
        """Wait without a loop, which only ever happens at the end: then until the close's deadline at most."""
        left = max(0.0, self._deadline - self._clock()) if self._deadline else None
        try:
            value = self._own_loop.run(awaitable, earliest(timeout, left))
        except Exception as exc:  # noqa: BLE001 - it is the user's code
            done(None, exc)
        else:
            done(value, None)


class AsyncDisabledDriver(DisabledDriver, AsyncDriver):
    """The driver of a disabled AsyncAnalytics."""


async def _in_thread(sign: Callable[[bytes], Any], data: bytes) -> Any:
    # A key service takes as long as it takes.
    return await asyncio.get_running_loop().run_in_executor(None, sign, data)


def _resolve(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:  # nobody waits on a closed loop
        pass
