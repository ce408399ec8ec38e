"""The event calls, written once for every client. They never wait, so they have no colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, SupportsIndex, TypeAlias, TypeVar, overload
from uuid import UUID

from .._clock import monotonic, stamp
from .._core.context import Callback, ErrorEvent
from .._core.events import build
from .._core.events.build import LIBRARY, MAX_EVENT_BYTES, Defaults, WireEvent
from .._core.events.encode import decode, encode, largest_field
from .._core.receipt import Receipt, SpooledReceipt
from .._delivery.assemble import Parts
from .._delivery.driver import Driver
from .._delivery.process import gate
from .._feedback import feeds_back, in_log_call, is_exchanging
from .._logging import Summary, show_debug
from ..emitter import Emitter, Listener
from ..errors import ClientClosed, DeliveryError, Dropped, EventTooLarge, InvalidEvent, SettingsError
from ..http import as_client
from ..settings import Settings, seconds
from ..types import Stats
from .invalid import InvalidLog, caller
from .lifecycle import Lifecycle
from .parts import parts_of
from .registration import Registration

__all__ = ["EventCalls"]

FED_BACK = "a log handler recorded a line that a request of ours has written, which would go on endlessly"
MORE_PLACES = "not recorded: InvalidEvent, at more places than have lines of their own (listen to `error`)"

F = TypeVar("F", bound=Listener)
Key: TypeAlias = str | SupportsIndex | UUID
"""An id: numpy's integers are no int, but have an index."""
Id = Key | None
Map = Mapping[str, Any] | None


