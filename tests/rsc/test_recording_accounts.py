"""Recorders around environments that were not made for this: nothing that env or trainer sees changes."""

from __future__ import annotations

import copy
import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from journal import EndReason, Journal, JournalWriteError, State, journal_path, list_journals, read_journal
from journal.inspect.audit import audit
from rsc.metrics import metrics_of, stored
from rsc.recording import episode
from rsc.recording.accounts import Account, AccountError
from rsc.recording.episode import INFO_KEY, JournalSettings
from rsc.recording.recorder import Recorder
from rsc.trading.env import TradingEnv

PLAIN = Account(value="value")
FULL = Account(
    value="value", position="units", price="close", cash="cash", costs="paid", time="date", extra={"vol": "vol"},
    periods_per_year=252,
)  # fmt: skip


class Foreign(gym.Env[Any, Any]):
    """Gives what it is told to, ``length`` steps long."""

    def __init__(self, action_space: Any = None, observation: Any = 0, reward: Any = 0.5, length: int = 5) -> None:
        self.action_space = action_space or spaces.Discrete(3)
        self.observation_space = spaces.Discrete(2)
        self.observation, self.reward, self.length = observation, reward, length
        self.seen: list[Any] = []

    def _info(self) -> dict[str, Any]:
        t = self.t
        return {
            "value": 100.0 + t, "units": float(t % 2), "close": 10.0 + t, "cash": 1.0, "paid": 0.5 * (t > 0),
            "date": np.datetime64("2020-01-01") + t, "vol": 3,
        }  # fmt: skip

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.observation, self._info()

    def step(self, action: Any) -> Any:
        self.t += 1
        self.seen.append(copy.deepcopy(action))
        self.given = (self.observation, self.reward, False, self.t == self.length, self._info())
        return self.given


@pytest.fixture(autouse=True)
def every_warning_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning of another test does not hide this one's."""
    monkeypatch.setattr(episode, "_said", set())


def recorder(root: Path, env: gym.Env[Any, Any], account: Account | None = PLAIN, **settings: Any) -> Recorder:
    return Recorder(env, JournalSettings(str(root), "run", **settings), account=account)


def journals(root: Path) -> list[Journal]:
    return [read_journal(journal_path(root, "run", name)) for name in list_journals(root, "run")]


def only(root: Path) -> Journal:
    (journal,) = journals(root)
    return journal


def play(env: gym.Env[Any, Any], action: Any = None) -> list[Any]:
    """One episode; what each step gave."""
    env.reset(seed=1)
    given = []
    while True:
        given.append(env.step(env.action_space.sample() if action is None else action))
        if given[-1][2] or given[-1][3]:
            return given


SPACES = [
    spaces.Discrete(3),
    spaces.Box(-1, 1, ()),
    spaces.Box(-1, 1, (1,)),
    spaces.Box(-1, 1, (2, 2)),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(3),
    spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.Text(3)])}),
    spaces.Text(4),
    spaces.Sequence(spaces.Discrete(2)),
    spaces.Graph(spaces.Discrete(2), None),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: str(space)[:30])
