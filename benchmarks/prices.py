"""Reading a million bars of CSV by the spelling of their dates and numbers. `python benchmarks/prices.py`.

The best of five, in seconds on the clock and of processor time. pyarrow.csv alone, which parses fields and validates
nothing, is the floor.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from rsc.trading.prices import read_file

BARS, ROUNDS = 1_000_000, 5
DATES = {
    "ISO": "%Y-%m-%d %H:%M:%S",
    "ISO, UTC": "%Y-%m-%dT%H:%M:%SZ",
    "day.month.year": "%d.%m.%Y %H:%M:%S",
    "month/day/year, AM and PM": "%m/%d/%Y %I:%M %p",
}


def columns() -> dict[str, pa.Array]:
    """A random walk of minutes, with two decimals."""
    rng = np.random.default_rng(0)
    close = (100 * np.exp(np.cumsum(rng.normal(0, 1e-4, BARS)))).round(2)
    opened = np.concatenate(([100.0], close[:-1]))
    prices = {"open": opened, "high": np.maximum(opened, close) + 0.1, "low": np.minimum(opened, close) - 0.1}
    volume = rng.integers(0, 1_000_000, BARS)
    return {name: pa.array(values) for name, values in {**prices, "close": close, "volume": volume}.items()}


def files(folder: Path) -> dict[str, Path]:
    """The same bars as files."""
    minutes = pa.array((np.datetime64("2015-01-01", "m") + np.arange(BARS)).astype("datetime64[s]"))
    numbers = columns()
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


def best(read: Callable[[Path], object], path: Path) -> tuple[float, float]:
    """Seconds on the clock, and of processor time."""
    rounds = []
    for _ in range(ROUNDS):
        clock, processor = time.perf_counter(), time.process_time()
        read(path)
        rounds.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(clock for clock, _ in rounds), min(processor for _, processor in rounds)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = files(Path(folder))
        print(f"{'dates and numbers':<28}{'MB':>6}{'clock':>8}{'CPU':>8}")
        for name, path in made.items():
            clock, processor = best(read_file, path)
            print(f"{name:<28}{path.stat().st_size / 1e6:>6.0f}{clock:>8.2f}{processor:>8.2f}")
        clock, processor = best(csv.read_csv, made["ISO"])
        print(f"{'ISO, pyarrow.csv alone':<28}{'':>6}{clock:>8.2f}{processor:>8.2f}")


if __name__ == "__main__":
    main()
