"""Read bars from a sheet: leave out rows without prices, and check order and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rsc.trading.prices import adjusting, headless
from rsc.trading.prices.assets import one_asset
from rsc.trading.prices.clock import Times, times_of
from rsc.trading.prices.date_parts import Bools, Ints
from rsc.trading.prices.errors import MarketError, listed
from rsc.trading.prices.fields import Fields, fields_of
from rsc.trading.prices.names import PRICES, rank_of
from rsc.trading.prices.numbers import Floats, floats_of
from rsc.trading.prices.sheet import Sheet, distinct

MIN_BARS = 100
_MAX_EMPTY = 1 / 3
"""The largest fraction of rows without prices, between the first and the last row with prices."""
_RANGE_ERROR, _RANGE_ERRORS = 0.01, 0.05
"""Open or close may be outside of low to high by this fraction of the price, in this fraction of the bars."""
_EXACT = 1e-9
_MANY_FLAT = 0.1
_MAX_ENDS = 20


@dataclass(frozen=True)
class Bars:
    """Bars of one asset, oldest first, all arrays of shape (n,).

    ``times_us`` are microseconds since 1970, UTC. ``extra`` has the other columns of numbers, by their names in lower case.
    ``remarks`` has one line for each assumption. ``columns`` maps each field to its column in the file.
    """

    times_us: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    extra: Mapping[str, Floats]
    remarks: tuple[str, ...]
    columns: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.close)


def bars_of(sheet: Sheet, symbol: str | None = None, remarks: list[str] | None = None) -> Bars:
    """Read the bars of one asset.

    Raises:
        MarketError: if they cannot be read in one sound way.
    """
    remarks = [] if remarks is None else remarks
    if sheet.headless:
        sheet = headless.named(sheet, remarks)
    sheet = one_asset(sheet, symbol, remarks)
    fields = fields_of(sheet)
    times = times_of(sheet, remarks)
    sheet, times = _without_footers(sheet, times, remarks)
    numbers, extra = _numbers(sheet, fields_of(sheet), times, remarks)
    us, keep = _rows(times, numbers, remarks)
    if not keep.all():
        us, numbers, extra = us[keep], _chosen(numbers, keep), _chosen(extra, keep)
    us, numbers, extra = _oldest_first(us, numbers, extra, remarks)
    us, numbers, extra = _without_repetitions(us, numbers, extra, remarks)
    _check_order(us, sheet)
    if len(us) < MIN_BARS:
        raise MarketError(f"{len(us)} rows are too few, at least {MIN_BARS} are needed")
    numbers["volume"] = _known_volume(numbers["volume"], remarks)
    _check_prices(numbers, remarks)
    _remark_flat_bars(numbers, remarks)
    numbers = adjusting.adjusted(numbers, remarks)
    remarks.extend(adjusting.jumps(us, numbers["close"]))
    columns = {"date": " + ".join(each.name.strip() for each in times.columns), **fields.titles}
    return Bars(us, **numbers, extra=extra, remarks=tuple(dict.fromkeys(remarks)), columns=columns)


def _remark_flat_bars(numbers: Mapping[str, Floats], remarks: list[str]) -> None:
    """Add a remark about bars without trading, which some vendors add on weekends."""
    flat = (numbers["high"] == numbers["low"]) & (numbers["volume"] == 0)
    if flat.mean() > _MANY_FLAT:
        remarks.append(f"{int(flat.sum())} of {len(flat)} bars do not move and have no volume")


def _without_footers(sheet: Sheet, times: Times, remarks: list[str]) -> tuple[Sheet, Times]:
    """Leave out empty rows, and rows above and below the bars with text as date, such as units or a sum.

    Raises:
        MarketError: if another row has no date.
    """
    if times.known.all():
        return sheet, times
    column = times.columns[0]
    dates = column.values.to_pylist()
    good = np.flatnonzero(times.known)
    if not len(good):
        raise MarketError("no row has a date; write dates as 2024-01-31")
    drop = ~times.known
    blank = np.array([date is None or not str(date).strip() for date in dates])
    filled = _filled(sheet)
    for row in np.flatnonzero(drop).tolist():
        outside = (row < good[0] or row > good[-1]) and not any(c.isdigit() for c in str(dates[row]))
        if not (blank[row] and not filled[row]) and not (outside and not blank[row]):
            what = "no date" if blank[row] else f"the date {str(dates[row])!r:.40}, unlike the others"
            raise MarketError(f"row {row + 1} has {what}; correct or delete it")
    count = int(drop.sum())
    if count > _MAX_ENDS + int(blank.sum()):
        raise MarketError(f"{count} rows have no date; correct or delete them")
    remarks.append(f"{count} row{'s' * (count > 1)} without a date left out")
    keep = times.known
    return sheet.filter(keep), Times(times.us[keep], keep[keep], times.columns)


def _filled(sheet: Sheet) -> Bools:
    """Return True for rows that have a price."""
    filled = np.zeros(len(sheet), bool)
    for column in sheet.columns:
        if any(rank_of(column.name, field) is not None for field in (*PRICES, "price", "adj_close")):
            filled |= np.asarray(column.values.is_valid())
    return filled


def _numbers(
    sheet: Sheet, fields: Fields, times: Times, remarks: list[str]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the numbers of the fields, and those of the other columns."""
    used = {id(column) for column in times.columns}
    others = {f"extra {key}": column for key, column in fields.others.items() if id(column) not in used}
    values = {key: column.values for key, column in {**fields.columns, **others}.items()}
    numbers, refused = floats_of(values, values.keys() - {*PRICES, "adj_close"})
    for key, value in refused.items():
        if key in (*PRICES, "volume", "adj_close"):
            raise MarketError(
                f"column {fields.columns[key].title} holds {value!r:.40}, which is no number; correct or delete its row"
            )
    extra = {key[6:]: numbers.pop(key) for key in list(numbers) if key.startswith("extra ")}
    remarks.extend(fields.remarks)
    if "volume" not in numbers:
        remarks.append("there is no volume: 0 is taken")
        numbers["volume"] = np.zeros(len(sheet))
    return numbers, {key: each for key, each in extra.items() if np.isfinite(each).any()}


