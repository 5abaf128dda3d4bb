"""How much partitions do in one callback of the event loop, before everybody else has his turn."""

from __future__ import annotations

_PARTITIONS = 24
_BYTES = 256 * 1024


def fits_one_callback(partitions: int, size: int) -> bool:
    """Whether so many *partitions* may settle, encode and post batches of *size* bytes, in all, in one callback.

    That takes some 50 µs for each partition and 7 for each record of 1 kB, on a quiet machine: 3 ms at the
    most, unless a codec takes longer, which is the lanes' affair. What is more goes on in callbacks of their
    own, a turn of the loop later: as long as everybody else's work in it takes. One partition is never split.
    """
    return partitions == 1 or (partitions <= _PARTITIONS and size <= _BYTES)
