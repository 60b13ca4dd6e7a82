"""Select one asset from a sheet that holds several, side by side (wide) or one below the other (stacked)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.trading.prices.errors import MarketError, listed, quoted
from rsc.trading.prices.names import PRICES, rank_of, split_asset
from rsc.trading.prices.sheet import Column, Sheet, distinct

_NEEDED = "needed are date, open, high, low and close"


def one_asset(sheet: Sheet, symbol: str | None, remarks: list[str]) -> Sheet:
    """Return the columns and rows of one asset, the only one or that of ``symbol``.

    Raises:
        MarketError: if the sheet holds several and ``symbol`` is None, or does not hold ``symbol``.
    """
    wide = _wide(sheet)
    if wide is not None:
        return _one_of_wide(sheet, wide, symbol, remarks)
    return _one_of_stacked(sheet, symbol, remarks)


def has_bars(columns: list[Column]) -> bool:
    """Return True if the columns have the names of bars."""
    fields = {key for key in (*PRICES, "price", "adj_close") for each in columns if rank_of(each.name, key) is not None}
    return ({"open", "high", "low"} <= fields and bool(fields & {"close", "price"})) or _has_adjusted_bars(columns)


def _has_adjusted_bars(columns: list[Column]) -> bool:
    return all(any(rank_of(each.name, f"adj_{key}") is not None for each in columns) for key in PRICES)


def _wide(sheet: Sheet) -> dict[str, list[Column]] | None:
    """Return the columns of each asset of a wide sheet; None if its columns are those of one table."""
    marked = [each for each in sheet.columns if each.asset is not None]
    if not marked:
        if has_bars(list(sheet.columns)):
            return None
        pairs = [(each, split_asset(each.name)) for each in sheet.columns]
        marked = [replace(each, name=pair[0], asset=pair[1]) for each, pair in pairs if pair]
    groups: dict[str, list[Column]] = {}
    for each in marked:
        groups.setdefault(str(each.asset), []).append(each)
    complete = {asset: columns for asset, columns in groups.items() if has_bars(columns)}
    return complete or None


def _one_of_wide(sheet: Sheet, wide: dict[str, list[Column]], symbol: str | None, remarks: list[str]) -> Sheet:
    names = list(wide)
    if symbol is None:
        if len(names) > 1:
            raise MarketError(f"{len(names)} assets side by side ({listed(names)}); choose one: --symbol {names[0]}")
        chosen = names[0]
        remarks.append(f"the columns are those of {quoted(chosen)}")
    else:
        chosen = _matching(symbol, names)
    shared = [each for each in sheet.columns if each.asset is None and split_asset(each.name) is None]
    return replace(sheet, columns=(*shared, *(replace(each, asset=None) for each in wide[chosen])))


def _one_of_stacked(sheet: Sheet, symbol: str | None, remarks: list[str]) -> Sheet:
    named = [(rank, each) for each in sheet.columns if (rank := rank_of(each.name, "symbol")) is not None]
    columns = [each for _, each in sorted(named, key=lambda pair: pair[0])]
    if symbol is not None:
        return _rows_of(sheet, columns or [each for each in sheet.columns if _may_name_assets(each)], symbol)
    for column in columns:
        found = distinct(column.values)
        if len(found) > 1:
            raise MarketError(
                f"{len(found)} assets in one file (column {column.title}: {listed(found)}); "
                f"choose one: --symbol {found[0]}"
            )
    return sheet


def _rows_of(sheet: Sheet, columns: list[Column], symbol: str) -> Sheet:
    """Return the rows where one of the columns holds ``symbol``."""
    seen: list[str] = []
    for column in columns:
        text = pc.utf8_trim_whitespace(pc.cast(column.values, pa.string()))
        found = [str(each) for each in distinct(text)]
        seen = seen or found
        if match := next((each for each in found if each == symbol), None) or _same(symbol, found):
            keep = np.asarray(pc.fill_null(pc.equal(text, match), False))
            return one_asset_rows(sheet, keep)
    if not seen:
        raise MarketError(f"no column names assets, so there is no {quoted(symbol)} to choose; leave --symbol out")
    raise MarketError(f"there is no asset {quoted(symbol)}; it has {listed(seen)}")


def _may_name_assets(column: Column) -> bool:
    dated = any(rank_of(column.name, field) is not None for field in ("date", "time"))
    return column.is_text and not dated and len(distinct(column.values)) * 2 <= len(column.values)


def one_asset_rows(sheet: Sheet, keep: np.ndarray) -> Sheet:
    """Return the rows of one asset; the sheet itself if they are all its rows."""
    return sheet if keep.all() else sheet.filter(keep)


def _matching(symbol: str, names: list[str]) -> str:
    if symbol in names:
        return symbol
    if match := _same(symbol, names):
        return match
    raise MarketError(f"there is no asset {quoted(symbol)}; it has {listed(names)}")


def _same(symbol: str, names: list[str]) -> str | None:
    """Return the only name that differs in case at most."""
    found = [each for each in names if each.lower() == symbol.strip().lower()]
    return found[0] if len(found) == 1 else None
