"""`start_run`: what any trainer plays is on record when the block ends, or by `reconcile` if it never does."""

from __future__ import annotations

import errno
import functools
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from journal import JournalExistsError, UnsafeNameError, journal_path, list_journals, read_journal
from journal.host.paths import marker_path
from rsc.db import episodes, runs
from rsc.db.session import open_engine, reading
from rsc.recording.accounts import Account
from rsc.runs import Run, start_run
from tests.support.walks import ACCOUNT, Walk, register

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's folder and database, as a user's environment names them."""
    monkeypatch.setenv("RSC_JOURNAL_ROOT", str(tmp_path / "journals"))
    monkeypatch.setenv("RSC_DATABASE_URL", f"sqlite:///{tmp_path / 'rsc.db'}")
    # Processes that envs are sent to import this package too. Last, so that it does not hide the installed ones.
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    register()


def rows(run_id: str) -> list[Any]:
    engine = open_engine(os.environ["RSC_DATABASE_URL"])
    found = list(episodes.episodes_of(engine, run_id))
    engine.dispose()
    return found


def status(run_id: str) -> str:
    engine = open_engine(os.environ["RSC_DATABASE_URL"])
    with reading(engine) as connection:
        row = runs.find_run(connection, run_id)
    engine.dispose()
    assert row is not None
    return str(row.status)


def journals(run_id: str) -> list[Any]:
    root = os.environ["RSC_JOURNAL_ROOT"]
    return [read_journal(journal_path(root, run_id, name)) for name in list_journals(root, run_id)]


def check(run_id: str) -> subprocess.CompletedProcess[str]:
    return command("rsc", "check", run_id)


def command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def play(env: gym.Env[Any, Any], steps: int) -> None:
    """A CleanRL-style loop of one env."""
    env.reset(seed=1)
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()


def test_run__one_env__rows_are_there_when_the_block_ends(tmp_path: Path) -> None:
    with start_run("mine") as run:
        env = run.record(Walk(), ACCOUNT)
        play(env, 50)
    found = rows("mine")
    assert sorted((row.status, row.end_reason, row.total_steps) for row in found) == [
        ("completed", "time_limit", 20),
        ("completed", "time_limit", 20),
        ("truncated", "closed", 10),
    ]
    assert status("mine") == "completed"
    assert all(row.pnl is not None and row.total_trades is not None for row in found)
    assert check("mine").returncode == 0


def test_run__env_that_plays_on__is_no_longer_recorded(caplog: pytest.LogCaptureFixture) -> None:
    with start_run("mine") as run:
        env = run.record(Walk(), ACCOUNT)
        env.reset()
    with caplog.at_level(logging.WARNING, "rsc"):
        play(env, 30)
    assert len(journals("mine")) == 1
    assert "run mine has ended, so its envs are no longer recorded" in caplog.text


def made(kind: str, run: Run, mode: AutoresetMode) -> Any:
    wrappers = [functools.partial(run.record, account=ACCOUNT)]
    return gym.make_vec("Walk-v0", 3, kind, vector_kwargs={"autoreset_mode": mode}, wrappers=wrappers)


VECTORS: dict[str, Callable[[Run, AutoresetMode], Any]] = {
    "sync": functools.partial(made, "sync"),
    "async": functools.partial(made, "async"),
    "functions": lambda run, mode: gym.vector.SyncVectorEnv(
        [run.recorded("Walk-v0", ACCOUNT)] * 3, autoreset_mode=mode
    ),
    "around": lambda run, mode: run.record(gym.vector.SyncVectorEnv([Walk] * 3, autoreset_mode=mode), ACCOUNT),
}


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("kind", VECTORS)
def test_run__gymnasium_vector_env__every_step_is_on_record(kind: str, mode: AutoresetMode) -> None:
    played = np.zeros(3, int)
    with start_run("mine") as run:
        envs = VECTORS[kind](run, mode)
        envs.reset(seed=1)
        before = np.zeros(3, bool)
        for _ in range(50):
            _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
            over = terminated | truncated
            played += ~before if mode is AutoresetMode.NEXT_STEP else 1
            before = over
            if mode is AutoresetMode.DISABLED and over.any():
                envs.reset(options={"reset_mask": over})
        envs.close()
    found = rows("mine")
    assert sum(row.total_steps for row in found) == played.sum()
    assert sum(row.end_reason == "time_limit" for row in found) == 6
    assert {row.status for row in found} == {"completed", "truncated"}
    assert check("mine").returncode == 0


def test_run__stable_baselines3__dummy_subproc_and_normalised(tmp_path: Path) -> None:
    """PPO on eight ways to make its envs, evaluation apart."""
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "dummy": (DummyVecEnv, {}),
        "fork": (SubprocVecEnv, {"start_method": "fork"}),
        "forkserver": (SubprocVecEnv, {"start_method": "forkserver"}),
    }
    for name, (kind, options) in ways.items():
        with start_run(name) as run:
            venv = make_vec_env(run.recorded("Walk-v0", ACCOUNT), n_envs=2, vec_env_cls=kind, vec_env_kwargs=options)
            evaluation = make_vec_env(run.recorded("Walk-v0", ACCOUNT, in_evaluation=True), n_envs=1)
            normalised = VecNormalize(venv)
            evaluate = EvalCallback(
                VecNormalize(evaluation, training=False), eval_freq=64, n_eval_episodes=2, verbose=0, warn=False
            )
            model = PPO("MlpPolicy", normalised, n_steps=64, batch_size=64, n_epochs=1, device="cpu")
            model.learn(128, callback=evaluate)
            venv.close()
            evaluation.close()
        found = rows(name)
        training = [row for row in found if row.in_evaluation is None]
        assert sum(row.total_steps for row in training) == 128
        assert sum(row.end_reason == "time_limit" for row in training) == 6
        assert sum(row.in_evaluation is True and row.end_reason == "time_limit" for row in found) == 2
        assert status(name) == "completed"
        # VecNormalize scales rewards outside of the recorder, so the journal has the env's own.
        assert all(row.total_reward == pytest.approx(row.pnl, abs=1e-6) for row in found)


def test_run__sb3_contrib__trains(tmp_path: Path) -> None:
    contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.env_util import make_vec_env

    with start_run("mine") as run:
        venv = make_vec_env(run.recorded(Walk, ACCOUNT, length=10), n_envs=2)
        contrib.TRPO("MlpPolicy", venv, n_steps=32, batch_size=32, device="cpu").learn(64)
    assert sum(row.end_reason == "time_limit" for row in rows("mine")) == 6


@pytest.mark.parametrize("actions", ["discrete", "box"])
def test_recorded_env__passes_both_checkers(actions: str) -> None:
    with start_run("mine") as run, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")  # of any wrapper
        check_env(run.record(gym.make("Walk-v0", actions=actions), ACCOUNT), skip_render_check=True)
        checker = pytest.importorskip("stable_baselines3.common.env_checker")
        checker.check_env(run.record(Walk(actions=actions), ACCOUNT))


def test_run__name_that_exists__shows_both_ways_out() -> None:
    with start_run("mine") as run:
        play(run.record(Walk(), ACCOUNT), 5)
    with pytest.raises(JournalExistsError) as error:
        start_run("mine")
    told = "".join(traceback.format_exception_only(error.value))
    assert told.count("choose another name") == 1
    assert "resume=True" in told
    with start_run("mine", resume=True) as run:
        play(run.record(Walk(), ACCOUNT), 5)
    assert len(rows("mine")) == 2


def test_run__ended_before_its_first_episode__does_not_keep_its_name(tmp_path: Path) -> None:
    """A first reset raised, and the user runs the mended script. A file of an episode or a child keeps the name."""
    with pytest.raises(ValueError, match="no key"), start_run("mine") as run:
        run.record(Walk(), Account(value="no key")).reset()
    with start_run("mine"), pytest.raises(JournalExistsError):
        start_run("mine")
    with start_run("mine", journal_root=tmp_path / "other") as run:
        (run.journal_root / "mine" / "lost.failed").touch()
    with pytest.raises(JournalExistsError):
        start_run("mine")
    with start_run("parent"), start_run("child", parent_run_id="parent"):
        pass
    with pytest.raises(JournalExistsError):
        start_run("parent")


@pytest.mark.parametrize("case", ["copied", "killed", "marker gone"])
def test_run__that_may_have_recorded_on_another_machine__keeps_its_name(case: str) -> None:
    """No row and no file here prove nothing: a copy of the run records where it was sent to, perhaps without rows."""
    if case == "killed":
        pid = os.fork()
        if pid == 0:
            start_run("mine")
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        with open_engine(os.environ["RSC_DATABASE_URL"]).begin() as connection:
            assert runs.interrupt_run(connection, "mine")
    else:
        with start_run("mine") as run:
            if case == "copied":
                pickle.dumps(run.recorded(Walk, ACCOUNT))
        if case == "marker gone":
            marker_path(run.journal_root, "mine").unlink()
    with pytest.raises(JournalExistsError):
        start_run("mine")


def test_run__resumed__goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into its own folder, wherever the environment points now; and never while another process records it."""
    with start_run("mine", resume=True) as run:
        play(run.record(Walk(), ACCOUNT), 25)
        with pytest.raises(JournalExistsError, match="is being recorded by another process"):
            start_run("mine", resume=True)
    here = os.environ["RSC_JOURNAL_ROOT"]
    monkeypatch.setenv("RSC_JOURNAL_ROOT", str(tmp_path / "elsewhere"))
    again = start_run("mine", resume=True)
    assert str(again.journal_root) == here
    assert status("mine") == "running"
    play(again.record(Walk(), ACCOUNT), 25)
    again.end()
    assert len(rows("mine")) == 4
    assert status("mine") == "completed"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("broken"), "error"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(0), "completed"),
        (SystemExit(), "completed"),
        (SystemExit(3), "error"),
    ],
)
def test_run__block_that_raises__says_so_and_masks_nothing(error: BaseException, expected: str) -> None:
    def train() -> None:
        with start_run("mine") as run:
            play(run.record(Walk(), ACCOUNT), 5)
            raise error

    with pytest.raises(type(error)) as raised:
        train()
    assert raised.value is error
    assert status("mine") == expected
    assert len(rows("mine")) == 1


