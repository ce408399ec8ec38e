"""The pipeline: what plugins do to an event on its way, as a dialog that every driver can run.

    before ──▶ enrichment ──▶ the Tracking API and the destinations, side by side ──▶ outcome ──▶ after

The dialog is a generator. It yields what it needs (call this hook, call these side by side, deliver this event) and is
sent what came of it, or thrown what the hook raised. It decides, and the driver does: the thread driver calls hooks one
after another, the asyncio driver awaits them, and the rules below are written once.

    stage        a hook raises                a hook cancels (`ctx.cancel`, DropEvent)   it returns nothing
    ──────────── ──────────────────────────── ────────────────────────────────────────── ──────────────────
    before       the event fails: PluginError dropped                                    the context is kept
    enrichment   reported, the event goes on  dropped                                    the context is kept
    destination  reported, the others go on   reported as skipped, the others go on      nothing
    after        reported                     reported                                   nothing
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

from ..errors import DeliveryError, DropEvent, Dropped, EventTooLarge, InvalidEvent, PluginError
from .context import Context
from .encoding import encode, largest_field
from .events import MAX_EVENT_BYTES
from .receipt import Outcome

__all__ = ["SEGMENT", "Call", "Deliver", "Delivered", "Dialog", "Report", "Step", "Timeline", "Together", "process"]

SEGMENT = "Segment.io"
"""The Tracking API's own name among the destinations, as in the Node library."""


class Hooked(Protocol):
    """As much of a plugin as the pipeline asks for."""

    name: str
    type: str


@dataclass(frozen=True)
class Call:
    """Call this plugin's hook with this context; send back what it returns, throw what it raises."""

    plugin: Hooked
    hook: str
    context: Context


@dataclass(frozen=True)
class Together:
    """Do these calls side by side; send back, for each, the exception it raised or None."""

    calls: Sequence[Call]


@dataclass(frozen=True)
class Deliver:
    """Hand these bytes to the Tracking API, and go on."""

    data: bytes


@dataclass(frozen=True)
class Delivered:
    """Send back the Outcome of the delivery, when there is one."""


@dataclass(frozen=True)
class Report:
    """Tell `error` listeners of a plugin that failed where its failure stops nothing."""

    error: PluginError
    context: Context


Step: TypeAlias = Call | Together | Deliver | Delivered | Report
Dialog: TypeAlias = Generator[Step, Any, Outcome | None]


class Timeline:
    """The registered plugins, in order of registration within each type."""

    def __init__(self) -> None:
        self._plugins: list[Hooked] = []

    def __bool__(self) -> bool:
        return bool(self._plugins)

    def add(self, plugin: Hooked) -> None:
        """Run this plugin for the events that come from now on. A plugin of the same name is replaced."""
        self.remove(plugin.name)
        self._plugins.append(plugin)

    def remove(self, name: str) -> None:
        """Stop running the plugin of this name, if there is one."""
        self._plugins = [plugin for plugin in self._plugins if plugin.name != name]

    def hooked(self, stage: str, kind: str) -> list[Hooked]:
        """The plugins of a stage that have a hook for this kind of event."""
        return [p for p in self._plugins if p.type == stage and callable(getattr(p, kind, None))]


def process(context: Context, kind: str, timeline: Timeline) -> Dialog:
    """One event's way through the plugins. Returns its Outcome, or None when delivery alone decides it."""
    for plugin in timeline.hooked("before", kind):
        try:
            yield from _step(plugin, kind, context)
        except DropEvent as exc:
            return _dropped(exc)
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
            return Outcome(_plugin_error(plugin, exc))
    for plugin in timeline.hooked("enrichment", kind):
        try:
            yield from _step(plugin, kind, context)
        except DropEvent as exc:
            return _dropped(exc)
        except Exception as exc:  # noqa: BLE001
            yield Report(_plugin_error(plugin, exc), context)
    try:
        data = _sealed(context)
    except DeliveryError as exc:
        return Outcome(exc)
    return (yield from _deliver(context, kind, data, timeline))


