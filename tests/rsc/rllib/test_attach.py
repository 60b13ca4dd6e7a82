"""`attach` and the callbacks, on a real env runner in this process: no cluster, no learner, the same code."""

from __future__ import annotations

import errno
import functools
import logging
import multiprocessing
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.registry import register_env

import rsc
from journal import JournalExistsError, JournalWriteError, State, journal_path, list_journals, read_journal
from journal.host.liveness import is_locked
from journal.host.paths import marker_path
from rsc.db import episodes, runs
from rsc.db.session import DatabaseError, open_engine, reading
from rsc.metrics import metrics_of
from rsc.recording.recorder import Recorder
from rsc.rllib import rows
from rsc.rllib.settings import RecordingSettings
from rsc.trading.env import TradingEnv
from rsc.trading.vector_env import TradingVectorEnv

RUN = "r1"
SHORT = {"episode_length": 20}


class Sub(TradingEnv):
    """A user's subclass."""


class Wrapped(gym.Wrapper[Any, Any, Any, Any]):
    """A user's wrapper that makes its env."""

    def __init__(self, context: Any) -> None:
        super().__init__(Sub(context))


def make_sub(context: Any) -> Sub:
    """A user's function of the context."""
    return Sub(context)


class Counting(RLlibCallback):
    """A user's callback."""

    ended: ClassVar[list[str]] = []

    def on_episode_end(self, *, episode: Any, **kwargs: Any) -> None:
        self.ended.append(episode.id_)


class World:
    """A folder with a run in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "journals"
        self.url = f"sqlite:///{folder / 'rsc.db'}"

    def attach(self, config: Any, **more: Any) -> Any:
        return rsc.attach(config, run_id=RUN, journal_root=self.root, database_url=self.url, **more)

    @contextmanager
    def runner(self, config: Any) -> Iterator[SingleAgentEnvRunner]:
        """An env runner of the attached config."""
        with self.attach(config, independent_seeds=True):
            runner = config.env_runner_cls(config=config, worker_index=1)
            try:
                yield runner
            finally:
                runner.stop()

    def rows(self) -> list[Any]:
        assert rows.drain(self.url) == 0
        return list(episodes.episodes_of(open_engine(self.url), RUN))

    def journals(self) -> dict[str, Any]:
        return {name: read_journal(journal_path(self.root, RUN, name)) for name in list_journals(self.root, RUN)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def config_of(env: Any = TradingEnv, *, envs: int = 1, **settings: Any) -> Any:
    return (
        PPOConfig()
        .environment(env, env_config={**SHORT, **settings})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
        .debugging(seed=3, log_level="ERROR")
    )


def recorders(runner: SingleAgentEnvRunner) -> list[Recorder]:
    """The recorders of a runner's sub-envs."""
    found = []
    for env in runner.env.unwrapped.envs:
        layer = env
        while not isinstance(layer, Recorder):
            layer = layer.env
        found.append(layer)
    return found


def fail_writes(recorder: Recorder) -> None:
    """As on a full disk: every further write to the stream fails."""
    assert recorder._writer is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, recorder._writer._fd)
    os.close(full)


def sample(runner: SingleAgentEnvRunner, steps: int) -> None:
    runner.sample(num_timesteps=steps, random_actions=True)


@pytest.mark.parametrize("kind", ["class", "subclass", "wrapper", "name", "function"])
def test_attach__env_given_in_any_way__is_recorded(world: World, kind: str) -> None:
    """A class, a registered name, or a function of the context."""
    register_env("by-name", Sub)
    env = {"class": TradingEnv, "subclass": Sub, "wrapper": Wrapped, "name": "by-name", "function": make_sub}[kind]
    config = config_of()
    config.env = env
    with world.runner(config) as runner:
        sample(runner, 25)
    (first, second) = world.rows()
    assert (first.status, first.end_reason, second.status) == ("completed", "time_limit", "started")
    assert first.env_class == ("TradingEnv" if kind == "class" else "Sub")
    assert first.total_steps == 20
    assert (first.market, first.start_env_steps, first.env_index) == ("MSFT", 0, 0)
    assert first.buy_and_hold_return == first.last_price / first.first_price - 1
    assert first.market_start < first.market_end