class EventCalls:
    """Base of the clients: records what users do, and says what became of it.

    Args:
        settings: checked ones.
        build: makes a driver of its parts; it must not refer to the client, which would keep it alive.
        may_await: whether hooks and HTTP clients may be `async def`.
    """

    def __init__(self, settings: Settings, build: Callable[[Settings, Parts], Driver], *, may_await: bool) -> None:
        if settings.http_client is not None:
            as_client(settings.http_client, may_await=may_await)  # refused here, not at the first event
        if settings.debug:
            show_debug()
        self._settings = settings
        self._summary = summary = Summary()
        self._emitter = emitter = Emitter(lambda fault: summary.fault(fault, monotonic()), lambda: gate.closed)
        self._registration = registration = Registration(emitter, may_await=may_await)
        self._receipt = Receipt if settings.spool is None else SpooledReceipt
        self._context_providers = settings.context_providers
        self._invalid_log = InvalidLog()
        self._drops = settings.overflow == "drop_newest"
        try:
            self._defaults = Defaults.of({**settings.context, "library": LIBRARY}, settings.integrations)
        except InvalidEvent as exc:
            raise SettingsError(str(exc)) from exc
        self._integrations = bool(self._defaults.integrations)

        def make_driver() -> Driver:  # refers to the parts, and not to the client
            driver = build(settings, parts_of(settings, emitter, summary, may_await=may_await))
            registration.apply(driver)
            return driver

        self._lifecycle = Lifecycle(settings, make_driver, summary)

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        """Refuse to be copied or pickled: to close the copy would close the original, and its events have one owner."""
        name = type(self).__name__
        raise TypeError(
            f"{name} cannot be copied or pickled: share the one client; in a process that is not forked from this one, "
            f"make another {name} with the same settings"
        )

    # -- the six calls ------------------------------------------------------------------------------

    def identify(
        self,
        user_id: Id = None,
        *,
        anonymous_id: Id = None,
        traits: Map = None,
        timestamp: datetime | str | None = None,
        context: Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Tie a user to their actions and record traits about them.

        Args:
            user_id: the user's id in your database. This or `anonymous_id` is needed.
            anonymous_id: an id for somebody whose user id is not known (yet).
            traits: what is known about the user: `name`, `email`, `plan` …
            timestamp: when it happened, if not now: a datetime (without a zone: UTC) or an ISO-8601 str.
            context: context for this event; `library` is added to it.
            integrations: which destinations get the event; names are case-sensitive.
            message_id: your own id for the event, at most 100 characters; by default a fresh UUID.
            callback: `callback(err, ctx)`, called once when the event has its outcome: on the worker, or in the call
                itself for an event that is refused there (too large, no room, the client closed or disabled).

        Raises:
            InvalidEvent: an argument cannot be sent, and `on_invalid` is `raise`; the message names it.
            QueueFull: the queue is full, and `overflow` is `raise`.
        """
        made = build.Identify(message_id, timestamp, user_id, anonymous_id, context, integrations, traits)
        return self._record(made, callback)

    def track(
        self,
        event: str,
        *,
        user_id: Id = None,
        anonymous_id: Id = None,
        properties: Map = None,
        timestamp: datetime | str | None = None,
        context: Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Record an action that a user performed.

        Args:
            event: the action's name, such as "Item Purchased".
            properties: what belongs to it: `revenue`, `product_id` …

        The other arguments, and what is raised: see `identify`.
        """
        made = build.Track(message_id, timestamp, user_id, anonymous_id, context, integrations, event, properties)
        return self._record(made, callback)

    def page(
        self,
        name: str | None = None,
        *,
        category: str | None = None,
        user_id: Id = None,
        anonymous_id: Id = None,
        properties: Map = None,
        timestamp: datetime | str | None = None,
        context: Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Record a page view.

        Args:
            name: the page's name, such as "Signup".
            category: the page's category, such as "Docs"; also sent as a property.
            properties: what belongs to it: `url`, `title`, `referrer` …

        The other arguments, and what is raised: see `identify`.
        """
        own = name, category, properties
        made = build.Page(message_id, timestamp, user_id, anonymous_id, context, integrations, *own)
        return self._record(made, callback)

    def screen(
        self,
        name: str | None = None,
        *,
        category: str | None = None,
        user_id: Id = None,
        anonymous_id: Id = None,
        properties: Map = None,
        timestamp: datetime | str | None = None,
        context: Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Record a view of an app's screen. The arguments are those of `page`; `category` is not made a property."""
        own = name, category, properties
        made = build.Screen(message_id, timestamp, user_id, anonymous_id, context, integrations, *own)
        return self._record(made, callback)

    def group(
        self,
        group_id: Key,
        *,
        user_id: Id = None,
        anonymous_id: Id = None,
        traits: Map = None,
        timestamp: datetime | str | None = None,
        context: Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Tie a user to a group: a company, an account, a team.

        Args:
            group_id: the group's id in your database.
            traits: what is known about the group: `name`, `industry` …

        The other arguments, and what is raised: see `identify`.
        """
        made = build.Group(message_id, timestamp, user_id, anonymous_id, context, integrations, group_id, traits)
        return self._record(made, callback)

    def alias(
        self,
        user_id: Key,
        *,
        previous_id: Key,
        timestamp: datetime | str | None = None,
        context: Map = None,
        integrations: Map = None,
        message_id: str | UUID | None = None,
        callback: Callback | None = None,
    ) -> Receipt:
        """Say that one user has had two ids.

        Args:
            user_id: the id that stays.
            previous_id: the id that the user had before.

        The other arguments, and what is raised: see `identify`.
        """
        made = build.Alias(message_id, timestamp, user_id, None, context, integrations, previous_id)
        return self._record(made, callback)

    def send(self, event: Mapping[str, Any], *, callback: Callback | None = None) -> Receipt:
        """Send a whole event as it goes over the wire: a dict with `type` and camelCase keys.

        Its `messageId` and `timestamp` are kept, so what `unsent` or `call_after_close` handed back can be sent
        again without becoming a second event.

        Raises:
            InvalidEvent: the Tracking API would not keep the event, and `on_invalid` is `raise`.
        """
        try:
            whole = build.whole(event, stamp(), self._defaults)
            data = encode(whole)
        except InvalidEvent as exc:
            return self._invalid("send", event.get("event") if type(event) is dict else None, exc, callback)
        receipt = self._receipt(
            data, whole["type"], whole["messageId"], self._lifecycle.driver, bool(whole["integrations"])
        )
        self._submit(receipt, callback)
        return receipt

    # -- around them --------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """The client's counters as of now."""
        return self._lifecycle.driver.stats()

    @overload
    def on(self, name: str) -> Callable[[F], F]: ...
    @overload
    def on(self, name: str, listener: F) -> F: ...
    def on(self, name: str, listener: F | None = None) -> F | Callable[[F], F]:
        """Call `listener` whenever `name` is emitted (docs/reference/emitter.md); also usable as a decorator."""
        return self._emitter.on(name) if listener is None else self._emitter.on(name, listener)

    def once(self, name: str, listener: F) -> F:
        """Call `listener` the next time `name` is emitted, and not again."""
        return self._emitter.once(name, listener)

    def off(self, name: str, listener: Listener) -> None:
        """Stop calling `listener` for `name`."""
        self._emitter.off(name, listener)

    def emit(self, name: str, *args: Any) -> None:
        """Call the listeners of `name`, for events of your own."""
        self._emitter.emit(name, *args)

    # -- how an event is recorded -------------------------------------------------------------------

    def _record(self, event: WireEvent, callback: Callback | None) -> Receipt:
        integrations = event.integrations
        try:
            if self._context_providers:
                event.context = self._provided(event.context)
            given = event.complete(stamp(), self._defaults)
            data = encode(event, given)
        except InvalidEvent as exc:
            return self._invalid(event.kind, getattr(event, "event", getattr(event, "name", None)), exc, callback)
        integrated = self._integrations if integrations is None else bool(event.integrations)
        life = self._lifecycle
        driver = life.driver
        receipt = self._receipt(data, event.kind, event.message_id, driver, integrated)
        if self._drops and not life.closed and len(data) <= MAX_EVENT_BYTES and not is_exchanging():
            if callback is not None:
                driver.watch_callback(receipt, callback)
            driver.accept(receipt)
        else:
            self._submit(receipt, callback)
        return receipt

    def _submit(self, receipt: Receipt, callback: Callback | None) -> None:
        """From the encoded event to the queue, with whatever may be out of the ordinary."""
        if feeds_back():
            self._reject(receipt, Dropped(FED_BACK), callback)
            self._summary.count("event", f"not accepted: {FED_BACK}", 1, monotonic())
            return
        if self._lifecycle.closed:
            self._lifecycle.submit_late(
                receipt, lambda: self._submit(receipt, callback), lambda: self._refuse_closed(receipt, callback)
            )
            return
        driver, size, overflow = self._lifecycle.driver, len(receipt.data), self._settings.overflow
        # Before the worker has it; but QueueFull may be raised, and then nobody may remember the callback.
        if callback is not None and overflow != "raise":
            driver.watch_callback(receipt, callback)
        if size > MAX_EVENT_BYTES:
            driver.refuse(receipt, EventTooLarge(size, MAX_EVENT_BYTES, largest_field(receipt.data)))
        elif overflow == "drop_newest":
            driver.accept(receipt)
        elif overflow == "block":
            driver.accept_when_room(receipt)
        else:
            full = driver.accept_if_room(receipt)
            if full is not None:
                raise full
        if callback is not None and overflow == "raise":
            driver.watch_callback(receipt, callback, first=False)

    def _refuse_closed(self, receipt: Receipt, callback: Callback | None) -> None:
        """Settle an event that comes when the application has closed the client."""
        self._reject(receipt, ClientClosed(), callback)
        self._emitter.emit("call_after_close", decode(receipt.data))

    def _reject(self, receipt: Receipt, error: DeliveryError, callback: Callback | None) -> None:
        """Settle an event that is not accepted."""
        if callback is not None:
            self._lifecycle.driver.watch_callback(receipt, callback)
        self._lifecycle.driver.reject(receipt, error)

    def _timeout(self, given: float | None) -> float:
        """Seconds that a flush or a close may wait.

        A log handler that flushes holds its own lock: a thread that sends waits for that when it logs, and the flush
        for the thread. And if it is the line of a request that it handles, this thread is the one that sends.
        """
        settings = self._settings
        patience = settings.patience if given is None else seconds("timeout", given)
        if feeds_back():
            return 0.0
        return min(patience, settings.exit_timeout) if given is None and in_log_call() else patience

    def _provided(self, context: Map) -> Map:
        """The call's context over what the providers say here and now."""
        merged: dict[str, Any] = {}
        for provider in self._settings.context_providers:
            try:
                merged.update(provider())
            except Exception as exc:  # noqa: BLE001 - it is the user's code, and the event goes on without it
                self._emitter.fault("context_provider", exc)
        return {**merged, **build.mapping("context", context)}

    def _invalid(self, kind: str, event: object, exc: InvalidEvent, callback: Callback | None) -> Receipt:
        """Raise, or report: a line in the log, an `error` event, and a receipt that has failed already."""
        if self._settings.on_invalid == "raise":
            raise exc
        now = monotonic()
        if not self._invalid_log.note(f"{type(self).__name__}.{kind}", event, exc, caller(), now):
            self._summary.count("event", MORE_PLACES, 1, now)
        self._emitter.emit("error", ErrorEvent("invalid_event", exc))
        receipt = Receipt(b"{}", kind, "", self._lifecycle.driver)
        error = Dropped(str(exc))
        error.__cause__ = exc.with_traceback(None)
        self._reject(receipt, error, callback)
        return receipt


gate.guard(
    EventCalls.identify,
    EventCalls.track,
    EventCalls.page,
    EventCalls.screen,
    EventCalls.group,
    EventCalls.alias,
    EventCalls.send,
)