def _rows(times: Times, numbers: Mapping[str, Floats], remarks: list[str]) -> tuple[Ints, Bools]:
    """Return the times, and which rows have prices."""
    missing = {key: np.isnan(numbers[key]) for key in PRICES}
    for key in PRICES:
        if missing[key].all():
            raise MarketError(f"the column of {key} is empty")
    known = ~np.logical_and.reduce(list(missing.values()))
    if known.all():
        return times.us, known
    rows = np.flatnonzero(known)
    inside = np.arange(rows[0], rows[-1] + 1)
    empty = int((~known).sum())
    if (~known[inside]).mean() > _MAX_EMPTY:
        raise MarketError(f"{empty} of {len(known)} rows have no prices; delete them if the others are whole")
    if empty:
        remarks.append(f"{empty} row{'s' * (empty > 1)} without prices left out")
    return times.us, known


def _oldest_first(
    us: Ints, numbers: dict[str, Floats], extra: dict[str, Floats], remarks: list[str]
) -> tuple[Ints, dict[str, Floats], dict[str, Floats]]:
    steps = np.diff(us)
    if not len(steps) or (steps > 0).any() or not (steps < 0).any():
        return us, numbers, extra
    remarks.append("the newest bar comes first: turned round")
    turned = slice(None, None, -1)
    return us[turned], _chosen(numbers, turned), _chosen(extra, turned)


def _without_repetitions(
    us: Ints, numbers: dict[str, Floats], extra: dict[str, Floats], remarks: list[str]
) -> tuple[Ints, dict[str, Floats], dict[str, Floats]]:
    """Leave out rows that are equal to the one before."""
    same = np.diff(us) == 0
    if not same.any():
        return us, numbers, extra
    for key in (*PRICES, "volume"):
        same &= (numbers[key][1:] == numbers[key][:-1]) | (np.isnan(numbers[key][1:]) & np.isnan(numbers[key][:-1]))
    count = int(same.sum())
    if not count:
        return us, numbers, extra
    remarks.append(f"{count} repeated row{'s' * (count > 1)} left out")
    keep = np.concatenate(([True], ~same))
    return us[keep], _chosen(numbers, keep), _chosen(extra, keep)


