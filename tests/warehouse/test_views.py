"""The views of the warehouse: which there are, their columns, their types, their rows."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from stored import Directory, event, identify, track

from millstream.warehouse import query
from millstream.warehouse.shapes import MAX_COLUMNS
from millstream.warehouse.snapshot import MAX_TABLES

STANDARD = ["accounts", "aliases", "events", "groups", "identifies", "pages", "screens", "tracks", "users"]


at = datetime.fromisoformat


def views(stored: Directory) -> list[str]:
    return [name for (name,) in stored.ask("show tables")]


# -- which there are --------------------------------------------------------------------------------


def test_an_empty_store_has_all_standard_views(stored: Directory) -> None:
    """A query that is right is right before the first event, too."""
    assert views(stored) == STANDARD
    counts = ", ".join(f"(select count(*) from {view})" for view in STANDARD)
    assert stored.ask(f"select {counts}") == [(0,) * len(STANDARD)]
    assert {"id", "user_id", "anonymous_id", "timestamp", "received_at"} <= stored.columns("tracks").keys()


def test_there_is_a_view_for_every_event(stored: Directory) -> None:
    """Its rows are that event's alone, and `tracks` has those of all."""
    stored.add(track("Order Completed", total=5), track("Signed Up"), event("page", name="Home"))
    assert set(views(stored)) == {*STANDARD, "order_completed", "signed_up"}
    assert stored.ask("select event, event_text, total from order_completed") == [
        ("order_completed", "Order Completed", 5)
    ]
    assert stored.ask("select event from tracks order by 1") == [("order_completed",), ("signed_up",)]


def test_events_of_one_name_in_sql_share_a_view(stored: Directory) -> None:
    """`event_text` tells them apart."""
    stored.add(track("Order Completed", a=1), track("order-completed", b="x"))
    assert stored.ask("select event_text, a, b from order_completed order by a") == [
        ("Order Completed", 1, None),
        ("order-completed", None, "x"),
    ]


def test_an_event_cannot_take_the_name_of_a_standard_view(stored: Directory) -> None:
    """An event that is called Users, or as a word of SQL, has its view with an underscore."""
    stored.add(track("Users", n=1), track("Order", n=2), track("🎉", n=3), track("2 Fast", n=4), identify("u1"))
    assert stored.ask("select a.n, b.n, c.n, d.n, users.id from _users a, _order b, _ c, _2_fast d, users") == [
        (1, 2, 3, 4, "u1")
    ]


def test_names_that_are_data_do_not_make_views_without_end(stored: Directory) -> None:
    """The most frequent events have views; those of all others are in `tracks` all the same."""
    stored.add(*[track(f"Order {n} Paid") for n in range(MAX_TABLES)], track("Often"), track("Often"))
    found = views(stored)
    assert len(found) == len(STANDARD) + MAX_TABLES
    assert "often" in found
    assert stored.ask("select count(*) from tracks") == [(MAX_TABLES + 2,)]


# -- columns ----------------------------------------------------------------------------------------


def test_the_columns_of_each_kind(stored: Directory) -> None:
    """A call's own fields, its traits or properties and its context are columns, as the warehouse rules name them."""
    context = {"ip": "1.2.3.4", "library": {"name": "millstream"}, "page": {"URL": "/"}}
    stored.add(
        event(event="Paid", properties={"orderTotal": 1}, context=context),
        event("identify", traits={"firstName": "Ada"}, context=context),
        event("page", name="Home", category="Docs", properties={"path": "/"}, context=context),
        event("group", groupId="g1", traits={"employees": 5}, context=context),
        event("alias", previousId="old", context=context),
    )
    in_context = {"context_ip": "VARCHAR", "context_library_name": "VARCHAR", "context_page_url": "VARCHAR"}
    assert stored.own_columns("tracks") == in_context
    assert stored.own_columns("paid") == {"order_total": "BIGINT", **in_context}
    assert stored.own_columns("identifies") == {"first_name": "VARCHAR", **in_context}
    assert stored.own_columns("pages") == {"path": "VARCHAR", **in_context}
    assert stored.own_columns("groups") == {"employees": "BIGINT", **in_context}
    assert stored.ask("select name, category, context_page_url from pages") == [("Home", "Docs", "/")]
    assert stored.ask("select group_id, employees, user_id, source_id from groups") == [("g1", 5, "u1", "s1")]
    assert stored.ask("select previous_id, context_ip from aliases") == [("old", "1.2.3.4")]