def test_run__database_that_is_gone__masks_nothing(tmp_path: Path) -> None:
    end = """
    try:
        with run:
            os.rename("rsc.db", "away.db")
            os.mkdir("rsc.db")
            raise ValueError("mine")
    except ValueError as error:
        assert str(error) == "mine"
    """
    assert script(textwrap.dedent(end), cwd=tmp_path) == 0
    (tmp_path / "rsc.db").rmdir()
    (tmp_path / "away.db").rename(tmp_path / "rsc.db")
    assert rows("mine") == []
    assert command("reconciler", "--run-id", "mine").returncode == 0
    assert len(rows("mine")) == 2
    assert status("mine") == "interrupted"


def test_run__no_time_for_all_rows__says_that_time_was_short(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsc.runs.CLOSING_S", 0.0)
    with caplog.at_level(logging.WARNING, "rsc"), start_run("mine") as run:
        env = run.record(Walk(), account=ACCOUNT)
        env.reset(seed=1)
        env.step(env.action_space.sample())
        env.close()
    assert "1 of 1 episodes are not on record yet, because the end of a run takes at most 0 s" in caplog.text


def test_run__that_recorded_nothing__says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rsc"), start_run("mine"):
        pass
    assert "run mine recorded no episode" in caplog.text


SCRIPT = """
import os, signal, sys
import rsc
from rsc.recording.episode import JournalSettings
from rsc.recording.recorder import Recorder
from tests.support.walks import ACCOUNT, Walk
run = rsc.start_run("{name}")
env = {start}
env.reset(seed=1)
for _ in range(30):
    if any(env.step(env.action_space.sample())[2:4]):
        env.reset()
{end}
"""


def script(end: str, name: str = "mine", start: str = "run.record(Walk(), ACCOUNT)", cwd: Path | None = None) -> int:
    """Play an episode and a half in another process; return its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = SCRIPT.format(name=name, start=start, end=end)
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=cwd, timeout=120, check=False).returncode


def test_run__process_that_exits_without_ending_it__is_interrupted() -> None:
    assert script("sys.exit(0)") == 0
    assert status("mine") == "interrupted"
    assert sorted(row.total_steps for row in rows("mine")) == [10, 20]


def test_run__process_that_is_killed__is_rescued_by_reconcile() -> None:
    assert script("os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL
    assert rows("mine") == []
    assert command("reconciler", "--run-id", "mine").returncode == 0
    assert sorted((row.total_steps, row.status) for row in rows("mine")) == [(10, "truncated"), (20, "completed")]
    assert status("mine") == "interrupted"
    assert check("mine").returncode == 0


def test_run__in_a_forked_child__is_not_ended(tmp_path: Path) -> None:
    with start_run("mine") as run:
        pid = os.fork()
        if pid == 0:
            run.end("error")
            os._exit(0)
        os.waitpid(pid, 0)
        assert status("mine") == "running"
    assert status("mine") == "completed"


def test_run__in_another_process__records_and_knows_no_database() -> None:
    with start_run("mine") as run:
        data = cloudpickle.dumps([run, run.recorded(Walk, ACCOUNT)])
        assert b"rsc.db" not in data
        copy, maker = pickle.loads(data)
        copy.end("error")
        play(copy.record(Walk(), ACCOUNT), 25)
        play(maker(length=5), 5)
        assert len(journals("mine")) == 4
    assert status("mine") == "completed"
    assert len(rows("mine")) == 4


@pytest.mark.parametrize("make", [5, None, object()])
def test_recorded__what_makes_no_env__is_refused_at_once(make: Any) -> None:
    with start_run("mine") as run:
        with pytest.raises(TypeError):
            run.recorded(make)
        with pytest.raises(gym.error.Error):
            run.recorded("NoSuchEnv-v0")


def test_record__what_is_no_env__says_what_to_do() -> None:
    with start_run("mine") as run:
        with pytest.raises(TypeError, match=r"run\.recorded"):
            run.record(Walk)
        with pytest.raises(TypeError, match=r"wrappers=\[run\.record\]"):
            run.record(gym.vector.SyncVectorEnv([Walk]))
        recorded = run.record(Walk(), ACCOUNT)
        with pytest.raises(TypeError, match="recorded already"):
            run.record(gym.wrappers.TimeLimit(recorded, 5))
        vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
        with pytest.raises(TypeError, match=r"make_vec_env\(run\.recorded"):
            run.record(vec_env.DummyVecEnv([Walk]))


def test_recorded__id_of_another_module__is_known_in_a_new_process() -> None:
    """What registered the id was imported here, and nobody imports it there."""
    with start_run("mine") as run:
        envs = gym.vector.AsyncVectorEnv([run.recorded("Walk-v0", ACCOUNT)], context="spawn")
        envs.reset(seed=1)
        envs.step(np.array([1]))
        envs.close()
    assert [row.total_steps for row in rows("mine")] == [1]


def test_import__start_run__needs_neither_ray_nor_torch() -> None:
    code = (
        "import rsc, sys; rsc.start_run; print([one for one in ('ray', 'torch', 'sqlalchemy') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_reconcile__run_that_never_had_a_row__works_by_its_name(tmp_path: Path) -> None:
    """Envs that were recorded without `start_run`, or whose row the database lost."""
    alone = "Recorder(Walk(), JournalSettings(os.environ['RSC_JOURNAL_ROOT'], 'mine'), account=ACCOUNT)"
    assert script("sys.exit(0)", name="other", start=alone) == 0
    assert command("reconciler", "--run-id", "mine").returncode == 0
    assert sorted(row.total_steps for row in rows("mine")) == [10, 20]
    assert status("mine") == "interrupted"
    assert check("mine").returncode == 0
    assert command("reconciler", "--run-id", "mine", "--audit").returncode == 0


def test_run__account_that_tells_little__is_complete_and_says_what_is_not_told() -> None:
    with start_run("mine") as run:
        play(run.record(Walk(), Account(value="net_worth")), 20)
    done = check("mine")
    assert done.returncode == 0
    assert "not told by this env: annual_return, sharpe_ratio" in done.stdout
    assert "trades unknown" in done.stdout


def test_run__a_journal_fails__its_row_says_so_at_once_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Invariant J6: the disk may show nothing of it later, so the database is told."""
    with start_run("r1") as run:
        env = run.record(Walk(), ACCOUNT)
        play(env, 5)
        writer = env._writer
        os.rename(writer.path.parent, f"{writer.path.parent}-gone")
        writer.hand_over(OSError(errno.ENOENT, "j.arrows was removed"))
        deadline = time.monotonic() + 30
        while not rows("r1") and time.monotonic() < deadline:
            time.sleep(0.05)
        ((status_, reason),) = [(row.status, row.status_reason) for row in rows("r1")]
        assert (status_, reason) == ("started", "its journal failed after step 5: j.arrows was removed")
        os.rename(f"{writer.path.parent}-gone", writer.path.parent)
        for _ in range(3):
            env.step(0)
        env.close()
    (row,) = rows("r1")
    assert (row.status, row.evidence_steps) == ("truncated", 5)
    assert "later steps lost, number unknown" in row.status_reason


def test_run__killed_after_a_journal_failed__reconcile_says_that_steps_are_lost(tmp_path: Path) -> None:
    """The disk shows the journal as it was before the failure, as after a remount."""
    code = f"""
        import errno, os, signal, sys, time
        import rsc
        sys.path.append({str(ROOT)!r})
        from tests.support.walks import ACCOUNT, Walk
        run = rsc.start_run("r1")
        env = run.record(Walk(), ACCOUNT)
        env.reset(seed=1)
        for _ in range(5):
            env.step(0)
        env._writer.hand_over(OSError(errno.EROFS, "Read-only file system"))
        print("failed", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "failed\n"
        deadline = time.monotonic() + 30
        while not rows("r1") and time.monotonic() < deadline:
            time.sleep(0.05)
        killed.kill()
    done = command("reconciler", "--run-id", "r1", "--wait", "30s")
    assert done.returncode == 3, done.stdout + done.stderr
    (row,) = rows("r1")
    assert (row.status, row.evidence_steps) == ("truncated", 5)
    assert "later steps lost, number unknown; its journal failed after step 5" in row.status_reason
    checked = command("rsc", "check", "r1")
    assert (checked.returncode, checked.stderr) == (
        3, f"episode {row.episode_id}: later steps are lost, number unknown\n"
    )  # fmt: skip


def test_run__several_threads_step_one_env__what_was_recorded_is_readable_and_the_rest_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An env serves one thread. A journal of several would hold its steps in no order."""
    with start_run("r1") as run:
        env = run.record(Walk(length=100_000), ACCOUNT)
        env.reset(seed=1)
        writer = env._writer
        append, inner = writer._put, []

        def put(data: bytes) -> int:
            if not inner:  # another thread comes first
                inner.append(True)
                env.step(0)
            return int(append(data))

        writer._put = put
        env.step(0)
        for _ in range(5):
            env.step(0)
        env.close()
    assert "several threads append to it at once" in caplog.text
    (row,) = rows("r1")
    assert row.status == "truncated"
    assert "later steps lost, number unknown" in row.status_reason


def test_run__steps_after_the_end_or_the_close__are_said_not_to_be_recorded(caplog: pytest.LogCaptureFixture) -> None:
    from rsc.recording import episode

    episode._said.clear()
    with start_run("r1") as run:
        env = run.record(Endless(), ACCOUNT)
        env.reset()
        for _ in range(21):
            env.step(0)
        env.close()
        env.step(0)
    assert "not recorded: the episode has ended" in caplog.text
    assert "not recorded: the env was closed" in caplog.text


class Endless(Walk):
    """Goes on behind its own end."""

    def step(self, action: Any) -> Any:
        if self.t == self.length:
            self.t -= 1
        return super().step(action)


@pytest.mark.parametrize("name", [5, b"x", "", "a/b"])
def test_start_run__what_is_no_run_id__is_refused_by_name(name: Any) -> None:
    with pytest.raises(UnsafeNameError, match="is not a run id"):
        start_run(name)
