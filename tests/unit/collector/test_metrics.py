"""The counts as Prometheus reads them."""

from __future__ import annotations

from pathlib import Path

from millstream.collector.counts import Counts
from millstream.collector.metrics import exposition
from millstream.collector.store import Files, Memory
from millstream.collector.timing import Timing


def samples(text: str) -> dict[str, float]:
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}


def test_each_metric_is_declared_before_its_samples() -> None:
    """Every sample follows the HELP and TYPE of its name, and a counter's name ends in `_total`."""
    counts = Counts()
    counts.types["track"] = 3
    kinds: dict[str, str] = {}
    for line in exposition(counts, remembered=7, store=Memory()).splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
        elif not line.startswith("#"):
            assert line.split("{")[0].split()[0] in kinds
    assert kinds
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())


def test_labels_name_the_parts_of_a_sum() -> None:
    """Outcomes and types are labels of one metric each, and every outcome is there from the start."""
    counts = Counts()
    counts.stored, counts.types["track"] = 3, 3
    found = samples(exposition(counts, remembered=7, store=Memory()))
    assert found['millstream_collector_events_total{outcome="stored"}'] == 3
    assert found['millstream_collector_events_total{outcome="failed"}'] == 0
    assert found['millstream_collector_events_stored_total{type="track"}'] == 3
    assert found["millstream_collector_remembered_ids"] == 7


def test_a_histogram_counts_up(tmp_path: Path) -> None:
    """Each bucket holds those before it, a value at a bound is within it, and the last bucket is the count."""
    store = Files(tmp_path)
    try:
        for seconds in (0.001, 0.002, 0.3, 7.0):
            store.timing.add(seconds)
        found = samples(exposition(Counts(), remembered=0, store=store))
    finally:
        store.close()
    name = "millstream_collector_commit_seconds"
    buckets = [found[f'{name}_bucket{{le="{bound}"}}'] for bound in (*Timing.BOUNDS, "+Inf")]
    assert buckets == [1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 4]
    assert found[f"{name}_count"] == 4
    assert found[f"{name}_sum"] == 7.303
    assert "millstream_collector_quarantine_lost_total" in found
    assert name + "_count" not in samples(exposition(Counts(), remembered=0, store=Memory()))
