"""Draw plots with matplotlib: one episode, several overlaid, or a run as a sheet of small pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from journal.inspect.figures import few_steps_mark
from journal.plot.series import Floats, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette. Colour-blind readers can distinguish its colours.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#8A8F98"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, "#56B4E9", "#F0E442", "#000000")
_INK, _FAINT = "#23272E", "#D9DCE1"
_NAME_LETTERS = 28  # the length of an id from `new_journal_id`
_NAMED_CURVES = 16  # a reader cannot distinguish more names and colours than this
_LEGEND_LINE = 0.19  # inches
_FAR = 3.0  # Tukey's factor for far outliers
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
    """matplotlib, which draws pictures, is not installed."""


@contextmanager
def _styled() -> Iterator[None]:
    """Apply the plot style temporarily, since matplotlib's settings belong to the whole process."""
    try:
        import matplotlib  # matplotlib is an extra
    except ImportError as error:
        raise MissingPlotError(str(error)) from error
    with matplotlib.rc_context(_STYLE):
        yield


@_styled()
def draw_episode(series: Series) -> Figure:
    """Draw portfolio value with trade markers, drawdown, position and reward in panels over the same steps and dates."""
    figure = _figure(10.0, 8.0)
    axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [5, 2, 1.6, 2], "hspace": 0.12})
    figure.suptitle(_title(series), x=0.09, y=0.985, ha="left", fontsize=13, fontweight="bold")
    figure.text(0.09, 0.945, _subtitle(series), ha="left", va="top", color="#555B66")
    figure.subplots_adjust(left=0.09, right=0.975, top=0.9, bottom=0.085)
    _equity(axes[0], series)
    _area(axes[1], series, series.drawdown * 100, RED, "drawdown")
    _percent(axes[1])
    _area(axes[2], series, series.position, PURPLE, "position", step="post")
    _bars(axes[3], series)
    for each in axes:
        each.margins(x=0.01)
    _steps_and_days(axes[-1], series)
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
        label = f"{_short_title(series)}  {last}, {series.standing}"
        for part in series.parts():
            axes[0].plot(series.step[part], series.growth[part] * 100, color=colour, label=label, **weight)
            axes[1].plot(series.step[part], series.drawdown[part] * 100, color=colour, **{**weight, "linewidth": 0.9})
            label = "_"
        if not len(series.step):
            axes[0].plot([], [], color=colour, label=label)
    axes[0].axhline(0.0, color=GREY, linewidth=0.8)
    axes[0].set_ylabel("return since the start")
    axes[1].set_ylabel("drawdown")
    for each in axes:
        _percent(each)
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
    """Draw a small picture of each episode's return. All have the same range, so that they can be compared.

    `shared_range` ignores outliers; triangles mark where a curve leaves the range.
    """
    columns = max(1, min(len(many), round(math.sqrt(len(many) * 1.2))))
    rows = -(-len(many) // columns)
    width, height = max(2.1 * columns, 5.0), 1.55 * rows + 1.1
    figure = _figure(width, height)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    low, high = shared_range(many)
    outside = sum(_leaves(series, low, high) for series in many)
    note = "return since the start over steps; all with the same range"
    if outside:
        note += f"; curves that leave it: {outside} (triangles)"
    figure.suptitle(title, x=0.5 / width, y=1 - 0.18 / height, ha="left", va="top", fontsize=13, fontweight="bold")
    figure.text(0.5 / width, 1 - 0.5 / height, note, va="top", color="#555B66")
    figure.subplots_adjust(
        left=0.5 / width, right=1 - 0.15 / width, bottom=0.35 / height, top=1 - 1.0 / height, wspace=0.12, hspace=0.62
    )
    cells = grid.ravel()
    cells[0].set_ylim(low, high)
    for axes, series in zip(cells, many, strict=False):
        _small(axes, series, low, high)
    for axes in cells[len(many) :]:
        axes.set_axis_off()
    return figure


def shared_range(many: Sequence[Series]) -> tuple[float, float]:
    """Return a range of returns in percent that fits most episodes, as its lower and its upper end.

    The upper end is the highest return of all episodes, but at most Tukey's outer fence: the third quartile of the
    episodes' highest returns, plus `_FAR` times their interquartile range. The lower end is computed in the same way.
    """
    lowest, highest = [0.0], [0.0]
    for series in many:
        growth = series.growth[np.isfinite(series.growth)] * 100
        if len(growth):
            lowest.append(float(growth.min()))
            highest.append(float(growth.max()))
    low, high = -_reach(-np.array(lowest)), _reach(np.array(highest))
    room = (high - low or 1.0) * 0.05
    return low - room, high + room


def _reach(values: Floats) -> float:
    first, third = np.quantile(values, (0.25, 0.75))
    return float(min(values.max(), third + _FAR * (third - first)))


def _leaves(series: Series, low: float, high: float) -> bool:
    growth = series.growth * 100
    return bool(((growth < low) | (growth > high)).any())


def save(figure: Figure, sink: BinaryIO, form: str) -> None:
    """Write a picture. Equal data give equal bytes.

    Args:
        figure: The picture.
        sink: The open file.
        form: The format, such as "png" or "svg".
    """
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    with _styled():
        figure.savefig(sink, format=form, dpi=130, metadata=metadata)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # matplotlib is an extra

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


def _small(axes: Axes, series: Series, low: float, high: float) -> None:
    growth = series.growth * 100
    last = float(growth[-1]) if len(growth) else 0.0
    colour = GREEN if last > 0 else RED if last < 0 else GREY
    axes.axhline(0.0, color=GREY, linewidth=0.6)
    for part in series.parts():
        axes.plot(series.step[part], growth[part], color=colour, linewidth=1.0)
        axes.fill_between(series.step[part], growth[part], 0.0, color=colour, alpha=0.15, linewidth=0)
    outlier = _mark_outliers(axes, series, growth, low, high)
    axes.set_title(_short_title(series), loc="left", fontsize=6.5, pad=11)
    steps = f"{int(series.step[-1]):,} steps" if len(series.step) else "no steps"
    note = f"{outlier or steps}, {series.standing}"
    note = f"{last:+.1f}%, {note}" if len(series.step) else note
    axes.text(0.0, 1.03, note, transform=axes.transAxes, fontsize=6.5, va="bottom", color="#555B66")
    axes.tick_params(labelsize=6.5, length=2, pad=1.5, labelbottom=True)
    axes.margins(x=0.02)
    axes.locator_params(axis="x", nbins=3)
    _plain_numbers(axes, x=True)
    axes.locator_params(axis="y", nbins=4)
    _percent(axes)


def _mark_outliers(axes: Axes, series: Series, growth: Floats, low: float, high: float) -> str:
    """Mark where a curve leaves the range; return its extreme values as text."""
    words = []
    for at, edge, marker in ((np.argmax(growth), high, "^"), (np.argmin(growth), low, "v")) if len(growth) else ():
        if growth[at] > high or growth[at] < low:
            axes.plot(series.step[at], edge, marker, color=_INK, markersize=5, clip_on=False, zorder=4)
            words.append(f"{'max' if edge == high else 'min'} {growth[at]:+,.0f}%")
    return ", ".join(words)


def _title(series: Series) -> str:
    """Return an episode's number, asset and dates."""
    name = series.title if series.number is None else f"Episode {series.title}"
    return f"{name}  {series.days[0]} to {series.days[1]}" if series.days else name


def _short_title(series: Series) -> str:
    name = series.name if len(series.name) <= _NAME_LETTERS else f"{series.name[:12]}…{series.name[-13:]}"
    if series.number is not None:
        name = series.title
        if series.days:
            name += f"  {series.days[0]} to {series.days[1]}"
    return name


def _shade_holes(axes: Axes, series: Series) -> None:
    for first, last in series.holes:
        axes.axvspan(first - 0.5, last + 0.5, color=GREY, alpha=0.25, linewidth=0)


def _plain_numbers(axes: Axes, *, x: bool = False) -> None:
    """Format axis numbers in full, without offsets and powers."""
    from matplotlib.ticker import StrMethodFormatter  # matplotlib is an extra

    low, high = axes.get_xlim() if x else axes.get_ylim()
    form = StrMethodFormatter("{x:,.0f}" if high - low > 20 else "{x:,.4g}")
    (axes.xaxis if x else axes.yaxis).set_major_formatter(form)


def _percent(axes: Axes) -> None:
    """Label the y axis, whose values are percentages, with percent signs."""
    from matplotlib.ticker import PercentFormatter  # matplotlib is an extra

    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0 if high - low > 4 else None))


def _steps_and_days(axes: Axes, series: Series) -> None:
    """Label the x axis with steps and, below each step, the day of its market time."""
    from matplotlib.ticker import FuncFormatter  # matplotlib is an extra

    if series.days is None:
        axes.set_xlabel("step" if len(series.step) else "no steps")
        _plain_numbers(axes, x=True)
        return
    axes.set_xlabel(f"step, and day of {series.market}" if series.market else "step, and day of the market")

    def label(step: float, _: object) -> str:
        if not series.step[0] <= step <= series.last_step or step != int(step):
            return f"{step:,.4g}"
        time = int(series.market_time[min(int(np.searchsorted(series.step, step)), len(series.step) - 1)])
        day = np.datetime64(time, "us").astype("datetime64[D]")
        return f"{step:,.0f}" if np.isnat(day) else f"{step:,.0f}\n{day}"

    axes.xaxis.set_major_formatter(FuncFormatter(label))


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
    if series.number is not None:
        parts.append(f"journal {series.name}")
    return "  ·  ".join(parts)
