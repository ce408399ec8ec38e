"""A tracking plan as a plugin: events are checked before they are sent."""

from __future__ import annotations

from collections.abc import Callable

from .._core.context import Context
from .._logging import warn
from .._public import publish
from ..plan import Mode, Plan, Policy, Violation
from .base import Plugin

__all__ = ["tracking_plan"]

MOST_KNOWN = 256
"""Number of different violations that are logged, each once."""


def tracking_plan(
    plan: Plan,
    *,
    unplanned_events: Mode = "warn",
    unplanned_properties: Mode = "warn",
    other_violations: Mode = "warn",
    on_violation: Callable[[Violation], object] | None = None,
) -> Plugin:
    """Make a plugin that checks events against a plan: `allow`, `warn`, `drop` or `block` those that break it.

    A warning is one line in the log for each kind of violation, and an entry in the event's `ctx.logs()`. A dropped
    event has the outcome Dropped, a blocked one fails with PluginError.

    Args:
        plan: the plan.
        unplanned_events: what is done with track events that the plan does not have.
        unplanned_properties: with events that have a property which the plan does not have.
        other_violations: with events that lack a property, or have one with a wrong type or value.
        on_violation: called for each violation but those that are allowed, on the worker.

    Raises:
        SettingsError: a mode is none of these.
    """
    policy = Policy.parse(
        {
            "unplanned_events": unplanned_events,
            "unplanned_properties": unplanned_properties,
            "other_violations": other_violations,
        }
    )
    return _TrackingPlan(plan, policy, on_violation)


class _TrackingPlan(Plugin):
    name = "tracking_plan"
    type = "before"

    def __init__(self, plan: Plan, policy: Policy, on_violation: Callable[[Violation], object] | None) -> None:
        self._plan = plan
        self._policy = policy
        self._on_violation = on_violation
        self._known: set[tuple[str, str, str]] = set()

    def track(self, ctx: Context) -> None:
        violations = [each for each in self._plan.check(ctx.event) if self._policy.mode(each) != "allow"]
        if not violations:
            return
        for each in violations:
            self._tell(each, ctx)
        action = self._policy.decide(violations)
        worst = next(each for each in violations if self._policy.mode(each) == action)
        if action == "drop":
            ctx.cancel(f"tracking plan: {worst.message}")
        if action == "block":
            raise ValueError(f"{worst.event!r} breaks the tracking plan: {worst.message}")

    identify = page = screen = group = alias = track

    def _tell(self, violation: Violation, ctx: Context) -> None:
        ctx.log("warn", "tracking plan", {"kind": violation.kind, "path": violation.path, "message": violation.message})
        if self._on_violation is not None:
            self._on_violation(violation)
        key = violation.kind, violation.event, violation.path
        if key not in self._known and len(self._known) < MOST_KNOWN:
            self._known.add(key)
            warn(f"an event {violation.event!r} breaks the tracking plan: {violation.message}")


publish("millstream.plugins", tracking_plan)
