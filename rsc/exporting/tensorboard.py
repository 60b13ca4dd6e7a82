"""Write a run as event files of TensorBoard: curves over episodes and env steps, and a table of the last episodes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from rsc.exporting.parts import Exported, ExportError, Part, values_of

# Imports inside functions load modules that are slow to import and not always needed.

DEFAULT_PLACE = "rsc-data/tensorboard"
_SUFFIX = ".rsc"
_SHOWN = (
    "episode_id",
    "status",
    "status_reason",
    "steps",
    "trades",
    "total_return",
    "sharpe_ratio",
    "max_drawdown",
    "pnl",
)
_ROWS = 1000
_MEANS = 1000


def export(parts: list[Part], output: str | None, project: str) -> Exported:
    """Replace the event files of an earlier export by new ones, in the folder OUTPUT/RUN or OUTPUT/RUN/TRIAL.

    Other event files there, such as RLlib's own, are not changed.
    """
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise ExportError(
            "TensorBoard is not installed: pip install 'reinforce-strategy-creator[tensorboard]'"
        ) from error
    root = Path(output or DEFAULT_PLACE).absolute()
    done = Exported(str(root), parts[0].status)
    for part in parts:
        if part.trial_id is None and not part.episodes and len(parts) > 1:
            continue
        folder = root / part.name
        with tempfile.TemporaryDirectory() as made:
            writer = EventFileWriter(made, filename_suffix=_SUFFIX)
            done.points += _write(writer, part)
            writer.close()
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
                old.unlink()
            for new in Path(made).iterdir():
                shutil.copyfile(new, folder / new.name)
        shutil.copyfile(part.file, folder / "episodes.parquet")
        done.parts.append(part.name)
        done.episodes += part.episodes
    return done


def _write(writer: Any, part: Part) -> int:
    """Write all events of a part, and return the number of its points."""
    width = _bucket(part)
    sums: dict[int, dict[str, tuple[float, int]]] = {}
    start, count = part.start_time.timestamp(), 0
    writer.add_event(_event(start, 0, [_text("run", _facts(part)), _text("episodes", _table(part))]))
    for count, point in enumerate(part.points(), 1):  # noqa: B007 - the number of the last
        values, time = values_of(point), point["last_step_time"]
        writer.add_event(_event(time.timestamp() if time else start, point["episode_id"], _scalars(values)))
        if point["start_env_steps"] is not None:
            means = sums.setdefault(point["start_env_steps"] // width * width, {})
            for name, value in values.items():
                total, number = means.get(name, (0.0, 0))
                means[name] = total + value, number + 1
    for steps, means in sorted(sums.items()):
        averages = {f"by_env_steps/{name}": total / number for name, (total, number) in means.items()}
        writer.add_event(_event(start, steps, _scalars(averages)))
    return count


def _bucket(part: Part) -> int:
    """Return the number of training env steps that one mean covers, for about `_MEANS` means."""
    most = (pc.max(batch["start_env_steps"]).as_py() or 0 for batch in part.batches())
    return max(max(most, default=0) // _MEANS, 1)


def _event(time: float, step: int, values: list[Any]) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Event(wall_time=time, step=step, summary=Summary(value=values))


def _scalars(values: Mapping[str, float]) -> list[Any]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]


def _text(tag: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text import metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    shown = metadata.create_summary_metadata(display_name=tag, description="")
    return Summary.Value(tag=tag, metadata=shown, tensor=make_tensor_proto([text.encode()]))


def _facts(part: Part) -> str:
    facts = {"status": part.status, **part.counts, **part.parameters()}
    return "\n".join(
        ["| name | value |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in facts.items())]
    )


def _table(part: Part) -> str:
    table = part.table().select(list(_SHOWN))
    rows = table.slice(max(len(table) - _ROWS, 0)).to_pylist()
    lines = [f"| {' | '.join(map(_cell, row.values()))} |" for row in rows]
    title = f"the last {len(rows):,} of {part.episodes:,} episodes; episodes.parquet has all"
    return "\n".join([title, "", f"| {' | '.join(_SHOWN)} |", "|---" * len(_SHOWN) + "|", *lines])


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
