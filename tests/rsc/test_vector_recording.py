"""The recorder of vector envs: it returns what the env returned, and writes what single recorders write."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from journal import EndReason, Journal, State, journal_path, list_journals, read_journal
from rsc.metrics import RunningMetrics, metrics_of
from rsc.recording.episode import FAILED_KEY, INFO_KEY, JournalSettings
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder
from rsc.rllib.seeds import IndependentSeeds, VectorIndependentSeeds
from rsc.trading.env import TradingEnv
from rsc.trading.market import Market
from rsc.trading.vector_env import TradingVectorEnv
from tests.rsc.markets import random_market

N = 5
CONFIG: dict[str, Any] = {"episode_length": 25, "stop_loss": 0.03, "fee": 0.001, "window": 3, "features": ("return",)}


def vector(root: Path, config: Any = CONFIG, market: Market | None = None, n: int = N, **settings: Any) -> Any:
    """A recorded vector env, seeded as RLlib's worker 1 seeds it."""
    env = TradingVectorEnv(config, n, market=market or random_market(1, bars=300))
    settings = {"checkpoint_every_steps": 16, **settings}
    return VectorRecorder(VectorIndependentSeeds(env, 1), JournalSettings(str(root), "run", **settings), {"who": 1})


def singles(root: Path, config: Any = CONFIG, market: Market | None = None) -> gym.vector.SyncVectorEnv:
    """As many single ones."""
    market = market or random_market(1, bars=300)
    settings = JournalSettings(str(root), "run", checkpoint_every_steps=16)

    def make() -> Recorder:
        return Recorder(IndependentSeeds(TradingEnv(config, market=market), 1), settings, {"who": 1})

    envs = gym.vector.SyncVectorEnv([make] * N)
    envs.set_attr("env_index", list(range(N)))
    return envs


def journal_of(root: Path, journal_id: str) -> Journal:
    return read_journal(journal_path(root, "run", journal_id))


def content(root: Path, journal_id: str) -> Any:
    """All that a journal says, apart from its name and the clock on the wall."""
    journal = journal_of(root, journal_id)
    steps = journal.steps()
    names = set(steps.column_names) - {"wall_time", "trades"}
    columns = {name: steps[name].to_numpy().tobytes() for name in names}
    ending = (journal.state, journal.end_reason, journal.end_message)
    return columns, journal.trade_rows(), ending, journal.header.about, metrics_of(journal)


def named(info: dict[str, Any]) -> dict[int, str]:
    """The journals that an info tells of, by env."""
    flags = info.get(f"_{INFO_KEY}", ())
    return {lane: info[INFO_KEY]["id"][lane] for lane, flag in enumerate(flags) if flag}


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
@pytest.mark.parametrize("bankrupt", [False, True])
@pytest.mark.parametrize("terms", [{}, {"cash_rate": 0.1, "maintenance_margin": 0.9, "fee_minimum": 0.5}], ids=str)
def test_vector_recorder__beside_single_recorders__same_returns_and_same_journals(
    tmp_path: Path, actions: str, bankrupt: bool, terms: dict[str, Any]
) -> None:
    """Over autoresets, bankruptcies and a reset over running episodes; apart from ids and the clock, infos too."""
    config = {**CONFIG, "actions": actions, "sizing": "all_in", "stop_loss": None if bankrupt else 0.03, **terms}
    market = random_market(5, bars=300, jump=0.3 if bankrupt else 0.02)
    ours, theirs = vector(tmp_path / "a", config, market), singles(tmp_path / "b", config, market)
    choices = np.random.default_rng(0)
    pairs: list[tuple[str, str]] = []

    def compare(left: Any, right: Any) -> None:
        for mine, other in zip(left[:-1], right[:-1], strict=True):
            assert mine.tobytes() == other.tobytes()
        assert _shape_of(left[-1]) == _shape_of(right[-1])
        fresh, others = named(left[-1]), named(right[-1])
        assert fresh.keys() == others.keys()
        pairs.extend((fresh[lane], others[lane]) for lane in fresh)

    for seed in (7, None):
        compare(ours.reset(seed=seed), theirs.reset(seed=seed))
        for _ in range(60):
            chosen: Any = choices.integers(0, 3, N)
            if actions == "continuous":
                chosen = choices.uniform(-1, 1, (N, 1)).astype(np.float32)
            compare(ours.step(chosen), theirs.step(chosen))
    ours.close()
    theirs.close()
    reasons: Counter[Any] = Counter()
    for mine, other in pairs:
        assert content(tmp_path / "a", mine) == content(tmp_path / "b", other)
        journal = journal_of(tmp_path / "a", mine)
        assert journal.header.about.extra_columns[2:] == (("interest", "liquidated") if terms else ())
        reasons[journal.end_reason] += 1
    for kept, side in (("a", 0), ("b", 1)):
        assert sorted(list_journals(tmp_path / kept, "run")) == sorted(pair[side] for pair in pairs)
    assert {EndReason.SUPERSEDED, EndReason.CLOSED} < set(reasons)
    assert reasons[EndReason.TERMINATED if bankrupt else EndReason.TIME_LIMIT] > 0


