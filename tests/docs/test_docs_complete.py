"""The reference says all that there is, and what it says is so."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import typer
from docs_pages import page

import millstream
from millstream import Plugin, Response, errors
from millstream._core.delivery import retry, verdicts
from millstream.cli.app import app
from millstream.collector import Collector
from millstream.collector.counts import Counts
from millstream.settings import OAuthSettings, Settings
from millstream.spec import REASONS, TYPES
from millstream.types import FlushResult, Stats

SRC = Path(millstream.__file__).parent


def default_of(setting) -> object:
    made = setting.default_factory
    return made() if callable(made) else setting.default


@cache
def nodes() -> list[ast.AST]:
    """All that the package consists of."""
    return [node for path in sorted(SRC.rglob("*.py")) for node in ast.walk(ast.parse(path.read_text("utf-8")))]


def calls(name: str) -> Iterator[ast.Call]:
    """Every call of a function or method of this name in the package."""
    for node in nodes():
        if isinstance(node, ast.Call) and name in {getattr(node.func, "attr", ""), getattr(node.func, "id", "")}:
            yield node


def first_words(name: str) -> set[str]:
    """The constants that are given first to a function of this name."""
    first = (call.args[0] for call in calls(name) if call.args)
    return {arg.value for arg in first if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}


# -- settings ---------------------------------------------------------------------------------------


def test_every_setting_is_described():
    """The page on settings has every setting, and no other."""
    rows = {row[0].strip("`"): row for row in page("docs/reference/settings.md").rows() if len(row) == 5}
    del rows["setting"], rows["---"]
    assert set(rows) == {setting.name for setting in fields(Settings)}
    assert [name for name, cells in rows.items() if not all(cells)] == []


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda setting: setting.name)
def test_defaults_are_the_right_ones(setting):
    """A default on the page is the default in the code."""
    (written,) = (
        row[2] for row in page("docs/reference/settings.md").rows() if len(row) == 5 and row[0] == f"`{setting.name}`"
    )
    assert ast.literal_eval(written.strip("`")) == default_of(setting)


def test_every_environment_variable_is_described():
    """Whatever variable of ours the code reads is on the page."""
    read = set(re.findall(r'"(MILLSTREAM_\w+)"', (SRC / "settings.py").read_text("utf-8")))
    assert read
    assert read == set(re.findall(r"^\| `(MILLSTREAM_\w+)` \|", page("docs/reference/settings.md").text, re.MULTILINE))


def test_every_field_of_oauth_settings_is_described():
    """The fields of OAuthSettings are on the page, in their order."""
    section = page("docs/reference/settings.md").text.partition("\n## OAuth\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [f.name for f in fields(OAuthSettings)]


# -- errors -----------------------------------------------------------------------------------------


def test_every_error_is_described():
    """The page on errors has a row for every error, and for no other."""
    described = {name for name in page("docs/reference/errors.md").defined() if name[0].isupper()}
    assert described == set(errors.__all__) - {"DropEvent"}
    assert "## DropEvent" in page("docs/reference/errors.md").text


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"DropEvent"}))
def test_an_errors_attributes_are_described(name: str):
    """What an error carries is in its row."""
    made = vars(getattr(errors, name)).get("__init__")
    carried = set(inspect.signature(made).parameters) - {"self"} if made else set()
    row = " ".join(page("docs/reference/errors.md").defined()[name])
    assert {word for word in carried if f"`{word}`" not in row} == set()


# -- emitter ----------------------------------------------------------------------------------------


def test_every_emitted_event_is_described():
    """The page on the emitter has a row for everything that is emitted, and for nothing else."""
    rows = page("docs/reference/emitter.md").rows()
    listed = [row for row in rows if len(row) == 3]
    names = {name for row in listed for name in re.findall(r"`([a-z_]+)`", row[0])} - set(codes_described())
    assert names == first_words("emit") | set(TYPES)


def codes_described() -> dict[str, list[str]]:
    text = page("docs/reference/emitter.md").text
    table = text.partition("## Error codes")[2].partition("\n## ")[0]
    return {row.split("`")[1]: row.split("|") for row in table.splitlines() if row.startswith("| `")}


def test_every_error_code_is_described():
    """Every code that an ErrorEvent can have is on the page, and no other."""
    chosen = {
        constant.value
        for node in nodes()
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code"
        for constant in ast.walk(node.value)
        if isinstance(constant, ast.Constant) and constant.value not in {"failed", "delivered", "dropped "}
    }
    used = first_words("fault") | first_words("ErrorEvent") | chosen
    assert set(codes_described()) == used


# -- results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [FlushResult, Stats], ids=lambda result: result.__name__)
def test_every_field_of_a_result_is_described(result):
    """Each result has its fields on the page, in their order."""
    section = page("docs/reference/results.md").text.partition(f"\n## {result.__name__}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [f.name for f in fields(result)]


def test_every_member_of_a_plugin_is_described():
    """The page on plugins has all that the base class has."""
    text = page("docs/reference/plugins.md").text
    members = {name for name in vars(Plugin) if not name.startswith("_")}
    assert {name for name in members if not re.search(rf"\| `{name}[`(]", text)} == set()


# -- answers ----------------------------------------------------------------------------------------


def treatments() -> dict[int, str]:
    """Status to treatment, as the page has it."""
    table = page("docs/reference/answers.md").text.partition("## Statuses")[2].partition("\n\n**")[0]
    found: dict[int, str] = {}
    for first, last, treatment in re.findall(r"^\| (\d{3})(?:–(\d{3}))? \| ([^|]+) \|", table, re.MULTILINE):
        for status in range(int(first), int(last or first) + 1):
            assert status not in found, f"{status} stands in two rows"
            found[status] = treatment
    return found


def test_the_status_table_is_complete_and_right():
    """For every status from 100 to 699 the page says what the code does."""
    words = {
        verdicts.Delivered: "delivered",
        verdicts.Refused: "fail",
        verdicts.Retry: "retry",
        verdicts.Split: "split",
        verdicts.Paused: "pause",
    }
    code = {status: words[type(retry.judge(Response(status), 0.0))] for status in range(100, 700)}
    assert code == treatments()


def test_retry_after_counts_where_the_page_says():
    """With a usable Retry-After every status that is worth a retry waits for the gate, and no other does."""
    for status, treatment in treatments().items():
        verdict = retry.judge(Response(status, {"Retry-After": "7"}), 0.0)
        assert isinstance(verdict, verdicts.Limited) == (treatment == "retry"), status


def test_the_backoff_table_is_right():
    """The page's numbers are those of the formula in the code."""
    text = page("docs/reference/answers.md").text
    rows = re.findall(r"^\| (\d)[a-z]{2}(?: and later)? \| (\d+) to (\d+) s \|", text, re.MULTILINE)
    assert len(rows) == 6
    for failure, low, high in rows:
        assert (retry.backoff(int(failure), 0.0), retry.backoff(int(failure), 1.0)) == (float(low), float(high))
    assert retry.backoff(100, 1.0) == float(rows[-1][2])


