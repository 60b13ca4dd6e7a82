"""Vector envs that were not made for this: in every autoreset mode the journals are those of as many recorded envs."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from journal import EndReason, Journal, journal_path, list_journals, read_journal
from rsc.metrics import metrics_of
from rsc.recording import episode
from rsc.recording.accounts import Account, AccountError, since_last
from rsc.recording.episode import INFO_KEY, JournalSettings
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder

ACCOUNT = Account(
    value="value", position="units", price="close", costs=since_last("fees"), time="date", extra={"more": "deep.er"}
)


class Walk(gym.Env[Any, Any]):
    """Prices walk, actions are positions; ``index`` decides how long an episode is."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    nav = 1.0

    def __init__(self, index: int = 0, action_space: Any = None) -> None:
        self.action_space = action_space or spaces.Discrete(3)
        self.index = index
        self.length = 3 + 2 * index
        self.prices = np.random.default_rng(index).normal(0, 1, 100).cumsum() + 100
        self.episode = 0

    def _given(self) -> tuple[Any, dict[str, Any]]:
        info = {
            "value": float(self.value), "units": float(self.units), "close": float(self.prices[self.t]), "fees": self.fees,
            "date": np.datetime64("2020-01-01") + self.t, "deep": {"er": float(self.episode)},
        }  # fmt: skip
        return np.array([self.prices[self.t]]), info

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.value, self.units, self.fees = 0, 1000.0, 0, 0.0
        self.episode += 1
        return self._given()

    def step(self, action: Any) -> Any:
        number = float(np.ravel(action["a"] if isinstance(action, dict) else action)[0])
        self.t += 1
        self.value += self.units * (self.prices[self.t] - self.prices[self.t - 1])
        self.fees += 0.5 * abs(number - self.units)
        self.units = number
        observation, info = self._given()
        return observation, 0.25 * self.t, False, self.t == self.length, info


@pytest.fixture(autouse=True)
def every_warning_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning of another test does not hide this one's."""
    monkeypatch.setattr(episode, "_said", set())


def sync(mode: AutoresetMode, action_space: Any = None, wrap: Any = lambda env: env) -> SyncVectorEnv:
    makers = [lambda index=index: wrap(Walk(index, action_space)) for index in range(3)]
    return SyncVectorEnv(makers, autoreset_mode=mode)


def play(env: Any, mode: AutoresetMode, steps: int = 14) -> list[Any]:
    """Everything that the env gave, but the infos."""
    env.action_space.seed(5)
    given = [env.reset(seed=1)[0].copy()]
    for _ in range(steps):
        observations, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
        given.append((observations.copy(), rewards.copy(), terminated.copy(), truncated.copy()))
        over = terminated | truncated
        if mode is AutoresetMode.DISABLED and over.any():
            env.reset(options={"reset_mask": over})
    env.close()
    return given


def journals(root: Path) -> list[Journal]:
    return [read_journal(journal_path(root, "run", name)) for name in list_journals(root, "run")]


def told(journal: Journal) -> Any:
    """What a journal says, but ids and times of the writer."""
    about = journal.header.about
    columns = {name: values for name, values in journal.steps().to_pydict().items() if name != "wall_time"}
    end = str(journal.end_reason)
    facts = (
        about.extra_columns,
        about.unknown,
        about.trades,
        about.initial_portfolio_value,
        about.start_market_time_us,
    )
    return repr((end, facts, columns, journal.trade_rows(), metrics_of(journal)))


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(3),
        spaces.Box(-1, 1, (1,)),
        spaces.Box(-1, 1, (2, 2)),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.MultiBinary(2)}),
    ],
    ids=["discrete", "box", "matrix", "dict"],
)
def test_vector_recorder__any_mode__journals_are_those_of_recorded_sub_envs(
    tmp_path: Path, mode: AutoresetMode, action_space: Any
) -> None:
    """And nothing that the vector env gives changes."""
    settings = JournalSettings(str(tmp_path / "one"), "run")
    around = play(VectorRecorder(sync(mode, action_space), settings, account=ACCOUNT), mode)
    inside = JournalSettings(str(tmp_path / "each"), "run")
    within = play(sync(mode, action_space, lambda env: Recorder(env, inside, account=ACCOUNT)), mode)
    bare = play(sync(mode, action_space), mode)
    for ours, theirs, plain in zip(around, within, bare, strict=True):
        for one, other, third in zip(ours, theirs, plain, strict=True):
            assert np.array_equal(one, other)
            assert np.array_equal(one, third)
    ours, theirs = (sorted(map(told, journals(tmp_path / name))) for name in ("one", "each"))
    assert ours == theirs
    ended = [one for one in journals(tmp_path / "one") if one.end_reason is EndReason.TIME_LIMIT]
    assert len(ended) >= 5
    assert any(one.trade_rows() for one in ended)


