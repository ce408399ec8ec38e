"""FQL: what an expression means, and what is said of one that is none."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import SettingsError
from millstream.destinations import Event
from millstream.filters import compile as compile_fql

EVENT = {
    "type": "track",
    "event": "Order Completed",
    "userId": "u-7",
    "properties": {
        "total": 99.5,
        "items": 3,
        "coupon": "",
        "gift": True,
        "tags": ["new", "sale"],
        "code": "3",
        "ship to": {"city": "Köln"},
        "1st": "yes",
        "in": "store",
        "nothing": None,
    },
    "context": {"library": {"name": "millstream", "version": "1.10.2"}},
}

TRUE = [
    "true",
    "event = 'Order Completed'",
    'event = "Order Completed"',
    "type != 'page'",
    "properties.total > 99 and properties.total <= 99.5",
    "properties.items = 3",
    "properties.items = 3.0",
    "properties.items != '3'",
    "properties.code != 3",
    "number(properties.code) = 3",
    "string(properties.items) = properties.code",
    "properties.gift",
    "properties.gift = true",
    "properties.gift != 1",
    "!properties.coupon",
    "!( properties.total < 10 )",
    "!!properties.gift",
    "'sale' in properties.tags",
    "type in ['identify', 'track']",
    "properties.items in [1, 2, 3]",
    "'track' in [event, type]",
    "properties.tags = ['new', 'sale']",
    "properties.tags != ['sale', 'new']",
    "[1, [2]] = [1, [2.0]]",
    "length(properties.tags) = 2",
    "length(event) = 15",
    "length(properties.ship\\ to.city) = 5",
    "properties.\\1st = 'yes'",
    "properties.in = 'store'",
    "android = null and or\\d = null",
    "properties.nothing = null",
    "properties.absent.deeper = null",
    "event.name = null",
    "length(absent) = 0",
    "typeof(absent) = 'null'",
    "typeof(properties) = 'object'",
    "typeof(properties.tags) = 'list'",
    "typeof(properties.gift) = 'bool'",
    "typeof(properties.items) = 'number'",
    "lowercase(event) = 'order completed'",
    "uppercase('ö') = 'Ö'",
    "lowercase(properties.items) = null",
    "snakecase('a b c') = 'a_b_c'",
    "kebabcase('a b c') = 'a-b-c'",
    "titlecase('a bee') = 'A Bee'",
    "contains(event, 'Comp')",
    "match(event, 'Order *')",
    "match(event, '*d')",
    "match(event, properties.absent) = false",
    "bool('x') and !bool(0) and !bool(absent)",
    "number('12.5') = 12.5",
    "number('12,5') = null",
    "string([1, 'a']) = '[1,\"a\"]'",
    "semver(context.library.version, '>', '1.9')",
    "semver('2', '=', '2.0.0')",
    "( type = 'page' or properties.gift ) and event != null",
    "-1 < +1",
    "properties != null and properties.items = 3",
]
FALSE = [
    "false",
    "null",
    "'text'",
    "event",
    "event and type = 'track'",
    "properties.items > '2'",
    "properties.code > 2",
    "properties.gift > 0",
    "absent < 1",
    "absent >= 0",
    "properties.total > absent",
    "'sale' in properties.coupon",
    "'sale' in absent",
    "null in ['a']",
    "1 in [true]",
    "true in [1]",
    "contains(absent, 'x')",
    "contains(properties.tags, 'new')",
    "match(absent, '*')",
    "match(event, 'order *')",
    "length(properties) >= 0",
    "semver('1.2.x', '>', '1')",
    "semver('1.2', '~', '1')",
    "properties.absent and properties.gift",
]


@pytest.mark.parametrize(("fql", "expected"), [*((fql, True) for fql in TRUE), *((fql, False) for fql in FALSE)])
def test_an_expression_means_the_same_of_a_dict_of_its_json_and_of_an_event(fql: str, expected: bool):
    """Types are kept apart, missing is null, and only `true` is true."""
    condition = compile_fql(fql)
    data = msgspec.json.encode(EVENT)
    assert (condition(EVENT), condition(data), condition(Event(data))) == (expected, expected, expected)


def test_a_decimal_is_a_number():
    """An event that was decoded with its exact numbers is compared by them."""
    assert compile_fql("properties.price >= 19.99 and typeof(properties.price) = 'number'")(
        {"properties": {"price": Decimal("19.99")}}
    )


REFUSED = {
    "": (1, "the expression ends where a value is needed"),
    "event =": (8, "the expression ends where a value is needed"),
    "event == 'a'": (7, "FQL has no ==: write ="),
    "a <> 1": (3, "write !="),
    "a = 1 && b = 2": (7, "write and"),
    "a = 'x": (5, "the string is not closed: add ' at its end"),
    'userId = oops"': (14, 'the string is not closed: add " at its end'),
    "1.2.3 = 1": (1, "1.2.3 is no number"),
    "a = 5x": (5, "5x is no number; a name that begins with a digit is written \\5"),
    "properties.$a = 1": (12, "unexpected '$': write the character as \\$ if it belongs to a name"),
    "properties. = 1": (11, "a name is missing beside the dot"),
    "properties.": (11, "a name is missing beside the dot"),
    "a = 1 b": (7, "unexpected b: write `and` or `or` between two conditions"),
    "and": (1, "and stands where a value is needed"),
    "( a = 1": (8, "`)` is missing for the `(` in column 1"),
    "a in [1": (8, "`,` or `]` is missing here"),
    "match(event)": (1, "match takes 2 values, got 1"),
    "length()": (1, "length takes 1 value, got 0"),
    "lenght(event) > 1": (1, "did you mean length?"),
    "nonsense(event)": (1, "there are bool, contains, kebabcase"),
    "random(50)": (1, "give the filter a `sample`"),
    "not a": (5, "unexpected a"),
    "not(a)": (1, "there is no function not: write !( … )"),
    "a = b = c": (7, "a comparison has two sides"),
    "!a = b": (1, "write !( … ) around the comparison"),
    "a = @": (5, "unexpected '@'"),
    "(" * 101 + "a" + ")" * 101: (101, "nested deeper than 100 levels"),
    "!" * 101 + "a": (101, "nested deeper than 100 levels"),
}


@pytest.mark.parametrize("fql", REFUSED)
def test_what_is_no_fql_is_refused_with_its_column_and_the_remedy(fql: str):
    """The refusal is a ValueError, when the expression is compiled."""
    column, problem = REFUSED[fql]
    with pytest.raises(ValueError) as refusal:
        compile_fql(fql)
    assert isinstance(refusal.value, SettingsError)
    assert f"column {column}: " in str(refusal.value)
    assert problem in str(refusal.value)


def test_a_mix_of_and_and_or_is_refused_and_both_readings_are_shown():
    """An expression that two readers may read in two ways is none."""
    with pytest.raises(ValueError) as refusal:
        compile_fql("a = 1 and b or c in [1]")
    assert str(refusal.value).endswith(
        "column 13: `and` and `or` are mixed: write `( a = 1 and b ) or c in [1]`, or `a = 1 and ( b or c in [1] )`"
    )
    assert compile_fql("( a = 1 and b ) or c in [1]")({"c": 1})
    assert not compile_fql("a = 1 and ( b or c in [1] )")({"c": 1})


GLOBS = {
    ("", ""): True,
    ("*", ""): True,
    ("a?c", "abc"): True,
    ("a?c", "ac"): False,
    ("a*c*e", "abcde"): True,
    ("a*c*e", "abcd"): False,
    ("*ab*ab*", "abab"): True,
    ("*ab*ab", "aba"): False,
    ("*aab", "aaab"): True,
    ("a**b", "a\nb"): True,
    ("[a-c]?[^x]", "bxy"): True,
    ("[^a-c]", "b"): False,
    ("[ab-d]", "c"): True,
    ("[\\]\\-]", "-"): True,
    ("[\\^a]", "^"): True,
    ("[&&||~~]", "&"): True,
    ("[c-a]", "b"): False,
    ("[^c-a]", "b"): True,
    (r"1\*2\?", "1*2?"): True,
    (r"a.c", "abc"): False,
    ("Ä*", "Äpfel"): True,
    ("[a", "a"): False,
    ("[]a]", "]"): False,
    ("[a-]", "a"): False,
    ("[-a]", "a"): False,
    ("[a-b-c]", "b"): False,
    ("[]", ""): False,
    ("a\\", "a"): False,
}


@pytest.mark.parametrize(("pattern", "text"), GLOBS)
def test_a_glob_matches_the_whole_text_and_a_malformed_one_nothing(pattern: str, text: str):
    """`*`, `?`, sets and a backslash; the same for a pattern that is written out and one that an event brings."""
    expected = GLOBS[pattern, text]
    assert compile_fql("match(text, pattern)")({"text": text, "pattern": pattern}) is expected
    assert compile_fql(f'match(text, "{pattern}")')({"text": text}) is expected


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_a_glob_agrees_with_its_definition(pattern: str, text: str):
    """What the regular expression says is what a search over all ways to match says."""

    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(matches(pattern[1:], text[at:]) for at in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])

    assert compile_fql("match(text, pattern)")({"text": text, "pattern": pattern}) is matches(pattern, text)


def test_a_glob_takes_time_in_proportion_to_the_text():
    """Eight times the text takes some eight times as long, with many stars, too: one event must not stop the others."""
    condition = compile_fql("match(text, '*a*a*a*a*b')")

    def seconds(length: int) -> float:
        event = {"text": "a" * length}
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            for _ in range(20):
                assert not condition(event)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(32_000) < 24 * seconds(4_000)


def json_values() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values()))
def test_nothing_that_an_event_holds_makes_an_expression_fail(event: dict[str, Any]):
    """Every operator and function has an answer for every value, and for JSON the same as for the dict."""
    condition = compile_fql(
        "a = b or a < b or a in b or a.b = c or a.b.c in [c] or contains(a, b) or match(a, b) or length(a) > length(b)"
        " or lowercase(a) = b or string(a) = b or number(a) >= 5 or bool(a) = c or titlecase(a) = b or semver(a, b, c)"
        " or a != b.c or !c or a = 'x' or a = null or c > 2"
    )
    assert condition(event) is condition(msgspec.json.encode(event))


def test_text_that_is_no_json_is_no_event():
    """A broken event is an error, and not an event for which nothing is true."""
    with pytest.raises(msgspec.DecodeError):
        compile_fql("a = null")(b'{"a":')
