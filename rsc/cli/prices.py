"""`rsc prices`: show how a file of prices is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from journal.console import folded, print_json
from journal.plot.canvas import Canvas, scaled
from rsc.cli import options

# `rsc.trading.market` is imported inside of functions: `--help` needs no pyarrow.

_LABEL = 10
_ROWS = 12
_MOST_GAPS = 3
_MOST_POINTS = 2000


@click.command("prices")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--symbol", help="The asset to read, if the file holds several.")
@click.option("--periods-per-year", type=float, help="Bars in a year.  [default: estimated from the times of the bars]")
@options.as_json
def command(file: Path, symbol: str | None, periods_per_year: float | None, as_json: bool) -> None:
    """Show what `rsc train` reads from a file of prices.

    Prints its bars, its dates, how many bars make a year, its columns, gaps, what was assumed, and a plot of the
    close. The file may be CSV in any dialect, Parquet or Feather, compressed or not.

    \b
    Examples:
      rsc prices bars.csv
      rsc prices all_stocks.csv --symbol AAPL --json
    """
    facts, close = _facts(file, symbol, periods_per_year)
    if as_json:
        print_json(facts)
        return
    for line in _lines(facts):
        click.echo(line)
    for line in _plot(close):
        click.echo(line)


def _facts(file: Path, symbol: str | None, periods_per_year: float | None) -> tuple[dict[str, Any], Any]:
    """Return the facts about a file as plain JSON, and its closes."""
    from rsc.trading.market import market_from_bars
    from rsc.trading.prices import MarketError, gaps_of, read_file, rhythm_of

    bars = read_file(file, symbol)
    remarks, features, periods = bars.remarks, list(bars.extra), None
    try:
        market = market_from_bars(file.name, bars, periods_per_year)
        remarks, features, periods = market.remarks, list(market.extra), market.periods_per_year
    except MarketError as error:
        remarks = (*remarks, str(error))
    facts = {
        "file": str(file),
        "symbol": symbol,
        "bars": len(bars),
        "first": _time(bars.times_us[0]),
        "last": _time(bars.times_us[-1]),
        "first_close": float(bars.close[0]),
        "last_close": float(bars.close[-1]),
        "lowest": float(bars.low.min()),
        "highest": float(bars.high.max()),
        "periods_per_year": periods,
        "rhythm": rhythm_of(bars.times_us).words,
        "columns": dict(bars.columns),
        "features": features,
        "gaps": [[_time(before), _time(after)] for before, after in gaps_of(bars.times_us)],
        "remarks": list(remarks),
    }
    return facts, bars.close


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    periods = facts["periods_per_year"]
    columns = ", ".join(f"{field} = {name or '(no name)'}" for field, name in facts["columns"].items())
    rows = {
        "bars": f"{facts['bars']}, {_shown(facts['first'])} to {_shown(facts['last'])}",
        "close": f"{facts['first_close']:g} to {facts['last_close']:g}, low {facts['lowest']:g}, high {facts['highest']:g}",
        "year": f"{'unknown' if periods is None else f'{periods:.6g}'} bars: {facts['rhythm']}",
        "columns": columns,
        "features": ", ".join(facts["features"]) or "none of its own",
        "adjusted": _adjusted(facts["columns"]),
        "gaps": _gaps(facts["gaps"]),
    }
    for name, text in rows.items():
        yield from folded(text, f"{name:<{_LABEL}}")
    for remark in facts["remarks"]:
        yield from folded(remark, f"{'remark':<{_LABEL}}")


def _adjusted(columns: dict[str, str]) -> str:
    if "adj_close" in columns:
        return f"by the column '{columns['adj_close']}'"
    return f"by the column '{columns['split']}'" if "split" in columns else "no, or already in the prices"


def _gaps(gaps: list[list[str]]) -> str:
    if not gaps:
        return "none"
    longest = ", ".join(f"{_shown(before)} to {_shown(after)}" for before, after in gaps[:_MOST_GAPS])
    return f"{len(gaps)}: {longest}" + (", ..." if len(gaps) > _MOST_GAPS else "")


def _plot(close: Any) -> Iterator[str]:
    """Yield the close over time, on as many columns as the terminal has."""
    from journal.plot.terminal import Terminal

    look = Terminal.of_terminal(colours=False)
    close = close[np.unique(np.linspace(0, len(close) - 1, _MOST_POINTS).astype(int))]
    low, high = float(close.min()), float(close.max())
    canvas = Canvas(look.width - _LABEL - 1, _ROWS, braille=look.unicode)
    canvas.curve(np.linspace(0.0, 1.0, len(close)), scaled(close, low, high))
    edge = "┤" if look.unicode else "|"
    for number, cells in enumerate(canvas.lines()):
        label = {0: f"{high:.5g}", _ROWS - 1: f"{low:.5g}"}.get(number, "")
        yield f"{label:>{_LABEL - 1}} {edge}" + "".join(letter for letter, _ in cells).rstrip()


def _time(time_us: Any) -> str:
    return str(np.datetime64(int(time_us), "us").astype("datetime64[s]"))


def _shown(time: str) -> str:
    return time.removesuffix("T00:00:00").replace("T", " ")