def _chosen(arrays: Mapping[str, Floats], rows: Bools | slice) -> dict[str, Floats]:
    return {key: each[rows] for key, each in arrays.items()}


def _check_order(us: Ints, sheet: Sheet) -> None:
    steps = np.diff(us)
    bad = np.flatnonzero(steps <= 0)
    if not len(bad):
        return
    at = int(bad[0]) + 1
    time = np.datetime64(int(us[at]), "us").astype("datetime64[s]")
    what = "repeats the time of the row before it" if steps[at - 1] == 0 else "is before the row before it"
    where = f"row {at + 1}, {str(time).replace('T', ' ')}, {what} ({len(bad)} such rows)"
    column = _column_of_assets(us, sheet)
    if column:
        raise MarketError(f"{where}: several assets in one file, by the column {column}; choose one with --symbol")
    if len(bad) <= 2 * (1 + (int(us.max()) - int(us.min())) // (365 * 86_400_000_000)) and _is_an_hour(us, bad):
        raise MarketError(f"{where}: local time over the end of summer time; write times in UTC")
    raise MarketError(f"{where}: several assets or files in one; write one asset, each time once, oldest first")


def _is_an_hour(us: Ints, bad: Ints) -> bool:
    """Return True if times go back by up to an hour, as a clock does at the end of summer time."""
    usual = float(np.median(np.diff(us)))
    back = us[bad] - us[bad + 1]
    return bool((back >= 0).all() and (back <= 3_600_000_000).all() and 0 < usual <= 3_600_000_000)


def _column_of_assets(us: Ints, sheet: Sheet) -> str | None:
    """Return a text column that may name assets: the rows of each of its values have ascending times."""
    if len(us) != len(sheet):
        return None
    for column in sheet.columns:
        if column.is_text and 1 < len(values := distinct(column.values)) <= len(us) // 2:
            rows = np.array([each == values[0] for each in column.values.to_pylist()])
            if rows.sum() > 1 and (np.diff(us[rows]) > 0).all():
                return f"{column.title}: {listed(values, 3)}"
    return None


def _known_volume(volume: Floats, remarks: list[str]) -> Floats:
    """Return the volume with 0 where it is unknown. Some files write -1 for unknown.

    Raises:
        MarketError: if it is negative or infinite otherwise.
    """
    unknown = np.isnan(volume) | (volume == -1)
    count = int(unknown.sum())
    if count:
        remarks.append(f"{count} bar{'s' * (count > 1)} without volume: 0 is taken")
        volume = np.where(unknown, 0.0, volume)
    bad = ~(np.isfinite(volume) & (volume >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise MarketError(f"row {row + 1} has volume = {volume[row]:g}; use 0 where it is unknown")
    return volume


def _check_prices(numbers: dict[str, Floats], remarks: list[str]) -> None:
    """Check that prices are positive, and that high and low are the extremes. Widen a range that rounding made too small."""
    for key in PRICES:
        if not 0 < numbers[key].min() <= numbers[key].max() < np.inf:
            bad = ~(np.isfinite(numbers[key]) & (numbers[key] > 0))
            row = int(np.argmax(bad))
            value = numbers[key][row]
            raise MarketError(
                f"row {row + 1} has {key} = {value:g} ({int(bad.sum())} such rows); prices must be positive numbers"
            )
    opened, high, low, close = (numbers[key] for key in PRICES)
    if (low > high).any() and (low > high * (1 + _EXACT)).any():
        row = int(np.argmax(low / high))
        raise MarketError(f"row {row + 1} has low = {low[row]:g} above high = {high[row]:g}; correct or delete it")
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    if (top <= high).all() and (bottom >= low).all():
        return
    error = np.maximum(top / high - 1, 1 - bottom / low)
    outside = error > _EXACT
    count = int(outside.sum())
    if not count:
        return
    if error.max() > _RANGE_ERROR or outside.mean() > _RANGE_ERRORS:
        row = int(np.argmax(error))
        raise MarketError(
            f"row {row + 1} has open or close outside of low to high ({count} such rows); correct or delete them"
        )
    remarks.append(f"{count} bar{'s' * (count > 1)} with open or close outside of low to high: the range is widened")
    numbers["high"], numbers["low"] = np.maximum(high, top), np.minimum(low, bottom)