def test_a_property_that_came_late_is_a_column(stored: Directory) -> None:
    """All events are looked at, and not the first few thousand."""
    stored.add(*[track("Paid", total=1)] * 30_000, track("Paid", total=2, coupon="X"))
    assert stored.ask("select coupon from paid where coupon is not null") == [("X",)]


def test_objects_are_flattened_and_lists_are_json(stored: Directory) -> None:
    """`address.street` is `address_street`; a list is one column."""
    stored.add(
        track("Paid", address={"street": "x", "geo": {"lat": 1.5}}, items=[{"sku": "a"}, 2], none=None, empty={})
    )
    assert stored.own_columns("paid") == {
        "address_geo_lat": "DOUBLE",
        "address_street": "VARCHAR",
        "items": "JSON",
    }
    assert stored.ask("select items->0->>'sku', items from paid") == [("a", '[{"sku":"a"},2]')]


def test_two_properties_of_one_name_in_sql_are_one_column(stored: Directory) -> None:
    """Whichever an event has is its value."""
    stored.add(track("Paid", orderId="a"), track("Paid", order_id="b"), track("Paid", order={"id": "c"}))
    assert stored.ask("select order_id from paid order by 1") == [("a",), ("b",), ("c",)]


def test_a_property_may_be_an_object_in_one_event_and_none_in_another(stored: Directory) -> None:
    """One odd event does not hide what the others have."""
    stored.add(track("Paid", address={"city": "Rome"}), track("Paid", address="Rome, Italy"))
    assert stored.ask("select address, address_city from paid order by 1") == [("Rome, Italy", None), (None, "Rome")]


def test_a_property_cannot_take_the_name_of_a_standard_column(stored: Directory) -> None:
    """Nothing is lost: it has an underscore before its name."""
    stored.add(
        event(event="Paid", properties={"userId": "other", "id": 7, "order": 3, "contextIp": "p"}, context={"ip": "c"}),
        identify("u1", id="crm-1", userId="other"),
    )
    assert stored.ask("select user_id, _user_id, _id, _order, context_ip, _context_ip from paid") == [
        ("u1", "other", 7, 3, "c", "p")
    ]
    assert stored.ask("select id, _id, _user_id from users") == [("u1", "crm-1", "other")]


def test_a_pages_name_may_be_in_its_properties(stored: Directory) -> None:
    """Clients send `name` and `category` beside the properties, in them, or both: it is one column."""
    stored.add(event("page", properties={"name": "In"}), event("page", name="Beside", properties={"name": "In"}))
    assert stored.ask("select name from pages order by 1") == [("Beside",), ("In",)]
    assert stored.own_columns("pages") == {}


@pytest.mark.parametrize("key", ["it's", 'say "x"', "a/b~c", "a.b[0]$", "*", "", " ", "\\", "ключ", "x;--"])
def test_no_key_is_too_odd(stored: Directory, key: str) -> None:
    """What a property is called may be anything: it cannot break the SQL, and its value is found."""
    stored.add(track("Paid", **{key: "here"}))
    assert "here" in stored.ask("select * from paid")[0]


def test_a_nul_in_a_key_costs_that_column_alone(stored: Directory) -> None:
    """SQL has no way to write it; it is in `events`."""
    stored.add(track("Paid", **{"a\0b": "x", "c": 1}))
    assert stored.own_columns("paid") == {"c": "BIGINT"}


def test_names_that_are_data_do_not_make_columns_without_end(stored: Directory) -> None:
    """The most frequent are columns, the others are in the JSON of `events`."""
    stored.add(*[track("Paid", total=1, by={f"user-{n}": n}) for n in range(MAX_COLUMNS + 50)])
    columns = stored.own_columns("paid")
    assert len(columns) == MAX_COLUMNS
    assert columns["total"] == "BIGINT"
    assert stored.ask("select count(*) from events where (properties->'by') is not null") == [(MAX_COLUMNS + 50,)]


def test_what_is_nested_too_deeply_is_json(stored: Directory) -> None:
    """All the other values of such an event have their columns, and take part in their types."""
    stored.add(
        track("Paid", total=1),
        b'{"type":"track","event":"Paid","properties":{"total":2.5,"deep":%b1%b}}' % (b'{"a":[' * 2000, b"]}" * 2000),
    )
    assert stored.own_columns("paid") == {"deep_a": "JSON", "total": "DOUBLE"}
    stored.add(track("Paid", deep=json.loads('{"a":' * 400 + "1" + "}" * 400)))
    (deepest,) = stored.own_columns("paid").keys() - {"deep_a", "total"}
    assert stored.ask(f"select {deepest} from paid where {deepest} is not null") == [('{"a":' * 301 + "1" + "}" * 301,)]
    assert stored.ask("select sum(total) from paid") == [(3.5,)]


