"""What the collector uses of uvicorn's inside: every name is looked for at the start, and nothing else is used."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from load import WAYS, Process
from uvicorn import Config
from uvicorn.protocols.http import flow_control, httptools_impl

from millstream.collector import Collector, connection, direct, internals, listen, serve
from millstream.errors import SettingsError


@pytest.fixture
def config() -> Config:
    config = Config("os:getcwd", lifespan="off")
    config.load()
    return config


def test_the_uvicorn_that_is_installed_has_all_of_it(config: Config) -> None:
    """Else every request would take the slower way, or none could be answered."""
    assert internals.missing_for_connection(config) == []
    assert internals.missing_for_direct(config) == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (connection.Connection, httptools_impl.HttpToolsProtocol),
        (connection._Flow, flow_control.FlowControl),
        (direct.Direct, httptools_impl.HttpToolsProtocol),
        (direct._Exchange, httptools_impl.RequestResponseCycle),
    ],
)
def test_every_name_that_is_used_is_looked_for(ours: type, theirs: type) -> None:
    """An attribute of uvicorn's that the code touches stands in a list, so that a uvicorn without it is noticed."""
    looked_for = {
        name for used in (internals.CONNECTION, internals.DIRECT) for names in used.values() for name in names
    }
    made_here = {name for kind in ours.__mro__[: ours.__mro__.index(theirs)] for name in vars(kind)} | {
        "_api",
        "_budget",
    }
    touched = set()
    for node in ast.walk(ast.parse(inspect.getsource(ours))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in SELVES:
            touched.add(node.attr)
    assert touched
    assert {name for name in touched if hasattr(theirs, name) or name not in made_here} <= {*looked_for, "__init__"}


SELVES = {"self", "super()", "self.cycle", "self.flow", "self.server_state"}


@pytest.mark.process
@pytest.mark.server
@pytest.mark.parametrize(
    ("where", "name"),
    [
        (httptools_impl.HttpToolsProtocol, "send_400_response"),
        (flow_control.FlowControl, "resume_reading"),
    ],
    ids=["protocol", "flow"],
)
def test_without_what_every_connection_needs_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch, where: type, name: str
) -> None:
    """A collector without its limits would be worse than none: it says what is missing, and what to install."""
    monkeypatch.delattr(where, name)
    with listen() as listener, pytest.raises(SettingsError, match=rf"{where.__name__}\.{name}.*pip install"):
        serve(Collector.in_memory(), listener, ready=lambda: pytest.fail("it started"))


@pytest.mark.process
def test_another_uvicorn_is_told_and_serves_by_asgi(tmp_path: Path) -> None:
    """The suite for connections runs with such a one, too."""
    with Process(tmp_path, program=WAYS["asgi"]) as server:
        code, _, err = server.end()
    assert code == 0
    assert "RequestResponseCycle(more=)" in err
    with Process(tmp_path) as server:
        assert server.end()[2] == ""