# -- command line and collector -----------------------------------------------------------------------


def commands(group, *names: str) -> Iterator[tuple[str, object]]:
    """Every command with its whole name: `spool list`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield " ".join((*names, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))
SHARED = "Options of several commands"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name: str):
    """A command has a heading, and there (or with those that commands share) each option has a row with its default."""
    shown = page("docs/reference/cli.md")
    assert f"\n## millstream {name}\n" in shown.text
    described = shown.defined(SHARED) | shown.defined(f"millstream {name}")
    for param in COMMANDS[name].params:
        names = [param.metavar or param.name] if param.param_type_name == "argument" else param.opts
        default = "none" if param.default is None else "off" if param.default is False else str(param.default)
        assert [described[each][0].strip("`") for each in names] == [default] * len(names), names


def test_every_reason_of_the_collector_is_described():
    """Whatever reason or code the collector can give is on its page."""
    source = "\n".join(path.read_text("utf-8") for path in (SRC / "collector").glob("*.py"))
    reasons = set(re.findall(r'"([a-z]+_[a-z_]+)"', source))
    ours = {word for word in reasons if word.startswith(("invalid_", "too_", "no_", "unknown_", "not_", "body_too"))}
    ours |= {*REASONS, "too_large", "disconnected", "empty_batch"}
    text = page("docs/reference/collector.md").text
    assert {word for word in ours if f"`{word}`" not in text} == set()


def test_every_route_of_the_collector_is_described(tmp_path: Path):
    """Each path that the collector serves is on its page."""
    collector = Collector(tmp_path)
    text = page("docs/reference/collector.md").text
    missing = [route.path for route in collector._app.routes if not re.search(rf"[ `]{route.path}`", text)]
    collector.close()
    assert missing == []


def test_every_counter_of_the_collector_is_described():
    """What `/stats` answers with is on the page."""
    described = page("docs/reference/collector.md").defined()
    assert {name for name in Counts().snapshot() if name not in described} == set()
    assert json.dumps(Counts().snapshot())
