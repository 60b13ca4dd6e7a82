"""Where a gymnasium env meets a journal: a wrapper that returns exactly what the env returned, and writes it down first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import gymnasium as gym

from journal import About, Durability, EndReason, JournalWriter, new_journal_id
from journal.header import microseconds
from journal.schema import Trade
from journal.writer import CHECKPOINT_EVERY_STEPS
from rsc.metrics import RunningMetrics

INFO_KEY = "journal"
FAILED_KEY = "journal_failed"


@dataclass(frozen=True)
class JournalSettings:
    """Where and how episodes are journaled; picklable, so that it travels to env runners."""

    root: str
    run_id: str
    durability: Durability = "process"
    checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS
    on_error: Literal["warn", "raise"] = "warn"


class Journaled(Protocol):
    """What an env offers to be journaled, on its unwrapped self."""

    journal_row: tuple[float, float, float, float, float, float, int]
    """After each step: portfolio value, price, cash, position, fees of the step, unrealized pnl, market time in us."""
    journal_trades: Sequence[Trade]
    """The trades that the last step closed."""

    def journal_about(self) -> About:
        """What the journal's header says of the episode; asked after each reset."""
        ...


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Journals each step before it is returned. Knows no database, and no env but by the `Journaled` protocol.

    ``reset`` starts a journal and adds ``info["journal"]``, a small dict that tells the callback which; a running
    episode is ended as superseded first, and the dict names it. A step is journaled, then returned as the env gave it;
    the last one of an episode whose journal failed also has ``info["journal_failed"]``, JSON of what the journal would
    have said. Whatever leaves ``step`` as an exception ends the journal. Nothing is made before the first reset, since
    vector envs build dummies; ``notes`` go into each journal's header.
    """

    def __init__(self, env: gym.Env[Any, Any], settings: JournalSettings, notes: dict[str, Any] | None = None) -> None:
        super().__init__(env)
        self._settings = settings
        self._notes = notes or {}
        self._writer: JournalWriter | None = None
        self._source: Any = None
        self._latest = ""  # the id of the journal that was begun last
        self._number: Callable[[Any], float] = float

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._end(EndReason.SUPERSEDED)
        observation, info = self.env.reset(seed=seed, options=options)
        previous = self._latest
        return observation, {**info, INFO_KEY: {**self._begin(), "previous": previous}}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The hot path: journal, then return."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            writer = self._writer
            if writer is not None:
                source = self._source
                value, price, cash, position, fees, unrealized, time_us = source.journal_row
                writer.append(
                    self._number(action), float(reward), value, price, cash, position, fees, unrealized, time_us,
                    terminated, truncated, source.journal_trades, source.journal_extra if writer.about.extra_columns else (),
                )  # fmt: skip
                if terminated or truncated:
                    info = self._finish(info, EndReason.TERMINATED if terminated else EndReason.TIME_LIMIT)
        except Exception as error:
            self._end(EndReason.ERROR, f"{type(error).__name__}: {error}")
            raise
        except BaseException:  # Ctrl-C and sys.exit are nobody's error
            self._end(EndReason.CLOSED)
            raise
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        self._end(EndReason.CLOSED)
        inner: Any = self.env  # whose close gymnasium does not type
        inner.close()

    def _begin(self) -> dict[str, Any]:
        self._source = self.env.unwrapped
        about: About = self._source.journal_about()
        if self._notes:
            about = About(**{**vars(about), "notes": {**about.notes, **self._notes}})
        self._number = float if isinstance(self.env.action_space, gym.spaces.Discrete) else _first_number
        settings = self._settings
        self._writer = writer = JournalWriter(
            settings.root,
            settings.run_id,
            new_journal_id(),
            about=about,
            fold=RunningMetrics(about.initial_portfolio_value, about.periods_per_year),
            durability=settings.durability,
            checkpoint_every_steps=settings.checkpoint_every_steps,
            on_error=settings.on_error,
        )
        header = writer.header
        self._latest = writer.journal_id
        return {
            "id": writer.journal_id,
            "env": about.env,
            "start_time_us": str(microseconds(header.start_time)),  # text: numpy scalars of mixed width lose precision
            "capital": str(float(about.initial_portfolio_value)),
            "host": header.writer.host,
            "boot_id": header.writer.boot_id,
        }

    def _finish(self, info: dict[str, Any], reason: EndReason) -> dict[str, Any]:
        """Invariant J6: an episode that ends by itself is recorded exactly, even if its journal could not be."""
        writer = self._writer
        assert writer is not None
        self._end(reason)
        if writer.failure is None:
            return info
        assert isinstance(writer.fold, RunningMetrics)
        kept = {
            "reason": str(reason),
            "why": str(writer.failure),
            "metrics": writer.fold.to_bytes().hex(),
            "trades": writer.kept_trades(),
        }
        return {**info, FAILED_KEY: json.dumps(kept)}

    def _end(self, reason: EndReason, message: str = "") -> None:
        """End the running episode's journal, if there is one."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close(reason, message)

    def __reduce__(self) -> Any:
        if self._writer is not None:
            raise TypeError("a recorder with an open journal cannot be pickled; its episode belongs to this process")
        return super().__reduce__()


def _first_number(action: Any) -> float:
    return float(action[0])
