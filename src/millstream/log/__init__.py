"""The segmented log: what the spool and the collector's store are made of.

    segments   files that are only ever appended to, each named by the position of its first byte
    lane       one writer's segments, its lock, and the notes of what is done with
    spool      a directory of lanes: writes into its own, adopts those of the dead
    inspect    a look at a spool from outside
    aside      where what cannot be read is put
    files      opens regular files only, and makes what is made with fixed rights
    stored     a collector's files, read from outside

The format, and what can be said of it without a file, is in `_core/log.py`.
"""

from __future__ import annotations

from .segments import Log, Segment, segments_in
from .spool import Spool
from .stored import PREFIX, Record, records_in, stored_files

__all__ = ["PREFIX", "Log", "Record", "Segment", "Spool", "records_in", "segments_in", "stored_files"]
