"""The recorder: returns exactly what the env returned, and has written it down before."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from journal import EndReason, Journal, State, journal_path, list_journals, read_journal
from rsc.metrics import RunningMetrics, metrics_of
from rsc.recording.episode import FAILED_KEY, INFO_KEY, JournalSettings
from rsc.recording.recorder import Recorder
from rsc.rllib.seeds import IndependentSeeds
from rsc.trading.env import TradingEnv

CONFIG = {"episode_length": 40, "stop_loss": 0.05}


def recorder(root: Path, env: gym.Env[Any, Any] | None = None, **settings: Any) -> Recorder:
    return Recorder(env or TradingEnv(CONFIG), JournalSettings(str(root), "run", **settings))


def journal_of(root: Path, info: dict[str, Any]) -> Journal:
    return read_journal(journal_path(root, "run", info[INFO_KEY]["id"]))


def play(env: gym.Env[Any, Any], seed: int, steps: int = 1000) -> list[Any]:
    """Random actions until the episode ends; everything that the env gave, infos apart."""
    rng = np.random.default_rng(seed)
    given = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(int(rng.integers(3)))
        given.append((observation, reward, terminated, truncated, info))
        if terminated or truncated:
            break
    return given


def test_recorder__same_seed__changes_nothing(tmp_path: Path) -> None:
    """Journal on and off give the same episode, to the last bit and object."""
    bare, recorded = play(TradingEnv(CONFIG), 3), play(recorder(tmp_path), 3)
    assert len(bare) == len(recorded) == 41
    assert np.array_equal(bare[0], recorded[0])
    for ours, theirs in zip(bare[1:], recorded[1:], strict=True):
        assert np.array_equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]


def test_recorder__whole_episode__journal_has_every_step(tmp_path: Path) -> None:
    """A plain list beside the journal is its model."""
    env, model, rng = recorder(tmp_path), [], np.random.default_rng(1)
    _, info = env.reset(seed=1)
    trades, ended = 0, False
    while not ended:
        action = int(rng.integers(3))
        _, reward, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        source: Any = env.unwrapped
        value, price, cash, position, fees, unrealized, _ = source.journal_row
        trades += len(source.journal_trades)
        model.append((action, reward, value, price, cash, position, fees, unrealized, terminated, truncated))
    journal = journal_of(tmp_path, info)
    names = ("action", "reward", "portfolio_value", "price", "cash", "position", "fees", "unrealized_pnl")
    table = journal.steps()
    rows = list(zip(*(table[name].to_pylist() for name in (*names, "terminated", "truncated")), strict=True))
    assert rows == model
    assert journal.state is State.CLOSED
    assert journal.end_reason is EndReason.TIME_LIMIT
    assert len(journal.trade_rows()) == trades > 0
    assert metrics_of(journal).total_steps == 40


def test_reset__over_a_running_episode__supersedes_it(tmp_path: Path) -> None:
    """And the reset info names it, so that its row can be ended at once."""
    env = recorder(tmp_path)
    _, first = env.reset(seed=1)
    env.step(1)
    _, second = env.reset()
    assert second[INFO_KEY]["previous"] == first[INFO_KEY]["id"]
    assert journal_of(tmp_path, first).end_reason is EndReason.SUPERSEDED


def test_close__over_a_running_episode__ends_it_as_closed(tmp_path: Path) -> None:
    """Closing twice is fine."""
    env = recorder(tmp_path)
    _, info = env.reset(seed=1)
    env.step(1)
    env.close()
    env.close()
    assert journal_of(tmp_path, info).end_reason is EndReason.CLOSED


class Raising(TradingEnv):
    """Raises what it is told to, at its third step."""

    error: BaseException = ValueError("broken")
    played = 0

    def step(self, action: Any) -> Any:
        self.played += 1
        if self.played == 3:
            raise self.error
        return super().step(action)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("broken"), EndReason.ERROR),
        (KeyboardInterrupt(), EndReason.CLOSED),
        (SystemExit(1), EndReason.CLOSED),
    ],
)
def test_step__exception__ends_the_journal(tmp_path: Path, error: BaseException, reason: EndReason) -> None:
    """An Exception as an error with its message, Ctrl-C and exit as closed; it still reaches the caller."""
    inner = Raising(CONFIG)
    inner.error = error
    env = recorder(tmp_path, inner)
    _, info = env.reset(seed=1)
    env.step(1)
    env.step(1)
    with pytest.raises(type(error)):
        env.step(1)
    journal = journal_of(tmp_path, info)
    assert journal.end_reason is reason
    assert journal.step_count == 2
    assert ("broken" in journal.end_message) == (reason is EndReason.ERROR)


def test_step__after_an_exception_that_the_caller_caught__is_refused_visibly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A closed journal is never written again; the next reset begins a new one."""
    env = recorder(tmp_path, Raising(CONFIG))
    _, first = env.reset(seed=1)
    for _ in range(2):
        env.step(1)
    with pytest.raises(ValueError, match="broken"):
        env.step(1)
    env.step(1)
    assert "steps until the next reset are not recorded: step() raised an exception" in caplog.text
    _, second = env.reset(seed=1)
    env.step(1)
    env.close()
    assert journal_of(tmp_path, first).step_count == 2
    assert journal_of(tmp_path, second).step_count == 1


