"""A client is one: it cannot be copied, and says what to do instead."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from millstream import Analytics, AsyncAnalytics
from support.api import Api

WAYS: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, *[lambda it, p=p: pickle.dumps(it, p) for p in range(6)]]
NAMES = ["copy", "deepcopy", *[f"pickle {protocol}" for protocol in range(6)]]


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_a_client_is_not_copied(api: Api, client: Callable[..., Analytics], way: Callable[[Any], Any]) -> None:
    """Copies and pickles are refused with the remedy, alone and inside of something else; the client goes on."""
    analytics = client()
    for holder in (analytics, [analytics]):
        if holder is not analytics and way is copy.copy:
            continue
        with pytest.raises(TypeError, match="Analytics cannot be copied or pickled: share the one client"):
            way(holder)
    analytics.track("A", user_id="u").wait(timeout=10)
    assert len(api.events) == 1


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_an_asynchronous_client_is_not_copied(api: Api, way: Callable[[Any], Any]) -> None:
    """The same with AsyncAnalytics, which is named in the message."""

    async def main() -> None:
        async with AsyncAnalytics("key", host=api.url) as analytics:
            with pytest.raises(TypeError, match="AsyncAnalytics cannot be copied"):
                way(analytics)
            await analytics.track("A", user_id="u")

    asyncio.run(main())
    assert len(api.events) == 1


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("spool", [False, True])
def test_a_receipt_is_not_copied(
    client: Callable[..., Analytics], tmp_path: Any, way: Callable[[Any], Any], spool: bool
) -> None:
    """A copy would wait for an outcome that only the original gets; another process cannot know of it."""
    receipt = client(spool=tmp_path if spool else None).track("A", user_id="u")
    with pytest.raises(TypeError, match=r"a receipt cannot be (copied: .* share the receipt|pickled: .* message_id)"):
        way(receipt)
    receipt.wait(timeout=10)


@pytest.mark.process
def test_a_process_that_is_spawned_is_not_given_a_client(client: Callable[..., Analytics]) -> None:
    """`multiprocessing` pickles its arguments where it does not fork: the message says what to do, and is ours."""
    spawned = multiprocessing.get_context("spawn").Process(target=print, args=(client(),))
    with pytest.raises(TypeError, match="make another Analytics with the same settings"):
        spawned.start()
