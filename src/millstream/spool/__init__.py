"""The spool: a client's events on disk until they are delivered, in a directory that processes share.

    spool      a directory of lanes: writes into its own, adopts those of exited processes
    lane       one writer's segments, and the notes of what is settled
    lock       which process owns a lane
    inspect    inspection of a spool from outside

It is made of the segments, the readers and the quarantine of `log/`.
"""

from __future__ import annotations

from .spool import Spool

__all__ = ["Spool"]