def test_brackets_are_not_depth(stored: Directory) -> None:
    """A wide event, and a text with brackets, are as shallow as any other."""
    stored.add(
        track("Order Completed", revenue=10, coupon=5),
        track("Order Completed", revenue=99.75, coupon="X9", bulk=True, products=[{"sku": n} for n in range(98)]),
        track("Order Completed", revenue=1, note="[x] " * 100),
        track("Wide", products=[{"sku": n} for n in range(200)], total=1),
    )
    assert stored.ask("select sum(revenue), max(coupon), max(bulk) from order_completed") == [(110.75, "X9", True)]
    assert stored.own_columns("wide") == {"products": "JSON", "total": "BIGINT"}


# -- what is in no column ----------------------------------------------------------------------------


def left_out(stored: Directory, sql: str) -> dict[str, dict[str, int]]:
    with query(stored.path, sql) as result:
        assert len(result.warnings) == sum(map(len, result.omitted.values()))
        return result.omitted


def test_two_values_of_one_event_for_one_column(stored: Directory) -> None:
    """One is shown; that there is another is counted, for each view that was asked for."""
    stored.add(track("Paid", orderId=1, order_id=2), track("Paid", orderId=3, order_id=3), track("Paid", orderId=4))
    stored.add(event("page", name="Home", properties={"name": "Start"}))
    assert left_out(stored, "select * from paid") == {"paid": {"same_name": 1}}
    assert left_out(stored, "select * from pages") == {"pages": {"same_name": 1}}
    assert left_out(stored, "select * from tracks") == {}


def test_what_is_beyond_the_limits_is_counted(stored: Directory) -> None:
    """A value without a column, and an event without a view, are told of."""
    stored.add(*[track("Paid", **{f"n{n}": n}) for n in range(MAX_COLUMNS + 50)], track("Paid", **{"a\0b": 1, "n1": 1}))
    assert left_out(stored, "select * from paid") == {"paid": {"too_many_columns": 50, "nul_in_name": 1}}
    stored.add(*[track(f"Order {n} Paid") for n in range(MAX_TABLES + 3)])
    assert left_out(stored, "show tables")["tracks"] == {"too_many_views": 4}
    assert "tracks" not in left_out(stored, "select * from tracks")


# -- types ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, -2], "BIGINT", [1, -2]),
        ([1, 2.5], "DOUBLE", [1.0, 2.5]),
        ([True, False], "BOOLEAN", [True, False]),
        (["a", ""], "VARCHAR", ["a", ""]),
        (["1", "2"], "VARCHAR", ["1", "2"]),
        ([1, "a"], "VARCHAR", ["1", "a"]),
        ([True, 1], "VARCHAR", ["true", "1"]),
        ([[1], "a"], "JSON", ["[1]", '"a"']),
        ([None, 1], "BIGINT", [None, 1]),
        ([2**63 - 1, -(2**63)], "BIGINT", [2**63 - 1, -(2**63)]),
        ([2**63, 1], "DECIMAL(20,0)", [Decimal(2**63), Decimal(1)]),
        ([10**30, 1], "DOUBLE", [1e30, 1.0]),
        ([10**400, 1], "VARCHAR", [str(10**400), "1"]),
        (["2026-01-02", "2026-01-02T03:04:05Z"], "TIMESTAMP", [at("2026-01-02"), at("2026-01-02T03:04:05")]),
        (["2026-01-02T03:04:05.678+02:00"], "TIMESTAMP", [at("2026-01-02T01:04:05.678000")]),
        (["2026-01-02", "soon"], "VARCHAR", ["2026-01-02", "soon"]),
        (["2026-02-31"], "VARCHAR", ["2026-02-31"]),
        (["2026", "12:30"], "VARCHAR", ["2026", "12:30"]),
        (["infinity", "epoch"], "VARCHAR", ["infinity", "epoch"]),
    ],
)
def test_types_hold_for_every_value(stored: Directory, values: list[Any], kind: str, read: list[Any]) -> None:
    """A column has the narrowest type that loses nothing of any of its values."""
    stored.add(*[track("Paid", value=value) for value in values])
    assert stored.own_columns("paid") == {"value": kind}
    assert [value for (value,) in stored.ask("select value from paid")] == read


def test_one_value_in_many_decides_about_the_type(stored: Directory) -> None:
    """Whether all are dates is asked of all."""
    stored.add(
        *[track("Paid", on="2026-01-02")] * 5_000, track("Paid", on="2026-13-45"), track("Paid", on="2026-01-03")
    )
    assert stored.own_columns("paid") == {"on": "VARCHAR"} or stored.own_columns("paid") == {"_on": "VARCHAR"}


