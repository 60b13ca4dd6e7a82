"""`VectorRecorder`: a wrapper that records a vector env, with one journal for each of its envs."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray

from journal import About, EndReason, JournalWriteError, JournalWriter, Trade
from journal.write.vector import VectorAppender
from rsc.recording.accounts import Account, AccountError
from rsc.recording.actions import ActionColumns
from rsc.recording.careful import careful_row
from rsc.recording.episode import (
    JournalSettings,
    account_for,
    begin_journal,
    close_journal,
    could_not_record,
    say_once,
    told_at_start,
    told_by_failed,
    words_of,
)
from rsc.recording.figures import NAN
from rsc.recording.reading import AccountState
from rsc.recording.vector_reading import VectorAccountReader

log = logging.getLogger("rsc")

Flags = NDArray[np.bool_]


class VectorJournaled(Protocol):
    """Protocol of a vector env that tells its accounts itself, such as TradingVectorEnv.

    The results are valid until its next ``step`` or ``reset``.
    """

    journal_played: Flags
    """True for each env that played a step. The step only reset the others."""

    def journal_figures(self) -> tuple[NDArray[Any], ...]:
        """Return the figures of `rsc.recording.recorder.Journaled.journal_row`, an array of shape (n,) for each."""
        ...

    def journal_trades(self) -> Mapping[int, Sequence[Trade]]:
        """Return the trades that the step closed, by env. Envs without closed trades may be left out."""
        ...

    def journal_about(self, index: int) -> About:
        """Return the journal's header for the episode of this env. Called after each of its resets."""
        ...


