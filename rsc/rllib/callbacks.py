"""Queue a row for each episode that starts or ends. Callbacks never wait for the database, and never raise."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from journal import EndReason, JournalWriter
from journal.format.header import from_microseconds
from rsc.recording.episode import FAILED_KEY, INFO_KEY, listen
from rsc.rllib.closings import BY_ITSELF, Closing
from rsc.rllib.nodes import this_node
from rsc.rllib.rows import Entry, RowWriter, State
from rsc.rllib.settings import RecordingSettings

log = logging.getLogger("rsc")

READ_BACK_EVERY = 64
"""Of so many closed journals, one is read from its file for its episode's row, as a check of the disk."""


def _never_raising(callback: Callable[..., None]) -> Callable[..., None]:
    """Log an exception instead of raising it: an exception in a callback ends the env runner."""

    @functools.wraps(callback)
    def quiet(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            callback(self, *args, **kwargs)
        except Exception:
            episode = getattr(kwargs.get("episode"), "id_", None)
            log.exception(
                "%s failed%s; training continues, and `reconcile` writes the missing rows",
                callback.__name__,
                f" for episode {episode}" if episode else "",
            )

    return quiet


class EpisodeCallbacks(RLlibCallback):
    """Callbacks that queue a row when an episode starts, and again when it ends.

    Args:
        settings: The run.
        rows: Writes the rows. None: no rows are written, and `reconcile` records the episodes.
        trial_id: The Tune trial of this env runner, or None.
    """

    def __init__(self, settings: RecordingSettings, rows: RowWriter | None, trial_id: str | None) -> None:
        super().__init__()
        self._settings = settings
        self._rows = rows
        self._trial_id = trial_id
        self._running: dict[str, dict[str, Any]] = {}  # the row of each running episode, by RLlib's id
        self._closings: dict[str, Closing] = {}  # of running episodes that have just ended
        self._closings_count = 0
        listen(settings.run_id, self)

    @_never_raising
    def on_episode_start(self, *, episode: Any, env_runner: Any, env_index: int, **kwargs: Any) -> None:
        """Queue the row of the new episode, and end the previous one if RLlib did not.

        RLlib resets envs during episodes, and drops some ended episodes when it samples by episodes.
        """
        facts = _facts_of(episode)
        if facts is None:
            return
        dropped = self._take(str(facts["previous"]))
        row = self._running[episode.id_] = self._start_row(facts, episode.id_, env_runner, env_index)
        self._put(row, State.STARTED)
        if dropped is not None:
            self._put(dropped, State.ENDED)

    @_never_raising
    def on_episode_end(self, *, episode: Any, **kwargs: Any) -> None:
        """Queue the end of the episode: from the journal, or from the recorder's own figures if the journal failed."""
        row = self._running.pop(episode.id_, None)
        if row is not None:
            kept = _last_info(episode).get(FAILED_KEY)
            self._put(row, State.ENDED, None if kept is None else str(kept))

    @_never_raising
    def on_sample_end(self, *, env_runner: Any, **kwargs: Any) -> None:
        """Note that the runner has sampled."""
        if hasattr(env_runner, "progress"):
            env_runner.progress.sampled = True

    @_never_raising
    def on_envs_closed(self) -> None:
        """Queue the episodes that are not known to have ended, because RLlib drops some ended ones."""
        for row in self._running.values():
            self._put(row, State.LEFT)
        self._running.clear()
        self._closings.clear()

    def close_journal(self, writer: JournalWriter, reason: EndReason, message: str) -> bool:
        """Close the journal of a running episode: in the thread that writes rows if the episode ended by itself.

        Until then the journal's last step tells readers how the episode ended, also if the process is killed. The closed
        journal is kept for the row, because reading it takes longer than all its figures. A write that fails must raise
        in the env's step if ``on_error`` is "raise", so such a journal is left to the recorder.
        """
        known = any(row["journal_id"] == writer.journal_id for row in list(self._running.values()))
        if self._rows is None or not known or self._settings.on_error == "raise":
            return False
        closing = self._closings[writer.journal_id] = Closing(writer, reason, message)
        self._closings_count += 1
        if self._closings_count % READ_BACK_EVERY == 0:
            closing.forget_journal()
        later = False
        if reason in BY_ITSELF and writer.failure is None:
            try:
                later = self._rows.close_later(closing)
            except RuntimeError as error:  # there are too many threads
                log.debug("journal %s is closed in its step: %s", writer.journal_id, error)
        if not later:
            closing.close()
        return True

    def journal_failed(self, writer: JournalWriter, reason: str) -> None:
        """Queue at once that later steps of a running episode are lost, because the disk may lose its whole journal."""
        for row in list(self._running.values()):
            if row["journal_id"] == writer.journal_id:
                row["status_reason"] = reason
                self._put(row, State.STARTED)

    def _put(self, row: dict[str, Any], state: State, kept: str | None = None) -> None:
        closing = None if state is State.STARTED else self._closings.pop(row["journal_id"], None)
        if self._rows is not None:
            self._rows.put(Entry(row, self._settings.journal_root, state, kept, closing))

    def _start_row(self, facts: dict[str, Any], rllib_id: str, env_runner: Any, env_index: int) -> dict[str, Any]:
        capital = float(facts["capital"])
        return {
            "run_id": self._settings.run_id,
            "rllib_episode_id": rllib_id,
            "journal_id": str(facts["id"]),
            "env_class": str(facts["env"]),
            "in_evaluation": bool(env_runner.config.in_evaluation),
            "worker_index": int(env_runner.worker_index or 0),
            "writer_host": str(facts["host"]),
            "writer_boot_id": str(facts["boot_id"]),
            "root_id": str(facts.get("root_id", "")) or None,
            "node_id": this_node() or None,
            "start_time": from_microseconds(int(facts["start_time_us"])),
            "initial_portfolio_value": capital if math.isfinite(capital) else None,
            "env_index": int(env_index),
            "trial_id": self._trial_id,
            "start_iteration": getattr(getattr(env_runner, "progress", None), "iterations", None),
            "start_env_steps": getattr(env_runner, "num_env_steps_sampled_lifetime", None),
        }

    def _take(self, journal_id: str) -> dict[str, Any] | None:
        """Remove and return the row of this journal's episode, if the episode is not known to have ended."""
        found = next((key for key, row in self._running.items() if row["journal_id"] == journal_id), None)
        return None if found is None else self._running.pop(found)


def _facts_of(episode: Any) -> dict[str, Any] | None:
    """Return the recorder's facts about an episode from its reset; None for an env without a recorder."""
    info = episode.get_infos(0)
    facts = info.get(INFO_KEY) if isinstance(info, dict) else None
    return facts if isinstance(facts, dict) and "id" in facts else None


def _last_info(episode: Any) -> dict[str, Any]:
    info = episode.get_infos(-1)
    return info if isinstance(info, dict) else {}
