"""The pipeline: runs an event through plugins, as generators that every driver can run.

    before ──▶ enrichment ──▶ the Tracking API and the destinations, side by side ──▶ outcome ──▶ after
    └──────────────────────────────── process ────────────────────────────────┘       └── conclude ──┘

It decides, and its host acts: calls hooks, hands over, reports. Where a hook's answer must be awaited, the generator
yields the hook and is sent its result: the rules below are written once, for drivers that await and those that cannot.
Between the two generators only the event waits: a waiting generator keeps many objects alive, which slows the garbage
collector in a burst.

    stage        a hook raises                a hook cancels (`ctx.cancel`, DropEvent)   it returns nothing
    ──────────── ──────────────────────────── ────────────────────────────────────────── ──────────────────
    before       the event fails: PluginError dropped                                    the context is kept
    enrichment   reported, the event goes on  dropped                                    the context is kept
    destination  reported, the others go on   noted as dropped there, the others go on   nothing
    after        reported                     reported                                   nothing
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from ..errors import DeliveryError, DropEvent, Dropped, EventTooLarge, InvalidEvent, PluginError
from ..spec import MAX_EVENT_BYTES
from .context import Context, Shared
from .events.build import NO_DEFAULTS, whole
from .events.encode import encode, head, largest_field
from .outcome import Outcome
from .receipt import Receipt
from .routing import allows, options

__all__ = [
    "Answer",
    "Awaited",
    "Beside",
    "HookSteps",
    "PipelineHost",
    "PluginLike",
    "PluginRegistry",
    "conclude",
    "process",
]

Answer = tuple[Any, BaseException | None]
"""The result of a hook: its return value, or its exception."""


class PluginLike(Protocol):
    """The parts of a plugin that the pipeline uses."""

    name: str
    type: str


class Awaited(Struct, eq=False):
    """A called hook whose result must be awaited: the driver stores it here."""

    plugin: PluginLike
    hook: str
    context: Context
    awaitable: Awaitable[Any]
    answer: Answer = (None, None)


class Beside(Struct, eq=False):
    """An event at its destination plugins, whose hooks run beside its delivery."""

    receipt: Receipt
    plugins: list[PluginLike]
    delivered: Shared[Mapping[str, Outcome]] | None  # its deliveries if all succeed, where all plugins take it
    sent: bool
    left: int
    noted: dict[str, Outcome] | None = None
    after: list[PluginLike] = []
    outcome: Outcome | None = None

    def note(self, plugin: PluginLike, answer: Answer | None, host: PipelineHost) -> bool:
        """Record the result of a hook. Return whether it was the last."""
        context = self.receipt.context()
        if self.delivered is None or answer is not None:
            self.noted = self.noted or {}
            self.noted[plugin.name] = _noted(plugin, answer, context, host)
        self.left -= 1
        if not self.left:
            if self.noted is None and self.delivered is not None:
                context._is_at(self.delivered)  # in most cases: no dict for each event
            else:
                context.deliveries.update({p.name: AT_PLUGIN for p in self.plugins} | (self.noted or {}))
        return not self.left


class PipelineHost(Protocol):
    """The driver's side of the pipeline."""

    runs_beside: bool
    """Whether destination hooks run beside delivery, not when they are called."""

    def run_beside(self, beside: Beside, contexts: list[Context]) -> object:
        """Run destination hooks, each with its context, without waiting for them."""

    def call(self, plugin: PluginLike, hook: str, context: Context) -> Answer | Awaited | None:
        """Call a plugin's hook. None: it returned nothing, or the context, which is the same."""

    def takes(self, integrations: Mapping[str, Any]) -> bool:
        """Whether the client delivers an event with these integrations anywhere, besides to plugins."""
        ...

    def hand_over(self, receipt: Receipt, data: bytes | None) -> object:
        """After `before` and `enrichment`, deliver these bytes, if any, without waiting."""

    def report(self, error: PluginError, context: Context) -> object:
        """Report a plugin's failure that stops nothing to `error` listeners."""

    def expect(self, receipt: Receipt, after: list[PluginLike]) -> object:
        """Run `conclude` with these plugins once delivery has an outcome; otherwise delivery alone decides."""

    def settle(self, receipt: Receipt, outcome: Outcome) -> object:
        """Settle the event."""


HookSteps: TypeAlias = Iterator[list[Awaited]]
"""Yields hooks to be awaited. Returns nothing, because a return value is slow."""


AT_PLUGIN = Outcome()
"""The outcome at a destination plugin that took the event."""