def test_deepcopy__of_a_running_recorded_env__leaves_the_journal_with_the_original(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Planners copy the env and play ahead: their steps are not the episode's."""
    env = recorder(tmp_path)
    _, info = env.reset(seed=1)
    env.step(1)
    ahead = copy.deepcopy(env)
    for _ in range(5):
        ahead.step(2)
    assert "the env is a copy of one whose episode was running" in caplog.text
    env.step(1)
    env.close()
    assert journal_of(tmp_path, info).step_count == 2
    _, own = ahead.reset(seed=2)
    ahead.step(1)
    ahead.close()
    assert own[INFO_KEY]["previous"] == ""
    assert journal_of(tmp_path, own).step_count == 1


def test_recorder__open__cannot_be_pickled(tmp_path: Path) -> None:
    """Its episode belongs to its process; before and after it can travel."""
    env = recorder(tmp_path)
    pickle.loads(pickle.dumps(env))
    env.reset(seed=1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(env)
    env.close()


def test_recorder__built_and_closed__makes_no_file(tmp_path: Path) -> None:
    """Vector envs build dummies."""
    recorder(tmp_path).close()
    assert not any(tmp_path.iterdir())


def test_recorder__disk_full__training_goes_on_and_figures_are_exact(tmp_path: Path) -> None:
    """The last step's info carries what the journal would have said; one warning tells."""
    good_env = recorder(tmp_path / "good")
    _, good_info = good_env.reset(seed=3)
    bad = recorder(tmp_path / "bad", checkpoint_every_steps=10)
    bad.reset(seed=3)
    writer = bad._writer
    assert writer is not None
    os.close(writer._fd)  # every further write to the stream fails
    writer._fd = os.open("/dev/full", os.O_WRONLY)
    given = []
    for env in (good_env, bad):
        rng = np.random.default_rng(3)
        while True:
            *_, terminated, truncated, info = env.step(int(rng.integers(3)))
            if terminated or truncated:
                given.append(info)
                break
    assert FAILED_KEY not in given[0]
    kept = json.loads(given[1][FAILED_KEY])
    good = journal_of(tmp_path / "good", good_info)
    ours, theirs = RunningMetrics.from_bytes(bytes.fromhex(kept["metrics"])).result(), metrics_of(good)
    assert ours.pnl == theirs.pnl
    assert ours.total_steps == theirs.total_steps == 40
    assert ours.sharpe_ratio == pytest.approx(theirs.sharpe_ratio, rel=1e-12)
    assert [tuple(trade) for trade in kept["trades"]] == good.trade_rows()
    assert kept["reason"] == "time_limit"
    folder = tmp_path / "bad" / "run"
    assert [path.suffix for path in folder.iterdir() if path.stem[0].isdigit() and path.suffix != ".arrows"] == [
        ".failed"
    ]


def test_seeds__neighbouring_workers_and_rounds__never_share_a_stream(tmp_path: Path) -> None:
    """RLlib seeds runner 1's envs 8 to 11 and runner 2's 9 to 12, and each evaluation round alike."""
    starts = []
    for evaluation in (False, True):
        for worker in (1, 2):
            for seed in range(7 + worker, 11 + worker):
                env = IndependentSeeds(TradingEnv(CONFIG), worker)
                env.in_evaluation = evaluation
                for _ in range(3):
                    env.reset(seed=seed)
                    starts.append(env.unwrapped.np_random.bit_generator.state["state"]["state"])
    assert len(set(starts)) == len(starts) == 48


def test_async_vector_env__journals_of_forked_envs__are_theirs(tmp_path: Path) -> None:
    """Forked sub-envs make their journals in reset, each its own."""
    envs = gym.vector.AsyncVectorEnv([lambda: recorder(tmp_path)] * 3)
    envs.reset(seed=1)
    for _ in range(10):
        envs.step(np.array([1, 2, 0]))
    envs.close()
    journals = [read_journal(journal_path(tmp_path, "run", name)) for name in list_journals(tmp_path, "run")]
    assert [(journal.step_count, journal.end_reason) for journal in journals] == [(10, EndReason.CLOSED)] * 3
    assert len({journal.header.writer.pid for journal in journals}) == 3
