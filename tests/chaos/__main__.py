"""`make chaos`: two hundred kills, two hundred ends of each kind, and a table of what they did."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from chaos import ends, kills


def main() -> int:
    """Kill, end, count, print. Returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--ends", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    print(f"{chosen.kills} processes that record as fast as they can, killed with SIGKILL; seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as directory:
        killed = kills.kill(chosen.kills, chosen.seed, Path(directory) / "spool")
    print(*kills.table(killed), sep="\n")
    print(f"\n{chosen.ends} processes of each kind that go on recording without a spool while they end")
    ended = ends.end(chosen.ends, chosen.seed)
    print(*ends.table(ended), sep="\n")
    lost = any(tally.lost for tally in killed.values()) or any(tally.lost or tally.twice for tally in ended.values())
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
