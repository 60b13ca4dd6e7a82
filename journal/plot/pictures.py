"""Draw plots with matplotlib: one episode, several overlaid, or a run as a sheet of small pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from journal.inspect.figures import few_steps_mark
from journal.plot.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#8A8F98"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, "#56B4E9", "#F0E442", "#000000")
_INK, _FAINT = "#23272E", "#D9DCE1"
_NAME_LETTERS = 28  # a complete id made by `new_journal_id`
_NAMED_CURVES = 16  # more names and colours than this cannot be told apart
_LEGEND_LINE = 0.19  # inches
_MARKED_TRADES = 400  # more markers than this hide the curve
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": _INK,
    "axes.titlesize": 9.5,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "svg.hashsalt": "journal",
    "svg.fonttype": "none",
    "path.simplify": True,
}


class MissingPlotError(ImportError):
    """matplotlib is not installed."""


@contextmanager
def _styled() -> Iterator[None]:
    """Apply the plot style temporarily, since matplotlib's settings belong to the whole process."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingPlotError(str(error)) from error
    with matplotlib.rc_context(_STYLE):
        yield


@_styled()
def draw_episode(series: Series) -> Figure:
    """Draw portfolio value with trade markers, drawdown, position and reward over the same steps."""
    figure = _figure(10.0, 8.0)
    axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [5, 2, 1.6, 2], "hspace": 0.12})
    figure.suptitle(series.name, x=0.09, y=0.985, ha="left", fontsize=13, fontweight="bold")
    figure.text(0.09, 0.945, _subtitle(series), ha="left", va="top", color="#555B66")
    figure.subplots_adjust(left=0.09, right=0.975, top=0.9, bottom=0.07)
    _equity(axes[0], series)
    _area(axes[1], series, series.drawdown * 100, RED, "drawdown, %")
    _area(axes[2], series, series.position, PURPLE, "position", step="post")
    _bars(axes[3], series)
    axes[-1].set_xlabel(_time_span(series))
    for each in axes:
        each.margins(x=0.01)
    _plain_numbers(axes[-1], x=True)
    figure.align_ylabels(axes)
    return figure


@_styled()
def draw_overlay(many: Sequence[Series]) -> Figure:
    """Draw several episodes' returns since the start in one panel, and their drawdowns below."""
    named = len(many) <= _NAMED_CURVES
    height = 6.5 + _LEGEND_LINE * -(-len(many) // 2) * named
    figure = _figure(10.0, height)
    axes = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1.2], "hspace": 0.1})
    figure.subplots_adjust(left=0.09, right=0.975, top=6.05 / height, bottom=0.58 / height)
    for index, series in enumerate(many):
        colour = PALETTE[index % len(PALETTE)]
        weight: dict[str, Any] = {"linewidth": 1.2} if named else {"linewidth": 0.9, "alpha": 0.6}
        last = f"{series.growth[-1]:+.2%}" if len(series.step) else "no steps"
        label = f"{series.name}  {last}, {series.standing}"
        for part in series.parts():
            axes[0].plot(series.step[part], series.growth[part] * 100, color=colour, label=label, **weight)
            axes[1].plot(series.step[part], series.drawdown[part] * 100, color=colour, **{**weight, "linewidth": 0.9})
            label = "_"
        if not len(series.step):
            axes[0].plot([], [], color=colour, label=label)
    axes[0].axhline(0.0, color=GREY, linewidth=0.8)
    axes[0].set_ylabel("return, %")
    axes[1].set_ylabel("drawdown, %")
    axes[1].set_xlabel("step")
    _plain_numbers(axes[1], x=True)
    figure.suptitle(f"{len(many)} episodes", x=0.09, y=1 - 0.25 / height, ha="left", fontsize=12, fontweight="bold")
    if named:  # above the axes, so that it hides no curve
        axes[0].legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=8, frameon=False, ncols=2, borderaxespad=0.2,
            borderpad=0.0, columnspacing=3.0,
        )  # fmt: skip
    figure.align_ylabels(axes)
    return figure


