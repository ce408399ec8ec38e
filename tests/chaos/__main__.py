"""`make chaos`: two hundred kills, and a table of what they did."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from chaos.kills import kill, table


def main() -> int:
    """Kill, count, print. Returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    print(f"{chosen.kills} processes that record as fast as they can, killed with SIGKILL; seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as directory:
        tallies = kill(chosen.kills, chosen.seed, Path(directory) / "spool")
    print(*table(tallies), sep="\n")
    return 1 if any(tally.lost for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
