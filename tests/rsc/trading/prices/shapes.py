"""Price files in the shapes that vendors, brokers, packages and spreadsheets write, made from bars that are known."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

Make = Callable[[], bytes]


@dataclass(frozen=True)
class Bar:
    """A bar whose prices have two decimals."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: int

    @property
    def ohlc(self) -> tuple[float, float, float, float]:
        return self.open, self.high, self.low, self.close


def walk(times: Sequence[datetime], start: float = 100.0, seed: int = 1) -> list[Bar]:
    """Bars of a random walk that open near the close before."""
    random = np.random.default_rng(seed)
    bars, price = [], start
    for time in times:
        opened = round(price * (1 + random.normal(0, 0.001)), 2)
        close = round(opened * (1 + random.normal(0, 0.01)), 2)
        high = round(max(opened, close) * (1 + abs(random.normal(0, 0.004))) + 0.01, 2)
        low = round(min(opened, close) * (1 - abs(random.normal(0, 0.004))) - 0.01, 2)
        bars.append(Bar(time, opened, high, low, close, int(random.integers(1_000_000, 9_000_000))))
        price = close
    return bars


def day(year: int, month: int = 1, number: int = 1) -> datetime:
    """Midnight of a day, without a zone."""
    return datetime.fromisoformat(f"{year:04}-{month:02}-{number:02}")


def times_from(
    first: str, step: timedelta, count: int, keep: Callable[[datetime], bool] = lambda _: True
) -> list[datetime]:
    """The first ``count`` times that are kept."""
    time, times = datetime.fromisoformat(first), []
    while len(times) < count:
        if keep(time):
            times.append(time)
        time += step
    return times


def on_weekdays(time: datetime) -> bool:
    return time.weekday() < 5


def in_session(time: datetime) -> bool:
    return time.weekday() < 5 and timedelta(hours=9, minutes=30) <= timedelta(
        hours=time.hour, minutes=time.minute
    ) < timedelta(hours=16)


def in_fx_week(time: datetime) -> bool:
    """Sunday 22:00 to Friday 22:00."""
    return time.weekday() < 4 or (time.weekday() == 4 and time.hour < 22) or (time.weekday() == 6 and time.hour >= 22)


DAYS = walk(times_from("2021-01-04", timedelta(days=1), 150, on_weekdays))
COIN_DAYS = walk(times_from("2021-01-04", timedelta(days=1), 150))
COIN_HOURS = walk(times_from("2021-01-04", timedelta(hours=1), 400), 30_000.0)
FX_HOURS = walk(times_from("2021-01-03T22:00", timedelta(hours=1), 400, in_fx_week))
HALF_HOURS = walk(times_from("2021-01-04T09:30", timedelta(minutes=30), 200, in_session))
COIN_MINUTES = walk(times_from("2021-01-04", timedelta(minutes=1), 200))


@dataclass(frozen=True)
class Read:
    """A file that is read: from which bars, and what is different about them."""

    make: Make
    bars: Sequence[Bar] = field(default_factory=lambda: DAYS)
    periods: float | None = 260.0
    shift: timedelta = timedelta()
    scale: float = 1.0
    remarks: tuple[str, ...] = ()
    symbol: str | None = None
    volume: bool = True


@dataclass(frozen=True)
class Refused:
    """A file that is refused, with a message that matches."""

    make: Make
    message: str
    symbol: str | None = None


def text(
    header: str | None,
    row: Callable[[Bar], str | Sequence[Any]],
    bars: Sequence[Bar] = DAYS,
    *,
    separator: str = ",",
    before: str = "",
    after: str = "",
    newest_first: bool = False,
    encoding: str = "utf-8",
    newline: str = "\n",
) -> bytes:
    """A text file of one row a bar."""
    rows = [row(bar) for bar in (bars[::-1] if newest_first else bars)]
    lines = [each if isinstance(each, str) else separator.join(map(str, each)) for each in rows]
    head = [] if header is None else [header]
    return (before + newline.join([*head, *lines]) + newline + after).encode(encoding)


def plain(bar: Bar) -> list[Any]:
    return [f"{bar.time:%Y-%m-%d}", *bar.ohlc, bar.volume]


def dated(form: str, *rest: str) -> Callable[[Bar], list[Any]]:
    """A row with the time in this form, then prices and volume."""
    return lambda bar: [bar.time.strftime(form), *bar.ohlc, bar.volume, *rest]


def comma(value: float, places: int = 2) -> str:
    """A number with a decimal comma and points between thousands."""
    return f"{value:,.{places}f}".replace(",", "_").replace(".", ",").replace("_", ".")


def unix(bar: Bar, unit: int = 1) -> int:
    return round(bar.time.replace(tzinfo=UTC).timestamp() * unit)


def arrow(bars: Sequence[Bar] = DAYS, **changes: Any) -> pa.Table:
    """An Arrow table of the bars."""
    columns = {
        "date": pa.array([bar.time for bar in bars], pa.timestamp("us")),
        **{name: pa.array([getattr(bar, name) for bar in bars]) for name in ("open", "high", "low", "close", "volume")},
    }
    columns.update(changes)
    return pa.table(columns)


def as_parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def as_feather(table: pa.Table, compression: str = "lz4") -> bytes:
    file = io.BytesIO()
    feather.write_feather(table, file, compression=compression)
    return file.getvalue()


def as_zip(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__csv", ".csv"), content)
    return file.getvalue()


def quoted(rows: Sequence[Sequence[Any]]) -> bytes:
    """A CSV with each field in quotes."""
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return file.getvalue().encode()
