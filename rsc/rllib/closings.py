"""Close journals, also later and off the step's path, and keep what their episodes' rows need."""

from __future__ import annotations

import logging

from journal import EndReason, Journal, JournalWriter
from rsc.recording.episode import FAILED_KEY, told_by_failed

log = logging.getLogger("rsc")

BY_ITSELF = (EndReason.TERMINATED, EndReason.TIME_LIMIT)
"""How an episode ends by itself."""


class Closing:
    """A journal to close, when its episode has ended.

    Attributes:
        journal: The closed journal as its writer left it; None before, or to read it from its file.
        kept: The recorder's own figures as JSON, if the journal of an episode that ended by itself failed.
    """

    def __init__(self, writer: JournalWriter, reason: EndReason, message: str = "") -> None:
        self.journal: Journal | None = None
        self.kept: str | None = None
        self._writer, self._reason, self._message = writer, reason, message
        self._wanted = True

    def close(self) -> None:
        """Close the journal. Never raises."""
        writer = self._writer
        try:
            writer.close(self._reason, self._message)
            if writer.failure is not None and self._reason in BY_ITSELF:
                self.kept = told_by_failed(writer, self._reason)[FAILED_KEY]
            elif self._wanted:
                self.journal = writer.closed_journal()
        except Exception:
            log.exception(
                "journal %s was not closed as it should be; `reconcile` records its episode", writer.journal_id
            )
        del self._writer

    def forget_journal(self) -> None:
        """Do not hold the closed journal in memory."""
        self._wanted, self.journal = False, None
