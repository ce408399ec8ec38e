"""The house: floors, the pure core, the front door, and how large a room may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import millstream

SRC = Path(millstream.__file__).parent

# A module may import from its own folder and from lower floors. The longest matching name decides.
FLOORS = {
    "_public": 0,
    "_version": 0,
    "_clock": 0,
    "errors": 0,
    "types": 0,
    "secret": 0,
    "settings": 0,
    "urls": 0,
    "spec": 0,
    "reserved": 0,
    "_elsewhere": 0,
    "_core": 1,
    "_feedback": 2,
    "_logging": 2,
    "_remedies": 2,
    "auth": 2,
    "emitter": 2,
    "filters": 2,
    "identity": 2,
    "http": 2,
    "log": 2,
    "spool": 2,
    "destinations": 2,
    "plan": 2,
    "plugins": 2,
    "_delivery": 3,
    "_client": 4,
    "aio": 4,
    "client": 4,
    "router": 4,
    "collector": 5,
    "cli": 5,
    "integrations": 5,
    "testing": 5,
    "warehouse": 5,
    "__main__": 5,
}
# Rooms that share a floor and a door between them: (who, may use whom).
DOORS = {
    ("settings", "errors"),
    ("settings", "_elsewhere"),
    ("settings", "reserved"),
    ("reserved", "_public"),
    ("_logging", "_feedback"),
    ("_logging", "_remedies"),
    ("filters", "destinations"),
    ("plan", "destinations"),
    ("plugins", "destinations"),
    ("plugins", "plan"),
    ("plugins", "_logging"),
    ("_logging", "emitter"),
    ("settings", "urls"),
    ("settings", "spec"),
    ("spool", "log"),
    ("types", "urls"),
    ("errors", "_public"),
    ("secret", "_public"),
    ("settings", "_public"),
    ("settings", "types"),
    ("types", "_public"),
    ("client", "_client"),
    ("aio", "_client"),
    ("cli", "collector"),
    ("cli", "warehouse"),
    ("testing", "collector"),
    ("__main__", "cli"),
}
# Pure: given time, randomness and locks, it asks for none of them.
IMPURE = {
    "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random", "secrets", "select",
    "signal", "socket", "ssl", "subprocess", "sys", "threading", "time", "urllib", "urllib3", "uuid",
}  # fmt: skip
PURE = ("urllib.parse", "uuid.UUID")  # within the impure: a function of its arguments, and a type
CORE_LINES, OTHER_LINES, FUNCTION_LINES = 250, 400, 50


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def runtime_imports(path: Path) -> Iterator[str]:
    """Absolute names of all that a module imports when it runs, also inside functions."""
    package = ["millstream", *path.relative_to(SRC).with_suffix("").parts[:-1]]
    for node in walk_runtime(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def walk_runtime(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that is not for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from walk_runtime(node)


def test_imports_point_down():
    """A file imports only from lower floors, or from its own folder."""
    offenders = []
    for path in modules():
        name = name_of(path)
        if not name:
            continue
        for target in runtime_imports(path):
            if not target.startswith("millstream."):
                continue
            other = room(target.removeprefix("millstream."))
            if other == room(name) or (room(name), other) in DOORS:
                continue
            if FLOORS[other] >= FLOORS[room(name)]:
                offenders.append(f"{name} (floor {FLOORS[room(name)]}) → {other} (floor {FLOORS[other]})")
    assert offenders == []


def test_every_room_has_a_floor():
    """No module stands outside the house."""
    assert {room(name_of(path)) for path in modules()} - {""} <= set(FLOORS)


def test_the_core_is_pure():
    """Nothing in the core can do I/O, read a clock, draw a random number or start a thread."""
    offenders = [
        f"{name_of(path)} imports {target}"
        for path in modules()
        if name_of(path).startswith("_core")
        for target in runtime_imports(path)
        if target.split(".")[0] in IMPURE and not target.startswith(PURE)
    ]
    assert offenders == []


def code_lines(path: Path) -> int:
    """Lines that do something: a file is not large for explaining itself."""
    tree = ast.parse(path.read_text())
    lines = {line for node in ast.walk(tree) if isinstance(node, ast.expr | ast.stmt) for line in span(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(span(node))
    return len(lines)


def span(node: ast.expr | ast.stmt) -> range:
    """A simple statement's lines; of one with a body, its first."""
    return range(node.lineno, node.lineno + 1 if hasattr(node, "body") else (node.end_lineno or node.lineno) + 1)


def test_rooms_stay_small():
    """A module that outgrows its room is telling of a missing noun."""
    large = []
    for path in modules():
        limit = CORE_LINES if name_of(path).startswith("_core") else OTHER_LINES
        lines = code_lines(path)
        if lines > limit:
            large.append(f"{name_of(path)}: {lines} lines, over {limit}")
    assert large == []


def test_functions_stay_short():
    """No function's body is longer than a screen, its docstring not counted."""
    long = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > FUNCTION_LINES:
                    long.append(f"{name_of(path)}.{node.name}: {lines} lines")
    assert long == []


def test_the_door_is_sorted_and_complete():
    """`__all__` is sorted, and every name in it can be had."""
    assert millstream.__all__ == sorted(millstream.__all__)
    for name in millstream.__all__:
        assert getattr(millstream, name) is not None
    assert dir(millstream) == millstream.__all__


def test_the_door_knows_every_error():
    """Every error of the tree can be imported from the front door."""
    from millstream import errors

    assert set(errors.__all__) <= set(millstream.__all__)


def test_an_unknown_name_is_an_attribute_error():
    """The lazy door answers for a name that does not exist as any module does."""
    with pytest.raises(AttributeError, match="Analitics"):
        _ = millstream.Analitics


def test_nobody_below_uses_the_door():
    """The front door is for users; inside, every module is named by its own address."""
    offenders = [name_of(p) for p in modules() for target in runtime_imports(p) if target == "millstream"]
    assert offenders == []


@pytest.mark.process
def test_importing_loads_and_starts_nothing():
    """`import millstream` loads no dependency, starts no thread and touches no logging."""
    code = (
        "import sys, threading, millstream\n"
        "heavy = {'msgspec', 'urllib3', 'ssl', 'socket', 'asyncio', 'logging', 'http'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.process
def test_a_client_without_an_event_loop_loads_none():
    """What AsyncAnalytics, OAuth and the spool need is loaded where they are used."""
    code = (
        "import sys\nfrom millstream import Analytics\n"
        "with Analytics('key', host='http://127.0.0.1:9', max_retries=0) as analytics:\n"
        "    analytics.track('Signed Up', user_id='u')\n"
        "unused = {'asyncio', 'aiohttp', 'jwt', 'typer', 'millstream.log', 'millstream.spool', 'millstream.aio'}\n"
        "unused &= {*sys.modules}\n"
        "assert not unused, unused\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_at_most_two_classes_stand_in_a_line_of_inheritance():
    """What differs is a part that is passed in. Errors, structs and protocols are apart."""
    parents: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                parents[node.name] = [base.id for base in bases if isinstance(base, ast.Name)]

    def line(name: str) -> list[str]:
        ours = [line(base) for base in parents[name] if base in parents]
        return [name, *max(ours, key=len, default=[])]

    def is_apart(names: list[str]) -> bool:
        return bool({"MillstreamError", "WireEvent"} & {*names}) or "Protocol" in parents[names[0]]

    assert [names for names in map(line, parents) if len(names) > 2 and not is_apart(names)] == []