@pytest.fixture
def start_method() -> Iterator[Callable[[str], None]]:
    """How this process starts others; TorchRL sets `spawn` when it is imported."""
    before = multiprocessing.get_start_method(allow_none=True)
    yield functools.partial(multiprocessing.set_start_method, force=True)
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize(("mode", "start"), [("sync", "fork"), ("async", "fork"), ("async", "spawn")])
def test_attach__sub_envs_in_this_process_or_another__each_row_is_its_journals(
    world: World, mode: str, start: str, start_method: Callable[[str], None]
) -> None:
    """Envs side by side never share metrics."""
    start_method(start)
    config = config_of(envs=3).env_runners(gym_env_vectorize_mode=mode)
    with world.runner(config) as runner:
        sample(runner, 75)
    done = [row for row in world.rows() if row.status == "completed"]
    assert len(done) == 3
    for row in done:
        assert row.pnl == metrics_of(world.journals()[row.journal_id]).pnl
    assert len({row.pnl for row in done}) == 3
    assert sorted(row.env_index for row in done) == [0, 1, 2]
    for row in world.rows():
        about = world.journals()[row.journal_id].header.about
        assert (about.worker_index, about.env_index) == (row.worker_index, row.env_index)


def vector_runner_config(**settings: Any) -> Any:
    config = config_of(TradingVectorEnv, envs=3, **settings)
    return config.env_runners(gym_env_vectorize_mode="vector_entry_point")


def test_attach__vector_env__rows_and_journals_are_those_of_single_envs(world: World, tmp_path: Path) -> None:
    """The same callbacks, seeds and worker; each env has a journal of its own."""
    single = World(tmp_path / "single")
    for each, config in ((world, vector_runner_config()), (single, config_of(envs=3))):
        with each.runner(config) as runner:
            runner.env.action_space.seed(5)
            sample(runner, 75)
    figures = []
    for each in (world, single):
        rows, journals = each.rows(), each.journals()
        assert all(row.worker_index == 1 and not row.in_evaluation for row in rows)
        assert {journal.header.about.worker_index for journal in journals.values()} == {1}
        assert {row.journal_id: row.env_index for row in rows} == {
            journal_id: journal.header.about.env_index for journal_id, journal in journals.items()
        }
        done = [row for row in rows if row.status == "completed"]
        assert len(done) == 3
        for row in done:
            assert row.pnl == metrics_of(journals[row.journal_id]).pnl
        figures.append([(row.status, row.pnl, row.total_steps, row.total_reward) for row in rows])
    assert figures[0] == figures[1]


def test_attach__vector_env_in_evaluation__is_marked_and_seeded_apart(world: World, tmp_path: Path) -> None:
    starts = []
    for evaluation in (False, True):
        each = World(tmp_path / str(evaluation))
        config = vector_runner_config()
        config.in_evaluation = evaluation
        with each.runner(config) as runner:
            sample(runner, 5)
        assert {row.in_evaluation for row in each.rows()} == {evaluation}
        starts += [journal.header.about.start_market_time_us for journal in each.journals().values()]
    assert len(set(starts)) == len(starts) == 6


def test_callbacks__vector_env_in_rounds_of_complete_episodes__end_what_they_drop(world: World) -> None:
    """RLlib resets over running episodes: their rows are ended by their successors."""
    with world.runner(vector_runner_config()) as runner:
        for _ in range(3):
            runner.sample(num_episodes=2, random_actions=True)
    rows = world.rows()
    assert {row.status for row in rows} <= {"completed", "truncated", "started"}
    journals = world.journals()
    assert {row.journal_id for row in rows} <= set(journals)
    assert sum(row.status == "completed" for row in rows) >= 6
    assert all(journals[row.journal_id].state is State.CLOSED for row in rows)


@pytest.mark.parametrize("how", ["class", "list", "function"])
def test_attach__users_own_callbacks__are_still_called(world: World, how: str) -> None:
    """Whatever way they were given in."""
    Counting.ended.clear()
    config = config_of()
    if how == "function":
        config.callbacks(on_episode_end=lambda *, episode, **kwargs: Counting.ended.append(episode.id_))
    else:
        config.callbacks(Counting if how == "class" else [Counting])
    with world.runner(config) as runner:
        sample(runner, 25)
    assert Counting.ended == [row.rllib_episode_id for row in world.rows() if row.status == "completed"]
    assert Counting.ended


def test_attach__rest_of_the_config__stays_as_it_was(world: World) -> None:
    """The env runner's class changes, and plain data is added."""
    plain, attached = config_of(), config_of()
    with world.attach(attached):
        before, after = plain.to_dict(), attached.to_dict()
    changed = {key for key in after if repr(before.get(key)) != repr(after[key])}
    assert changed == {"env_runner_cls", "rsc_recording"}


