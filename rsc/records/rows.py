"""Read a run's rows from the database. Without a database, or if it does not have the run, there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Imports inside functions load modules that are slow to import and not always needed.

_CHUNK = 500
T = TypeVar("T")
Row = Mapping[str, Any]


class RunRows:
    """Queries about one run. If the database fails, they raise `rsc.db.session.DatabaseError` with one line."""

    def __init__(self, run_id: str, engine: Engine | None) -> None:
        self._run_id = run_id
        self._engine = engine

    @property
    def known(self) -> bool:
        """Whether the database has the run."""
        return self._engine is not None

    def of_the_run(self) -> dict[str, Any] | None:
        """Return the row of the run, every column."""
        from rsc.db import runs

        row = self._asked(lambda connection: runs.find_run(connection, self._run_id), None)
        return None if row is None else dict(row._mapping)

    def of_journals(self, run_id: str, journal_ids: Sequence[str]) -> Mapping[str, Row]:
        """Return rows by journal id. This is a `journal.ops.dataset.Lookup`."""
        from rsc.db import episodes

        return self._asked(lambda connection: episodes.rows_of_journals(connection, run_id, journal_ids), {})

    def of_numbers(self, numbers: Sequence[int]) -> Mapping[int, Row]:
        """Return rows by episode number, of any run."""
        from rsc.db import episodes

        return self._asked(lambda connection: episodes.rows_of_numbers(connection, numbers), {})

    def without_journal(self, journal_ids: Set[str]) -> Iterator[Row]:
        """Yield the rows of episodes whose journal is not among these, oldest first."""
        from rsc.db.episodes import names_of_run
        from rsc.db.tolerant import UnreadableRow

        if self._engine is None:
            return
        names = (one for one in names_of_run(self._engine, self._run_id) if not isinstance(one, UnreadableRow))
        numbers = (one.episode_id for one in names if one.journal_id not in journal_ids)
        while chunk := list(islice(numbers, _CHUNK)):
            yield from self.of_numbers(chunk).values()

    def counts(self) -> dict[str, int]:
        """Return the number of episodes by status."""
        from rsc.db import episodes

        return self._asked(lambda connection: episodes.status_counts(connection, self._run_id), {})

    def numbers_in_words(self) -> str:
        """Return the range of episode numbers as text for messages."""
        from rsc.db import episodes

        found = self._asked(lambda connection: episodes.first_and_last(connection, self._run_id), None)
        return "it has no rows" if found is None else f"its episodes have numbers from {found[0]} to {found[1]}"

    def _asked(self, question: Callable[[Connection], T], otherwise: T) -> T:
        from sqlalchemy.exc import SQLAlchemyError

        from rsc.db.hints import unusable
        from rsc.db.session import reading

        if self._engine is None:
            return otherwise
        try:
            with reading(self._engine) as connection:
                return question(connection)
        except SQLAlchemyError as error:
            raise unusable(self._engine, error) from error
