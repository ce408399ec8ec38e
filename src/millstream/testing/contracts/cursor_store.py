"""What every cursor store promises: what was saved is loaded, and the second of two routers is fenced."""

from __future__ import annotations

from pathlib import Path

from millstream._public import publish
from millstream.errors import Fenced
from millstream.log import Cursor, CursorStore, Mark

__all__ = ["CursorStoreContract"]

CURSOR = Cursor(500, ((600, 700), (900, 901)), Mark(400, 500, "m-1", 12_345))


class CursorStoreContract:
    """Tests for a cursor store. Each gets a directory of its own (pytest's `tmp_path`)."""

    def open(self, directory: Path) -> CursorStore:
        """Open a store. All that are opened for one directory have the same cursors, as those of two processes."""
        raise NotImplementedError

    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        """Whole, by each store; nothing before."""
        one, two = self.open(tmp_path), self.open(tmp_path)
        assert one.load("route", "0") is None
        revision = one.save("route", "0", CURSOR, 0)
        assert one.load("route", "0") == two.load("route", "0") == (CURSOR, revision)
        one.close()
        two.close()

    def test_what_was_saved_last_counts(self, tmp_path: Path) -> None:
        """After any number of saves, and a restart."""
        store, revision = self.open(tmp_path), 0
        for low in range(3_000):
            revision = store.save("route", "0", Cursor(low, ((low + 5, low + 9),)), revision)
        store.close()
        store = self.open(tmp_path)
        assert store.load("route", "0") == (Cursor(2_999, ((3_004, 3_008),)), revision)
        store.close()

    def test_each_route_and_partition_has_its_own(self, tmp_path: Path) -> None:
        """Whatever their names are."""
        store = self.open(tmp_path)
        names = [("a", "0"), ("a", "1"), ("b", "0"), ("../a", "0"), ("A b", ".."), ("Ä/é", "0"), ("a.b", "x.cursor")]
        for low, (route, partition) in enumerate(names):
            store.save(route, partition, Cursor(low), 0)
        for low, (route, partition) in enumerate(names):
            found = store.load(route, partition)
            assert found is not None, (route, partition)
            assert found[0] == Cursor(low), (route, partition)
        store.close()

    def test_the_second_of_two_routers_is_fenced(self, tmp_path: Path) -> None:
        """Both have loaded the same cursor. The first to save goes on; the other has changed nothing."""
        import pytest  # noqa: PLC0415 - other contracts can be used without it

        one, two = self.open(tmp_path), self.open(tmp_path)
        first = one.save("route", "0", Cursor(1), 0)
        second = two.save("route", "0", Cursor(2), first)
        for stale in (0, first):
            with pytest.raises(Fenced, match="route"):
                one.save("route", "0", Cursor(3), stale)
        assert two.load("route", "0") == one.load("route", "0") == (Cursor(2), second)
        two.save("route", "0", Cursor(4), second)
        one.close()
        two.close()


publish("millstream.testing.contracts", CursorStoreContract)
