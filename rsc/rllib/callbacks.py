"""RLlib's side: a row when an episode starts, its journal's verdict when it ends. Never raises, never waits for long."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ray.rllib.callbacks.callbacks import RLlibCallback

from journal import EndReason, JournalError, journal_path, read_journal
from journal.format.header import from_microseconds
from rsc.defaults import CALLBACK_TIMEOUT_S, DATABASE_PAUSE_S
from rsc.recording.episode import FAILED_KEY, INFO_KEY
from rsc.recording.vector import VectorRecorder
from rsc.rllib.seeds import VectorIndependentSeeds

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger("rsc")


@dataclass(frozen=True)
class CallbackSettings:
    """What a callback needs to know; part of its class, since RLlib makes callbacks without arguments."""

    journal_root: str
    run_id: str
    database_url: str


class EpisodeCallbacks(RLlibCallback):
    """Inserts a row at each episode's start, and ends it by `close_episode` at its end.

    A database that is down costs one warning and a pause; what is missed meanwhile, the reconciler heals. Make a
    subclass with `settings` (see `callbacks_for`).
    """

    settings: ClassVar[CallbackSettings]

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None
        self._running: dict[str, dict[str, Any]] = {}  # the row of each running episode, by RLlib's id
        self._paused_until = 0.0

    def on_environment_created(self, *, env_runner: Any, env: Any, **kwargs: Any) -> None:
        """Evaluation's seeds are as many as training's: tell them apart, before the first reset."""
        if env_runner.config.in_evaluation and hasattr(env, "set_attr"):
            self._quietly("marking evaluation envs", lambda: env.set_attr("in_evaluation", True))
        self._quietly("marking vector envs", lambda: _mark_vector_env(env_runner))
        super().on_environment_created(env_runner=env_runner, env=env, **kwargs)

    def on_episode_start(self, *, episode: Any, env_runner: Any, **kwargs: Any) -> None:
        """Insert the row of the new episode, and end its predecessor if nobody did: RLlib resets over running
        episodes, and in sampling by episodes it drops some that ended, without a word."""
        facts = _facts_of(episode)
        if facts is not None:
            self._episode_started(facts, episode.id_, env_runner)
        super().on_episode_start(episode=episode, env_runner=env_runner, **kwargs)

    def _episode_started(self, facts: dict[str, Any], rllib_id: str, env_runner: Any) -> None:
        row = self._start_row(facts, rllib_id, env_runner)
        dropped = self._take(str(facts["previous"]))
        self._running[rllib_id] = row
        self._in_database(f"starting episode {rllib_id}", lambda connection: self._start(connection, row))
        if dropped is not None:  # in a transaction of its own: an unreadable journal must not cost the new row
            what = f"ending episode {dropped['rllib_episode_id']}"
            self._in_database(what, lambda connection: self._end(connection, dropped, None))

    def on_episode_end(self, *, episode: Any, **kwargs: Any) -> None:
        """End the row by the journal, or by the recorder's own figures if the journal failed."""
        row = self._running.pop(episode.id_, None)
        if row is not None:
            failed = _last_info(episode).get(FAILED_KEY)
            self._in_database(f"ending episode {episode.id_}", lambda connection: self._end(connection, row, failed))
        super().on_episode_end(episode=episode, **kwargs)

    def _start_row(self, facts: dict[str, Any], rllib_id: str, env_runner: Any) -> dict[str, Any]:
        return {
            "run_id": self.settings.run_id,
            "rllib_episode_id": rllib_id,
            "journal_id": str(facts["id"]),
            "env_class": str(facts["env"]),
            "in_evaluation": bool(env_runner.config.in_evaluation),
            "worker_index": int(env_runner.worker_index),
            "writer_host": str(facts["host"]),
            "writer_boot_id": str(facts["boot_id"]),
            "start_time": from_microseconds(int(facts["start_time_us"])),
            "initial_portfolio_value": float(facts["capital"]),
        }

    def _take(self, journal_id: str) -> dict[str, Any] | None:
        """The row of this journal's episode, if it was never said to have ended."""
        found = next((key for key, row in self._running.items() if row["journal_id"] == journal_id), None)
        return None if found is None else self._running.pop(found)

    def _start(self, connection: Connection, row: dict[str, Any]) -> None:
        from rsc.db.episodes import start_episode

        start_episode(connection, row)

    def _end(self, connection: Connection, row: dict[str, Any], failed: Any) -> None:
        from rsc.closing import close_episode, ended_from_memory
        from rsc.db.episodes import end_episode_by_callback
        from rsc.metrics import RunningMetrics

        now = datetime.now(UTC)
        if failed is None:
            close_episode(connection, self._journal(row["journal_id"]), now=now, start=row)
            return
        kept = json.loads(str(failed))
        metrics = RunningMetrics.from_bytes(bytes.fromhex(kept["metrics"])).result()
        trades = [tuple(trade) for trade in kept["trades"]]
        ended = ended_from_memory(row["journal_id"], metrics, trades, EndReason(kept["reason"]), now=now)
        end_episode_by_callback(connection, ended, row)

    def _journal(self, journal_id: str) -> Any:
        return read_journal(journal_path(self.settings.journal_root, self.settings.run_id, journal_id))

    def _in_database(self, what: str, work: Callable[[Connection], None]) -> None:
        """Invariant D2: one transaction, or one warning and a pause."""
        if time.monotonic() < self._paused_until:
            return
        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

        from rsc.db.session import DatabaseError, first_line, open_engine

        try:
            if self._engine is None:
                self._engine = open_engine(self.settings.database_url, CALLBACK_TIMEOUT_S, CALLBACK_TIMEOUT_S)
            with self._engine.begin() as connection:
                work(connection)
        except (SQLAlchemyError, DatabaseError, OSError) as error:
            self._paused_until = time.monotonic() + DATABASE_PAUSE_S
            failed = "refuses it" if isinstance(error, IntegrityError) else "does not answer"
            log.warning(
                "%s: the database %s (%s); the next try is in %d s, and `reconcile` records what is missed",
                what, failed, first_line(error), DATABASE_PAUSE_S,
            )  # fmt: skip
        except JournalError as error:
            log.warning("%s: %s; `reconcile` will look again", what, error)
        except Exception:
            log.exception("%s failed; training goes on, and `reconcile` records what is missed", what)

    def _quietly(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("%s failed; training goes on", what)


def callbacks_for(settings: CallbackSettings, over: type[Any] = RLlibCallback) -> type[EpisodeCallbacks]:
    """A callbacks class that knows its settings, and that stands over the user's class ``over`` and calls it in turn.

    One class, since RLlib can serialise a config neither with a list of them nor with a partial.
    """
    bases = (EpisodeCallbacks,) if over is RLlibCallback else (EpisodeCallbacks, over)
    return type("EpisodeCallbacks", bases, {"settings": settings, "__module__": __name__})


def _mark_vector_env(env_runner: Any) -> None:
    """RLlib tells a vector entry point neither its worker nor whether it evaluates."""
    layer = env_runner.env
    while layer is not None:
        if isinstance(layer, VectorIndependentSeeds):
            layer.worker_index = int(env_runner.worker_index)
            layer.in_evaluation = bool(env_runner.config.in_evaluation)
        elif isinstance(layer, VectorRecorder):
            layer.notes["worker_index"] = int(env_runner.worker_index)
        layer = getattr(layer, "env", None)


def _facts_of(episode: Any) -> dict[str, Any] | None:
    """The recorder's word from the reset; None for an env without a recorder."""
    info = episode.get_infos(0)
    facts = info.get(INFO_KEY) if isinstance(info, dict) else None
    return facts if isinstance(facts, dict) and "id" in facts else None


def _last_info(episode: Any) -> dict[str, Any]:
    info = episode.get_infos(-1)
    return info if isinstance(info, dict) else {}
