"""The spool under anything that can happen to it: what comes back is what was not done with, and all of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from millstream._core.record import Place
from millstream.spool import Spool
from millstream.spool.inspect import events


class SpoolMachine(RuleBasedStateMachine):
    """Processes that open the spool one after the other, and die; and a disk that spoils what nobody looks at."""

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.number = 0
        self.open: dict[int, Place] = {}  # events that are not done with
        self.spoiled: set[int] = set()  # those of them that nobody can read any more
        self.told: list[Exception] = []
        self.spool = self.made()

    def made(self) -> Spool:
        return Spool(self.directory / "spool", source="source", max_bytes=1 << 30, sync=None, report=self.told.append)

    @rule(sizes=st.lists(st.sampled_from([0, 1, 50, 5000]), min_size=1, max_size=8))
    def events_are_recorded(self, sizes: list[int]) -> None:
        for size in sizes:
            self.number += 1
            event = {"type": "track", "messageId": str(self.number), "filling": "x" * size}
            place = self.spool.append(json.dumps(event).encode())
            assert place is not None
            self.open[self.number] = place

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def some_are_done_with(self, data: st.DataObject) -> None:
        numbers = data.draw(st.sets(st.sampled_from(sorted(self.open)), min_size=1))
        self.spool.settle([self.open.pop(number) for number in sorted(numbers)])

    @rule()
    def the_next_segment_is_begun(self) -> None:
        lane = self.spool._lane
        if lane is not None and lane.log is not None:
            lane.log.rotate()

    @rule(tear=st.integers(0, 3), most=st.integers(1, 5))
    def the_process_dies_and_another_starts(self, tear: int, most: int) -> None:
        """Its last write may be half there, the last note too; and what the dead had adopted is adopted once more."""
        self.spool.orphan()
        if tear == 1:
            self.add_to_the_last("*.jsonl", b'{"type":"track","messageId":"to')
        if tear == 2:
            self.add_to_the_last("*.done", b"\n12 34")
        if tear == 3:
            self.add_to_the_last("*.jsonl", b"\0" * 700)
        self.spool = self.made()
        self.come_back(most)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), most=st.integers(1, 5))
    def a_record_is_spoiled_and_the_process_dies(self, data: st.DataObject, most: int) -> None:
        """What cannot be read is left out, counted and told; everything around it comes."""
        number = data.draw(st.sampled_from(sorted(self.open)))
        place = self.open.pop(number)
        lane = place.lane
        self.spool.orphan()
        segment = max(
            (path for path in lane.directory.glob("*.jsonl") if int(path.stem) <= place.start),  # type: ignore[attr-defined]
            key=lambda path: int(path.stem),
        )
        with segment.open("r+b") as file:
            file.seek(place.start - int(segment.stem) + 3)
            file.write(b"\xff\xfe\xfd")
        self.spool = self.made()
        before = len(self.told)
        self.come_back(most)
        assert self.spool.corrupt == 1
        assert len(self.told) == before + 1

    def add_to_the_last(self, pattern: str, data: bytes) -> None:
        paths = sorted(self.directory.glob(f"spool/source-*/{pattern}"))
        if paths:
            with paths[-1].open("ab") as file:
                file.write(data)

    def come_back(self, most: int) -> None:
        found: dict[int, Place] = {}
        for stretch in self.spool.adopt():
            rest = stretch
            counted = 0
            while rest is not None:
                some, rest = self.spool.read(rest, most, 1 << 20)
                counted += len(some)
                for place, record in some:
                    number = int(json.loads(record)["messageId"])
                    assert number not in found
                    found[number] = place
            assert counted == stretch.count
        assert sorted(found) == sorted(self.open)
        self.open = found

    @rule()
    def somebody_looks_from_outside(self) -> None:
        if (self.directory / "spool").exists():
            seen = Counter(int(json.loads(event)["messageId"]) for event in events(self.directory / "spool"))
            assert seen == Counter(self.open.keys())

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.settle(list(self.open.values()))
            self.spool.release()
            left = list((self.directory / "spool").glob("source-*"))
            shutil.rmtree(self.directory)
            assert left == [], "what is done with is gone"


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