def test_attach__config__can_be_serialised(world: World) -> None:
    """RLlib stores it in checkpoints; a partial would break that."""
    config = config_of()
    with world.attach(config):
        config.serialize()
        restored = pickle.loads(cloudpickle.dumps(config))
    settings = RecordingSettings.of(restored)
    assert settings is not None
    assert settings.run_id == RUN


def test_attach__without_an_env__says_so(world: World) -> None:
    """And makes nothing."""
    with pytest.raises(ValueError, match="environment"):
        world.attach(PPOConfig())
    assert not world.root.exists()


def test_attach__env_that_cannot_be_journaled__says_so_before_anything_is_made(world: World, tmp_path: Path) -> None:
    """Not by the tracebacks of env runners that die one after the other."""
    with pytest.raises(ValueError, match="CartPoleEnv does not tell the value of its account"):
        world.attach(config_of(CartPoleEnv))
    assert not list(tmp_path.iterdir())


def test_attach__run_id_that_is_taken__refuses(world: World) -> None:
    """Nothing of the first run is touched."""
    with world.attach(config_of()), pytest.raises(JournalExistsError, match=RUN):
        world.attach(config_of())


def test_attach__run_that_was_never_trained__does_not_keep_its_name(world: World) -> None:
    """Neither does one whose env runner made envs, and reset none."""
    with world.attach(config_of()):
        pass
    with world.runner(config_of()):
        pass
    with world.runner(config_of()) as runner:
        sample(runner, 5)
    with pytest.raises(JournalExistsError, match=RUN):
        world.attach(config_of())


def test_attach__run_that_is_refused__leaves_no_marker(world: World, tmp_path: Path) -> None:
    """A marker would vouch for a root that is not the run's: missing journals there would prove their loss."""
    with world.attach(config_of()), pytest.raises(JournalExistsError, match=RUN):
        rsc.attach(config_of(), run_id=RUN, journal_root=tmp_path / "elsewhere", database_url=world.url)
    assert not marker_path(tmp_path / "elsewhere", RUN).exists()