def test_vector_recorder__same_step__refuses_what_is_reset_already(tmp_path: Path) -> None:
    settings = JournalSettings(str(tmp_path), "run")
    for account in (Account(value=".nav"), Account(value="value", price=lambda env, info: 1.0)):
        with pytest.raises(AccountError, match="SAME_STEP"):
            VectorRecorder(sync(AutoresetMode.SAME_STEP), settings, account=account)


class Arrays(gym.vector.VectorEnv[Any, Any, Any]):
    """A vector env of its own, without masks, and without an autoreset mode."""

    num_envs = 2
    metadata: dict[str, Any] = {}  # noqa: RUF012 - gymnasium's own declaration
    single_observation_space = observation_space = spaces.Discrete(2)
    single_action_space = spaces.Discrete(2)
    action_space = spaces.MultiDiscrete([2, 2])

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        self.equity = np.array([10.0, 20.0])
        return np.zeros(2), {"equity": self.equity.copy()}

    def step(self, actions: Any) -> Any:
        self.t += 1
        self.equity = self.equity + np.array([1.0, -1.0])
        over = np.array([self.t == 3, False])
        return np.zeros(2), np.ones(2), over, np.zeros(2, bool), {"equity": self.equity.copy()}


@pytest.mark.parametrize(
    "account",
    [Account(value="equity"), Account(value=".equity"), Account(value=lambda env, info: env.equity)],
    ids=["key", "attribute", "function"],
)
def test_vector_recorder__arrays_without_masks__are_one_value_each(
    tmp_path: Path, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "rsc"):
        env = VectorRecorder(Arrays(), JournalSettings(str(tmp_path), "run"), account=account)
    assert "Arrays has no autoreset mode" in caplog.text
    _, info = env.reset()
    assert len(info[INFO_KEY]["id"]) == 2
    for _ in range(3):
        env.step(np.zeros(2, np.int64))
    env.step(np.zeros(2, np.int64))  # resets the first
    env.close()
    values = sorted(one.steps()["portfolio_value"].to_pylist() for one in journals(tmp_path))
    assert values == [[], [11.0, 12.0, 13.0], [19.0, 18.0, 17.0, 16.0]]


def test_vector_recorder__typo__names_the_keys(tmp_path: Path) -> None:
    env = VectorRecorder(Arrays(), JournalSettings(str(tmp_path), "run"), account=Account(value="eqity"))
    with pytest.raises(AccountError, match="info has equity"):
        env.reset()
    unknown = VectorRecorder(Arrays(), JournalSettings(str(tmp_path), "run"))
    with pytest.raises(AccountError, match="Arrays does not tell the value of its account; info has equity"):
        unknown.reset()


def test_vector_recorder__values_that_are_missing_for_one_env__are_unknown_for_it(tmp_path: Path) -> None:
    class Gaps(Arrays):
        def step(self, actions: Any) -> Any:
            *given, info = super().step(actions)
            return *given, {**info, "price": np.array([1.0, 2.0]), "_price": np.array([True, self.t == 2])}

    account = Account(value="equity", price="price")
    env = VectorRecorder(Gaps(), JournalSettings(str(tmp_path), "run"), account=account)
    env.reset()
    for _ in range(2):
        env.step(np.zeros(2, np.int64))
    env.close()
    first, second = sorted((one.steps()["price"].to_pylist() for one in journals(tmp_path)), key=repr)
    assert first == [1.0, 1.0]
    assert math.isnan(second[0])
    assert second[1] == 2.0


def test_vector_recorder__rewards__are_compounded_for_each_env(tmp_path: Path) -> None:
    env = VectorRecorder(Arrays(), JournalSettings(str(tmp_path), "run"), account=Account.from_rewards("money"))
    env.reset()
    env.step(np.zeros(2, np.int64))
    env.close()
    assert [one.steps()["portfolio_value"].to_pylist() for one in journals(tmp_path)] == [[2.0], [2.0]]


def test_vector_recorder__rewards_that_are_no_numbers__vector_env_plays_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Arrays):
        def step(self, actions: Any) -> Any:
            observations, _, *rest = super().step(actions)
            return observations, np.array(["a", None], object), *rest

    env = VectorRecorder(Odd(), JournalSettings(str(tmp_path), "run"), account=Account(value="equity"))
    env.reset()
    with caplog.at_level(logging.WARNING, "rsc"):
        for _ in range(2):
            _, rewards, *_ = env.step(np.zeros(2, np.int64))
            assert list(rewards) == ["a", None]
    env.close()
    assert [one.step_count for one in journals(tmp_path)] == [2, 2]
    assert all(math.isnan(reward) for one in journals(tmp_path) for reward in one.steps()["reward"].to_pylist())
