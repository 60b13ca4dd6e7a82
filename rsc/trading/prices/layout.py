"""Find the line of names, the rows, and the separator of a text file."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass

from rsc.trading.prices.errors import MarketError, listed, quoted
from rsc.trading.prices.names import is_header, rank_of

_SEPARATORS = (";", "\t", "|", ",")
"""The comma is last, because it may be part of numbers and dates in a file with another separator."""
BLANKS = " "
"""The separator of columns that are aligned by blanks."""
_LINES = 200
_HEADER_WITHIN = 60
_MIN_WIDTH = 2
_BLANKS_WEIGH = 0.9
"""Blanks are also part of dates and titles."""
_LONGEST_LINE = 100_000
_LONGEST_NUMBER = 64
_LABELS = {"ticker", "tickers", "symbol", "symbols", "price", "attributes", ""}
_NUMBER = re.compile(r"[+-]?[$€£¥]?[\d.,'\s]*\d[\d.,'\s]*(?:[KMBT%]|[$€£¥]|[A-Z]{3})?", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """The shape of a text file.

    ``names`` is None without a line of names. ``assets`` has the asset of each column, if lines below or above the names
    have them. ``first_line`` is the number of the first line of rows, from 0. ``skipped`` are the lines before the names.
    """

    separator: str
    names: tuple[str, ...] | None
    assets: tuple[str | None, ...] | None
    first_line: int
    width: int
    skipped: tuple[str, ...] = ()


def layout_of(lines: list[str]) -> Layout:
    """Find the layout of a file by its first lines.

    Raises:
        MarketError: if there is no line of names and the first line is not a row, or if rows and names differ in length.
    """
    lines = lines[:_LINES]
    declared = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", lines[0]) if lines else None
    separators = (declared[1],) if declared else _SEPARATORS
    for separator in (*separators, BLANKS):
        table = [fields_of(line, separator) for line in lines]
        header = next((i for i, row in enumerate(table[:_HEADER_WITHIN]) if len(row) > 3 and is_header(row)), None)
        if header is not None:
            return _with_names(lines, table, header, separator)
    return _without_bars(lines, separators)


def fields_of(line: str, separator: str) -> list[str]:
    """Split a line; a leading '#' does not count."""
    if separator == BLANKS:
        return line.split()
    line = line[:_LONGEST_LINE]
    return next(csv.reader([line.lstrip("#") if line.startswith("#") else line], delimiter=separator), [])


def _without_bars(lines: list[str], separators: tuple[str, ...]) -> Layout:
    """Find the layout of a file without the usual names of bars, or without names."""
    separator = max((*separators, BLANKS), key=lambda each: _regularity(lines, each))
    table = [fields_of(line, separator) for line in lines]
    width = max(Counter(map(len, filter(None, table))).items(), key=lambda item: item[1], default=(0, 0))[0]
    if not width:
        raise MarketError(f"the file is no table of prices: it begins with {quoted(lines[0])}; download it again")
    first = next(i for i, row in enumerate(table) if len(row) == width)
    row = table[first]
    if width < _MIN_WIDTH or (separator == BLANKS and len([line for line in lines if line.strip()]) == 1):
        raise MarketError(f"the file is no table of prices: it begins with {quoted(lines[first])}; download it again")
    skipped = tuple(line for line in lines[:first] if line.strip())
    if _is_row(row):
        return Layout(separator, None, None, first, width, skipped)
    return Layout(separator, tuple(row), None, first + 1, width, skipped)


def _regularity(lines: list[str], separator: str) -> tuple[float, int]:
    """Return the weight of a separator, by the lines it splits into the same number of fields, and that number."""
    widths = Counter(len(fields_of(line, separator)) for line in lines if line.strip())
    width, count = max(widths.items(), key=lambda item: (item[1] if item[0] > 1 else 0, item[0]), default=(0, 0))
    if width < _MIN_WIDTH:
        return 0.0, width
    return (count * _BLANKS_WEIGH, 0) if separator == BLANKS else (float(count), width)


def _is_row(row: list[str]) -> bool:
    """Return True if half of the cells are numbers."""
    return sum(_is_number(cell.strip()) for cell in row) * 2 >= len(row)


def _is_number(cell: str) -> bool:
    return len(cell) <= _LONGEST_NUMBER and bool(_NUMBER.fullmatch(cell))


def _with_names(lines: list[str], table: list[list[str]], header: int, separator: str) -> Layout:
    names = list(table[header])
    for number, row in enumerate(table[:header]):
        if len(row) == len(names) and _is_row(row):
            raise MarketError(
                f"line {number + 1} looks like a row, but the line of names is line {header + 1}: "
                "move it to the top, or read the two tables apart"
            )
    skipped = [lines[i] for i in range(header) if lines[i].strip()]
    labels: list[list[str]] = []
    first = header + 1
    while first < len(lines) and _is_label_row(table[first], names):
        labels.append(table[first])
        first += 1
    if header and _is_symbol_row(table[header - 1], names):  # names below the symbols: yfinance's group_by="ticker"
        labels.append(table[header - 1])
        skipped = skipped[:-1]
    assets = next((_assets(row, len(names)) for row in labels if _is_symbol_row(row, names)), None)
    if labels and rank_of(names[0], "date") is None:
        last = labels[-1] if labels[-1] and rank_of(labels[-1][0], "date") is not None else labels[0]
        date = next((row[0] for row in labels if row and rank_of(row[0], "date") is not None), "")
        names[0] = date or (last[0] if rank_of(last[0], "date") is not None else "")
    width = _row_width(table[first:], len(names))
    fitted = _fitted(names, table[first:], width)
    if assets is not None:
        assets = (assets + (None,) * width)[:width]
    return Layout(separator, tuple(fitted), assets, first, width, tuple(skipped))


def _is_label_row(row: list[str], names: list[str]) -> bool:
    """Return True for a line between the names and the first bar: no cell that belongs to a price is a number."""
    if len(row) < 2 or is_header(row):
        return False
    cells = [cell for name, cell in zip(names, row, strict=False) if rank_of(name, "date") is None and name.strip()]
    return bool(cells[1:]) and not any(re.search(r"\d", cell) for cell in cells[1:]) and _says_something(row)


def _says_something(row: list[str]) -> bool:
    nothing = {"", "null", "nan", "none", "n/a", "na", "-"}
    return any(cell.strip().lower() not in nothing for cell in row[1:]) or rank_of(row[0], "date") is not None


def _is_symbol_row(row: list[str], names: list[str]) -> bool:
    """Return True for a line with the asset of each column."""
    if len(row) != len(names) or row[0].strip().lower() not in _LABELS or rank_of(row[0], "date") is not None:
        return False
    if not all(cell.strip() for cell in row[1:]) or is_header(row):
        return False
    pairs = list(zip(names, row, strict=True))
    priced, traded = (
        {cell.strip() for name, cell in pairs if rank_of(name, field) is not None} for field in ("close", "volume")
    )
    return traded <= priced or not priced  # otherwise they are units, such as USD and shares


def _assets(row: list[str], width: int) -> tuple[str | None, ...]:
    return (None, *(cell.strip() for cell in row[1:width]))


def _row_width(rows: list[list[str]], width: int) -> int:
    """Return the number of fields that most rows have."""
    widths = Counter(len(row) for row in rows if row and len(row) > 1)
    return widths.most_common(1)[0][0] if widths else width


def _fitted(names: list[str], rows: list[list[str]], width: int) -> list[str]:
    """Return one name for each field of a row, if it is clear which fields have no name.

    Raises:
        MarketError: if it is not clear.
    """
    if width == len(names):
        return names
    row = next((row for row in rows if len(row) == width), [])
    if width < len(names) and not any(name.strip() for name in names[width:]):
        return names[:width]
    extra = width - len(names)
    if extra > 0 and not any(cell.strip() for row in rows if len(row) == width for cell in row[-extra:]):
        return [*names, *[""] * extra]
    if extra == 1 and rank_of(names[0], "date") is not None and re.fullmatch(r"\d\d?:\d\d(:\d\d)?", row[1].strip()):
        return [names[0], "time", *names[1:]]  # date and time, separated by the column separator
    if extra == 1 and all(rank_of(name, "date") is None for name in names):
        return ["", *names]  # R writes no name above the column of row names
    raise MarketError(
        f"rows have {width} fields ({quoted(listed(row, 4))}), the line of names has {len(names)} ({listed(names, 4)}); "
        "make them agree: numbers with a decimal comma or commas between thousands need quotes or another separator"
    )