def test_attach__database_that_fails_at_the_start__leaves_the_run_id_free(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.attach(config_of()):
        pass
    monkeypatch.setattr("rsc.db.session.open_engine", functools.partial(open_engine, timeout_s=0.0))
    writer = sqlite3.connect(tmp_path / "rsc.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="another program is writing"):
        rsc.attach(config_of(), run_id="next", journal_root=tmp_path / "journal", database_url=world.url)
    writer.close()
    with rsc.attach(config_of(), run_id="next", journal_root=tmp_path / "journal", database_url=world.url):
        pass


def test_run__database_that_cannot_be_made_any_more__ends_with_a_warning(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The training's own result, or error, is not lost to it; and its marker is free."""
    folder = tmp_path / "folder"
    with rsc.attach(config_of(), run_id=RUN, journal_root=tmp_path / "j", database_url=f"sqlite:///{folder}/rsc.db"):
        shutil.rmtree(folder)
        folder.touch()
    assert "its end is not recorded" in caplog.text
    assert not is_locked(marker_path(tmp_path / "j", RUN))


@pytest.mark.parametrize(
    ("error", "status"), [(None, "completed"), (RuntimeError("x"), "error"), (KeyboardInterrupt(), "interrupted")]
)
def test_run__as_a_context__ends_as_the_driver_did(world: World, error: BaseException | None, status: str) -> None:
    """`completed` and `error` are the driver's word."""

    def drive() -> None:
        with world.attach(config_of()):
            if error is not None:
                raise error

    if error is None:
        drive()
    else:
        with pytest.raises(type(error)):
            drive()
    with reading(open_engine(world.url)) as connection:
        row = runs.find_run(connection, RUN)
    assert row is not None
    assert row.status == status
    assert row.end_time is not None


def test_callbacks__rounds_of_complete_episodes__end_what_they_drop(world: World) -> None:
    """RLlib resets every env at a round's start: the successor's start ends the row at once."""
    config = config_of(envs=2).env_runners(batch_mode="complete_episodes")
    with world.runner(config) as runner:
        for _ in range(3):
            runner.sample(num_episodes=1, random_actions=True)
    for row in world.rows():
        journal = world.journals()[row.journal_id]
        if row.status == "started":
            assert row.end_reason is None
        else:
            assert row.end_reason == journal.end_reason
    assert sum(row.status == "started" for row in world.rows()) <= 2


def test_callbacks__database_that_is_down__costs_one_warning_and_sampling_goes_on(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Invariant D2; the journals have it all."""
    with world.runner(config_of()) as runner, caplog.at_level(logging.WARNING, "rsc"):
        (tmp_path / "rsc.db").rename(tmp_path / "elsewhere.db")
        (tmp_path / "rsc.db").mkdir()
        sample(runner, 90)
        assert rows.drain(world.url) > 0
        (tmp_path / "rsc.db").rmdir()
        (tmp_path / "elsewhere.db").rename(tmp_path / "rsc.db")
    warnings = [record for record in caplog.records if record.name == "rsc"]
    assert len(warnings) == 1
    assert "does not answer" in warnings[0].getMessage()
    assert sum(journal.state is State.CLOSED for journal in world.journals().values()) >= 4


def test_callbacks__run_that_somebody_removed__says_that_the_database_refuses_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with world.runner(config_of()) as runner, caplog.at_level(logging.WARNING, "rsc"):
        with open_engine(world.url).begin() as connection:
            connection.exec_driver_sql("DELETE FROM training_runs")
        sample(runner, 90)
        assert rows.drain(world.url) == 0
    warnings = [record for record in caplog.records if record.name == "rsc"]
    assert len(warnings) == 1
    assert "the database refuses the row of episode" in warnings[0].getMessage()
    assert "(FOREIGN KEY" in warnings[0].getMessage()


def test_callbacks__insert_was_missed__the_end_makes_the_row(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that comes back in mid-episode still gets the episode, RLlib's id included."""
    monkeypatch.setattr(rows, "DATABASE_PAUSE_S", 0.0)
    with world.runner(config_of()) as runner:
        (tmp_path / "rsc.db").rename(tmp_path / "elsewhere.db")
        (tmp_path / "rsc.db").mkdir()
        sample(runner, 10)
        assert rows.drain(world.url) == 1
        (tmp_path / "rsc.db").rmdir()
        (tmp_path / "elsewhere.db").rename(tmp_path / "rsc.db")
        sample(runner, 15)
    first = world.rows()[0]
    assert (first.status, first.total_steps) == ("completed", 20)
    assert first.rllib_episode_id


def test_callbacks__predecessors_journal_is_unreadable__the_successor_still_has_its_row(world: World) -> None:
    """One bad journal costs its own episode and no other."""
    config = config_of().env_runners(batch_mode="complete_episodes")
    with world.runner(config) as runner:
        sample(runner, 5)
        (dropped,) = list_journals(world.root, RUN)
        journal_path(world.root, RUN, dropped).write_bytes(b"")
        runner.sample(num_timesteps=5, random_actions=True, force_reset=True)
        assert dropped in {row.journal_id for row in world.rows()}
        assert {row.journal_id for row in world.rows()} == set(list_journals(world.root, RUN))


def test_attach__on_error_raise__a_failed_write_stops_sampling(world: World) -> None:
    """For those who prefer no training to one without a record."""
    config = config_of()
    with world.attach(config, on_error="raise", checkpoint_every_steps=10):
        runner = config.env_runner_cls(config=config, worker_index=1)
        sample(runner, 2)
        fail_writes(recorders(runner)[0])
        with pytest.raises(RuntimeError) as raised:  # RLlib's own, from ours
            sample(runner, 15)
    assert isinstance(raised.value.__cause__, JournalWriteError)


def test_callbacks__journal_failed_and_episode_ended_by_itself__row_is_exact(world: World) -> None:
    """Invariant J6: the recorder kept the figures; an intact journal of the same episode gives the same."""
    with world.runner(config_of(envs=1)) as runner:
        sample(runner, 5)
        (recorder,) = recorders(runner)
        writer = recorder._writer
        assert writer is not None
        fold = writer.fold
        fail_writes(recorder)
        writer.checkpoint()
        assert writer.failure is not None
        sample(runner, 20)
    row = world.rows()[0]
    assert (row.status, row.end_reason, row.total_steps) == ("completed", "time_limit", 20)
    assert "incomplete" in row.status_reason
    assert row.pnl == fold.result().pnl  # type: ignore[union-attr]


def test_callbacks__journal_failed__the_row_says_so_while_the_episode_plays(world: World) -> None:
    """Invariant J6: if the process is killed now, a disk that failed may show nothing of the failure."""
    with world.runner(config_of(envs=2)) as runner:
        sample(runner, 10)
        recorder = recorders(runner)[1]
        assert recorder._writer is not None
        recorder._writer.hand_over(OSError(errno.EROFS, "Read-only file system"))
        said = {row.env_index: (row.status, row.status_reason) for row in world.rows()}
        assert said == {0: ("started", None), 1: ("started", "its journal failed after step 5: Read-only file system")}
        sample(runner, 40)
    ended = {row.env_index: row for row in world.rows() if row.status == "completed"}
    assert "incomplete" in ended[1].status_reason