def _shape_of(info: Any) -> Any:
    """An info without the values that differ by journal."""
    if isinstance(info, dict):
        return {
            key: _shape_of(value)
            for key, value in info.items()
            if key not in ("id", "root_id", "previous", "start_time_us")
        }
    return info.tolist()


def test_vector_recorder__info_of_a_reset__names_the_predecessor(tmp_path: Path) -> None:
    env = vector(tmp_path)
    first = named(env.reset(seed=1)[1])
    info: dict[str, Any] = {}
    while not info:
        *_, info = env.step(np.ones(N, np.int64))
    assert info[INFO_KEY]["previous"].tolist() == list(first.values())
    assert all(journal_of(tmp_path, each).end_reason is EndReason.TIME_LIMIT for each in first.values())


def test_vector_recorder__reset_mask__supersedes_those_only(tmp_path: Path) -> None:
    env = vector(tmp_path)
    first = named(env.reset(seed=1)[1])
    env.step(np.ones(N, np.int64))
    second = named(env.reset(options={"reset_mask": np.arange(N) < 2})[1])
    assert set(second) == {0, 1}
    assert [journal_of(tmp_path, first[lane]).state for lane in range(N)] == [State.CLOSED] * 2 + [State.OPEN] * 3
    env.step(np.ones(N, np.int64))
    assert [journal_of(tmp_path, {**first, **second}[lane]).step_count for lane in range(N)] == [1, 1, 2, 2, 2]
    env.close()


def test_vector_recorder__action_that_is_none__ends_all_as_error(tmp_path: Path) -> None:
    """It reaches the caller; the steps before it stay."""
    env = vector(tmp_path)
    ids = named(env.reset(seed=1)[1])
    env.step(np.ones(N, np.int64))
    with pytest.raises(ValueError, match="expected actions"):
        env.step(np.full(N, 7))
    for each in ids.values():
        journal = journal_of(tmp_path, each)
        assert (journal.end_reason, journal.step_count) == (EndReason.ERROR, 1)
        assert "expected actions" in journal.end_message