@_styled()
def draw_sheet(title: str, many: Sequence[Series]) -> Figure:
    """Draw a small picture of each episode's return, all with the same range, so that they compare."""
    columns = max(1, min(len(many), round(math.sqrt(len(many) * 1.2))))
    rows = -(-len(many) // columns)
    width, height = max(2.1 * columns, 5.0), 1.55 * rows + 1.1
    figure = _figure(width, height)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    figure.suptitle(title, x=0.45 / width, y=1 - 0.18 / height, ha="left", va="top", fontsize=13, fontweight="bold")
    figure.text(
        0.45 / width,
        1 - 0.5 / height,
        "return since the start, %, over steps; all over the same range",
        va="top",
        color="#555B66",
    )
    figure.subplots_adjust(
        left=0.45 / width, right=1 - 0.15 / width, bottom=0.35 / height, top=1 - 1.0 / height, wspace=0.12, hspace=0.62
    )
    cells = grid.ravel()
    for axes, series in zip(cells, many, strict=False):
        _small(axes, series)
    for axes in cells[len(many) :]:
        axes.set_axis_off()
    return figure


def save(figure: Figure, sink: BinaryIO, form: str) -> None:
    """Write a picture. The same data give the same bytes."""
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    with _styled():
        figure.savefig(sink, format=form, dpi=130, metadata=metadata)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white")


def _equity(axes: Axes, series: Series) -> None:
    axes.axhline(series.initial_value, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    for part in series.parts():
        axes.plot(series.step[part], series.value[part], color=BLUE, linewidth=1.3)
    _shade_holes(axes, series)
    count = len(series.exit_step)
    if 0 < count <= _MARKED_TRADES:
        win = series.exit_pnl > 0
        for chosen, marker, colour, word in ((win, "^", GREEN, "gain"), (~win, "v", RED, "loss")):
            axes.scatter(
                series.exit_step[chosen], series.exit_value[chosen], marker=marker, s=26, color=colour, zorder=3,
                linewidths=0.4, edgecolors="white", label=f"{np.count_nonzero(chosen)} trades closed with a {word}",
            )  # fmt: skip
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, ncols=2, handletextpad=0.1,
            borderaxespad=0.2,
        )  # fmt: skip
    elif count:
        axes.text(0.008, 0.97, f"{count:,} trades, too many to mark", transform=axes.transAxes, va="top", fontsize=8)
    axes.set_ylabel("portfolio value")
    axes.margins(y=0.12)
    _plain_numbers(axes)


def _area(axes: Axes, series: Series, values: Any, colour: str, label: str, step: Any = None) -> None:
    for part in series.parts():
        axes.fill_between(series.step[part], values[part], 0.0, color=colour, alpha=0.35, step=step, linewidth=0)
        axes.plot(
            series.step[part], values[part], color=colour, linewidth=0.8,
            drawstyle=f"steps-{step}" if step else "default",
        )  # fmt: skip
    _shade_holes(axes, series)
    axes.set_ylabel(label)
    _plain_numbers(axes)


def _bars(axes: Axes, series: Series) -> None:
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    if len(series.step) <= 400:
        axes.vlines(series.step, 0.0, series.reward, color=GREEN, linewidth=1.0)
    else:
        for part in series.parts():
            axes.plot(series.step[part], series.reward[part], color=GREEN, linewidth=0.5)
    _shade_holes(axes, series)
    axes.set_ylabel("reward")


def _small(axes: Axes, series: Series) -> None:
    growth = series.growth * 100
    last = float(growth[-1]) if len(growth) else 0.0
    colour = GREEN if last > 0 else RED if last < 0 else GREY
    axes.axhline(0.0, color=GREY, linewidth=0.6)
    for part in series.parts():
        axes.plot(series.step[part], growth[part], color=colour, linewidth=1.0)
        axes.fill_between(series.step[part], growth[part], 0.0, color=colour, alpha=0.15, linewidth=0)
    axes.set_title(_short_name(series.name), loc="left", fontsize=6.5, pad=11, fontfamily="monospace")
    steps = f"{int(series.step[-1]):,} steps" if len(series.step) else "no steps"
    note = f"{last:+.1f} %, {steps}, {series.standing}" if len(series.step) else f"{steps}, {series.standing}"
    axes.text(0.0, 1.03, note, transform=axes.transAxes, fontsize=6.5, va="bottom", color="#555B66")
    axes.tick_params(labelsize=6.5, length=2, pad=1.5, labelbottom=True)
    axes.margins(x=0.02)
    axes.locator_params(axis="x", nbins=3)
    _plain_numbers(axes, x=True)
    axes.locator_params(axis="y", nbins=4)


def _short_name(name: str) -> str:
    return name if len(name) <= _NAME_LETTERS else f"{name[:12]}…{name[-13:]}"


def _shade_holes(axes: Axes, series: Series) -> None:
    for first, last in series.holes:
        axes.axvspan(first - 0.5, last + 0.5, color=GREY, alpha=0.25, linewidth=0)


def _plain_numbers(axes: Axes, *, x: bool = False) -> None:
    """Format axis numbers in full, without offsets and powers."""
    from matplotlib.ticker import StrMethodFormatter

    low, high = axes.get_xlim() if x else axes.get_ylim()
    form = StrMethodFormatter("{x:,.0f}" if high - low > 20 else "{x:,.4g}")
    (axes.xaxis if x else axes.yaxis).set_major_formatter(form)


def _subtitle(series: Series) -> str:
    figures = series.figures
    percent = {"total_return": "return", "max_drawdown": "max drawdown", "win_rate": "win rate"}
    parts = [series.standing]
    parts += [f"{word} {figures[name]:.2%}" for name, word in percent.items() if figures.get(name) is not None]
    if figures.get("sharpe_ratio") is not None:
        parts.append(f"Sharpe {figures['sharpe_ratio']:.2f}{few_steps_mark(figures, 'sharpe_ratio')}")
    if series.holes:
        lost = sum(last - first + 1 for first, last in series.holes)
        parts.append(f"{lost:,} steps lost (grey)")
    return "  ·  ".join(parts)


def _time_span(series: Series) -> str:
    if not len(series.step):
        return "no steps"
    first, last = (np.datetime64(int(time), "us").astype("datetime64[D]") for time in series.market_time[[0, -1]])
    return "step" if np.isnat(first) or np.isnat(last) else f"step (market time {first} to {last})"
