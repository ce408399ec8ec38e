"""What tables and columns are called."""

from __future__ import annotations

import pytest

from millstream.warehouse.names import identifier, snake_case


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Order Completed", "order_completed"),
        ("orderId", "order_id"),
        ("order_id", "order_id"),
        ("order-id", "order_id"),
        ("  $order   ID!  ", "order_id"),
        ("SHOUTED ALOUD", "shouted_aloud"),
        ("a.b:c$d", "a_b_c_d"),
        ("base64Encode", "base64_encode"),
        ("step 2 Done", "step_2_done"),
        ("HTTPStatus", "httpstatus"),
        ("Größe", "größe"),
        ("注文 完了", "注文_完了"),
        ("🎉", ""),
        ("", ""),
    ],
)
def test_names_are_in_snake_case(name: str, expected: str) -> None:
    """Names are Segment's in its warehouses; letters beyond ASCII, which it drops, are kept."""
    assert snake_case(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("order", "_order"), ("2nd try", "_2nd_try"), ("🎉", "_"), ("orders", "orders")]
)
def test_what_cannot_be_a_name_gets_an_underscore(name: str, expected: str) -> None:
    """A word of SQL's, a digit at the beginning or nothing at all would need quotes."""
    assert identifier(name, not_free={"order"}) == expected


def test_names_are_of_a_length_that_files_can_have() -> None:
    """A name of 32 KB is cut, and no character is cut in two."""
    assert identifier("x" * 32_000, not_free=()) == "x" * 127
    assert identifier("ß" * 32_000, not_free=()) == "ß" * 63
