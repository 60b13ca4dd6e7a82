"""CRC32C seeds that tie a journal's bytes to its id, so that bytes of another journal never verify."""

from __future__ import annotations

import functools
import os

from crc32c import crc32c


@functools.lru_cache(maxsize=1024)
def journal_seed(journal_id: str) -> int:
    """Return the value at which the CRCs of a journal's batches and footer start, and with which its slots are masked."""
    return int(crc32c(os.fsencode(journal_id)))


def generation_seed(journal_id: str, first_step: int) -> int:
    """Return the value at which the running CRC of a tail starts, whose first slot holds step ``first_step``."""
    return int(crc32c(first_step.to_bytes(8, "little"), journal_seed(journal_id)))
