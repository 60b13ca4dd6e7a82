"""`rsc export`: what the tools read back is the run, once, however often it is exported. The tools are the real packages."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

import rsc
from rsc.db import runs
from rsc.db.models import episodes
from rsc.db.session import open_engine
from rsc.exporting.parts import METRICS, ExportError, parts_of
from tests.support.walks import ACCOUNT, Walk

ROOT = Path(__file__).resolve().parents[2]
NOT_TESTED = "{} is not installed, so exports into it are NOT tested"


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RSC_JOURNAL_ROOT", "RSC_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def play(env: Any, steps: int) -> None:
    env.action_space.seed(1)
    env.reset(seed=1)
    for _ in range(steps):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()


def record(run_id: str = "mine") -> None:
    """Three episodes of training, the last one truncated, and one of evaluation."""
    with rsc.start_run(run_id, parameters={"lr": 0.001, "note": "a|b"}) as run:
        play(run.record(Walk(), ACCOUNT), 50)
        play(run.record(Walk(), ACCOUNT, in_evaluation=True), 19)


def record_and_be_killed(run_id: str = "mine") -> None:
    """A process that is killed in its second episode. No row is written."""
    code = f"""
        import os, signal, rsc
        from tests.rsc.test_exporting import play, ACCOUNT, Walk
        run = rsc.start_run({run_id!r})
        play(run.record(Walk(), ACCOUNT), 30)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)]),
    }
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL


def run_program(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, timeout=240, check=False
    )


def add_trials(run_id: str = "mine") -> None:
    """Make a sweep of a run: two episodes of one trial, two of another."""
    engine = open_engine(f"sqlite:///{Path('rsc-data/rsc.db').absolute()}")
    numbers = rsc.load_run(run_id).episodes()["episode_id"].to_pylist()
    with engine.begin() as connection:
        start = rsc.load_run(run_id).row["start_time"]  # type: ignore[index]
        for place, trial in enumerate(("t_0", "t_1")):
            runs.add_trial(connection, run_id, trial, {"lr": 0.1 * (place + 1)}, start)
            wanted = episodes.c.episode_id.in_(numbers[2 * place : 2 * place + 2])
            connection.execute(update(episodes).where(wanted).values(trial_id=trial))


def expected(name: str, *, in_evaluation: bool = False) -> dict[int, float]:
    """A metric by episode number, of the run's own record."""
    rows = rsc.load_run("mine").episodes().to_pylist()
    return {
        row["episode_id"]: row[name]
        for row in rows
        if bool(row["in_evaluation"]) == in_evaluation and row[name] is not None and row["status"] != "started"
    }


def test_export__unknown_run_or_tool__is_one_line() -> None:
    record()
    with pytest.raises(ValueError, match="expected one of tensorboard, mlflow, wandb"):
        rsc.export_run("mine", "excel")  # type: ignore[arg-type]
    done = run_program("rsc", "export", "other", "--to", "tensorboard")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "there is no run 'other'" in done.stderr


def test_export__database_that_does_not_know_the_run__is_refused() -> None:
    record()
    Path("rsc-data/rsc.db").rename("rsc-data/other.db")
    with pytest.raises(ExportError, match="run mine is not in the database"):
        rsc.export_run("mine", "tensorboard")


def test_parts__sweep__each_trial_has_its_episodes_and_what_it_changed(tmp_path: Path) -> None:
    record()
    add_trials()
    whole, first, second = parts_of(rsc.load_run("mine"), tmp_path)
    assert [part.name for part in (whole, first, second)] == ["mine", "mine/t_0", "mine/t_1"]
    assert [part.episodes for part in (whole, first, second)] == [0, 2, 2]
    assert (first.parameters()["lr"], second.parameters()["lr"], whole.parameters()["lr"]) == (0.1, 0.2, 0.001)
    assert pq.read_table(second.file)["trial_id"].to_pylist() == ["t_1", "t_1"]


