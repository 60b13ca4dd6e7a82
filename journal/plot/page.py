"""Write a plot as one HTML file that needs no other: the picture, a readout at the pointer, tables of figures."""

from __future__ import annotations

import functools
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from journal.inspect.figures import few_steps_mark
from journal.plot import pictures
from journal.plot.series import Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_TRADES = 2000


def episode_page(series: Series, trades: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the page of one episode.

    Args:
        series: The curves to draw.
        trades: Closed trades, one mapping each, to list in a table.
        facts: Names and values to show below: env, settings, notes.
    """
    figure = pictures.draw_episode(series)
    return _render(
        "episode.html.j2",
        series.name,
        figure,
        data=_readout(figure, series),
        figures=series.figures,
        trades=trades[:_MOST_TRADES],
        trade_count=len(trades),
        facts={name: str(value) for name, value in facts.items()},
    )


def many_page(title: str, figure: Figure, many: Sequence[Series]) -> str:
    """Return the page of several episodes: their picture, and a table with one row each."""
    return _render("episodes.html.j2", title, figure, data=None, episodes=many)


def _render(template: str, title: str, figure: Figure, **values: Any) -> str:
    sink = io.BytesIO()
    pictures.save(figure, sink, "svg")
    svg = sink.getvalue().decode()
    data = json.dumps(values.pop("data"), allow_nan=False).replace("</", "<\\/")
    # The picture and the data are made here, so they are the only parts that autoescape leaves alone.
    return (
        _templates()
        .get_template(template)
        .render(title=title, svg=Markup(svg[svg.index("<svg") :]), data=Markup(data), **values)
    )


@functools.cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("journal.plot"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    templates.globals["few_steps_mark"] = few_steps_mark
    templates.filters |= {"number": _number, "percent": _percent, "cell": _cell}
    return templates


def _readout(figure: Figure, series: Series) -> dict[str, Any] | None:
    """Return what the pointer reads, and where the curves lie in the picture, as fractions of its width."""
    if not len(series.step):
        return None
    place, (low, high) = figure.axes[-1].get_position(), figure.axes[-1].get_xlim()
    curves = {
        "value": (series.value, "{:,.2f}"),
        "drawdown": (series.drawdown, "{:.2%}"),
        "position": (series.position, "{:,.4g}"),
        "reward": (series.reward, "{:.4g}"),
        "price": (series.price, "{:,.4g}"),
    }
    times = series.market_time.astype("datetime64[us]").astype("datetime64[s]")
    return {
        "left": place.x0,
        "right": place.x1,
        "low": float(low),
        "high": float(high),
        "step": series.step.tolist(),
        "time": ["" if time != time else str(time).replace("T", " ") for time in times],
        "names": list(curves),
        "values": [[form.format(value) for value in values.tolist()] for values, form in curves.values()],
    }


def _cell(value: Any) -> str:
    if hasattr(value, "isoformat"):
        return str(value.isoformat(sep=" ", timespec="seconds"))[:19]
    return _number(value) if isinstance(value, int | float) else str(value)


def _number(value: float | int | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _percent(value: float | int | None) -> str:
    return "–" if value is None else f"{value:.2%}"
