"""The page of each destination has all its options, and every row of its mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from docs_pages import page

from millstream.destinations import amplitude, ga4, mixpanel, posthog
from millstream.destinations.configuration import TYPES, class_of, options_of

MAPPINGS = {
    "mixpanel": [mixpanel.CONTEXT],
    "amplitude": [amplitude.CONTEXT, amplitude.CONTEXT_OF_EVENTS, amplitude.ATTRIBUTION],
    "posthog": [posthog.CONTEXT],
}


def targets(mapping: Mapping[str, Any], path: str = "context") -> Iterator[tuple[str, str]]:
    for field, names in mapping.items():
        if isinstance(names, Mapping):
            yield from targets(names, f"{path}.{field}")
        else:
            yield from ((f"{path}.{field}", name) for name in ((names,) if isinstance(names, str) else names))


@pytest.mark.parametrize("kind", TYPES)
def test_every_option_is_on_the_page(kind: str) -> None:
    """With its default, and no other option."""
    rows = {cells[0]: cells[2] for cells in page(f"docs/reference/destinations/{kind}.md").rows("Options")[2:]}
    for option in options_of(class_of(kind)):
        default = str(option.default).lower() if isinstance(option.default, bool) else option.default
        shown = "required" if option.required else "none" if default in (None, ()) else f"`{default}`"
        assert rows.pop(f"`{option.name}`") == shown
    assert not rows


@pytest.mark.parametrize("kind", MAPPINGS)
def test_every_row_of_a_mapping_is_on_the_page(kind: str) -> None:
    """Each field of the context that is sent, and the name that it is sent under."""
    rows = [
        (cells[0], cells[1])
        for cells in page(f"docs/reference/destinations/{kind}.md").rows("Events")
        if len(cells) > 1
    ]
    for mapping in MAPPINGS[kind]:
        for field, name in targets(mapping):
            assert any(f"`{field}`" in row[0] and f"`{name}`" in row[1] for row in rows), (field, name)


def test_every_name_of_google_analytics_is_on_its_page() -> None:
    """The events of the e-commerce specification, and what becomes of them."""
    rows = {
        cells[0]: cells[1] for cells in page("docs/reference/destinations/ga4.md").rows("Events") if len(cells) == 3
    }
    assert {f"`{event}`": f"`{name}`" for event, (name, _, _) in ga4.ECOMMERCE.items()}.items() <= rows.items()


@pytest.mark.parametrize("kind", TYPES)
def test_every_page_says_what_is_not_sent(kind: str) -> None:
    """And the names that `integrations` knows it by."""
    text = page(f"docs/reference/destinations/{kind}.md").text
    assert "\n## Not sent\n" in text
    assert "\n## Limits\n" in text
    assert all(f"`{name}`" in text for name in class_of(kind).alternative_names)
