"""Training never stops, changes or slows for the record: env runners as RLlib makes them, in a process of their own."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.attacks.needs import need_mounts, not_yet
from tests.attacks.places import Place, place
from tests.attacks.processes import TRAINER, no_traceback, run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene
from tests.attacks.servers import admin, plain
from tests.postgres import PostgresServer

pytestmark = pytest.mark.rllib
QUICK_S = 1.5
"""Three episodes of 20 steps take a twentieth of this; the rest is room for a busy machine."""


class Stage:
    """A training process in a place where it can be given a name server, and a database and a root for each test."""

    def __init__(self, scene: Scene, inside: Place) -> None:
        self.scene, self.place = scene, inside
        self.trainer = scene.writer(inside, program=TRAINER)

    def begin(self, config: str, name: str, url: str = "") -> Records:
        """Attach a config, as variables ``run`` and ``runner`` of the process; its run is called by this name."""
        folder = self.scene.folder / name
        url = url or f"sqlite:///{folder}/rsc.db"
        self.root = folder / "journal"
        self.trainer.do(f"run, runner = recorded({config}, {str(self.root)!r}, {url!r}, {name!r})")
        return Records(url)

    def do(self, code: str) -> Any:
        return self.trainer.do(code)

    def end(self) -> None:
        """The training ends; the runner's episodes are dropped, as RLlib does."""
        self.do("runner.stop(); run.end('completed')")

    def journals(self, name: str) -> list[dict[str, Any]]:
        import json

        done = run("journal", "ls", name, "--json", "--journal-root", self.root)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def stage(shared_scene: Scene) -> Iterator[Stage]:
    need_mounts()
    with place() as inside:
        stage = Stage(shared_scene, inside)
        yield stage
        stage.trainer.close()


# --- nothing changes

SPACES = {
    "Discrete": ("Discrete(3)", 1),
    "Discrete from -1": ("Discrete(3, start=-1)", 1),
    "Dict": ("Dict({'size': gym.spaces.Box(-1, 1, (2,)), 'side': gym.spaces.Discrete(2)})", 3),
    "Tuple": ("Tuple((gym.spaces.Discrete(2), gym.spaces.Box(-1, 1)))", 2),
    "nested": ("Dict({'a': gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.MultiBinary(2)))})", 3),
    "Text": ("Text(5)", 0),
    "Box scalar": ("Box(-1, 1, ())", 1),
    "Box 3": ("Box(-1, 1, (3,))", 3),
    "Box 2 x 2": ("Box(-1, 1, (2, 2))", 4),
    "Box of int8": ("Box(-5, 5, (2,), np.int8)", 2),
    "MultiDiscrete": ("MultiDiscrete([2, 3])", 2),
    "MultiDiscrete 2-d": ("MultiDiscrete([[2, 3], [4, 5]])", 4),
    "MultiBinary": ("MultiBinary(3)", 3),
    "MultiBinary 2-d": ("MultiBinary((2, 2))", 4),
}
COMPARED = """
def what_a_trainer_sees(runner):
    episode = sample(runner)[0].to_numpy()
    infos = [{k: v for k, v in info.items() if not k.startswith("journal")} for info in episode.get_infos()]
    return {
        "length": len(episode),
        "observations": np.asarray(episode.get_observations()).tobytes().hex()[:4000],
        "rewards": np.asarray(episode.get_rewards()).tolist(),
        "ended": [bool(episode.is_terminated), bool(episode.is_truncated)],
        "infos": str(infos),
        "keys": sorted(set().union(*episode.get_infos()) - set().union(*infos)),
    }, episode
"""


def compared(stage: Stage, env: str, name: str) -> dict[str, Any]:
    """A bare and a recorded runner of one config give the trainer the same; returns what the recorded one gave."""
    stage.do(COMPARED)
    bare, _ = stage.do(f"bare = runner_of(configured({env}))\nseen, _ = what_a_trainer_sees(bare)\nseen, 0")
    stage.begin(f"configured({env})", name)
    seen, _ = stage.do("seen, episode = what_a_trainer_sees(runner)\nseen, 0")
    keys = seen.pop("keys")
    bare.pop("keys")
    assert seen == bare
    assert set(keys) <= {"journal", "journal_failed"}
    return dict(seen)