def events(folder: Path) -> tuple[dict[str, dict[int, float]], dict[str, str]]:
    """Curves and texts that TensorBoard reads in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
    from tensorboard.util import tensor_util

    read = EventAccumulator(str(folder), size_guidance={TENSORS: 0})
    read.Reload()
    curves: dict[str, dict[int, float]] = {}
    for tag in read.Tags()["scalars"]:
        points = read.Scalars(tag)
        curves[tag] = {point.step: point.value for point in points}
        assert len(curves[tag]) == len(points), "no point is there twice"
    texts = {tag: read.Tensors(tag)[-1].tensor_proto for tag in read.Tags()["tensors"]}
    for tag in list(texts):
        values = tensor_util.make_ndarray(texts[tag])
        if values.dtype == object:
            texts[tag] = values.item().decode()
        else:  # TensorBoard reads simple values as tensors, too
            curves[tag] = {one.step: tensor_util.make_ndarray(one.tensor_proto).item() for one in read.Tensors(tag)}
            assert len(curves[tag]) == len(read.Tensors(tag))
            del texts[tag]
    return curves, texts


def test_tensorboard__exported_twice__has_each_episode_once() -> None:
    pytest.importorskip("tensorboard", reason=NOT_TESTED.format("TensorBoard"))
    record()
    folder = Path("rsc-data/tensorboard/mine")
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1.theirs").write_bytes(b"")
    for _ in range(2):
        done = rsc.export_run("mine", "tensorboard")
        assert (done.parts, done.episodes, done.points, done.status) == (["mine"], 4, 4, "completed")
    assert (folder / "events.out.tfevents.1.theirs").exists(), "files of others stay"
    curves, texts = events(folder)
    for name in set(METRICS) - {"start_env_steps", "excess_return"}:
        assert curves[f"training/{name}"] == pytest.approx(expected(name), rel=1e-6)
        assert curves[f"evaluation/{name}"] == pytest.approx(expected(name, in_evaluation=True), rel=1e-6)
    assert "| truncated |" in texts["episodes"].replace("truncated | its", "truncated |")
    assert "| lr | 0.001 |" in texts["run"]
    assert "a\\|b" in texts["run"]
    assert pq.read_table(folder / "episodes.parquet").num_rows == 4


def test_tensorboard__sweep__is_a_folder_for_each_trial() -> None:
    pytest.importorskip("tensorboard", reason=NOT_TESTED.format("TensorBoard"))
    record()
    add_trials()
    done = rsc.export_run("mine", "tensorboard", output="boards")
    assert done.parts == ["mine/t_0", "mine/t_1"]
    curves = [events(Path("boards/mine") / trial)[0] for trial in ("t_0", "t_1")]
    assert [len(one["training/steps"]) + len(one.get("evaluation/steps", {})) for one in curves] == [2, 2]


def test_mlflow__killed_run_reconciled__is_no_longer_running() -> None:
    """Exported while it seems to run, and again after `reconcile`: one run, with the final status and each episode."""
    mlflow = pytest.importorskip("mlflow", reason=NOT_TESTED.format("MLflow"))
    record_and_be_killed()
    client = mlflow.MlflowClient(tracking_uri="sqlite:///ml.db")
    words = ("export", "mine", "--to", "mlflow", "-o", "sqlite:///ml.db", "--project", "trading")

    def external() -> Any:
        (found,) = client.search_runs([client.get_experiment_by_name("trading").experiment_id])
        return found

    assert run_program("rsc", *words).returncode == 0
    assert external().info.status == "RUNNING"
    assert client.get_metric_history(external().info.run_id, "training/steps") == []
    assert run_program("reconciler", "--run-id", "mine").returncode == 0
    for new in (2, 0):
        done = run_program("rsc", *words, "--json")
        assert (done.returncode, json.loads(done.stdout)["points"]) == (0, new), done.stderr
    assert external().info.status == "KILLED"
    assert external().data.tags["rsc.status"] == "interrupted"
    history = client.get_metric_history(external().info.run_id, "training/pnl")
    assert {one.step: one.value for one in history} == expected("pnl")
    assert len(history) == 2
    table = mlflow.artifacts.load_dict(f"{external().info.artifact_uri}/episodes.json")
    status = table["columns"].index("status")
    assert sorted(row[status] for row in table["data"]) == ["completed", "truncated"]


def test_mlflow__sweep__is_a_parent_with_children() -> None:
    mlflow = pytest.importorskip("mlflow", reason=NOT_TESTED.format("MLflow"))
    record()
    add_trials()
    for _ in range(2):
        rsc.export_run("mine", "mlflow", output="sqlite:///ml.db")
    client = mlflow.MlflowClient(tracking_uri="sqlite:///ml.db")
    found = {one.info.run_name: one for one in client.search_runs([client.get_experiment_by_name("rsc").experiment_id])}
    assert set(found) == {"mine", "t_0", "t_1"}
    assert {found[trial].data.tags["mlflow.parentRunId"] for trial in ("t_0", "t_1")} == {found["mine"].info.run_id}
    assert found["t_1"].data.params["lr"] == "0.2"
    assert {one.info.status for one in found.values()} == {"FINISHED"}


def offline_records(folder: Path) -> list[Any]:
    """What W&B wrote to send later: a log of LevelDB, with a header of its own, of protobuf records."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        data, place, message = path.read_bytes(), 7, b""
        assert data.startswith(b":W&B")
        while place + 7 <= len(data):
            if 32768 - place % 32768 < 7:  # a block's end that has no room for a header
                place += 32768 - place % 32768
                continue
            _, length, kind = struct.unpack_from("<IHB", data, place)
            message += data[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # whole, or the last piece
                found.append(Record.FromString(message))
                message = b""
    return found


def test_wandb__offline_and_twice__sends_each_episode_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason=NOT_TESTED.format("wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    record()
    assert rsc.export_run("mine", "wandb").points == 4
    assert rsc.export_run("mine", "wandb").points == 0
    records = offline_records(Path())
    lines = [
        {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in one.history.item}
        for one in records
        if one.WhichOneof("record_type") == "history"
    ]
    sent = {line["episode_id"]: line["training/pnl"] for line in lines if "training/pnl" in line}
    assert sent == expected("pnl")
    assert sum("training/pnl" in line or "evaluation/pnl" in line for line in lines) == 4
    runs_sent = [one.run for one in records if one.WhichOneof("record_type") == "run"]
    assert {(one.run_id, one.project) for one in runs_sent} == {("mine", "rsc")}
    summaries = [item for one in records for item in one.summary.update]
    assert "completed" in {
        json.loads(item.value_json) for item in summaries if (item.key or item.nested_key[0]) == "status"
    }


def test_wandb__sweep__is_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason=NOT_TESTED.format("wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    record()
    add_trials()
    rsc.export_run("mine", "wandb", output="place")
    sent = [one.run for one in offline_records(Path("place")) if one.WhichOneof("record_type") == "run"]
    assert {(one.run_id, one.run_group) for one in sent} == {("mine-t_0", "mine"), ("mine-t_1", "mine")}