def _step(plugin: Hooked, kind: str, context: Context) -> Generator[Step, Any, None]:
    context.log("debug", "plugin", {"plugin": plugin.name})
    returned: object = yield Call(plugin, kind, context)
    if isinstance(returned, Context):
        if returned is not context:
            context.adopt(returned)
    elif returned is not None:
        raise TypeError(f"{kind} returned {type(returned).__name__}; it must return the context, or nothing")


def _deliver(context: Context, kind: str, data: bytes, timeline: Timeline) -> Dialog:
    """The event goes out: to the destinations that its integrations allow, and to the Tracking API."""
    integrations: Mapping[str, Any] = context.event.get("integrations") or {}
    plugins = [p for p in timeline.hooked("destination", kind) if _selected(p, integrations)]
    after = timeline.hooked("after", kind)
    to_segment = integrations.get(SEGMENT, True) is not False
    if to_segment:
        yield Deliver(data)
        if not plugins and not after:
            return None
    error = None
    if plugins:
        error = yield from _to_plugins(context, kind, data, plugins, integrations)
    if to_segment:
        outcome: Outcome = yield Delivered()
    elif plugins:
        outcome = Outcome(error)
    else:
        outcome = Outcome(Dropped("its integrations allow no destination that there is"))
    context.settle(outcome.attempts, outcome.error)
    for plugin in after:
        try:
            yield Call(plugin, kind, context)
        except (DropEvent, Exception) as exc:  # noqa: BLE001
            yield Report(_plugin_error(plugin, exc), context)
    return outcome


def _to_plugins(
    context: Context, kind: str, data: bytes, plugins: Iterable[Hooked], integrations: Mapping[str, Any]
) -> Generator[Step, Any, PluginError | None]:
    """Each destination gets a context of its own, so that none can change what another sees."""
    calls = [Call(p, kind, Context(data, context.id, options=_options(p, integrations))) for p in plugins]
    raised: list[BaseException | None] = yield Together(calls)
    first = None
    for call, exc in zip(calls, raised, strict=True):
        context.deliveries[call.plugin.name] = Outcome() if exc is None else Outcome(_plugin_error(call.plugin, exc))
        if exc is not None:
            error = _plugin_error(call.plugin, exc)
            first = first or error
            yield Report(error, context)
    return first


def _selected(plugin: Hooked, integrations: Mapping[str, Any]) -> bool:
    """Whether an event's integrations let it go to this plugin: its name, its other names, then `All`."""
    value = _chosen(plugin, integrations)
    return value is not False


def _chosen(plugin: Hooked, integrations: Mapping[str, Any]) -> Any:
    for name in (plugin.name, *reversed(getattr(plugin, "alternative_names", ())), "All"):
        if name in integrations:
            return integrations[name]
    return True


def _options(plugin: Hooked, integrations: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that stands for this plugin in the integrations, if it is one."""
    value = _chosen(plugin, integrations)
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _sealed(context: Context) -> bytes:
    """The event's bytes after the plugins: encoded anew, and measured again, if any of them looked at it.

    Raises:
        DeliveryError: a plugin has made it something that cannot be sent.
    """
    if not context.looked_at:
        return context.data
    try:
        data = encode(context.event)
    except InvalidEvent as exc:
        raise PluginError("before or enrichment", str(exc)) from None
    if len(data) > MAX_EVENT_BYTES:
        raise EventTooLarge(len(data), MAX_EVENT_BYTES, largest_field(data))
    context.data = data
    return data


def _dropped(exc: DropEvent) -> Outcome:
    return Outcome(Dropped(exc.reason))


def _plugin_error(plugin: Hooked, exc: BaseException) -> PluginError:
    error = PluginError(plugin.name, f"{type(exc).__name__}: {exc}")
    error.__cause__ = exc.with_traceback(None)
    return error
