"""Write episodes as one HTML page that needs no other file: a table, and the charts of each episode.

`rsc report` adds its own sections to the same page.
"""

from __future__ import annotations

import base64
import functools
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from journal.plot.packing import Curves, pack

if TYPE_CHECKING:
    from journal.inspect.overview import Overview
    from journal.plot.packing import Limits

_DIGITS = 5
_TEMPLATES = "web"


def render(
    template: str,
    rows: Sequence[Mapping[str, Any]],
    curves: Curves | None,
    *,
    packages: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    **values: Any,
) -> str:
    """Return a page as HTML.

    Args:
        template: The name of the template, which extends `page.html.j2`.
        rows: One mapping for each episode. Its keys are the columns of the scripts; "curve" is a number among the curves.
        curves: The curves of the episodes; None for a page whose scripts request them from a server.
        packages: Packages that have further templates, in a folder `web`.
        data: Further values for the scripts: anything that JSON can hold.
        values: The values of the template.
    """
    limits = [] if curves is None else limits_in_words(curves)
    payloads = {"table": pack({"limits": limits, **(data or {}), "columns": columns_of(rows)}, {})}
    if curves is not None:
        payloads["curves"] = curves.packed()
    values |= {
        "payloads": {name: base64.b64encode(payload).decode() for name, payload in payloads.items()},
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "nonce": secrets.token_urlsafe(16),  # the page's own scripts bear it, and the browser runs no others
    }
    return fragment(template, packages, **values)


def fragment(template: str, packages: Sequence[str] = (), **values: Any) -> str:
    """Return a filled template: a page, or a part of a page. All values are escaped.

    Args:
        template: The name of the template.
        packages: Packages that have further templates, in a folder `web`.
        values: The values of the template.
    """
    return _environment(tuple(packages)).get_template(template).render(**values)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows as columns. Leave out a column without any value.

    Floats are rounded to five digits, times are in seconds, and unknown values and NaN are None.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [_plain(row.get(name)) for row in rows] for name in names}
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}


def row_of(one: Overview) -> dict[str, Any]:
    """Return the row of an episode, with values from its journal only."""
    figures, header = one.figures(), one.header
    return {
        "name": one.journal_id,
        "journal": one.journal_id,
        "market": None if header is None else header.about.market,
        "trial": None if header is None else header.about.trial_id,
        "evaluation": None if header is None else header.about.in_evaluation,
        "start": None if header is None else header.start_time,
        "steps": one.steps,
        "trades": one.trades if figures.get("total_trades") is not None else None,
        "steps_lost": one.steps_lost,
        "trades_lost": one.trades_lost,
        "loss_unknown": one.cut_short,
        "live": one.live,
        **named_figures(figures),
    }


FIGURES = {
    "return": "total_return",
    "sharpe": "sharpe_ratio",
    "drawdown": "max_drawdown",
    "win_rate": "win_rate",
    "pnl": "pnl",
    "reward": "total_reward",
    "costs": "total_costs",
    "turnover": "turnover",
    "volatility": "volatility",
    "sortino": "sortino_ratio",
    "profit_factor": "profit_factor",
    "in_market": "time_in_market",
    "hold": "buy_and_hold_return",
    "excess": "excess_return",
    "initial": "initial_portfolio_value",
    "final": "final_portfolio_value",
}
"""The figures of a row by the names that the scripts use."""


def named_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that a page shows, by the names in its scripts. Undefined and unknown figures are None."""
    return {name: figures.get(source) for name, source in FIGURES.items()}


def limits_in_words(curves: Curves) -> list[str]:
    """Return sentences about what the page leaves out."""
    limits: Limits = curves.limits
    words = []
    if curves.reduced:
        words.append(
            f"The curves of {_episodes(curves.reduced)} are reduced to about {limits.points:,} points; each stretch keeps"
            " its lowest and its highest value."
        )
    if curves.trades_left_out:
        words.append(
            f"Of each episode, the {limits.trades:,} trades with the largest profits and losses are kept;"
            f" {curves.trades_left_out:,} are left out."
        )
    if limits.short:
        words.append(
            "A page of more than 100 episodes has no rewards of single steps, and no prices and costs of single trades,"
            " and rounds curves to 1/4,096 of their range; `journal plot EPISODE -o episode.html` has them."
        )
    return words


def _episodes(count: int) -> str:
    return f"{count:,} {'episode' if count == 1 else 'episodes'}"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, datetime):
        return round(value.timestamp())
    return value


@functools.cache
def _environment(packages: tuple[str, ...]) -> jinja2.Environment:
    names: Iterable[str] = (*packages, "journal.plot")
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(name, _TEMPLATES) for name in names])
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    # Only scripts and styles are not escaped: they are files of this package.
    templates.globals["file"] = lambda name: Markup(loader.get_source(templates, name)[0])
    return templates