class VectorRecorder(gym.vector.VectorWrapper):
    """Wrapper that records each env of a vector env, with the same journals as `Recorder` around each sub-env.

    Each episode of each env has its own journal. Infos are gymnasium's vector form of those that `Recorder` adds. An
    exception that leaves ``step`` ends every open journal, since no env is usable after it. No file is created before the
    first reset. All autoreset modes are supported. NEXT_STEP is assumed if the vector env's metadata has none.

    Args:
        env: The vector env to record, with any wrappers. For `SyncVectorEnv` and `AsyncVectorEnv`, record each sub-env
            instead.
        settings: Where and how to journal.
        notes: Facts for each journal's header.
        account: Where the vector env exposes its accounts (see `VectorAccountReader`). None: it tells them itself
            (`VectorJournaled`).

    Raises:
        ValueError: The env tells its accounts itself, and its autoreset mode is not NEXT_STEP; or observations are to
            be recorded.
        AccountError: The account has figures that cannot be read in this autoreset mode.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        settings: JournalSettings,
        notes: dict[str, Any] | None = None,
        account: Account | None = None,
    ) -> None:
        super().__init__(env)
        self.notes = dict(notes or {})
        if settings.observations:
            raise ValueError("observations of a vector env cannot be recorded: record each of its envs instead")
        self._settings = settings
        self._account = account
        self._mode = _mode_of(env)
        if account is None and hasattr(env.unwrapped, "journal_figures") and self._mode is not AutoresetMode.NEXT_STEP:
            raise ValueError("a vector env that tells its accounts itself needs autoreset mode NEXT_STEP")
        self._reader = self._reader_of(account)
        self._source: Any = None
        self._actions: ActionColumns | None = None
        self._writers: list[JournalWriter | None] = [None] * self.num_envs
        self._latest = [""] * self.num_envs  # the id of each env's newest journal
        self._over: Flags = np.zeros(self.num_envs, np.bool_)  # the episodes that the last step ended
        self._extra = False
        self._block: VectorAppender | None = None  # created with the first journals
        self._stopped = False
        self._unrecorded = ""  # the reason why the steps until the next reset are not recorded
        self._several = False  # whether an action has several numbers

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask")
        lanes = list(range(self.num_envs)) if mask is None else np.flatnonzero(mask).tolist()
        self._unrecorded = ""
        self._end(lanes, self._settings.reset_reason)
        observations, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # it takes None too
        self._over[lanes] = False
        return observations, self._begin(lanes, info, seeds_of(seed, self.num_envs))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play a step in each env, journal it, and return it. On the hot path."""
        numbers = self._numbers(actions)  # before the env gets the actions, because it may change them
        try:
            result = self.env.step(actions)
        except Exception as error:
            with contextlib.suppress(Exception):  # the trainer must get the env's error
                self._unrecorded = "step() raised an exception, which ended the journals"
                self._end(range(self.num_envs), EndReason.ERROR, words_of(error))
            raise
        except BaseException:  # Ctrl-C and sys.exit are not errors of the env
            self._unrecorded = "step() was interrupted, which ended the journals"
            self._end(range(self.num_envs), EndReason.CLOSED)
            raise
        if self._unrecorded:
            say_once(f"steps until the next reset are not recorded: {self._unrecorded}")
        if self._source is None:  # never reset
            return result
        try:
            result = self._record(result, numbers)
        except (AccountError, JournalWriteError) as error:
            with contextlib.suppress(Exception):
                self._end(range(self.num_envs), EndReason.ERROR, words_of(error))
            raise
        except Exception as error:
            with contextlib.suppress(Exception):
                self._end(range(self.num_envs), EndReason.ERROR, f"could not be recorded: {words_of(error)}")
            could_not_record(self._settings, "the vector env", error)
        except BaseException:
            self._end(range(self.num_envs), EndReason.CLOSED)
            raise
        return result

    def close(self, **kwargs: Any) -> None:
        self._end(range(self.num_envs), EndReason.CLOSED)
        self.env.close(**kwargs)

    def stop_recording(self) -> None:
        """End the running episodes' journals, and record no further episode. The envs remain usable."""
        self._stopped = True
        self._end(range(self.num_envs), EndReason.CLOSED)

    def _record(self, result: Any, numbers: list[Any]) -> Any:
        """Journal a step's result. Return it with the infos of started and failed journals."""
        observations, rewards, terminated, truncated, info = result
        over = np.logical_or(terminated, truncated)
        ended = over.nonzero()[0].tolist()
        resets_now = self._mode is AutoresetMode.SAME_STEP
        begin = over if resets_now else self._over
        self._over = over if self._mode is AutoresetMode.NEXT_STEP else np.zeros_like(over)
        if self._reader is None:
            begin = ~self._source.journal_played
        else:
            self._reader.read(np.asarray(rewards).tolist(), info, self._open(), ended if resets_now else ())
        self._append(numbers, rewards, terminated, truncated)
        told = info
        if ended:
            told = self._finish(ended, terminated, told)
        if begin.any():
            told = self._begin(begin.nonzero()[0].tolist(), told)
        return result if told is info else (observations, rewards, terminated, truncated, told)

    def _open(self) -> list[int]:
        return [lane for lane, writer in enumerate(self._writers) if writer is not None]

    def _append(self, numbers: list[Any], rewards: Any, terminated: Flags, truncated: Flags) -> None:
        """Append every env's step before any is returned (invariant J1). Idle envs have no open journal."""
        if self._reader is not None:
            self._append_accounts(self._reader.states, numbers, rewards, terminated, truncated)
            return
        source, block = self._source, self._block
        if block is None:  # no episode could be recorded
            return
        *columns, market_time = source.journal_figures()
        actions = zip(*numbers, strict=True) if self._several else ()
        first, *rest = actions or (numbers,)
        extras = source.journal_extras() if self._extra else ()
        block.append(
            self._writers, (first, rewards, *columns, *extras, *rest), market_time, terminated, truncated,
            source.journal_trades(),
        )  # fmt: skip

    def _append_accounts(
        self, states: list[AccountState], numbers: list[Any], rewards: Any, terminated: Flags, truncated: Flags
    ) -> None:
        flags = zip(np.asarray(terminated).tolist(), np.asarray(truncated).tolist(), strict=True)
        columns = zip(self._writers, numbers, np.asarray(rewards).tolist(), states, flags, strict=True)
        for writer, action, reward, state, (over, cut) in columns:
            if writer is None:
                continue
            first, rest = (action[0], action[1:]) if self._several else (action, ())
            value, price, cash, position, fees, unrealized, time_us = state.journal_row
            try:
                writer.append(
                    first, reward, value, price, cash, position, fees, unrealized, time_us, over, cut,
                    state.journal_trades, (*state.journal_extra, *rest),
                )  # fmt: skip
            except Exception as error:
                could_not_record(self._settings, f"step {writer.steps + 1} of journal {writer.journal_id}", error)
                row = careful_row(state, None, (None, reward, over, cut, None), len(state.journal_extra))
                value, price, cash, position, fees, unrealized, time_us = row.account
                writer.append(
                    first, row.reward, value, price, cash, position, fees, unrealized, time_us, over, cut,
                    row.trades, (*row.extra, *rest),
                )  # fmt: skip

    def _numbers(self, actions: Any) -> list[Any]:
        """Return each env's action as a number, or as a list if it has several numbers. Never raises."""
        columns = self._actions
        if columns is None:  # never reset
            return []
        try:
            if columns.one_number is not None:
                array = np.asarray(actions)
                numbers: list[Any] = (array if array.ndim == 1 else array[:, 0]).tolist()
            else:
                each = [columns.numbers(action) for action in iterate(self.action_space, actions)]
                numbers = each if columns.names else [one for (one,) in each]
            if len(numbers) == self.num_envs:
                return numbers
        except Exception:
            log.debug("actions that are not in the action space are recorded as unknown", exc_info=True)
        unknown = [NAN] * (1 + len(columns.names)) if columns.names else NAN
        return [unknown] * self.num_envs

    def _begin(
        self, lanes: Sequence[int], info: dict[str, Any], seeds: Sequence[int | None] | None = None
    ) -> dict[str, Any]:
        if self._stopped:
            say_once(f"run {self._settings.run_id} has ended, so its envs are no longer recorded")
            return info
        try:
            abouts = self._abouts(lanes, info)
        except Exception as error:
            if isinstance(error, AccountError) and not any(
                self._latest
            ):  # otherwise a typo would be noticed only after the training
                raise
            could_not_record(self._settings, "the episodes", error)
            return info
        info = dict(info)
        for lane, about in zip(lanes, abouts, strict=True):
            try:
                seeded = about if seeds is None or seeds[lane] is None else replace(about, seed=seeds[lane])
                writer = begin_journal(self._settings, seeded, {**self.notes, "env_index": lane})
            except Exception as error:
                could_not_record(self._settings, "the episode", error)
                continue
            info = self._add_info(info, told_at_start(writer, self._latest[lane]), lane)
            self._writers[lane] = writer
            self._latest[lane] = writer.journal_id
        return info

    def _abouts(self, lanes: Sequence[int], info: dict[str, Any]) -> list[About]:
        """Return the journals' headers. At the first reset, find the layer or the account that tells the values."""
        if self._source is None:
            source, account = account_for(self.env, self._account, info)
            self._reader = self._reader or self._reader_of(account)
            self._source = self._reader or source
            own = account.extra_columns() if account is not None else source.journal_about(0).extra_columns
            self._actions = ActionColumns(self.single_action_space, taken=len(own))
            self._several = bool(self._actions.names)
        if self._reader is not None:
            abouts = self._reader.begin(lanes, info)
        else:
            abouts = [self._source.journal_about(lane) for lane in lanes]
        self._extra = any(about.extra_columns for about in abouts)
        actions = self._actions
        assert actions is not None
        if self._reader is not None or actions.one_number is None:
            abouts = [actions.in_about(about) for about in abouts]
        if self._block is None:
            self._block = VectorAppender(self.num_envs, abouts[0].extra_columns)
        if any(about.extra_columns != self._block.extra_columns for about in abouts):
            raise ValueError("the envs of a vector env must have the same extra columns in all episodes")
        return abouts

    def _reader_of(self, account: Account | None) -> VectorAccountReader | None:
        if account is None:
            return None
        return VectorAccountReader(account, self.env, same_step=self._mode is AutoresetMode.SAME_STEP)

    def _finish(self, lanes: Iterable[int], terminated: Flags, info: dict[str, Any]) -> dict[str, Any]:
        """Invariant J6: the figures of an episode that ends by itself are exact, even if its journal failed."""
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
        """End the running episodes' journals. If one cannot be ended, the others are ended anyway."""
        failed: BaseException | None = None
        for lane in lanes:
            writer, self._writers[lane] = self._writers[lane], None
            if writer is not None:
                try:
                    close_journal(writer, reason, message)
                except BaseException as error:
                    failed = error
        if failed is not None:
            raise failed

    def __deepcopy__(self, memo: dict[int, Any]) -> VectorRecorder:
        """Return a copy for planning. The original keeps the journals; the copy records from its next reset on."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        state = {**self.__dict__, "_source": None, "_reader": None, "_actions": None}
        state |= {"_writers": [None] * self.num_envs, "_latest": [""] * self.num_envs}
        if any(writer is not None for writer in self._writers):
            state["_unrecorded"] = "the vector env is a copy of one whose episodes were running"
        copied.__setstate__(copy.deepcopy(state, memo))
        return copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reader = self._reader_of(self._account)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the parts that the next reset finds again."""
        if any(writer is not None for writer in self._writers):
            raise TypeError("a recorder with open journals cannot be pickled; its episodes belong to this process")
        return {**self.__dict__, "_source": None, "_reader": None, "_actions": None}

    def __del__(self) -> None:
        """Do not close the env when the recorder is deleted. Its journals' locks are freed, and `reconcile` ends them."""


def _mode_of(env: gym.vector.VectorEnv[Any, Any, Any]) -> AutoresetMode:
    mode = env.metadata.get("autoreset_mode")
    if isinstance(mode, AutoresetMode):
        return mode
    name = type(env.unwrapped).__name__
    say_once(
        f"{name} has no autoreset mode in its metadata; NEXT_STEP is assumed, so a finished env is reset by its next step"
    )
    return AutoresetMode.NEXT_STEP


def seeds_of(seed: int | Sequence[int | None] | None, count: int) -> list[int | None]:
    """Return each env's seed, as gymnasium derives them: env i of a single seed s gets s + i."""
    if seed is None:
        return [None] * count
    return [seed + lane for lane in range(count)] if isinstance(seed, int | np.integer) else list(seed)
