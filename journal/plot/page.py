"""A plot as one HTML file that needs nothing else: the picture, a readout under the pointer, tables of figures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from journal.plot import pictures
from journal.plot.series import Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; color: #23272e; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }}
 h2 {{ font-size: 1.05rem; margin: 1.6rem 0 .4rem; }}
 .plot {{ position: relative; }} .plot svg {{ width: 100%; height: auto; display: block; }}
 #line {{ position: absolute; top: 0; bottom: 0; width: 1px; background: #8a8f98; display: none; pointer-events: none; }}
 #readout {{ min-height: 1.6em; font-variant-numeric: tabular-nums; color: #555b66; }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }}
 th, td {{ padding: .15rem .8rem .15rem 0; text-align: right; border-bottom: 1px solid #e6e8eb; }}
 th:first-child, td:first-child {{ text-align: left; }}
 .figures {{ columns: 3 16rem; }} .figures div {{ display: flex; justify-content: space-between; gap: 1rem; }}
</style></head><body>
<div class="plot">{svg}<div id="line"></div></div>
<div id="readout"></div>
{sections}
<script>
const data = {data};
{script}
</script>
</body></html>
"""
_SCRIPT = """
const plot = document.querySelector('.plot'), line = document.getElementById('line');
const readout = document.getElementById('readout');
if (data) {
  readout.textContent = 'Point at the plot to read its values.';
  plot.addEventListener('mousemove', event => {
    const box = plot.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
    const part = (at - data.left) / (data.right - data.left);
    const wanted = data.low + part * (data.high - data.low);
    if (part < 0 || part > 1) { line.style.display = 'none'; return; }
    let low = 0, high = data.step.length - 1;
    while (low < high) { const mid = (low + high) >> 1; data.step[mid] < wanted ? low = mid + 1 : high = mid; }
    line.style.display = 'block'; line.style.left = 100 * at + '%';
    readout.textContent = 'step ' + data.step[low] + '  ·  ' + data.time[low] + '  ·  ' +
      data.names.map((name, index) => name + ' ' + data.values[index][low]).join('  ·  ');
  });
}
"""
_MOST_TRADES = 2000


def episode_page(series: Series, trades: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """The page of one episode; ``trades`` are rows to list, ``facts`` what else is known of it."""
    figure = pictures.draw_episode(series)
    sections = _figures(series.figures) + _trades(trades) + _facts(facts)
    return _page(series.name, figure, sections, _readout(figure, series))


def many_page(title: str, figure: Figure, many: Sequence[Series]) -> str:
    """The page of several episodes: their picture, and a table with a line for each."""
    return _page(title, figure, _episodes(many), None)


def _page(title: str, figure: Figure, sections: str, data: dict[str, Any] | None) -> str:
    sink = io.BytesIO()
    pictures.save(figure, sink, "svg")
    svg = sink.getvalue().decode()
    text = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    return _PAGE.format(title=escape(title), svg=svg[svg.index("<svg") :], sections=sections, data=text, script=_SCRIPT)


def _readout(figure: Figure, series: Series) -> dict[str, Any] | None:
    """What the pointer reads, and where the curves lie in the picture, as fractions of its width."""
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
        "time": [str(time).replace("T", " ") for time in times],
        "names": list(curves),
        "values": [[form.format(value) for value in values.tolist()] for values, form in curves.values()],
    }


def _figures(figures: Mapping[str, Any]) -> str:
    if not figures:
        return ""
    cells = [f"<div><span>{escape(name)}</span><b>{_number(value)}</b></div>" for name, value in figures.items()]
    return f'<h2>Metrics</h2><div class="figures">{"".join(cells)}</div>'


def _trades(trades: Sequence[Mapping[str, Any]]) -> str:
    if not trades:
        return "<p>No closed trades.</p>"
    names = list(trades[0])
    rows = [[_cell(trade[name]) for name in names] for trade in trades[:_MOST_TRADES]]
    more = f"<p>and {len(trades) - _MOST_TRADES:,} more</p>" if len(trades) > _MOST_TRADES else ""
    return f"<details><summary>{len(trades):,} closed trades</summary>{_table(names, rows)}{more}</details>"


def _facts(facts: Mapping[str, Any]) -> str:
    rows = [[escape(str(name)), escape(str(value))] for name, value in facts.items()]
    return f"<details><summary>About the episode</summary>{_table(['', ''], rows)}</details>"


def _episodes(many: Sequence[Series]) -> str:
    names = ["episode", "end", "steps", "return", "max drawdown", "Sharpe", "trades"]
    rows = []
    for series in many:
        figures = series.figures
        rows.append(
            [
                escape(series.name),
                escape(series.standing),
                f"{int(series.step[-1]):,}" if len(series.step) else "0",
                _percent(figures.get("total_return")),
                _percent(figures.get("max_drawdown")),
                _number(figures.get("sharpe_ratio")),
                f"{len(series.exit_step):,}",
            ]
        )
    return f"<h2>Episodes</h2>{_table(names, rows)}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if hasattr(value, "isoformat"):
        return escape(value.isoformat(sep=" ", timespec="seconds")[:19])
    return _number(value) if isinstance(value, int | float) else escape(str(value))


def _number(value: float | int | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _percent(value: float | int | None) -> str:
    return "–" if value is None else f"{value:.2%}"
