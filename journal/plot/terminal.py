"""Draw plots in a terminal: one episode as panels, several overlaid, or a run with one line per episode."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import click
import numpy as np

from journal.inspect.figures import few_steps_mark, number_text
from journal.plot.canvas import Canvas, scaled, sparkline
from journal.plot.series import Floats, Series

_LABEL = 11
_COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red", "white", "bright_black")
_WIN, _LOSS = 100, 101
_MARK_COLOURS = {_WIN: "green", _LOSS: "red"}


@dataclass(frozen=True)
class Terminal:
    """Capabilities of the terminal."""

    width: int
    height: int
    colours: bool
    unicode: bool

    @staticmethod
    def of_terminal(colours: bool) -> Terminal:
        """Return the size and features of stdout's terminal; a pipe has 80 columns."""
        import shutil  # only needed to draw

        size = shutil.get_terminal_size((80, 36))
        encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
        return Terminal(max(size.columns, 40), max(size.lines, 24), colours, encoding.startswith("utf"))


def episode_lines(series: Series, look: Terminal) -> Iterator[str]:
    """Yield the panels of one episode: portfolio value with trade markers, drawdown, position, reward."""
    yield f"{series.name}  {series.standing}"
    yield _figure_line(series)
    if not len(series.step):
        yield "no steps"
        return
    room = max(look.height - 9, 12)
    span = (float(series.step[0]), float(series.step[-1]))
    yield from _panel("value", [(series, series.value)], span, look, room * 5 // 10, marks=True)
    yield from _panel("drawdown", [(series, series.drawdown * 100)], span, look, room * 2 // 10, base=0.0, unit="%")
    yield from _panel("position", [(series, series.position)], span, look, max(room // 10, 2), base=0.0)
    yield from _panel("reward", [(series, series.reward)], span, look, room * 2 // 10, base=0.0)
    yield _axis(span, look)
    win, loss = _marks(look)
    none = "no closed trades" if series.figures.get("total_trades", 0) is not None else "trades unknown"
    legend = f"{win} trade closed with a gain   {loss} with a loss" if len(series.exit_step) else none
    yield " " * (_LABEL + 2) + legend + (f"   gaps: {_holes(series)}" if series.holes else "")


def overlay_lines(many: Sequence[Series], look: Terminal) -> Iterator[str]:
    """Yield one panel with the returns of several episodes, and a legend with their last values."""
    shown = [series for series in many if len(series.step)]
    if shown:
        span = (min(float(series.step[0]) for series in shown), max(float(series.step[-1]) for series in shown))
        curves = [(series, series.growth * 100) for series in shown]
        yield from _panel("return", curves, span, look, max(look.height - len(many) - 4, 10), unit="%", letters=True)
        yield _axis(span, look)
    letters = dict(zip((series.name for series in shown), ascii_lowercase, strict=False))
    for index, series in enumerate([*shown, *(series for series in many if not len(series.step))]):
        bullet = _painted(letters.get(series.name, " "), _COLOURS[index % len(_COLOURS)], look)
        last = f"{series.growth[-1]:+.2%}" if len(series.step) else "no steps"
        yield f"{bullet} {series.name}  {last}  {series.standing}"


def sheet_line(series: Series, width: int, look: Terminal) -> str:
    """Return one episode's line: id, return as a sparkline, and figures."""
    room = max(look.width - width - 40, 10)
    growth = series.growth
    finite = growth[np.isfinite(growth)]
    reach = max(float(np.max(np.abs(finite))), 1e-12) if len(finite) else 1.0
    line = sparkline(growth, room, -reach, reach, unicode=look.unicode)
    last = float(growth[-1]) if len(growth) else 0.0
    fall = -float(np.min(series.drawdown)) if len(series.drawdown) else 0.0
    painted = _painted(line, "green" if last > 0 else "red" if last < 0 else "white", look)
    standing = series.standing.partition(",")[0]
    return f"{series.name:<{width}} {painted} {last:>+8.2%} {fall:>7.2%} {len_text(series):>7} {standing}"


def sheet_header(width: int, look: Terminal) -> str:
    """Return the header of the lines from `sheet_line`."""
    room = max(look.width - width - 40, 10)
    return f"{'EPISODE':<{width}} {'RETURN OVER TIME':<{room}} {'RETURN':>8} {'MAX DD':>7} {'STEPS':>7} END"


def len_text(series: Series) -> str:
    """Return the axis label with the last step's number."""
    return str(int(series.step[-1])) if len(series.step) else "0"


def _panel(
    title: str,
    curves: Sequence[tuple[Series, Floats]],
    span: tuple[float, float],
    look: Terminal,
    rows: int,
    *,
    base: float | None = None,
    unit: str = "",
    marks: bool = False,
    letters: bool = False,
) -> Iterator[str]:
    low, high = _range([values for _, values in curves], base)
    canvas = Canvas(look.width - _LABEL - 2, max(rows, 2), braille=look.unicode)
    filled = None if base is None else float(scaled(np.array([base]), low, high)[0])
    for index, (series, values) in enumerate(curves):
        x, y = scaled(series.step, *span), scaled(values, low, high)
        for part in series.parts():
            canvas.curve(x[part], y[part], index, filled_from=filled)
        if letters:
            canvas.mark(float(x[-1]), float(y[-1]), ascii_lowercase[index % 26], index)
    if marks:
        _mark_exits(canvas, curves[0][0], span, (low, high), look)
    lines = canvas.lines()
    for number, cells in enumerate(lines):
        label = f"{_short(high)}{unit}" if number == 0 else f"{_short(low)}{unit}" if number == len(lines) - 1 else ""
        if number == 1:
            label = title[:_LABEL]
        yield f"{label:>{_LABEL}} {'┤' if look.unicode else '|'}" + _painted_cells(cells, look)


def _range(many: Sequence[Floats], base: float | None) -> tuple[float, float]:
    every = np.concatenate([*many, [] if base is None else [base]])
    finite = every[np.isfinite(every)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _mark_exits(
    canvas: Canvas, series: Series, span: tuple[float, float], heights: tuple[float, float], look: Terminal
) -> None:
    win, loss = _marks(look)
    x, y = scaled(series.exit_step, *span), scaled(series.exit_value, *heights)
    for at, height, pnl in zip(x.tolist(), y.tolist(), series.exit_pnl.tolist(), strict=True):
        if np.isfinite(height):
            canvas.mark(at, height, win if pnl > 0 else loss, _WIN if pnl > 0 else _LOSS)


def _marks(look: Terminal) -> tuple[str, str]:
    return ("▲", "▼") if look.unicode else ("+", "-")


def _axis(span: tuple[float, float], look: Terminal) -> str:
    first, last = f"step {span[0]:.0f}", f"{span[1]:.0f}"
    return f"{'':>{_LABEL + 2}}{first:<{look.width - _LABEL - 2 - len(last)}}{last}"


def _figure_line(series: Series) -> str:
    shown = {
        "return": series.figures.get("total_return"),
        "sharpe": series.figures.get("sharpe_ratio"),
        "max drawdown": series.figures.get("max_drawdown"),
        "win rate": series.figures.get("win_rate"),
        "trades": series.figures.get("total_trades"),
    }
    percent = ("return", "max drawdown", "win rate")
    cells = [
        f"{name} " + (f"{value:.2%}" if name in percent and value is not None else number_text(_rounded(value)))
        for name, value in shown.items()
    ]
    cells[1] += few_steps_mark(series.figures, "sharpe_ratio")
    return "  ".join(cells) if series.figures else "no metrics"


def _rounded(value: float | int | None) -> float | int | None:
    return round(value, 3) if isinstance(value, float) else value


def _holes(series: Series) -> str:
    shown = [f"steps {first}-{last}" for first, last in series.holes[:3]]
    return ", ".join(shown) + (" ..." if len(series.holes) > 3 else "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _painted(text: str, colour: str, look: Terminal) -> str:
    return click.style(text, fg=colour) if look.colours else text


def _painted_cells(cells: Sequence[tuple[str, int]], look: Terminal) -> str:
    """Colour neighbouring characters with one owner together, so that a line has few escape codes."""
    from itertools import groupby  # only needed to draw

    if not look.colours:
        return "".join(letter for letter, _ in cells).rstrip()
    out = []
    for owner, group in groupby(cells, key=lambda cell: cell[1]):
        text = "".join(letter for letter, _ in group)
        colour = _MARK_COLOURS.get(owner, _COLOURS[owner % len(_COLOURS)])
        out.append(text if owner < 0 else click.style(text, fg=colour))
    return "".join(out)
