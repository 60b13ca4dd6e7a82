"""Look up the rows of journals in the database, for commands that also work without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from journal.console import remark

if TYPE_CHECKING:
    from journal.ops.dataset import Lookup, Row

# Imports inside functions load pyarrow, which `--help` does not need.


def database_rows(unknown: str = "") -> Lookup:
    """Return the look-up in the database.

    Args:
        unknown: The values that the database adds. If it cannot be used, one message says that they are unknown. If
            the argument is empty, there is no message.
    """
    from journal.inspect import plugins
    from journal.ops.dataset import nothing_known

    asked: Lookup = plugins.load(plugins.EPISODES).get("rows_of", nothing_known)

    def rows_of(run_id: str, journal_ids: Sequence[str]) -> Mapping[str, Row]:
        nonlocal asked
        try:
            return asked(run_id, journal_ids)
        except Exception as error:
            asked = nothing_known
            if unknown:
                remark(f"{unknown} are unknown: {error}")
            return {}

    return rows_of
