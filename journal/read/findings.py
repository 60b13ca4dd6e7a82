"""The kinds of damage that a reader can find, and where it found them."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Damage(enum.StrEnum):
    """Kinds of findings."""

    BATCH = "batch"  # a message that was written whole does not verify
    SLOT = "slot"  # a slot of the tail that was written whole does not verify
    HOLE = "hole"  # steps are missing between two steps that are present
    ORDER = "order"  # a batch is there twice, or in the wrong order
    CONTENT = "content"  # a message verifies, but its content contradicts its seal


@dataclass(frozen=True)
class Finding:
    """One damaged place of a journal.

    Attributes:
        kind: The kind of damage.
        message: A description for people.
        offset: Where it is in the stream, in bytes; for a slot, its index in the tail.
        first_step: The first step that was lost there; 0 if it is unknown.
        last_step: The last step that was lost there; 0 if it is unknown.
    """

    kind: Damage
    message: str
    offset: int
    first_step: int = 0
    last_step: int = 0
