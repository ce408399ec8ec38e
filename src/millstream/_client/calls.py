"""The event calls of every client. They never wait, so one version serves sync and async clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, SupportsIndex, TypeAlias, TypeVar, overload
from uuid import UUID

from .._clock import monotonic, stamp
from .._core.context import Callback
from .._core.events import build
from .._core.events.build import LIBRARY, Defaults, WireEvent
from .._core.events.encode import decode, encode, largest_field
from .._core.receipt import Receipt, SpooledReceipt
from .._delivery.assemble import Parts
from .._delivery.driver import Driver
from .._delivery.process import gate
from .._feedback import feeds_back, in_log_call, is_exchanging
from .._logging import Summary
from .._public import Self
from ..emitter import Emitter, Listener
from ..errors import ClientClosed, DeliveryError, Dropped, EventTooLarge, InvalidEvent, SettingsError
from ..http import as_client
from ..identity import Identity, current, fill
from ..settings import Settings, seconds
from ..spec import MAX_EVENT_BYTES
from ..types import Stats
from .lifecycle import Lifecycle
from .parts import parts_of
from .registration import Registration

__all__ = ["EventCalls"]

FED_BACK = "a log handler recorded a line about one of our requests, which would repeat endlessly"

F = TypeVar("F", bound=Listener)
Key: TypeAlias = str | SupportsIndex | UUID
"""An id: numpy's integers are not ints, but have an index."""
Id = Key | None
Map = Mapping[str, Any] | None