@pytest.mark.parametrize("kind", list(SPACES))
def test_action_space__of_any_kind__the_trainer_sees_the_same_and_every_number_is_recorded(
    stage: Stage, kind: str
) -> None:
    space, numbers = SPACES[kind]
    name = f"space-{list(SPACES).index(kind)}"
    compared(stage, f"actions_of(gym.spaces.{space})", name)
    stage.end()
    told = stage.journals(name)[0]
    assert (told["state"], told["end"], told["steps"]) == ("closed", "time_limit", 20), told
    columns = stage.do(
        f"""
from journal import read_journal
table = read_journal({told["path"]!r}).steps()
{{name: table[name].to_pylist() for name in table.schema.names if name == "action" or name.startswith("action_")}}
"""
    )
    given = stage.do(
        """
def numbers(action):
    if isinstance(action, dict):
        return [x for key in sorted(action) for x in numbers(action[key])]
    if isinstance(action, (tuple, list)):
        return [x for part in action for x in numbers(part)]
    return [float(x) for x in np.ravel(action)] if not isinstance(action, str) else []
[numbers(action) for action in episode.get_actions()] if not isinstance(episode.get_actions(), (dict, tuple)) else None
"""
    )
    if numbers == 0:
        assert all(value is None or value != value for column in columns.values() for value in column)
        return
    assert len(columns) == numbers, list(columns)
    if given is not None:
        assert [sorted(row) for row in zip(*columns.values(), strict=True)] == [sorted(row) for row in given]


@pytest.mark.parametrize("shape", ["(1,)", "(1, 1)", "()", "(2,)"])
def test_reward__is_an_array__the_caller_gets_that_array_and_its_number_is_recorded(stage: Stage, shape: str) -> None:
    """Gymnasium's vector envs refuse such rewards with today's numpy, but not every trainer uses them."""
    name = f"reward-{len(shape)}-{shape.count('2')}"
    stage.begin(f"configured(actions_of(gym.spaces.Discrete(3), reward_shape={shape}))", name)
    rewards = stage.do(
        """
env = env_of(runner)
env.reset(seed=1)
given = [env.step(1)[1] for _ in range(20)]
[[type(reward).__name__, list(np.shape(reward)), str(reward.dtype), np.ravel(reward).tolist()] for reward in given]
"""
    )
    stage.end()
    assert {(kind, tuple(size), dtype) for kind, size, dtype, _ in rewards} == {("ndarray", eval(shape), "float32")}
    told = max(stage.journals(name), key=lambda line: line["steps"])
    assert (told["state"], told["end"], told["steps"]) == ("closed", "time_limit", 20), told
    code = f"from journal import read_journal\nread_journal({told['path']!r}).steps()['reward'].to_pylist()"
    recorded = stage.do(code)
    if shape == "(2,)":
        assert all(value is None or value != value for value in recorded), "two numbers are no reward: unknown, never 0"
    else:
        assert recorded == pytest.approx([values[0] for *_, values in rewards], abs=1e-6)


@pytest.mark.parametrize(
    "vectorised",
    [
        pytest.param(False, id="TradingEnv"),
        pytest.param(True, id="TradingVectorEnv"),
    ],
)
def test_trading_env__refused_action__consumes_no_bar(stage: Stage, vectorised: bool) -> None:
    """Whoever catches the error plays the same episode as somebody who never made it."""
    told = stage.do(
        f"""
def play(slip):
    if {vectorised}:
        env = rsc.TradingVectorEnv({{"episode_length": 20}}, 2)
        good, bad = np.array([1, 2]), np.array([1, 99])
    else:
        env = TradingEnv({{"episode_length": 20}})
        good, bad = 1, 99
    env.reset(seed=3)
    seen = []
    for step in range(6):
        if slip and step == 3:
            try:
                env.step(bad)
                seen.append("accepted")
            except Exception:
                pass
        observation, reward, *_ = env.step(good)
        seen.append([np.asarray(observation).tolist(), np.asarray(reward).tolist()])
    return seen
play(True) == play(False)
"""
    )
    assert told


