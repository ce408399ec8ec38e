"""Plugins by name: which are taken, what comes of loading them, and what a driver is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millstream import MillstreamError, Plugin, PluginError, SettingsError
from millstream._client.registration import Registration
from millstream._delivery.driver import Driver
from support.units import Told, driver, receipt


def plugin(name: str = "Mine", **attributes: Any) -> Plugin:
    return type("Made", (Plugin,), {"name": name, "type": "before", "track": lambda _, ctx: ctx, **attributes})()


class Registered:
    """A registration and the driver of its client."""

    def __init__(self) -> None:
        self.told = Told()
        self.registration = Registration(self.told.emitter, may_await=False)
        self.driver: Driver = driver()
        self.registered: list[list[str]] = []
        self.told.emitter.on("register", self.registered.append)

    def register(self, *plugins: Any, load: Callable[[Any], object] = lambda _: None) -> None:
        with self.registration.registering(plugins, lambda: self.driver):
            for each in plugins:
                with self.registration.loading(each):
                    load(each)

    def deregister(self, name: str) -> None:
        with self.registration.unloading(name, lambda: self.driver):
            pass

    def takes_part(self, name: str = "Mine", among: Driver | None = None) -> bool:
        stages = (among or self.driver).worker.plugins.runner.registry.stages("track")
        return name in [plugin.name for plugin, _ in stages.first]

    def delivers(self) -> bool:
        """Whether an event of now is delivered within a flush that does not wait."""
        self.driver.accept(one := receipt(self.driver))
        self.driver.flush(0.0)
        return one.done()


def fail(_: object) -> None:
    raise OSError("no licence")


def test_a_plugin_takes_part_when_it_is_loaded() -> None:
    """No event meets a plugin whose loading is not over; from then on each does, until it is unloaded."""
    mine = Registered()
    seen = []
    mine.register(plugin(), load=lambda _: seen.append(mine.takes_part()))
    assert (seen, mine.takes_part(), mine.registered) == ([False], True, [["Mine"]])
    mine.deregister("Mine")
    assert not mine.takes_part()


def test_what_cannot_be_loaded_is_left_out_and_the_others_are_not() -> None:
    """A plugin whose `load` raises is reported by its name; the names that are emitted are of those that loaded."""
    mine = Registered()
    mine.register(plugin("Bad"), plugin("Good"), load=lambda each: fail(each) if each.name == "Bad" else None)
    assert (mine.takes_part("Bad"), mine.takes_part("Good"), mine.registered) == (False, True, [["Good"]])
    assert [said.split(":")[0] for said in mine.told.said] == ["plugin"]
    assert "'Bad'" in mine.told.said[0]
    assert "no licence" in mine.told.said[0]
    mine.register(plugin("Bad"))
    assert mine.takes_part("Bad")


def test_a_name_is_taken_while_its_plugin_loads() -> None:
    """Of two plugins of one name the second is refused, also if the first is still being loaded."""
    mine = Registered()
    refused = []

    def meanwhile(_: object) -> None:
        with pytest.raises(SettingsError, match="already") as caught:
            mine.register(plugin())
        refused.append(caught)

    mine.register(plugin(), load=meanwhile)
    assert refused
    assert mine.takes_part()
    mine.deregister("Mine")
    mine.register(plugin())
    assert mine.takes_part(), "the name is free again"


def test_a_name_is_free_when_its_plugin_could_not_be_loaded() -> None:
    """A load that is interrupted leaves no name behind that nothing stands for."""
    mine = Registered()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mine.register(plugin(), load=interrupt)
    mine.register(plugin())
    assert mine.takes_part()


def test_a_name_is_deregistered_once() -> None:
    """A name that is given twice, or that another task has deregistered meanwhile, is a MillstreamError."""
    mine = Registered()
    mine.register(plugin())
    with pytest.raises(MillstreamError, match="named twice"):
        mine.registration.check_known(["Mine", "Mine"])
    assert mine.takes_part(), "it was only asked"
    mine.deregister("Mine")
    with pytest.raises(MillstreamError, match="registered: none"):
        mine.deregister("Mine")


def test_a_critical_plugin_holds_up_the_driver_while_it_loads() -> None:
    """Nothing is delivered before a critical plugin is there, also by a driver that is made meanwhile."""
    mine = Registered()
    seen = []

    def look(_: object) -> None:
        seen.append(mine.delivers())
        fresh = mine.driver = driver()
        mine.registration.apply(fresh)
        seen.append(mine.delivers())

    mine.register(plugin(critical=True), load=look)
    assert seen == [False, False]
    assert mine.delivers()
    assert mine.takes_part()


def test_a_critical_plugin_that_fails_halts_every_driver() -> None:
    """Once a critical plugin could not be loaded nothing is delivered, also not by a driver that is made later."""
    mine = Registered()
    with pytest.raises(PluginError, match="no licence") as caught:
        mine.register(plugin(critical=True), load=fail)
    assert isinstance(caught.value.__cause__, OSError)
    assert mine.driver.worker.plugins.halted is caught.value
    later = driver()
    mine.registration.apply(later)
    assert later.worker.plugins.halted is caught.value


def test_a_utility_sees_no_event() -> None:
    """A utility is loaded and has its name, and is no part of any event's way."""
    mine = Registered()
    mine.register(plugin(type="utility"))
    mine.registration.check_known(["Mine"])
    assert not mine.takes_part()


def test_an_unload_that_raises_is_reported() -> None:
    """Whatever `unload` raises, the plugin is gone and the error is told."""
    mine = Registered()
    mine.register(plugin())
    with mine.registration.unloading("Mine", lambda: mine.driver) as unloaded:
        fail(unloaded)
    assert not mine.takes_part()
    assert mine.told.said == ["plugin: no licence"]