def test_times_are_in_utc(stored: Directory) -> None:
    """The four times of an event are TIMESTAMPs in UTC, wherever the machine is."""
    names = ("timestamp", "original_timestamp", "sent_at", "received_at")
    stored.add(event(event="Paid", timestamp="2026-01-02T03:04:05.678Z", originalTimestamp="2026-01-02T05:04+02:00"))
    assert {stored.columns("paid")[name] for name in names} == {"TIMESTAMP"}
    moments = stored.ask(f"select {', '.join(names)} from paid")[0]
    assert moments[0] == at("2026-01-02T03:04:05.678000")
    assert moments[3] == at("2026-01-02T12:00:00")


@pytest.mark.parametrize("text", ["yesterday", "epoch", "infinity", "1767322800000", "2026-1-2", "2026-01-02 Rome", ""])
def test_what_is_no_time_is_null(stored: Directory, text: str) -> None:
    """SQL takes for times what the collector does, and nothing that its own database has a word for."""
    stored.add(
        event(event="Paid", originalTimestamp=text, sentAt=text),
        event(event="Old", timestamp=text.strip("0123456789-")),
    )
    assert stored.ask("select original_timestamp, sent_at from paid") == [(None, None)]
    assert stored.ask("select timestamp from old") == [(None,)]


# -- the latest of each -----------------------------------------------------------------------------


def test_users_have_their_latest_traits(stored: Directory) -> None:
    """The last value of each trait counts; what a later call does not mention stays."""
    stored.add(
        identify("u1", plan="free", name="Ada"),
        identify("u2", plan="free"),
        identify("u1", plan="pro"),
        event("identify", userId=None, anonymousId="a", traits={"plan": "?"}),
    )
    stored.add(identify("u2", plan=None, name="Grace"))
    assert stored.ask("select id, plan, name from users order by id") == [("u1", "pro", "Ada"), ("u2", "free", "Grace")]
    assert "anonymous_id" not in stored.columns("users")


def test_the_latest_is_by_when_it_happened(stored: Directory) -> None:
    """An event that arrives late changes nothing that is newer, and adds what nobody has said since."""
    stored.add(
        event("identify", timestamp="2026-01-03T00:00:00.000Z", traits={"plan": "pro", "name": "Ada", "list": [2]}),
        event("identify", timestamp="2026-01-02T00:00:00.000Z", traits={"plan": "trial", "city": "Rome", "list": [1]}),
        event("identify", timestamp="2026-01-04T00:00:00.000Z", traits={"plan": None, "name": None}),
        event("identify", timestamp="no time", traits={"plan": "?", "old": True}),
        event("group", groupId="g", timestamp="2026-01-03T00:00:00.000Z", traits={"size": 2}, context={"ip": "new"}),
        event("group", groupId="g", timestamp="2026-01-02T00:00:00.000Z", traits={"size": 1}, context={"ip": "old"}),
    )
    stored.add(event("identify", timestamp="2026-01-03T00:00:00.000Z", traits={"name": "Ada L."}))
    assert stored.ask("select id, timestamp, plan, name, city, old, list from users") == [
        ("u1", at("2026-01-04"), "pro", "Ada L.", "Rome", True, "[2]")
    ]
    assert stored.ask("select size, context_ip from accounts") == [(2, "new")]


def test_accounts_have_their_latest_traits(stored: Directory) -> None:
    """Groups likewise."""
    stored.add(
        event("group", groupId="g1", traits={"name": "Initech", "size": 5}),
        event("group", groupId="g1", traits={"size": 6}),
    )
    assert stored.ask("select id, name, size, received_at from accounts") == [
        ("g1", "Initech", 6, at("2026-01-02T12:00:00"))
    ]


# -- whatever comes ---------------------------------------------------------------------------------


def test_no_word_of_sql_needs_quotes(stored: Directory) -> None:
    """Every keyword that means something to the parser can be the name of an event and of a property."""
    with duckdb.connect() as database:
        sql = "SELECT DISTINCT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        words = [word for (word,) in database.execute(sql).fetchall()]
    stored.add(track("All", **dict.fromkeys(words, 1)), *[track(word, n=1) for word in words])
    columns = stored.columns("_all")
    assert {name.removeprefix("_") for name in columns} >= set(words)
    assert len(stored.ask(f"select {', '.join(columns)} from _all where event_text = 'All'")) == 1
    unions = " union all ".join(f"select event from {name}" for name in views(stored) if name not in STANDARD)
    assert len(stored.ask(unions)) == len(words) + 1
