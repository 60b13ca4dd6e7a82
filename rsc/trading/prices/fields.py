"""Find the column of a sheet for each field of a bar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rsc.trading.prices.errors import MarketError, listed
from rsc.trading.prices.names import PRICES, WEAK, is_unnamed, normalised, rank_of
from rsc.trading.prices.numbers import is_number_like
from rsc.trading.prices.sheet import Column, Sheet

_OPTIONAL = ("volume", "adj_close", "adj_volume", "split")
_NO_EXTRA = ("date", "time", "symbol", *_OPTIONAL, "adj_open", "adj_high", "adj_low")


@dataclass(frozen=True)
class Fields:
    """The columns by field. ``others`` are the user's columns by name in lower case, ``remarks`` explain choices."""

    columns: Mapping[str, Column]
    others: Mapping[str, Column]
    remarks: tuple[str, ...]

    @property
    def titles(self) -> dict[str, str]:
        """Return the names that the fields have in the file."""
        return {field: column.name.strip() for field, column in self.columns.items()}


def fields_of(sheet: Sheet) -> Fields:
    """Find open, high, low, close, volume and the columns that adjust them.

    Raises:
        MarketError: if a price is missing, or two columns with different values have its name.
    """
    remarks: list[str] = []
    usable = [column for column in sheet.columns if is_number_like(column.values.type)]
    columns = {field: column for field in PRICES if (column := _best(usable, field, remarks))}
    if "close" not in columns and (price := _best(usable, "price", remarks)):
        columns["close"] = price
        remarks.append(f"close is the column {price.title}")
    adjusted = {field: column for field in PRICES if (column := _best(usable, f"adj_{field}", remarks))}
    if len(columns) < len(PRICES) and len(adjusted) == len(PRICES):
        columns = adjusted
        remarks.append("the prices are the adjusted ones")
    missing = [field for field in ("date", *PRICES) if field not in columns and field != "date"]
    if missing:
        noun = "column" if len(missing) == 1 else "columns"
        raise MarketError(
            f"no {noun} for {', '.join(missing)}; it has {listed(c.name for c in sheet.columns)}; "
            "bars need date, open, high, low and close"
        )
    for field in _OPTIONAL:
        column = _volume(usable, remarks) if field == "volume" else _best(usable, field, remarks)
        if column is not None and field != "volume" and column.values.null_count == len(column.values):
            remarks.append(f"the column {column.title} is empty and left out")
        elif column is not None and column not in columns.values():
            columns[field] = column
    return Fields(columns, _others(usable, columns), tuple(remarks))


def _best(columns: list[Column], field: str, remarks: list[str]) -> Column | None:
    """Return the column whose name fits a field best."""
    ranked = [(rank, column) for column in columns if (rank := rank_of(column.name, field)) is not None]
    if not ranked:
        return None
    best = min(rank for rank, _ in ranked)
    found = [column for rank, column in ranked if rank == best]
    twins = [column for column in columns if _is_twin(column.name, found[0].name)]
    for other in (*found[1:], *twins):
        if not found[0].values.equals(other.values):
            raise MarketError(f"two columns are named {found[0].title} and differ; remove one of them")
    if normalised(found[0].name) in WEAK:
        others = [column.title for _, column in ranked if column not in found]
        if others and field in PRICES:
            raise MarketError(f"{field} can be the column {found[0].title} or {others[0]}; name one of them {field}")
        remarks.append(f"{field} is the column {found[0].title}")
    return found[0]


def _is_twin(name: str, other: str) -> bool:
    """Return True if a name is the one that pandas or polars gives to a repeated ``other``."""
    suffix = name.strip().removeprefix(other.strip())
    return suffix != name.strip() and bool(re.fullmatch(r"\.\d+|_duplicated_\d+", suffix))


def _volume(columns: list[Column], remarks: list[str]) -> Column | None:
    """Return the column of volume. If there are several, return the first that is not always 0."""
    named = [column for column in columns if rank_of(column.name, "volume") is not None]
    named.sort(key=lambda column: rank_of(column.name, "volume") or 0)
    loose = [column for column in columns if re.match(r"(volume|vol)_|.*_(volume|vol)$", normalised(column.name))]
    loose = [column for column in loose if rank_of(column.name, "adj_volume") is None]
    found = named or loose
    if not found:
        return None
    best = next((column for column in found if _is_told(column)), found[0])
    equal = [column for column in named if normalised(column.name) == normalised(best.name)]
    if len(found) > 1 and (not named or best is not found[0] or len(equal) > 1):
        remarks.append(f"volume is the column {best.title}, of {listed(column.name.strip() for column in found)}")
    elif not named or normalised(best.name) in WEAK:
        remarks.append(f"volume is the column {best.title}")
    return best


def _is_told(column: Column) -> bool:
    """Return True unless the first values are all 0 or missing."""
    return any(value not in (None, 0, 0.0, "0", "0.0", "") for value in column.values[:1000].to_pylist())


def _others(columns: list[Column], used: Mapping[str, Column]) -> dict[str, Column]:
    """Return the user's columns by their names in lower case. Repeated names get a number."""
    others: dict[str, Column] = {}
    for column in columns:
        if any(column is each for each in used.values()) or is_unnamed(column.name):
            continue
        if any(rank_of(column.name, field) is not None for field in _NO_EXTRA):
            continue
        key = re.sub(r"\s+", "_", column.name.strip().lower())
        names = (key, *(f"{key}_{number}" for number in range(2, 1000)))
        others[next(name for name in names if name not in others)] = column
    return others