# --- the caller's own ways


def test_exception__caught_by_the_caller__steps_after_it_are_recorded_or_their_loss_is_told(stage: Stage) -> None:
    """A notebook that retries a step."""
    stage.do(
        """
class Slips(TradingEnv):
    calls = 0
    def step(self, action):
        self.calls += 1
        if self.calls == 5:
            raise RuntimeError("the data feed hiccups")
        return super().step(action)
"""
    )
    stage.begin("configured(Slips, episode_length=50)", "caught")
    before = len(stage.trainer.stderr())
    returned = stage.do(
        """
env = env_of(runner)
env.reset(seed=1)
returned = 0
for _ in range(12):
    try:
        env.step(1)
        returned += 1
    except RuntimeError:
        pass
returned
"""
    )
    recorded = sum(line["steps"] for line in stage.journals("caught"))
    told = stage.trainer.stderr()[before:]
    stage.end()
    assert recorded == returned or "not recorded" in told, (
        f"{recorded} of {returned} steps, and this was told: {told!r}"
    )


def test_deepcopy__of_a_running_recorded_env__works_and_leaves_the_record_alone(stage: Stage) -> None:
    """A planner that looks ahead with copies of its env."""
    stage.begin("configured(TradingEnv)", "copied")
    told = stage.do(
        """
import copy
env = env_of(runner)
env.reset(seed=1)
for _ in range(5):
    env.step(1)
ahead = copy.deepcopy(env)
for _ in range(7):
    ahead.step(2)
twin = copy.deepcopy(ahead)
ahead.close()
del ahead
import gc; gc.collect()
for _ in range(5):
    env.step(1)
"done"
"""
    )
    assert told == "done"
    lines = [line for line in stage.journals("copied") if line["steps"]]
    stage.end()
    assert [(line["state"], line["steps"]) for line in lines] == [("open", 10)], lines


# --- databases


def test_integrity_error__of_one_row__the_others_are_written_at_once(stage: Stage) -> None:
    """One refused row says nothing of the next one."""
    records = stage.begin("configured(TradingEnv)", "refused")
    records.sql("CREATE TRIGGER bad BEFORE INSERT ON episodes BEGIN SELECT RAISE(ABORT, 'refused'); END")
    stage.do("sample(runner, 2); None")
    records.sql("DROP TRIGGER bad")
    stage.do("sample(runner, 2); None")
    stage.end()
    done = [row for row in records.episodes("refused") if row["status"] == "completed"]
    assert len(done) >= 2, records.episodes("refused")