class Stages(Struct, eq=False):
    """The plugins with a hook for one type of event, by stage. Immutable."""

    first: list[tuple[PluginLike, Shared[tuple[str, ...]]]]  # `before` and `enrichment`, with the names up to each
    destinations: list[PluginLike]
    delivered: Shared[Mapping[str, Outcome]]  # the outcomes at these plugins if all succeed
    after: list[PluginLike]

    @classmethod
    def of(cls, plugins: list[PluginLike]) -> Stages:
        names = ("before", "enrichment", "destination", "after")
        before, enrichment, destinations, after = ([p for p in plugins if p.type == stage] for stage in names)
        first = before + enrichment
        passed = [Shared(tuple(p.name for p in first[: n + 1])) for n in range(len(first))]
        delivered: Mapping[str, Outcome] = {p.name: AT_PLUGIN for p in destinations}
        return cls([*zip(first, passed, strict=True)], destinations, Shared(delivered), after)


class PluginRegistry:
    """The registered plugins, in order of registration within each type."""

    def __init__(self) -> None:
        self._plugins: dict[int, PluginLike] = {}  # by `id`: not every object can be hashed, and some are equal
        self._stages: dict[str, Stages] = {}  # computed since the last change

    def __bool__(self) -> bool:
        return bool(self._plugins)

    def __contains__(self, plugin: PluginLike) -> bool:
        return id(plugin) in self._plugins

    def add(self, plugin: PluginLike) -> None:
        """Run this plugin for later events. A plugin of the same name is replaced."""
        others = [other for other in self._plugins.values() if other.name != plugin.name]
        self._plugins = {id(one): one for one in [*others, plugin]}
        self._stages = {}

    def remove(self, name: str) -> None:
        """Stop running the plugin of this name, if any."""
        self._plugins = {id(one): one for one in self._plugins.values() if one.name != name}
        self._stages = {}

    def stages(self, kind: str) -> Stages:
        """The plugins for this type of event."""
        known = self._stages  # bound once: a concurrent change must not store an outdated value in the new dict
        found = known.get(kind)
        if found is None:
            found = Stages.of([p for p in self._plugins.values() if callable(getattr(p, kind, None))])
            known[kind] = found
        return found


def process(receipt: Receipt, registry: PluginRegistry, host: PipelineHost) -> HookSteps:
    """Run an event through the plugins, up to its delivery."""
    kind = receipt.kind
    context = receipt._context = Context(receipt.data, receipt.message_id)
    first = registry.stages(kind).first
    for plugin, passed in first:
        context._passes(passed)
        answer = host.call(plugin, kind, context)
        if isinstance(answer, Awaited):
            yield [answer]
            answer = answer.answer
        if answer is not None:
            outcome = _after_hook(plugin, kind, answer, context, host)
            if outcome is not None:
                host.settle(receipt, outcome)
                return
    try:
        data = context.data if not context._looked_at else _sealed(context, [plugin.name for plugin, _ in first])
    except DeliveryError as exc:
        host.settle(receipt, Outcome(exc))
    else:
        yield from _deliver(receipt, context, data, registry, host)


def _after_hook(plugin: PluginLike, kind: str, answer: Answer, context: Context, host: PipelineHost) -> Outcome | None:
    """Handle the result of a `before` or `enrichment` hook; return the event's Outcome, if it ends here."""
    try:
        _take(answer, kind, context)
    except DropEvent as exc:
        return _dropped(plugin, exc, context)
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
        error = _plugin_error(plugin, exc)
        if plugin.type == "before":
            return Outcome(error)
        host.report(error, context)
    return None


def _take(answer: Answer, kind: str, context: Context) -> None:
    """Apply what a hook returned, or raise its exception."""
    returned, raised = answer
    if raised is not None:
        raise raised
    if returned is None or returned is context:
        return
    if not isinstance(returned, Context):
        raise TypeError(f"{kind} returned {type(returned).__name__}; it must return the context, or nothing")
    context._adopt(returned)


def _deliver(
    receipt: Receipt, context: Context, data: bytes, registry: PluginRegistry, host: PipelineHost
) -> HookSteps:
    """Deliver the event: to the destinations that its integrations allow, and to the Tracking API."""
    kind = receipt.kind
    stages, integrations = registry.stages(kind), _integrations(receipt, data)
    plugins = [p for p in stages.destinations if allows(p, integrations)] if integrations else stages.destinations
    sent = host.takes(integrations)
    host.hand_over(receipt, data if sent else None)
    if plugins:
        # Each gets a context of its own, so that none sees another's changes.
        own = [Context(data, context.id, 0, None, _options(plugin, data, integrations)) for plugin in plugins]
        if host.runs_beside:
            delivered = stages.delivered if plugins is stages.destinations else None
            beside = Beside(receipt, plugins, delivered, sent, len(plugins), None, stages.after)
            host.run_beside(beside, own)
            return
        answers = [host.call(plugin, kind, its) for plugin, its in zip(plugins, own, strict=True)]
        if plugins is stages.destinations and not any(answers):
            context._is_at(stages.delivered)  # in most cases: no dict for each event
        else:
            late = yield from _late(answers)
            for plugin, answer in zip(plugins, late, strict=True):
                context.deliveries[plugin.name] = _noted(plugin, answer, context, host)
    if not sent:
        if not plugins:
            context.log("info", "no destination")
        yield from conclude(receipt, stages.after, None, registry, host)
    elif plugins or stages.after:
        host.expect(receipt, stages.after)


