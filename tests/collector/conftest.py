"""A collector on a port, served either way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from load import WAYS, Process


@pytest.fixture(params=WAYS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A `millstream serve` for the tests of one module."""
    with Process(tmp_path_factory.mktemp("data"), program=WAYS[request.param]) as server:
        yield server
