"""What editors know: types (pyright), completion and hover texts (jedi)."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import jedi
import pytest

from millstream import Analytics, AsyncAnalytics, Context, Plugin, SettingsError
from millstream.settings import Settings, SettingsArgs

pytestmark = pytest.mark.process

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"
NAMES = [field.name for field in fields(Settings)]


def checked(name: str) -> list[tuple[int, str, str]]:
    """What pyright says of a module, as an editor has it: the line, how grave it is, and the words."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(HERE / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, cwd=HERE)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [(each["range"]["start"]["line"] + 1, each["severity"], each["message"]) for each in found]


def test_nine_of_ten_mistakes_are_shown() -> None:
    """Each of the usual mistakes is underlined where it is made, but for the hook that is none."""
    lines = (HERE / "mistakes.py").read_text().splitlines()
    mistakes = {n: int(found[1]) for n, line in enumerate(lines, 1) if (found := re.search(r"# (\d+):", line))}
    shown = {n for n, severity, _ in checked("mistakes.py") if severity == "error"}
    # A decorator's mistake is shown at the decorator.
    assert {mistakes.get(n) or mistakes.get(n + 1) for n in shown} == {1, 2, 3, 4, 5, 6, 7, 8, 9}


def test_the_tenth_is_refused_by_name() -> None:
    """A method that is nearly a hook would never be called: `register` says so."""

    class Redact(Plugin):
        def trak(self, ctx: Context) -> Context:
            return ctx

    with pytest.raises(SettingsError, match="nothing calls trak; did you mean the hook track"):
        Analytics(disable=True).register(Redact())


def test_types_are_what_they_are_said_to_be() -> None:
    """Receipts, results, and what each listener is given have their types; only what is wrong is an error."""
    lines = (HERE / "revealed.py").read_text().splitlines()
    said = checked("revealed.py")
    wanted = {n: line.split("#")[1].strip() for n, line in enumerate(lines, 1) if "reveal_type" in line and "#" in line}
    revealed = {n: re.findall(r'is "(.*)"$', words)[0] for n, severity, words in said if severity == "information"}
    assert revealed == wanted
    assert {n for n, severity, _ in said if severity == "error"} == {
        n for n, line in enumerate(lines, 1) if "# an error" in line
    }


@pytest.mark.parametrize("client", [Analytics, AsyncAnalytics])
def test_the_signature_has_every_setting_with_its_default(client: type) -> None:
    """What an editor shows as a setting's default is its default, and no setting is missing."""
    parameters = dict(inspect.signature(client).parameters)
    assert parameters.pop("unknown").kind is inspect.Parameter.VAR_KEYWORD
    assert sorted(parameters) == sorted(NAMES)
    assert set(SettingsArgs.__annotations__) == {*NAMES} - {"write_key"}
    for field in fields(Settings):
        shown = parameters[field.name].default
        if shown is not None:
            assert shown == field.default, field.name
        else:
            assert field.default is None or field.name in {"write_key", "host", "on_invalid", "context", "integrations"}
            assert field.default_factory is not MISSING or field.default is not MISSING


def test_the_constructor_describes_every_setting() -> None:
    """Its hover text stands alone: each setting has a line."""
    described = re.findall(r"^    (\w+): ", inspect.getdoc(Analytics.__init__) or "", re.MULTILINE)
    assert [name for name in described if name in NAMES] == NAMES


def completed(code: str) -> set[str]:
    script = jedi.Script(code, project=jedi.Project(SRC.parent, added_sys_path=[str(SRC)]))
    return {each.name for each in script.complete()}


def test_settings_are_completed() -> None:
    """jedi, which IPython, Jupyter and many editors use, completes every setting of both clients."""
    for module, client in (("client", "Analytics"), ("aio", "AsyncAnalytics")):
        offered = completed(f'from millstream.{module} import {client}\n{client}("k", ')
        assert {f"{name}=" for name in NAMES[1:]} <= offered


def test_calls_and_their_arguments_are_completed() -> None:
    """A client's methods are offered, its arguments too, and none of other libraries' methods."""
    code = "from millstream.client import Analytics\nanalytics = Analytics('k')\nanalytics."
    offered = completed(code)
    assert {"track", "identify", "flush", "close_and_flush", "on", "plugins"} <= offered
    assert "capture" not in offered
    assert {"user_id=", "properties=", "context="} <= completed(f"{code}track('E', ")


def test_hover_texts_stand_alone() -> None:
    """What jedi shows of a call says what it does, and what its first argument is."""
    code = "from millstream.client import Analytics\nanalytics = Analytics('k')\nanalytics.track"
    script = jedi.Script(code, project=jedi.Project(SRC.parent, added_sys_path=[str(SRC)]))
    (found,) = script.help(3, len("analytics.track"))
    text = found.docstring()
    assert "Record an action that a user performed." in text
    assert all(f"{name}:" in text for name in ("event", "user_id", "anonymous_id", "properties", "context", "callback"))
