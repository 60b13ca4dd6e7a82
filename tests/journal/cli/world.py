"""A root with one run of every kind of journal, and the command line run in this process."""

from __future__ import annotations

import gc
import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from journal import About, EndReason, JournalWriter, RunMarker, Trade
from journal.cli import main
from rsc.metrics import RunningMetrics

RUN = "run-1"
DAY_US = 86_400_000_000
START_US = 1_500_000_000_000_000
STEPS = 300
EVERY = 64


@dataclass(frozen=True)
class Result:
    """What a command line did."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self):
        return json.loads(self.out)

    def ndjson(self):
        return [json.loads(line) for line in self.lines]


def run(*args: object) -> Result:
    """Run `journal` with these arguments in this process, as its program would."""
    raw = io.BytesIO()
    out, err = io.TextIOWrapper(raw, "utf-8", write_through=True), io.StringIO()
    argv, sys.argv = sys.argv, ["journal", *map(str, args)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    finally:
        sys.argv = argv
    out.flush()
    return Result(code, raw.getvalue().decode("utf-8", "replace"), err.getvalue(), raw.getvalue())


def about(**changes) -> About:
    given = {
        "env": "TradingEnv",
        "initial_portfolio_value": 10_000.0,
        "periods_per_year": 252.0,
        "env_config": {"ticker": "MSFT"},
        "start_market_time_us": START_US,
        "worker_index": 1,
    }
    return About(**{**given, **changes})


def writer(root: Path, journal_id: str, run_id: str = RUN, **options) -> JournalWriter:
    given = {"checkpoint_every_steps": EVERY, "about": about(**options.pop("about", {}))}
    fold = RunningMetrics(10_000.0, 252.0) if options.pop("folds", True) else None
    return JournalWriter(root, run_id, journal_id, fold=fold, **{**given, **options})


def play(journal: JournalWriter, steps: int = STEPS, seed: int = 7, end: EndReason | None = None) -> JournalWriter:
    """Trade a random walk, long or short by turns; each position is held for some steps, then closed."""
    rng = np.random.default_rng(seed)
    first = journal.steps
    prices = 100.0 * np.exp(np.cumsum(rng.normal(0.0005, 0.01, steps)))
    cash, position, entry, before = 10_000.0, 0.0, (0, 0, 0.0), 10_000.0
    for index in range(steps):
        step, price, trades, fee = first + index + 1, float(prices[index]), (), 0.0
        time_us = START_US + step * DAY_US
        if position and index % 11 == 10:
            fee = abs(position) * price * 0.001
            costs = fee + abs(position) * entry[2] * 0.001
            pnl = position * (price - entry[2]) - costs
            trades = (Trade(1 if position > 0 else -1, abs(position), *entry, price, pnl, costs),)
            cash, position = cash + position * price - fee, 0.0
        elif not position and index % 11 == 3 and index < steps - 12:
            position = float(int(cash / 2 / price)) * (1 if index % 2 else -1)
            fee = abs(position) * price * 0.001
            cash -= position * price + fee
            entry = (step, time_us, price)
        value = cash + position * price
        unrealized = position * (price - entry[2]) - abs(position) * entry[2] * 0.001 if position else 0.0
        last = index == steps - 1
        journal.append(
            float(np.sign(position)), value / before - 1.0, value, price, cash, position, fee, unrealized, time_us,
            last and end is EndReason.TERMINATED, last and end is EndReason.TIME_LIMIT, trades,
            tuple(float(step) for _ in journal.about.extra_columns),
        )  # fmt: skip
        before = value
    if end is not None:
        journal.close(end)
    return journal


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def batch_at(path: Path, number: int):
    """The frame of a sealed batch."""
    from journal import read_journal

    return read_journal(path).frames[number]


@dataclass
class World:
    """Journals by kind; the live one's writer is held."""

    root: Path
    live: JournalWriter
    marker: RunMarker

    def path(self, kind: str) -> Path:
        return self.root / RUN / f"{kind}.arrows"

    def run(self, *args: object) -> Result:
        return run(*args, "--journal-root", self.root)


def make_world(root: Path) -> World:
    marker = RunMarker(root, RUN, {"algo": "PPO"})
    folder = root / RUN
    play(writer(root, "finished"), end=EndReason.TERMINATED)
    play(writer(root, "limit", about={"worker_index": 2}), 150, 8, end=EndReason.TIME_LIMIT)
    play(writer(root, "superseded"), 40, 9, end=EndReason.SUPERSEDED)
    writer(root, "nosteps").close(EndReason.CLOSED)
    play(writer(root, "killed"), 210)
    play(writer(root, "torn"), 210)
    play(writer(root, "extra", about={"extra_columns": ("spread", "rsi")}), 100, end=EndReason.TERMINATED)
    gc.collect()  # the locks of killed and torn go with their writers
    tear_tail(folder / "torn.tail")
    for copy in ("flipped", "flipped_end", "footer", "headerless", "cut"):
        rename_into(root, "finished", copy)
    path = folder / "flipped.arrows"
    frame = batch_at(path, 1)
    flip(path, frame.offset + frame.length - 40)
    path = folder / "flipped_end.arrows"
    frame = batch_at(path, -1)
    flip(path, frame.offset + frame.length - 40)
    flip(folder / "footer.arrows", (folder / "footer.arrows").stat().st_size - 30)
    flip(folder / "headerless.arrows", 300)
    path = folder / "cut.arrows"
    path.write_bytes(path.read_bytes()[: batch_at(path, 3).offset + 100])
    (folder / "empty.arrows").write_bytes(b"")
    with pa.ipc.new_stream(str(folder / "foreign.arrows"), pa.schema([("x", pa.int64())])) as stream:
        stream.write_batch(pa.record_batch([pa.array([1, 2, 3])], names=["x"]))
    live = play(writer(root, "live"), 100)
    return World(root, live, marker)


def rename_into(root: Path, source: str, name: str) -> None:
    """An undamaged journal of its own, equal in content: the bytes of a copy would carry the other's id."""
    play(writer(root, name), end=EndReason.TERMINATED)


def tear_tail(path: Path) -> None:
    """Cut the last slot in two, as a kernel that died in the middle of a page would leave it."""
    data = bytearray(path.read_bytes())
    used = len(bytes(data).rstrip(b"\0"))
    data[used - 40 :] = bytes(len(data) - used + 40)
    path.write_bytes(data)


def copy_tree(world: World, to: Path) -> Path:
    shutil.copytree(world.root, to)
    return to