def _late(answers: list[Answer | Awaited | None]) -> Generator[list[Awaited], None, list[Answer | None]]:
    """Return all results, including awaited ones."""
    awaited = [answer for answer in answers if isinstance(answer, Awaited)]
    if awaited:
        yield awaited
    return [answer.answer if isinstance(answer, Awaited) else answer for answer in answers]


def conclude(
    receipt: Receipt, after: list[PluginLike], delivered: Outcome | None, registry: PluginRegistry, host: PipelineHost
) -> HookSteps:
    """Record the event's outcome, and pass it to `after` plugins.

    Args:
        after: plugins of type `after` when the event was handed over. Those removed since are not called.
        delivered: the outcome of its delivery; None if it goes only to plugins.
    """
    context = receipt.context()
    outcome = _in_sum(context.deliveries) if delivered is None else delivered
    context._settle(outcome.attempts, outcome.error)
    for plugin in after:
        if plugin in registry:
            answer = host.call(plugin, receipt.kind, context)
            if isinstance(answer, Awaited):
                yield [answer]
                answer = answer.answer
            if answer is not None and answer[1] is not None:
                host.report(_plugin_error(plugin, answer[1]), context)
    host.settle(receipt, outcome)


def _noted(plugin: PluginLike, answer: Answer | None, context: Context, host: PipelineHost) -> Outcome:
    """Return the outcome at a destination, from the result of its hook."""
    raised = None if answer is None else answer[1]
    if raised is None:
        return AT_PLUGIN
    if isinstance(raised, DropEvent):
        return _dropped(plugin, raised, context)
    error = _plugin_error(plugin, raised)
    host.report(error, context)
    return Outcome(error)


def _in_sum(deliveries: Mapping[str, Outcome]) -> Outcome:
    """The outcome of an event that goes only to plugins: failed if any failed, dropped if all dropped it."""
    if not deliveries:
        return Outcome(Dropped("its integrations allow none of the destinations"))
    by_kind = {outcome.kind: outcome for outcome in reversed([*deliveries.values()])}
    return by_kind.get("failed") or by_kind.get("delivered") or by_kind["dropped"]


def _integrations(receipt: Receipt, data: bytes) -> Mapping[str, Any]:
    """Return the event's integrations. Without any, as the receipt knows, nothing is decoded."""
    nothing = not receipt._integrations and data is receipt.data
    return {} if nothing else head(data).integrations


def _options(plugin: PluginLike, data: bytes, integrations: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a copy of the plugin's options in the integrations, if it has any."""
    if not integrations or not options(plugin, integrations):
        return None
    return options(plugin, head(data).integrations)


def _sealed(context: Context, plugins: Sequence[str]) -> bytes:
    """Encode an event that plugins have changed: checked and measured again.

    Raises:
        DeliveryError: the changed event cannot be sent.
    """
    # An id or a time that a plugin removed is restored: the API would assign another one for every attempt.
    stamp = head(context.data).timestamp, context.id
    try:
        data = encode(whole(context.event, stamp, NO_DEFAULTS))
    except InvalidEvent as exc:
        raise PluginError(", ".join(plugins), f"the changed event cannot be sent: {exc}") from None
    if len(data) > MAX_EVENT_BYTES:
        raise EventTooLarge(len(data), MAX_EVENT_BYTES, largest_field(data))
    context._seal(data)
    return data


def _dropped(plugin: PluginLike, exc: DropEvent, context: Context) -> Outcome:
    context.log("info", f"dropped by {plugin.name}: {exc.reason}")
    return Outcome(Dropped(exc.reason))


def _plugin_error(plugin: PluginLike, exc: BaseException) -> PluginError:
    try:
        said = f"{type(exc).__name__}: {exc}"
    except Exception:  # noqa: BLE001 - even its text may raise
        said = type(exc).__name__
    error = PluginError(plugin.name, said)
    error.__cause__ = exc.with_traceback(None)
    return error