class EventCalls:
    """Base of the clients: records events, and reports their outcomes.

    Args:
        settings: validated settings.
        build: makes a driver from its parts; it must not refer to the client, which would keep it alive.
        may_await: whether hooks and HTTP clients may be `async def`.
    """

    _bound: tuple[Identity, ...] = ()

    def __init__(self, settings: Settings, build: Callable[[Settings, Parts], Driver], *, may_await: bool) -> None:
        if settings.http_client is not None:
            as_client(settings.http_client, may_await=may_await)  # refused here, not at the first event
        self._settings = settings
        self._summary = summary = Summary()
        self._emitter = emitter = Emitter(lambda fault: summary.fault(fault, monotonic()), lambda: gate.closed)
        self._registration = registration = Registration(emitter, may_await=may_await)
        registration.include(settings.destinations)
        self._receipt = Receipt if settings.spool is None else SpooledReceipt
        self._context_providers = settings.context_providers
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
        """Refuse to be copied or pickled: closing a copy would close the original, and events have one owner."""
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
            anonymous_id: an id for a user whose user id is not known (yet).
            traits: traits of the user: `name`, `email`, `plan` …
            timestamp: time of the event, by default now: a datetime (without a zone: UTC) or an ISO-8601 str.
            context: context for this event; `library` is added to it.
            integrations: the destinations of the event; names are case-sensitive.
            message_id: your own id for the event, at most 100 characters; by default a fresh UUID.
            callback: `callback(err, ctx)`, called once with the event's outcome: on the worker, or in the call itself
                for an event that is refused there (too large, no room, the client closed or disabled).

        Raises:
            InvalidEvent: an argument cannot be sent; the message names it (see the setting `on_invalid`).
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
            properties: properties of the action: `revenue`, `product_id` …

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
            properties: properties of the page: `url`, `title`, `referrer` …

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
            traits: traits of the group: `name`, `industry` …

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
        """Merge two ids of one user.

        Args:
            user_id: the id to keep.
            previous_id: the user's previous id.

        The other arguments, and what is raised: see `identify`.
        """
        made = build.Alias(message_id, timestamp, user_id, None, context, integrations, previous_id)
        return self._record(made, callback)

    def send(self, event: Mapping[str, Any], *, callback: Callback | None = None) -> Receipt:
        """Send a whole event as it is sent over HTTP: a dict with `type` and camelCase keys.

        Its `messageId` and `timestamp` are kept, so that events from `unsent` or `call_after_close` can be sent again
        without becoming duplicates.

        Raises:
            InvalidEvent: the Tracking API would reject the event.
        """
        try:
            whole = build.whole(event, stamp(), self._defaults)
            data = encode(whole)
        except InvalidEvent as exc:
            return self._invalid("send", exc, callback)
        receipt = self._receipt(
            data, whole["type"], whole["messageId"], self._lifecycle.driver, bool(whole["integrations"])
        )
        self._submit(receipt, callback)
        return receipt

    # -- around them --------------------------------------------------------------------------------

    def bind(self, *, user_id: Id = None, anonymous_id: Id = None, traits: Map = None, context: Map = None) -> Self:
        """Return this client with ids, traits and context for every event call that does not bring its own.

            customer = analytics.bind(user_id="019mr8mf4r")
            customer.track("Item Purchased")

        It has the same queue, listeners and plugins: to close one closes the other. Its ids go before those of
        `millstream.context`, by the rules that are described there.

        Args:
            user_id: the user's id in your database.
            anonymous_id: an id for a visitor whose user id is not known.
            traits: the `traits` of `identify`, and `context.traits` of other events.
            context: merged key by key into each event's `context`.
        """
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._bound = (*self._bound, Identity(user_id, anonymous_id, traits, context))
        return bound

    def stats(self) -> Stats:
        """The client's current counters."""
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
        """Call the listeners of `name`, for your own events."""
        self._emitter.emit(name, *args)

    # -- how an event is recorded -------------------------------------------------------------------

    def _record(self, event: WireEvent, callback: Callback | None) -> Receipt:
        integrations = event.integrations
        try:
            if self._bound or current() is not None:
                self._identify(event)
            if self._context_providers:
                event.context = self._provided(event.context)
            given = event.complete(stamp(), self._defaults)
            data = encode(event, given)
        except InvalidEvent as exc:
            return self._invalid(event.kind, exc, callback)
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
        """Queue an encoded event, or handle an unusual case."""
        if feeds_back():
            self._reject(receipt, Dropped(FED_BACK), callback)
            self._summary.count(f"event not accepted: {FED_BACK}", 1, monotonic())
            return
        if self._lifecycle.closed:
            self._lifecycle.submit_late(
                receipt, lambda: self._submit(receipt, callback), lambda: self._refuse_closed(receipt, callback)
            )
            return
        driver, size, overflow = self._lifecycle.driver, len(receipt.data), self._settings.overflow
        # Before the worker has the event; but if QueueFull is raised, the callback must not be remembered.
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
        """Settle an event that was recorded after the application closed the client."""
        self._reject(receipt, ClientClosed(), callback)
        self._emitter.emit("call_after_close", decode(receipt.data))

    def _reject(self, receipt: Receipt, error: DeliveryError, callback: Callback | None) -> None:
        """Settle an event that is not accepted."""
        if callback is not None:
            self._lifecycle.driver.watch_callback(receipt, callback)
        self._lifecycle.driver.reject(receipt, error)

    def _timeout(self, given: float | None) -> float:
        """Return the seconds that a flush or a close may wait.

        A log handler that flushes holds its own lock: a sender thread that logs would wait for the lock, and the flush
        for the thread. And if it handles the line of a request, this thread is the sender.
        """
        settings = self._settings
        patience = settings.patience if given is None else seconds("timeout", given)
        if feeds_back():
            return 0.0
        return min(patience, settings.exit_timeout) if given is None and in_log_call() else patience

    def _identify(self, event: WireEvent) -> None:
        """Give an event the ids, traits and context of `bind` and `millstream.context`."""
        link = current()
        for identity in self._bound:
            link = identity, link
        if link is not None:
            fill(event, link, lambda exc: self._emitter.fault("context_provider", exc))

    def _provided(self, context: Map) -> Map:
        """Merge the call's context over that of the providers."""
        merged: dict[str, Any] = {}
        for provider in self._settings.context_providers:
            try:
                merged.update(provider())
            except Exception as exc:  # noqa: BLE001 - it is the user's code, and the event goes on without it
                self._emitter.fault("context_provider", exc)
        return {**merged, **build.mapping("context", context)}

    def _invalid(self, kind: str, exc: InvalidEvent, callback: Callback | None) -> Receipt:
        """Raise, or report: an `error` event, and a failed receipt."""
        if self._settings.on_invalid == "raise":
            raise exc
        self._emitter.fault("invalid_event", exc)
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
