"""Where a gymnasium vector env meets its journals: `rsc.recording.recorder.Recorder` for envs that are played by arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from journal import About, EndReason, JournalWriter
from journal.format.schema import Trade
from rsc.recording.episode import JournalSettings, begin_journal, told_at_start, told_by_failed

Flags = NDArray[np.bool_]


class VectorJournaled(Protocol):
    """What a vector env offers to be journaled, on its unwrapped self; valid until its next ``step`` or ``reset``."""

    journal_played: Flags
    """Which envs played a step; the others were only reset by it."""

    def journal_rows(self) -> Sequence[tuple[float, float, float, float, float, float, int]]:
        """Of each env, what `rsc.recording.recorder.Journaled.journal_row` is."""
        ...

    def journal_trades(self) -> Mapping[int, Sequence[Trade]]:
        """By env, the trades that the step closed; envs that closed none may be left out."""
        ...

    def journal_about(self, index: int) -> About:
        """What a journal's header says of the episode of this env; asked after each of its resets."""
        ...


class VectorRecorder(gym.vector.VectorWrapper):
    """Journals the step of each env before any is returned: what as many `Recorder` in a `SyncVectorEnv` write and say.

    Each env has a journal of its own, from reset to end. The vector env is to reset finished envs in its next step
    (gymnasium's autoreset NEXT_STEP), which begins their next journals. Infos are gymnasium's vector form of those that
    `Recorder` adds. Whatever leaves ``step`` as an exception ends every open journal, since it leaves no env usable.
    Nothing is made before the first reset. An env with columns of its own offers ``journal_extras()``, a sequence by env.
    """

    def __init__(
        self, env: gym.vector.VectorEnv[Any, Any, Any], settings: JournalSettings, notes: dict[str, Any] | None = None
    ) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is not gym.vector.AutoresetMode.NEXT_STEP:
            raise ValueError("only vector envs with autoreset mode NEXT_STEP can be journaled")
        self.notes = dict(notes or {})
        self._settings = settings
        self._writers: list[JournalWriter | None] = [None] * self.num_envs
        self._latest = [""] * self.num_envs  # the id of the journal that each env began last
        self._extra = False
        self._discrete = isinstance(self.single_action_space, gym.spaces.Discrete)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask")
        lanes = range(self.num_envs) if mask is None else np.flatnonzero(mask).tolist()
        self._end(lanes, EndReason.SUPERSEDED)
        observations, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # it takes None too
        return observations, self._begin(lanes, info)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """The hot path: journal each env's step, then return."""
        try:
            observations, rewards, terminated, truncated, info = self.env.step(actions)
            source: Any = self.env.unwrapped
            self._append(source, actions, rewards, terminated, truncated)
            over = terminated | truncated
            if over.any():
                info = self._finish(over.nonzero()[0].tolist(), terminated, info)
            played = source.journal_played
            if not played.all():
                info = self._begin((~played).nonzero()[0].tolist(), info)
        except Exception as error:
            self._end(range(self.num_envs), EndReason.ERROR, f"{type(error).__name__}: {error}")
            raise
        except BaseException:  # Ctrl-C and sys.exit are nobody's error
            self._end(range(self.num_envs), EndReason.CLOSED)
            raise
        return observations, rewards, terminated, truncated, info

    def close(self, **kwargs: Any) -> None:
        self._end(range(self.num_envs), EndReason.CLOSED)
        self.env.close(**kwargs)

    def _append(self, source: Any, actions: Any, rewards: Any, terminated: Flags, truncated: Flags) -> None:
        """Invariant J1: every env's step is journaled before any is returned. Idle envs have no open journal."""
        trades = source.journal_trades()
        extras = source.journal_extras() if self._extra else repeat(())
        numbers = self._numbers(actions)
        flags = zip(terminated.tolist(), truncated.tolist(), strict=True)
        columns = zip(self._writers, numbers, rewards.tolist(), source.journal_rows(), flags, extras, strict=False)
        for lane, (writer, action, reward, row, (over, cut), extra) in enumerate(columns):
            if writer is not None:
                writer.append(action, reward, *row, over, cut, trades.get(lane, ()), extra)

    def _numbers(self, actions: Any) -> list[Any]:
        actions = np.asarray(actions)
        numbers: list[Any] = (actions if self._discrete else actions[:, 0]).tolist()
        return numbers

    def _begin(self, lanes: Iterable[int], info: dict[str, Any]) -> dict[str, Any]:
        source: Any = self.env.unwrapped
        info = dict(info)
        for lane in lanes:
            writer = begin_journal(self._settings, source.journal_about(lane), self.notes)
            info = self._add_info(info, told_at_start(writer, self._latest[lane]), lane)
            self._writers[lane] = writer
            self._latest[lane] = writer.journal_id
            self._extra = bool(writer.about.extra_columns)
        return info

    def _finish(self, lanes: Iterable[int], terminated: Flags, info: dict[str, Any]) -> dict[str, Any]:
        """Invariant J6: an episode that ends by itself is recorded exactly, even if its journal could not be."""
        for lane in lanes:
            writer = self._writers[lane]
            if writer is None:
                continue
            reason = EndReason.TERMINATED if terminated[lane] else EndReason.TIME_LIMIT
            self._end([lane], reason)
            if writer.failure is not None:
                info = self._add_info(dict(info), told_by_failed(writer, reason), lane)
        return info

    def _end(self, lanes: Iterable[int], reason: EndReason, message: str = "") -> None:
        """End the running episodes' journals; one that fails to end does not keep the others open."""
        failed: BaseException | None = None
        for lane in lanes:
            writer, self._writers[lane] = self._writers[lane], None
            if writer is not None:
                try:
                    writer.close(reason, message)
                except BaseException as error:
                    failed = error
        if failed is not None:
            raise failed

    def __reduce__(self) -> Any:
        if any(writer is not None for writer in self._writers):
            raise TypeError("a recorder with open journals cannot be pickled; its episodes belong to this process")
        return super().__reduce__()

    def __del__(self) -> None:
        """A recorder that is only forgotten closes nothing: its journals' locks are freed, and their episodes rescued."""
