"""Measure reading a million bars of CSV, for several formats of dates and numbers.

    python benchmarks/prices.py

A figure is the best of five, in seconds by the clock and in CPU time. The floor is pyarrow.csv alone, which parses fields
and validates nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from harness import Table, parser_of, report
from pyarrow import csv

from rsc.trading.prices import read_file

BARS = 1_000_000
DATES = {
    "ISO": "%Y-%m-%d %H:%M:%S",
    "ISO, UTC": "%Y-%m-%dT%H:%M:%SZ",
    "day.month.year": "%d.%m.%Y %H:%M:%S",
    "month/day/year, AM and PM": "%m/%d/%Y %I:%M %p",
}


def columns(bars: int) -> dict[str, pa.Array]:
    """Return the columns of a random walk of one-minute bars, with two decimals."""
    rng = np.random.default_rng(0)
    close = (100 * np.exp(np.cumsum(rng.normal(0, 1e-4, bars)))).round(2)
    opened = np.concatenate(([100.0], close[:-1]))
    prices = {"open": opened, "high": np.maximum(opened, close) + 0.1, "low": np.minimum(opened, close) - 0.1}
    volume = rng.integers(0, 1_000_000, bars)
    return {name: pa.array(values) for name, values in {**prices, "close": close, "volume": volume}.items()}


def files(folder: Path, bars: int) -> dict[str, Path]:
    """Write the same bars in several formats, and return the files by format."""
    minutes = pa.array((np.datetime64("2015-01-01", "m") + np.arange(bars)).astype("datetime64[s]"))
    numbers = columns(bars)
    made = {}
    for name, form in DATES.items():
        made[name] = folder / f"{len(made)}.csv"
        csv.write_csv(pa.table({"date": pc.strftime(minutes, form), **numbers}), made[name])
    made["milliseconds since 1970"] = folder / "epoch.csv"
    epochs = pc.multiply(minutes.cast(pa.int64()), 1000)
    csv.write_csv(pa.table({"date": epochs, **numbers}), made["milliseconds since 1970"])
    made["decimal commas"] = folder / "commas.csv"
    commas = {name: pc.replace_substring(values.cast(pa.string()), ".", ",") for name, values in numbers.items()}
    table = pa.table({"date": pc.strftime(minutes, DATES["ISO"]), **commas})
    csv.write_csv(table, made["decimal commas"], csv.WriteOptions(delimiter=";", quoting_style="none"))
    return made


def best(read: Callable[[Path], object], path: Path, count: int) -> tuple[float, float]:
    """Return the best seconds of several reads, by the clock and in CPU time."""
    rounds = []
    for _ in range(count):
        clock, processor = time.perf_counter(), time.process_time()
        read(path)
        rounds.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(clock for clock, _ in rounds), min(processor for _, processor in rounds)


def main() -> None:
    given = parser_of(__doc__, rounds=5).parse_args()
    rounds = 1 if given.quick else given.rounds
    table = Table(("dates and numbers", "MB", "seconds", "seconds of CPU", "x pyarrow.csv"))
    with tempfile.TemporaryDirectory() as folder:
        made = files(Path(folder), 20_000 if given.quick else BARS)
        floor, processor_floor = best(csv.read_csv, made["ISO"], rounds)
        for name, path in made.items():
            clock, processor = best(read_file, path, rounds)
            table.rows.append((name, path.stat().st_size / 1e6, clock, processor, processor / processor_floor))
        table.rows.append(("ISO, pyarrow.csv alone", made["ISO"].stat().st_size / 1e6, floor, processor_floor, 1.0))
    report("prices", [table], given)


if __name__ == "__main__":
    main()