def test_locked_sqlite__by_another_process__sampling_does_not_wait(stage: Stage) -> None:
    import sqlite3

    records = stage.begin("configured(TradingEnv)", "locked")
    stage.do("sample(runner, 1); None")
    holder = sqlite3.connect(records.url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        assert sampled_in(stage) < QUICK_S
    finally:
        holder.close()
    stage.end()
    assert len([row for row in records.episodes("locked") if row["status"] == "completed"]) >= 4


def sampled_in(stage: Stage, episodes: int = 3) -> float:
    """Seconds that a runner needs for some episodes."""
    code = f"begun = time.perf_counter()\nsample(runner, {episodes})\ntime.perf_counter() - begun"
    return float(stage.do(code))


def settled(stage: Stage, records: Records, name: str, count: int) -> None:
    """After a pass every episode that ended is complete."""
    stage.end()
    done = run("reconciler", "--run-id", name, "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    no_traceback(done)
    rows = records.episodes(name)
    assert len([row for row in rows if row["status"] == "completed" and row["total_steps"] == 20]) == count, said(done)
    assert not [row for row in rows if row["status"] == "started"]


def test_stopped_postgres__sampling_does_not_wait_and_nothing_is_lost(
    stage: Stage, postgres_server: PostgresServer
) -> None:
    """Every process of the server is suspended: connections are accepted by the kernel, and nothing answers."""
    url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
    records = stage.begin("configured(TradingEnv)", "stopped", plain(url))
    stage.do("sample(runner, 1); None")
    server = psutil.Process(postgres_server.pid)
    processes = [server, *server.children(recursive=True)]
    try:
        for process in processes:
            process.suspend()
        assert sampled_in(stage) < QUICK_S
        assert sampled_in(stage) < QUICK_S
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    settled(stage, records, "stopped", 7)


def test_stopped_postgres__the_end_of_a_run_is_bounded(stage: Stage, postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
    records = stage.begin("configured(TradingEnv)", "bounded", plain(url))
    stage.do("sample(runner, 1); None")
    server = psutil.Process(postgres_server.pid)
    processes = [server, *server.children(recursive=True)]
    try:
        for process in processes:
            process.suspend()
        stage.do("sample(runner, 2); None")
        took = stage.do("begun = time.perf_counter()\nrunner.stop(); run.end('completed')\ntime.perf_counter() - begun")
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    assert took < 14, f"{took:.1f} s: a drain of 5 s, and the run's own row"
    done = run("reconciler", "--run-id", "bounded", "--grace", "0s", "--database-url", records.url)
    assert done.returncode == 0, said(done)


def test_name_server_that_never_answers__sampling_does_not_wait_and_nothing_is_lost(
    stage: Stage, postgres_server: PostgresServer
) -> None:
    """The database's name is known at first; then the name server goes silent, and the connections are cut."""
    hosts, resolver = stage.scene.folder / "hosts", stage.scene.folder / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost db.attack.internal\n")
    resolver.write_text("nameserver 127.0.0.9\noptions timeout:5 attempts:2\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.9", 53))
        stage.place.bind(hosts, "/etc/hosts")
        stage.place.bind(resolver, "/etc/resolv.conf")
        try:
            url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
            named = plain(url).replace("127.0.0.1", "db.attack.internal")
            stage.begin("configured(TradingEnv)", "nameless", named)
            stage.do("sample(runner, 1); None")
            hosts.write_text("127.0.0.1 localhost\n")
            admin(
                postgres_server.url(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
            )
            assert sampled_in(stage) < QUICK_S
            assert sampled_in(stage) < QUICK_S
        finally:
            hosts.write_text("127.0.0.1 localhost db.attack.internal\n")
            stage.do("runner.stop(); run.end('completed')")
            stage.place.unmount("/etc/hosts")
            stage.place.unmount("/etc/resolv.conf")
    stage.do(
        "runner = type('Stopped', (), {'stop': lambda self: None})(); run = type('Ended', (), {'end': lambda s, w: None})()"
    )
    settled(stage, Records(url), "nameless", 7)


def test_journals__are_read_before_the_transaction_begins(stage: Stage) -> None:
    """A large journal must not lock a SQLite file for everybody else. Each opening of a journal probes the lock."""
    records = stage.begin("configured(TradingEnv)", "probed")
    stage.do(
        f"""
import os, sqlite3, sys, threading
locked = []
watching = True
def probe(event, args):
    if not watching or event != "open" or not isinstance(args[0], (str, bytes, os.PathLike)):
        return
    path, flags = os.fspath(args[0]), args[2] or 0
    if str(path).endswith((".arrows", ".tail")) and not flags & (os.O_WRONLY | os.O_RDWR):
        connection = sqlite3.connect({records.url.removeprefix("sqlite:///")!r}, timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            locked.append(f"{{path}}: {{error}}")
        finally:
            connection.close()
sys.addaudithook(probe)
sample(runner, 5)
runner.stop(); run.end("completed")
"""
    )
    locked = stage.do("watching = False\nlocked")
    assert locked == []
    assert len([row for row in records.episodes("probed") if row["status"] == "completed"]) >= 5


def test_stale_handle__while_a_callback_reads_a_journal__the_database_is_not_blamed(stage: Stage) -> None:
    records = stage.begin("configured(TradingEnv)", "stale")
    before = len(stage.trainer.stderr())
    stage.do(
        """
import errno, fcntl, os
real = os.fstat
def stale(fd):
    name = os.readlink(f"/proc/self/fd/{fd}") if isinstance(fd, int) else ""
    if name.endswith((".arrows", ".tail")) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return real(fd)
os.fstat = stale
try:
    sample(runner, 2)
    runner.stop(); run.end("completed")
finally:
    os.fstat = real
"""
    )
    told = stage.trainer.stderr()[before:]
    assert "database" not in told, told
    done = run("reconciler", "--run-id", "stale", "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    assert done.returncode == 0, said(done)
    assert len([row for row in records.episodes("stale") if row["status"] == "completed"]) >= 2


@not_yet("the journal does not tell the env's index")
def test_adopted_episode__its_row_was_lost__tells_what_the_lost_row_told(stage: Stage) -> None:
    """Evaluation or training, worker, env, market: all of it is in the journal, but RLlib's own id."""
    records = stage.begin("configured(TradingEnv, envs=2, evaluation=True)", "adopted")
    stage.do("sample(runner, 3); None")
    stage.end()
    run("reconciler", "--run-id", "adopted", "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    before = {row["journal_id"]: row for row in records.episodes("adopted")}
    assert all(row["in_evaluation"] for row in before.values())
    records.sql("DELETE FROM completed_trades")
    records.sql("DELETE FROM episodes")
    done = run("reconciler", "--run-id", "adopted", "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    assert done.returncode == 0, said(done)
    after = {row["journal_id"]: row for row in records.episodes("adopted")}
    ours = ("episode_id", "rllib_episode_id", "finalized_by", "finalized_at", "finalized_pass", "status_reason")
    of_rllib = ("iteration", "env_steps_at_start", "start_iteration", "start_env_steps", "lifetime_steps_at_start")
    for journal_id, row in before.items():
        changed = {
            name: (value, after[journal_id][name])
            for name, value in row.items()
            if name not in (*ours, *of_rllib) and after[journal_id][name] != value
        }
        assert not changed, changed


# --- other nodes, and secrets


def test_config_of_a_run_that_ended__trains_on_without_a_record_and_makes_no_database(stage: Stage) -> None:
    """A checkpoint that is restored tomorrow, perhaps on another machine: one warning, and no stray file."""
    records = stage.begin("configured(TradingEnv)", "ended")
    home = Path(records.url.removeprefix("sqlite:///")).parent
    stage.do("import ray.cloudpickle\nparcel = ray.cloudpickle.dumps(runner.config)")
    stage.end()
    home.rename(home.with_name("ended-moved"))
    before = len(stage.trainer.stderr())
    length = stage.do(
        """
old = runner_of(ray.cloudpickle.loads(parcel))
length = len(sample(old, 1)[0])
old.stop()
length
"""
    )
    assert length == 20
    assert not home.exists()
    told = [line for line in stage.trainer.stderr()[before:].splitlines() if "record" in line]
    assert len(told) == 1, told


SECRET = "tr0ub4dor-and-3"


def test_password__of_an_attached_run__travels_in_no_config(stage: Stage, postgres_server: PostgresServer) -> None:
    """Configs are pickled into checkpoints, logged, and sent to experiment trackers."""
    url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
    secret = plain(url).replace("rsc@", f"rsc:{SECRET}@")
    stage.begin("configured(TradingEnv)", "secret", secret)
    found = stage.do(
        f"""
import json, pickle
import ray.cloudpickle as cloudpickle
secret = {SECRET!r}
places = {{
    "pickle of the config": cloudpickle.dumps(runner.config),
    "to_dict": cloudpickle.dumps(runner.config.to_dict()),
    "copy": cloudpickle.dumps(runner.config.copy()),
    "serialize": repr(runner.config.serialize()).encode(),
    "get_state of the config": cloudpickle.dumps(runner.config.get_state()),
    "get_state of the runner": cloudpickle.dumps(runner.get_state()),
    "repr of the run": repr(run).encode(),
    "vars of the config": repr(vars(runner.config)).encode(),
}}
[name for name, data in places.items() if secret.encode() in data]
"""
    )
    stage.do("sample(runner, 1); None")
    stage.end()
    assert found == []
    assert SECRET not in stage.trainer.stderr()
    assert SECRET not in Path(f"/proc/{stage.trainer.process.pid}/cmdline").read_text()
    files = [path for path in stage.root.parent.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not files
    assert len(Records(url).episodes("secret")) >= 1
