"""Where a gymnasium env meets a journal: a wrapper that returns exactly what the env returned, and writes it down first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gymnasium as gym

from journal import About, EndReason, JournalWriter
from journal.format.schema import Trade
from rsc.recording.episode import JournalSettings, begin_journal, told_at_start, told_by_failed


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
        return observation, {**info, **self._begin()}

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
        self._number = float if isinstance(self.env.action_space, gym.spaces.Discrete) else _first_number
        previous = self._latest
        self._writer = writer = begin_journal(self._settings, about, self._notes)
        self._latest = writer.journal_id
        return told_at_start(writer, previous)

    def _finish(self, info: dict[str, Any], reason: EndReason) -> dict[str, Any]:
        """Invariant J6: an episode that ends by itself is recorded exactly, even if its journal could not be."""
        writer = self._writer
        assert writer is not None
        self._end(reason)
        if writer.failure is None:
            return info
        return {**info, **told_by_failed(writer, reason)}

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
