"""What each framework's example is held against: its real server, and a Tracking API that it delivers to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from shops import SHOPS, RunningShop, Shop

from support.api import Api
from support.processes import end_children

Start = Callable[..., RunningShop]


@pytest.fixture
def api() -> Iterator[Api]:
    """A Tracking API on loopback that answers as scripted, and with 200 otherwise."""
    server = Api()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_child_outlives_its_test() -> Iterator[None]:
    yield
    end_children()


@pytest.fixture(params=SHOPS, ids=lambda shop: shop.name)
def shop(request: pytest.FixtureRequest) -> Shop:
    """Each example, under each of its servers."""
    return request.param


@pytest.fixture
def start(shop: Shop, api: Api, tmp_path: Path) -> Iterator[Start]:
    """Starts the example under its server."""
    with ExitStack() as running:
        yield lambda *options, **settings: running.enter_context(shop.started(tmp_path, api.url, *options, **settings))