def test_vector_recorder__interrupted__ends_all_as_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is nobody's error."""
    env = vector(tmp_path)
    ids = named(env.reset(seed=1)[1])

    def interrupted(actions: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(env.unwrapped, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        env.step(np.ones(N, np.int64))
    assert {journal_of(tmp_path, each).end_reason for each in ids.values()} == {EndReason.CLOSED}


def test_vector_recorder__open__cannot_be_pickled(tmp_path: Path) -> None:
    """Before and after it can travel."""
    env = vector(tmp_path)
    pickle.loads(pickle.dumps(env))
    env.reset(seed=1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(env)
    env.close()
    pickle.dumps(env)


def test_vector_recorder__built_and_closed__makes_no_file(tmp_path: Path) -> None:
    vector(tmp_path).close()
    assert not any(tmp_path.iterdir())


def test_vector_recorder__forgotten__frees_its_locks_and_ends_nothing(tmp_path: Path) -> None:
    """Who does not close has not said how the episodes ended."""
    env = vector(tmp_path)
    ids = named(env.reset(seed=1)[1])
    env.step(np.ones(N, np.int64))
    del env
    gc.collect()
    assert {(journal_of(tmp_path, each).state, journal_of(tmp_path, each).step_count) for each in ids.values()} == {
        (State.OPEN, 1)
    }


def test_vector_recorder__one_journal_fails__others_go_on_and_figures_are_exact(tmp_path: Path) -> None:
    """Invariant J6: the last info of that env carries what its journal would have said."""
    good, bad = vector(tmp_path / "good"), vector(tmp_path / "bad")
    good_ids, bad_ids = (named(env.reset(seed=3)[1]) for env in (good, bad))
    writer = bad._writers[2]
    os.close(writer._fd)  # every further write to the stream fails
    writer._fd = os.open("/dev/full", os.O_WRONLY)
    choices = np.random.default_rng(3)
    infos: list[Any] = []
    for _ in range(CONFIG["episode_length"]):
        chosen = choices.integers(0, 3, N)
        infos = [env.step(chosen)[-1] for env in (good, bad)]
    assert infos[0] == {}
    assert infos[1][f"_{FAILED_KEY}"].tolist() == [False, False, True, False, False]
    kept = json.loads(infos[1][FAILED_KEY][2])
    expected = journal_of(tmp_path / "good", good_ids[2])
    figures = RunningMetrics.from_bytes(bytes.fromhex(kept["metrics"])).result()
    assert (figures.pnl, figures.total_steps) == (metrics_of(expected).pnl, 25)
    assert [tuple(trade) for trade in kept["trades"]] == expected.trade_rows()
    assert content(tmp_path / "bad", bad_ids[1]) == content(tmp_path / "good", good_ids[1])


def test_vector_recorder__other_autoreset__is_refused(tmp_path: Path) -> None:
    env = TradingVectorEnv(CONFIG, N, market=random_market(1, bars=300))
    env.metadata = {**env.metadata, "autoreset_mode": gym.vector.AutoresetMode.DISABLED}
    with pytest.raises(ValueError, match="NEXT_STEP"):
        VectorRecorder(env, JournalSettings(str(tmp_path), "run"))


STEPPER = """
import sys
import numpy as np
from rsc.recording.episode import INFO_KEY, JournalSettings
from rsc.trading.vector_env import TradingVectorEnv
from rsc.recording.vector import VectorRecorder

def tell(info):
    for lane, fresh in enumerate(info.get("_" + INFO_KEY, ())):
        if fresh:
            print("begun", lane, info[INFO_KEY]["id"][lane])

settings = JournalSettings(sys.argv[1], "run", checkpoint_every_steps=8)
env = VectorRecorder(TradingVectorEnv({"episode_length": 30}, 64), settings)
tell(env.reset(seed=1)[1])
random = np.random.default_rng(0)
while True:
    *_, info = env.step(random.integers(0, 3, 64))
    tell(info)
    print("played", " ".join(map(str, (env.unwrapped.journal_played * 1).tolist())), flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40, None])
def test_vector_recorder__killed__every_step_that_was_told_is_there(tmp_path: Path, lines: int | None) -> None:
    """Invariant J1, for each of 64 envs: a SIGKILL at any instant loses no step that `step` returned."""
    lines = random.Random(os.getpid()).randrange(300, 2500) if lines is None else lines
    process = subprocess.Popen([sys.executable, "-c", STEPPER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    told += rest[: rest.rfind("\n") + 1].splitlines()
    current: dict[int, str] = {}
    steps: Counter[str] = Counter()
    for line in told:
        kind, *words = line.split()
        if kind == "begun":
            current[int(words[0])] = words[1]
            steps[words[1]] += 0
            continue
        for lane, played in enumerate(words):
            steps[current[lane]] += int(played)
    assert len(current) >= min(lines, 64)
    for journal_id, count in steps.items():
        journal = journal_of(tmp_path, journal_id)
        assert count <= journal.step_count <= count + 1
        assert not journal.findings


def test_deepcopy__of_running_vector_envs__leaves_the_journals_with_the_original(tmp_path: Path) -> None:
    """A planner's steps are not those of the episodes."""
    env = vector(tmp_path)
    _, info = env.reset(seed=1)
    env.step(env.action_space.sample())
    ahead = copy.deepcopy(env)
    for _ in range(3):
        ahead.step(ahead.action_space.sample())
    env.step(env.action_space.sample())
    ids = list(info["journal"]["id"])
    env.close()
    assert [journal_of(tmp_path, name).step_count for name in ids] == [2] * N
    _, own = ahead.reset(seed=2)
    ahead.step(ahead.action_space.sample())
    ahead.close()
    assert [journal_of(tmp_path, name).step_count for name in own["journal"]["id"]] == [1] * N
