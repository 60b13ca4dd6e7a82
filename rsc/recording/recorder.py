"""`Recorder`: a wrapper that writes each step of an env to a journal before it returns the step."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import gymnasium as gym

from journal import About, EndReason, JournalWriteError, JournalWriter, Trade
from rsc.recording.accounts import Account, AccountError
from rsc.recording.actions import ActionColumns, ObservationColumns
from rsc.recording.careful import careful_row
from rsc.recording.episode import (
    JournalSettings,
    account_for,
    begin_journal,
    close_journal,
    could_not_record,
    reward_wrappers,
    say_once,
    told_at_start,
    told_by_failed,
    words_of,
)
from rsc.recording.figures import NAN, number
from rsc.recording.reading import AccountReader

log = logging.getLogger("rsc")


class Journaled(Protocol):
    """Protocol of an env or wrapper that tells its account itself, such as TradingEnv."""

    journal_row: tuple[float, float, float, float, float, float, int]
    """After each step: portfolio value, price, cash, position, fees of the step, unrealized pnl, market time in us."""
    journal_trades: Sequence[Trade]
    """The trades that the last step closed."""
    journal_extra: Sequence[float]
    """After each step: the extra columns that `journal_about` names, if it names any."""

    def journal_about(self) -> About:
        """Return the journal's header for the episode. Called after each reset."""
        ...


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Wrapper that journals each step of any env before `step` returns it, and returns what the env returned.

    ``reset`` ends a running episode, starts a journal and adds ``info["journal"]``: the id of the new journal and the id
    of the journal that it replaced. If a journal failed, the last step of its episode has ``info["journal_failed"]``, the
    final figures as JSON. An exception that leaves ``step`` ends the journal. No file is created before the first reset,
    since vector envs build dummy envs.

    Actions of any space are recorded as `rsc.recording.actions` flattens them. A number that cannot be recorded is
    recorded as unknown, with one warning; with ``settings.on_error="raise"`` it raises JournalWriteError.

    Args:
        env: The env to record, with any wrappers.
        settings: Where and how to journal.
        notes: Facts for each journal's header.
        account: Where the env exposes value, position and costs. None: the env tells them itself (`Journaled`), or is
            known to `rsc.recording.known`. Otherwise the first reset raises AccountError.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        settings: JournalSettings,
        notes: dict[str, Any] | None = None,
        account: Account | None = None,
    ) -> None:
        super().__init__(env)
        self._settings = settings
        self._notes = dict(notes or {})
        self._account = account
        self._writer: JournalWriter | None = None
        self._source: Any = None
        self._reader: AccountReader | None = None
        self._actions: ActionColumns | None = None
        self._number: Callable[[Any], float] = float
        self._rest: Sequence[float] = ()  # the numbers of an action after the first
        self._observations: ObservationColumns | None = None
        self._extra = False
        self._latest = ""  # the id of the newest journal
        self._stopped = False
        self._unrecorded = ""  # the reason why the steps until the next reset are not recorded

    @property
    def spec(self) -> Any:  # type: ignore[override]  # gymnasium's own is a property of a wrapper too
        """The env's own spec. `gymnasium.make` with it creates an env without a recorder."""
        return self.env.spec

    @property
    def journal_id(self) -> str | None:
        """The id of the running episode's journal, or of the last one; None before the first reset."""
        return self._latest or None

    @property
    def env_index(self) -> int | None:
        """Number of this env in its vector env, for the headers of its journals; None if it was not set.

        A vector env's ``set_attr`` also works for envs in other processes.
        """
        return self._notes.get("env_index")

    @env_index.setter
    def env_index(self, index: int) -> None:
        self._notes["env_index"] = index

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._unrecorded = ""
        self._end(self._settings.reset_reason)
        observation, info = self.env.reset(seed=seed, options=options)
        told = self._begin(observation, info, seed)
        return observation, ({**info, **told} if told else info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play a step, journal it, and return it. On the hot path."""
        try:  # before the env gets the action, because it may change it
            number_of_action = self._number(action)
        except Exception:
            number_of_action = self._actions.numbers(action)[0] if self._actions is not None else NAN
        try:
            result = self.env.step(action)
        except Exception as error:
            with contextlib.suppress(Exception):  # the trainer must get the env's error
                self._unrecorded = "step() raised an exception, which ended the journal"
                self._end(EndReason.ERROR, words_of(error))
            raise
        except BaseException:  # Ctrl-C and sys.exit are not errors of the env
            self._unrecorded = "step() was interrupted, which ended the journal"
            self._end(EndReason.CLOSED)
            raise
        writer = self._writer
        if writer is None:
            if self._unrecorded:
                say_once(f"steps until the next reset are not recorded: {self._unrecorded}")
            return result
        try:
            observation, reward, terminated, truncated, info = result
            rest = self._rest
            if self._observations is not None:
                rest = (*rest, *self._observations.numbers(observation))
            reader, source = self._reader, self._source
            if reader is not None:
                reader.read(reward, info)
            value, price, cash, position, fees, unrealized, time_us = source.journal_row
            writer.append(
                number_of_action, reward if type(reward) is float else number(reward), value, price, cash, position, fees,
                unrealized, time_us, terminated, truncated, source.journal_trades,
                (*source.journal_extra, *rest) if self._extra and rest else source.journal_extra if self._extra else rest,
            )  # fmt: skip
            over = terminated or truncated
        except Exception as error:
            over = self._record_carefully(error, result, number_of_action)
        except BaseException:
            self._end(EndReason.CLOSED)
            raise
        return self._finish(result) if over else result

    def close(self) -> None:
        self._unrecorded = "the env was closed"
        self._end(EndReason.CLOSED)
        inner: Any = self.env  # gymnasium does not type its close
        inner.close()

    def stop_recording(self) -> None:
        """End the running episode's journal, and record no further episode. The env remains usable."""
        self._stopped = True
        self._end(EndReason.CLOSED)

    def _begin(self, observation: Any, info: dict[str, Any], seed: int | None) -> dict[str, Any]:
        if self._stopped:
            say_once(f"run {self._settings.run_id} has ended, so its envs are no longer recorded")
            return {}
        try:
            about = self._about(info)
            if self._observations is not None:
                about = self._observations.in_about(about, observation)
            if seed is not None:
                about = replace(about, seed=seed)
            previous = self._latest
            self._writer = writer = begin_journal(self._settings, about, self._notes)
        except Exception as error:
            self._writer = None
            if (
                isinstance(error, AccountError) and not self._latest
            ):  # otherwise a typo would be noticed only after the training
                raise
            could_not_record(self._settings, "the episode", error)
            return {}
        self._latest = writer.journal_id
        return told_at_start(writer, previous)

    def _about(self, info: dict[str, Any]) -> About:
        """Return the journal's header. At the first reset, find the layer or the account that tells the values."""
        if self._source is None:
            self._find_source(info)
        actions = self._actions
        assert actions is not None
        if self._reader is None:
            about: About = self._source.journal_about()
        else:
            about = self._reader.begin(info)
        self._extra = bool(about.extra_columns)
        plain = self._reader is None and actions.one_number is not None and self._observations is None
        return about if plain else actions.in_about(about)

    def _find_source(self, info: dict[str, Any]) -> None:
        source, account = account_for(self.env, self._account, info)
        self._reader = AccountReader(account, self.env) if account is not None else None
        columns = account.extra_columns() if account is not None else source.journal_about().extra_columns
        self._actions = actions = ActionColumns(self.env.action_space, taken=len(columns))
        self._number = actions.one_number or self._split
        if self._settings.observations:
            taken = len(columns) + len(actions.names)
            self._observations = ObservationColumns(self.env.observation_space, taken=taken)
            if not self._observations.names:
                say_once(f"observations are not recorded: {self._observations.described['unknown']}")
        if wrappers := reward_wrappers(self.env, account):
            self._notes["reward_wrappers"] = wrappers
        self._source = self._reader or source

    def _split(self, action: Any) -> float:
        """Return the first number of an action. Keep the rest for the step's extra columns."""
        assert self._actions is not None
        first, *self._rest = self._actions.numbers(action)
        return first

    def _record_carefully(self, error: Exception, result: Any, number_of_action: float) -> bool:
        """Record the valid values of a step with an invalid one. Return True if the episode is over."""
        writer, reader = self._writer, self._reader
        assert writer is not None
        if isinstance(error, AccountError | JournalWriteError):
            self._end(EndReason.ERROR, words_of(error))
            raise error
        try:
            could_not_record(self._settings, f"step {writer.steps + 1} of journal {writer.journal_id}", error)
            rest, seen = self._rest, self._observations
            if seen is not None:
                rest = (*rest, *seen.numbers(result[0] if isinstance(result, tuple) and result else None))
            own = len(writer.about.extra_columns) - len(rest)
            row = careful_row(self._source, reader, result, own)
            value, price, cash, position, fees, unrealized, time_us = row.account
            writer.append(
                number_of_action, row.reward, value, price, cash, position, fees, unrealized, time_us, row.terminated,
                row.truncated, row.trades, (*row.extra, *rest),
            )  # fmt: skip
        except Exception as worse:
            with contextlib.suppress(Exception):
                self._end(EndReason.ERROR, f"could not be recorded: {words_of(worse)}")
            if isinstance(worse, JournalWriteError):
                raise
            log.warning("journal %s ends here: %s", writer.journal_id, words_of(worse))
            return False
        return row.terminated or row.truncated

    def _finish(
        self, result: tuple[Any, Any, bool, bool, dict[str, Any]]
    ) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Invariant J6: the figures of an episode that ends by itself are exact, even if its journal failed."""
        observation, reward, terminated, truncated, info = result
        writer = self._writer
        assert writer is not None
        reason = EndReason.TERMINATED if terminated else EndReason.TIME_LIMIT
        self._unrecorded = "the episode has ended"
        self._end(reason)
        if writer.failure is None:
            return result
        return observation, reward, terminated, truncated, {**info, **told_by_failed(writer, reason)}

    def _end(self, reason: EndReason, message: str = "") -> None:
        """End the running episode's journal, if there is one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            close_journal(writer, reason, message)

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        """Return a copy for planning. The original keeps the journal; the copy records from its next reset on."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        state = {**self.__dict__, "_writer": None, "_source": None, "_reader": None, "_actions": None}
        if self._writer is not None:
            state["_unrecorded"] = "the env is a copy of one whose episode was running"
        copied.__dict__.update(copy.deepcopy({**state, "_number": float, "_rest": (), "_latest": ""}, memo))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the parts that the next reset finds again."""
        if self._writer is not None:
            raise TypeError("a recorder with an open journal cannot be pickled; its episode belongs to this process")
        return {
            **self.__dict__,
            "_source": None,
            "_reader": None,
            "_actions": None,
            "_observations": None,
            "_number": float,
        }