def test_step__any_action_space__passes_the_same_objects_through(tmp_path: Path, space: Any) -> None:
    """What the env gives is what the trainer gets, and what the trainer gives is what the env gets."""
    env = Foreign(space)
    recorded = recorder(tmp_path, env)
    recorded.reset(seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            action = space.sample()
            assert recorded.step(action) is env.given
    journal = only(tmp_path)
    assert (journal.step_count, journal.end_reason) == (5, EndReason.TIME_LIMIT)
    has_numbers = not isinstance(space, spaces.Text | spaces.Sequence | spaces.Graph)
    actions = journal.steps()["action"].to_pylist()
    assert [math.isfinite(one) for one in actions] == [has_numbers] * 5
    assert ("action" in journal.header.about.unknown) == (not has_numbers)
    assert audit(journal).oddities == ()


def test_step__env_that_changes_the_action__journal_has_what_was_asked_for(tmp_path: Path) -> None:
    class Clips(Foreign):
        def step(self, action: Any) -> Any:
            np.clip(action, 0, 1, out=action)
            return super().step(action)

    for shape in ((1,), (2,)):
        play(recorder(tmp_path / str(shape), Clips(spaces.Box(-9, 9, shape))), np.full(shape, 7.0))
        assert only(tmp_path / str(shape)).steps()["action"].to_pylist()[0] == 7.0


@pytest.mark.parametrize(
    "reward", [1, np.float32(1), np.float64(1), np.int64(1), np.array(1.0), np.array([1.0]), np.array([[1]])]
)
def test_step__any_numeric_reward__is_recorded_without_a_warning(tmp_path: Path, reward: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = play(recorder(tmp_path, Foreign(reward=reward)))
    assert all(step[1] is reward for step in given)
    assert only(tmp_path).steps()["reward"].to_pylist() == [1.0] * 5


@pytest.mark.parametrize("reward", [None, "much", [1.0, 2.0], 1j, np.array([1.0, 2.0]), {"a": 1.0}])
def test_step__reward_that_is_no_number__is_unknown_and_all_else_is_recorded(
    tmp_path: Path, reward: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "rsc"):
        given = play(recorder(tmp_path, Foreign(reward=reward), FULL))
    assert all(step[1] is reward for step in given)
    journal = only(tmp_path)
    assert all(math.isnan(one) for one in journal.steps()["reward"].to_pylist())
    assert journal.steps()["portfolio_value"].to_pylist() == [101.0, 102.0, 103.0, 104.0, 105.0]
    assert journal.end_reason is EndReason.TIME_LIMIT
    assert len(caplog.records) == 1
    row = stored(metrics_of(journal))
    assert row["total_reward"] is None
    assert row["total_steps"] == 5


def test_step__reward_that_is_no_number__with_raise__raises(tmp_path: Path) -> None:
    env = recorder(tmp_path, Foreign(reward="much"), on_error="raise")
    env.reset()
    with pytest.raises(JournalWriteError, match=r"step 1 of journal .* could not be recorded: TypeError"):
        env.step(1)
    assert only(tmp_path).end_reason is EndReason.ERROR


@pytest.mark.parametrize("given", [(0, 1.0, False, {}), None, (0, 1.0, "no", None, 3)])
def test_step__env_that_returns_something_else__is_not_judged_here(tmp_path: Path, given: Any) -> None:
    """Whether that is right, the trainer finds out."""

    class Other(Foreign):
        def step(self, action: Any) -> Any:
            return given

    env = recorder(tmp_path, Other())
    env.reset()
    assert env.step(1) is given


def test_step__env_that_raises__still_raises_with_a_broken_disk(tmp_path: Path) -> None:
    class Raises(Foreign):
        def step(self, action: Any) -> Any:
            raise KeyError("mine")

    env = recorder(tmp_path, Raises(), on_error="raise")
    env.reset()
    writer = env._writer
    assert writer is not None
    os.close(writer._fd)  # its end cannot be written
    writer._fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(KeyError, match="mine"):
        env.step(1)


def test_episode__full_account__journal_has_it_all(tmp_path: Path) -> None:
    env = recorder(tmp_path, Foreign(spaces.Box(-1, 1, (2,))), FULL)
    play(env, np.array([0.5, -0.5]))
    journal = only(tmp_path)
    about = journal.header.about
    assert about.extra_columns == ("vol", "action_1")
    assert about.env == "Foreign"
    assert about.initial_portfolio_value == 100.0
    assert about.notes["actions"]["columns"] == ["[0]", "[1]"]
    steps = journal.steps().to_pylist()
    names = ("action", "action_1", "vol", "portfolio_value", "price", "cash", "position", "fees")
    assert [steps[0][name] for name in names] == [0.5, -0.5, 3.0, 101.0, 11.0, 1.0, 1.0, 0.5]
    assert f"{steps[0]['market_time']:%Y-%m-%d}" == "2020-01-02"
    assert [trade[1:5] for trade in journal.trade_rows()] == [(1, 1.0, 1, trade_time(1)), (1, 1.0, 3, trade_time(3))]
    row = stored(metrics_of(journal))
    assert row["pnl"] == 5.0
    assert row["total_trades"] == 2
    assert row["win_rate"] == 0.5 or row["win_rate"] is not None


def trade_time(day: int) -> int:
    return int((np.datetime64("2020-01-01T00:00:00", "us") + np.timedelta64(day, "D")).astype(np.int64))


def test_episode__value_alone__all_else_is_null_and_named(tmp_path: Path) -> None:
    play(recorder(tmp_path, Foreign()))
    journal = only(tmp_path)
    metrics = metrics_of(journal)
    row = stored(metrics)
    unknown = {name for name, value in row.items() if value is None}
    assert unknown == {
        "annual_return", "sharpe_ratio", "sortino_ratio", "calmar_ratio", "volatility", "win_rate", "profit_factor",
        "time_in_market", "total_fees", "unrealized_pnl", "total_trades", "alpha", "beta", "information_ratio",
        "buy_and_hold_return", "excess_return", "turnover", "total_costs", "liquidation_value", "average_trade",
        "best_trade", "worst_trade", "average_holding_steps", "sharpe_standard_error",
    }  # fmt: skip
    assert set(metrics.not_told) == unknown
    assert row["pnl"] == 5.0
    assert row["total_reward"] == 2.5
    assert set(journal.steps()["market_time"].to_pylist()) == {None}
    assert audit(journal).oddities == ()


def test_account__env_that_is_not_known__one_line_shows_the_call(tmp_path: Path) -> None:
    env = recorder(tmp_path, Foreign(), None)
    with pytest.raises(AccountError) as error:
        env.reset()
    told = str(error.value)
    assert "Foreign does not tell" in told
    assert "info has cash, close, date, paid, units, value, vol" in told
    assert "account=rsc.Account(value=" in told
    assert "\n" not in told
    assert not any(tmp_path.iterdir())


def test_account__typo__raises_at_the_first_reset_or_step(tmp_path: Path) -> None:
    with pytest.raises(AccountError, match="info has"):
        recorder(tmp_path, Foreign(), Account(value="vaule")).reset()
    env = recorder(tmp_path, Foreign(), Account(value="vaule", capital=1.0))
    env.reset()
    with pytest.raises(AccountError, match="info has"):
        env.step(1)
    assert only(tmp_path).end_reason is EndReason.ERROR


def test_account__through_wrappers__and_own_account_of_a_wrapper(tmp_path: Path) -> None:
    """TradingEnv is found in any stack; an account that is given wins over what the env tells."""
    env = gym.wrappers.TimeLimit(gym.wrappers.NormalizeObservation(TradingEnv({"episode_length": 9})), 5)
    play(recorder(tmp_path, env, None))
    journal = only(tmp_path)
    assert journal.end_reason is EndReason.TIME_LIMIT
    assert journal.header.about.unknown == ()
    play(recorder(tmp_path / "rewards", env, Account.from_rewards("log")))
    other = only(tmp_path / "rewards")
    assert other.header.about.initial_portfolio_value == 1.0
    assert other.header.about.trades == "unknown"


def test_rewards__scaled_inside_of_the_recorder__are_remarked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env = gym.wrappers.TransformReward(Foreign(), lambda reward: reward * 100)
    with caplog.at_level(logging.WARNING, "rsc"):
        play(recorder(tmp_path, env, Account.from_rewards("simple")))
    assert "TransformReward changes" in caplog.text
    assert only(tmp_path).header.about.notes["reward_wrappers"] == ["TransformReward"]


def test_reset__outside_of_rllib__ends_the_episode_as_reset(tmp_path: Path) -> None:
    """A time limit around the recorder ends an episode that the recorder still sees running."""
    env = gym.wrappers.TimeLimit(recorder(tmp_path, Foreign(length=99), reset_reason=EndReason.RESET), 3)
    play(env)
    env.reset()
    assert sorted((one.step_count, str(one.end_reason)) for one in journals(tmp_path)) == [(0, "None"), (3, "reset")]


def test_reset__journal_that_cannot_be_made__env_plays_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Bad(TradingEnv):
        def journal_about(self) -> Any:
            raise RuntimeError("no idea")

    with caplog.at_level(logging.WARNING, "rsc"):
        given = play(recorder(tmp_path, Bad({"episode_length": 9}), None), 1)
    assert len(given) == 9
    assert "no idea" in caplog.text


def test_step__row_that_is_no_row__is_unknown_and_counted(tmp_path: Path) -> None:
    """A subclass of TradingEnv whose row breaks in the middle of an episode."""

    class Bad(TradingEnv):
        def step(self, action: Any) -> Any:
            given = super().step(action)
            if self._t - self._start == 4:
                self.journal_row = (None, *self.journal_row[1:])
            return given

    play(recorder(tmp_path, Bad({"episode_length": 9}), None), 1)
    journal = only(tmp_path)
    assert journal.step_count == 9
    assert journal.state is State.CLOSED
    assert [math.isnan(one) for one in journal.steps()["portfolio_value"].to_pylist()].index(True) == 3
    row = stored(metrics_of(journal))
    assert row["sharpe_ratio"] is None
    assert row["final_portfolio_value"] is not None
    assert [odd.kind for odd in audit(journal).oddities] == ["not_finite"]


@pytest.mark.parametrize("trades", [[("much",)], 5, [None], [{"direction": 0}]])
def test_step__trades_that_are_none__are_unknown_and_training_goes_on(tmp_path: Path, trades: Any) -> None:
    class Bad(TradingEnv):
        def step(self, action: Any) -> Any:
            given = super().step(action)
            self.journal_trades = trades
            return given

    given = play(recorder(tmp_path, Bad({"episode_length": 5}), None), 1)
    assert len(given) == 5
    journal = only(tmp_path)
    assert journal.step_count == 5
    assert metrics_of(journal).total_trades is None
    assert all(math.isfinite(value) for value in journal.steps()["portfolio_value"].to_pylist())


def test_recorder__with_an_account__travels_between_episodes(tmp_path: Path) -> None:
    env = recorder(tmp_path, Foreign(), Account(value=lambda env, info: info["value"]))
    play(cloudpickle.loads(cloudpickle.dumps(env)))
    play(env)
    again = cloudpickle.loads(cloudpickle.dumps(env))
    play(again)
    env.reset()
    with pytest.raises(TypeError, match="cannot be pickled"):
        cloudpickle.dumps(env)
    assert len(journals(tmp_path)) == 4


def test_reset__with_a_seed__header_has_it(tmp_path: Path) -> None:
    env = recorder(tmp_path, Foreign())
    env.reset(seed=7)
    env.reset()
    env.close()
    assert sorted(str(one.header.about.seed) for one in journals(tmp_path)) == ["7", "None"]


def test_info__of_a_reset__is_the_envs_own_but_for_one_key(tmp_path: Path) -> None:
    bare = Foreign()
    _, expected = bare.reset()
    _, info = recorder(tmp_path, Foreign()).reset()
    info.pop(INFO_KEY)
    assert info == expected


class Seen(Foreign):
    """Its observations count its steps."""

    def step(self, action: Any) -> Any:
        super().step(action)
        self.given = ({"a": np.array([self.t, -self.t], np.float32), "b": self.t % 2}, *self.given[1:])
        return self.given


OBSERVED = spaces.Dict({"a": spaces.Box(-9, 9, (2,)), "b": spaces.Discrete(2)})


def test_observations__asked_for__are_columns_behind_the_others(tmp_path: Path) -> None:
    env = Seen(spaces.MultiBinary(2), observation={"a": np.zeros(2, np.float32), "b": 0})
    env.observation_space = OBSERVED
    given = play(recorder(tmp_path, env, Account(value="value", extra={"vol": "vol"}), observations=True))
    assert given[-1][0]["b"] == 1
    journal = only(tmp_path)
    about = journal.header.about
    assert about.extra_columns == ("vol", "action_1", "observation_0", "observation_1", "observation_2")
    assert about.notes["observations"]["columns"] == ["a[0]", "a[1]", "b"]
    assert about.notes["observations"]["first"] == [0.0, 0.0, 0.0]
    steps = journal.steps().to_pydict()
    assert steps["observation_0"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert steps["observation_1"] == [-1.0, -2.0, -3.0, -4.0, -5.0]
    assert steps["observation_2"] == [1.0, 0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("space", [spaces.Text(5), spaces.Box(0, 255, (84, 84, 3), np.uint8)], ids=["text", "image"])
def test_observations__that_do_not_fit__are_left_out_and_said(
    tmp_path: Path, space: Any, caplog: pytest.LogCaptureFixture
) -> None:
    env = Foreign(observation=space.sample())
    env.observation_space = space
    with caplog.at_level(logging.WARNING, "rsc"):
        play(recorder(tmp_path, env, observations=True))
    assert "observations are not recorded" in caplog.text
    assert only(tmp_path).step_count == 5


def test_observations__that_are_none_of_the_space__are_unknown(tmp_path: Path) -> None:
    env = Foreign(observation="?", reward="much")
    env.observation_space = spaces.Box(0, 1, (2,))
    play(recorder(tmp_path, env, observations=True))
    steps = only(tmp_path).steps().to_pydict()
    assert all(math.isnan(value) for name in ("observation_0", "observation_1", "reward") for value in steps[name])
    assert steps["portfolio_value"][-1] == 105.0
